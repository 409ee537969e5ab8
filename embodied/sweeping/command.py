"""`embodied train -m`: many runs from one command, every combination of settings or a search among them."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from embodied.errors import CheckpointError, ConfigError
from embodied.facts import now
from embodied.files import write_whole
from embodied.interrupt import Interrupt, catching_ctrl_c
from embodied.packaging import need
from embodied.run_folder import locked
from embodied.sweeping.crew import Ended, finished, log_of, run_all
from embodied.sweeping.plan import Job, Plan, make
from embodied.sweeping.progress import Progress
from embodied.sweeping.recipe import NAMES, Sweep, part
from embodied.sweeping.results import by_setting, show
from embodied.sweeping.search import Search, check, reported_words, words_of
from embodied.sweeping.space import Span

SWEEP = "sweep.json"
SHOWN = 10  # settings of a search in its table
STOPPING = {
    "once": "stopping the runs after their iterations; again to stop at once",
    "twice": "stopped at once; the last checkpoints are kept",
}


def main(argv: Sequence[str]) -> int:
    """0 when every run finished, 1 when one did not, 130 when stopped by Ctrl-C."""
    resume = [word for word in argv if word.startswith("resume=")]
    if resume:
        return _continue(Path(resume[0].removeprefix("resume=")), [word for word in argv if word not in resume])
    sweep, plan = make(argv)
    folder = Path(sweep.sweep_dir or f"runs/{plan.name}/sweep-{time.strftime('%Y%m%d-%H%M%S')}")
    if (folder / SWEEP).is_file():
        words = _read(folder)["words"]
        if _asked(words) != _asked(argv):
            raise ConfigError(
                f"{folder} holds another sweep, {shlex.join(words)}; nothing was started. Continue that one with "
                f"`embodied train -m resume={folder}`, or choose another sweep_dir."
            )
        return _continue(folder, [f"jobs={sweep.jobs}"])
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty and holds no sweep; nothing was started. Choose another sweep_dir.")
    jobs = _checked(sweep, plan)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, argv, sweep, plan, jobs)
    return _run(sweep, plan, jobs, folder)


def _continue(folder: Path, words: Sequence[str]) -> int:
    given, rest = part(words)
    if rest or any(word.partition("=")[0] != "jobs" for word in words):
        raise ConfigError(
            f"resume continues a sweep as it was, so {list(words)} cannot be changed; nothing was started. Give "
            f"resume=SWEEP_FOLDER, and jobs=... if there is room for more at a time."
        )
    found = _read(folder)
    sweep, plan = make(found["words"])
    jobs = [Job(job["setting"], job["seed"], tuple(job["words"]), job["total"]) for job in found["jobs"]]
    return _run(replace(sweep, jobs=given.jobs) if words else sweep, plan, jobs, folder)


def _checked(sweep: Sweep, plan: Plan) -> list[Job]:
    """Every run of a grid; none of a search, whose space is checked at its ends."""
    if sweep.sweeper == "basic":
        return plan.grid()
    if not plan.ranges:
        raise ConfigError(
            "a search was asked for and nothing varies but the seed; nothing was started. Give an interval or a list, "
            "as in algorithm.gamma=interval(0.9,0.99)."
        )
    need("optuna", extra="optuna")
    check(plan)
    return []


def _run(sweep: Sweep, plan: Plan, jobs: Sequence[Job], folder: Path) -> int:
    with locked(folder), catching_ctrl_c(**STOPPING) as interrupt:
        print(f"sweep folder {folder}", flush=True)
        whole = _search(sweep, plan, folder, interrupt) if sweep.sweeper == "optuna" else _grid(
            sweep, plan, jobs, folder, interrupt
        )  # fmt: skip
        if not whole:
            print(f"continue with: embodied train -m resume={folder}")
        return 130 if interrupt.asked else int(not whole)


def _grid(sweep: Sweep, plan: Plan, jobs: Sequence[Job], folder: Path, interrupt: Interrupt) -> bool:
    """Whether every run is finished."""
    todo = [job for job in jobs if not finished(job, folder)]
    with Progress("runs", len(jobs), len(jobs) - len(todo)) as progress:
        ended = run_all(todo, folder, sweep.jobs, interrupt, progress)
    rows = by_setting(jobs, folder)
    kind = "tuning seeds: to choose by, not a result" if plan.purpose == "tuning" else "95 % over seeds and starts"
    show(f"final evaluation ({kind})", rows)
    if len(rows) > 1 and plan.purpose == "test":
        print(
            "These are test seeds: report every line. To choose a setting, sweep with purpose=tuning and run the one "
            "you chose on test seeds."
        )
    _name(ended, folder)
    return all(finished(job, folder) for job in jobs)


def _search(sweep: Sweep, plan: Plan, folder: Path, interrupt: Interrupt) -> bool:
    """Whether all trials were made."""
    search = Search(sweep, plan, folder)
    search.run(interrupt)
    best = search.best
    if best is not None:
        command = shlex.join(["embodied", "train", *reported_words(plan, best.params)])
        told = {"trial": best.number, "words": words_of(best.params), sweep.objective: best.value, "command": command}
        (folder / "incumbent.json").write_text(json.dumps(told, indent=1))
        ranked = [(" ".join(words_of(t.params)), jobs, found) for t in search.ranked[:SHOWN] if (jobs := search.jobs(t))
                  for _, _, found in by_setting(jobs, folder)]  # fmt: skip
        show(f"best of {len(search.ranked)} settings (tuning seeds: to choose by, not a result)", ranked)
        print(f"the best, on seeds that it was not chosen by: {command}")
    _name(search.failed, folder)
    return search.left == 0


def _name(ended: Sequence[Ended], folder: Path) -> None:
    for each in ended:
        if each.how == "failed":
            print(f"failed: {folder / each.job.path}: {each.why} (log: {log_of(each.job, folder)})")


def _asked(words: Sequence[str]) -> tuple[Sweep, list[str]]:
    """What a sweep is, wherever and however many at a time."""
    sweep, rest = part(words)
    return replace(sweep, jobs=1, sweep_dir=None), rest


def _read(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / SWEEP).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} holds no sweep that could be read ({error}); nothing was started.") from None


def _write(folder: Path, argv: Sequence[str], sweep: Sweep, plan: Plan, jobs: Sequence[Job]) -> None:
    """What is searched, on which seeds, at what cost: before the first run."""
    told = {
        "words": list(argv),
        "command": shlex.join(["embodied", *sys.argv[1:]]),
        "started": now(),
        "purpose": plan.purpose,
        "settings": {name: getattr(sweep, name) for name in NAMES},
        "seeds": list(plan.seeds),
        "space": {key: asdict(x) if isinstance(x, Span) else list(x) for key, x in plan.ranges.items()},
        "runs": len(jobs) or sweep.trials * len(plan.seeds),
        "jobs": [asdict(job) for job in jobs],
    }
    write_whole(folder / SWEEP, json.dumps(told, indent=1))
