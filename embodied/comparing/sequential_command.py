"""`embodied compare --sequential`: trains the next seeds of whoever is undecided, until nobody is."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embodied.comparing.scores import METRICS
from embodied.comparing.sequential import CSV, STATE, Score, Standing, Study, collect, load, save, standing
from embodied.comparing.values import RATES, fraction, ranges
from embodied.errors import ConfigError
from embodied.interrupt import Interrupt, catching_ctrl_c
from embodied.run_folder import locked
from embodied.sweeping.crew import Ended, finished, log_of, run_all
from embodied.sweeping.plan import Job
from embodied.sweeping.progress import Progress

KEYS = ("out", "seeds", "interims", "level", "metric", "first_seed", "scores", "jobs", "dry")
AGENT = "agents."
STOPPING = {
    "once": "stopping the runs after their iterations; again to stop at once",
    "twice": "stopped at once; the last checkpoints are kept",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """Of a command line."""

    out: Path
    study: Study | None  # None: as it was begun
    tables: tuple[Path, ...]
    jobs: int
    dry: bool


def main(argv: Sequence[str]) -> int:
    """0 when everything is decided or only asked for, 1 when runs are missing, 130 when stopped by Ctrl-C."""
    asked = parse(argv)
    study, saved = _begun(asked)
    _note(study)
    if asked.dry:
        _ask(study, asked.out, standing(study, collect(study, asked.out, asked.tables, saved)))
        return 0
    asked.out.mkdir(parents=True, exist_ok=True)
    with locked(asked.out), catching_ctrl_c(**STOPPING) as interrupt:
        return _run(study, asked, saved, interrupt)


def parse(argv: Sequence[str]) -> Asked:
    told: dict[str, str] = {}
    agents: dict[str, str] = {}
    for word in argv:
        key, equals, value = word.partition("=")
        if not equals or not (key in KEYS or key.startswith(AGENT)):
            near = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"Did you mean `{near[0]}`?" if near else f"There is {AGENT}NAME, {', '.join(KEYS)}."
            raise ConfigError(f"`{word}` is not a setting of a sequential comparison; nothing was started. {hint}")
        if key.startswith(AGENT):
            agents[key.removeprefix(AGENT)] = value
        else:
            told[key] = value
    if not told.get("out"):
        raise ConfigError(
            "a sequential comparison keeps its runs in a folder; nothing was started. Name it: out=FOLDER"
        )
    if told.get("metric", METRICS[0]) not in METRICS:
        raise ConfigError(f"metric={told['metric']}: there is {', '.join(METRICS)}; nothing was started.")
    if told.get("dry", "false") not in ("true", "false"):
        raise ConfigError(f"dry={told['dry']} should be true or false; nothing was started.")
    settings = [key for key in told if key not in ("out", "scores", "jobs", "dry")]
    if settings and not agents:
        raise ConfigError(
            f"`{settings[0]}` belongs to the beginning of a comparison, and no agents were named; nothing was started. "
            f'Name them, agents.NAME="...", or continue with out=... alone.'
        )
    study = Study(
        agents=agents,
        seeds=_count(told, "seeds", 5),
        interims=_count(told, "interims", 5),
        level=fraction("level", told.get("level", "0.05"), undone="started"),
        metric=told.get("metric", METRICS[0]),
        first_seed=_count(told, "first_seed", 0, least=0),
    ) if agents else None  # fmt: skip
    tables = (Path(told["scores"]),) if "scores" in told else ()
    if tables and not tables[0].is_file():
        raise ConfigError(f"there is no table {tables[0]}; nothing was started.")
    return Asked(Path(told["out"]), study, tables, _count(told, "jobs", 1), told.get("dry") == "true")


def _count(told: dict[str, str], key: str, default: int, *, least: int = 1) -> int:
    text = told.get(key, str(default))
    if not text.isdecimal() or int(text) < least:
        raise ConfigError(f"{key}={text} should be a whole number from {least}; nothing was started.")
    return int(text)


def _begun(asked: Asked) -> tuple[Study, list[Score]]:
    """The study in the folder, which must be the one that is asked for; or a new one."""
    before = load(asked.out)
    if before is None:
        if asked.study is None:
            raise ConfigError(
                f"{asked.out} holds no comparison to continue (no {STATE}); nothing was started. Begin one with "
                f'agents.NAME="..." for two or more agents.'
            )
        asked.study.jobs([(name, asked.study.first_seed) for name in asked.study.agents])  # a mistake shows here
        return asked.study, []
    study, saved = before
    if asked.study is not None and asked.study != study:
        raise ConfigError(
            f"{asked.out} holds another comparison, of {_told(study)}; nothing was started, as settings that change "
            f"after looking void its level. Continue it with out={asked.out} alone, or choose another out."
        )
    return study, saved


def _told(study: Study) -> str:
    agents = "; ".join(f"{name}: {words}" for name, words in study.agents.items())
    return f"{agents} (seeds={study.seeds}, interims={study.interims}, level={study.level}, metric={study.metric})"


def _run(study: Study, asked: Asked, saved: list[Score], interrupt: Interrupt) -> int:
    scores = collect(study, asked.out, asked.tables, saved)
    save(study, asked.out, scores)
    while True:
        now = standing(study, scores)
        _show(study, asked.out, now)
        jobs = [job for job in study.jobs(now.missing) if not finished(job, asked.out)]
        if not jobs:
            break
        progress = _Saving(study, asked, scores, f"interim {len(now.test.blocks) + 1}", len(jobs))
        with progress:
            ended = run_all(jobs, asked.out, asked.jobs, interrupt, progress)
        scores = progress.scores
        if interrupt.asked or any(each.how != "finished" for each in ended):
            return _stopped(asked.out, ended, interrupt)
    if now.missing:
        _ask(study, asked.out, now)
        return 1
    return 0


class _Saving(Progress):
    """Also counts and saves the score of each run that ends."""

    def __init__(self, study: Study, asked: Asked, scores: list[Score], what: str, total: int) -> None:
        super().__init__(what, total)
        self.study, self.asked, self.scores = study, asked, scores

    def end(self, job: Job, how: str, why: str = "") -> None:
        self.scores = collect(self.study, self.asked.out, self.asked.tables, self.scores)
        save(self.study, self.asked.out, self.scores)
        own = next((s.value for s in self.scores if (s.agent, s.seed) == (job.setting, job.seed)), None)
        told = why if own is None else f"{self.study.metric} {_number(own, self.study.metric)}"
        super().end(job, how, told)


def _stopped(out: Path, ended: Sequence[Ended], interrupt: Interrupt) -> int:
    for each in ended:
        if each.how == "failed":
            print(f"failed: {out / each.job.path}: {each.why} (log: {log_of(each.job, out)})")
    print(f"undecided; the scores so far are in {out / STATE}. Continue with: embodied compare --sequential out={out}")
    if interrupt.asked:
        return 130
    print(
        "A run that fails again and again can be given the score it deserves, such as a success of 0: scores=FILE.csv"
    )
    return 1


def _show(study: Study, out: Path, now: Standing) -> None:
    """Scores and decisions after an interim; nothing before the first."""
    test = now.test
    if not test.blocks:
        return
    print(f"after interim {len(test.blocks)} of at most {test.interims} (AdaStop, level {test.level:g}):")
    for name, values in test.scores().items():
        mean = sum(values) / max(1, len(values))
        print(f"  {name}: mean {_number(mean, study.metric)} of {len(values)} seeds")
    for (a, b), found in test.decisions().items():
        print(f"  {_decision(a, b, found, len(test.scores()[a]), len(test.scores()[b]))}")
    if not now.missing:
        ours = [str(out / name) for name, words in study.agents.items() if words != CSV]
        if len(ours) == len(study.agents):
            print(f"Sizes of the differences: embodied compare {shlex.join(ours)}")
        _note(study)
        print("Means lean towards what ended the comparison: report the decisions, and the means as what was seen.")


def _note(study: Study) -> None:
    for note in study.notes():
        print(f"note: {note}")


def _decision(a: str, b: str, found: str, seeds_a: int, seeds_b: int) -> str:
    better, worse = (a, b) if found == "larger" else (b, a)
    return {
        "undecided": f"{a} and {b}: not decided yet",
        "equal": f"{a} and {b}: no difference shown with {seeds_a} and {seeds_b} seeds",
    }.get(found, f"{better} is better than {worse}")


def _ask(study: Study, out: Path, now: Standing) -> None:
    """The next runs as commands, and the scores that others owe."""
    if not now.missing:
        print("everything is decided; no more seeds are needed.")
        _show(study, out, now)
        return
    print(f"the next decision (interim {len(now.test.blocks) + 1} of at most {now.test.interims}) needs:")
    for job in study.jobs(now.missing):
        print(f"  {shlex.join(['embodied', 'train', *job.words, f'run_dir={out / job.path}'])}")
    for name, words in study.agents.items():
        seeds = [seed for agent, seed in now.missing if agent == name]
        if words == CSV and seeds:
            print(f"  scores of {name}, seeds {ranges(seeds)}, in a table: scores=FILE.csv (group,seed,task,score)")


def _number(value: float, metric: str) -> str:
    return f"{100 * value:.1f} %" if metric in RATES else f"{value:.3g}"
