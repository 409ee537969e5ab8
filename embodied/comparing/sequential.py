"""A comparison that asks for training seeds until it is decided: AdaStop over runs of ours and scores of others.

    OUT/sequential.json   what is compared, every score so far, decisions
    OUT/NAME/seedS        run folders, by agent
    OUT/logs              what the runs said

Everything follows from settings and scores, so a comparison that was killed goes on where it was. Seeds are asked for
by number: whoever adds scores cannot choose among more of them.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embodied.comparing.admission import differences
from embodied.comparing.folders import UNLIKE, flat, read_run
from embodied.comparing.table import ONLY_TASK, read_table
from embodied.comparing.values import Run, listed
from embodied.compose import compose_config
from embodied.errors import ConfigError
from embodied.files import write_whole
from embodied.metrics.adastop import AdaStop
from embodied.purpose import TUNING_SEEDS
from embodied.run_folder import state_of
from embodied.sweeping.plan import Job, Plan
from embodied.sweeping.recipe import NAMES

STATE = "sequential.json"
CSV = "csv"  # in place of settings: somebody else trains this agent
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
OURS = ("seed", "run_dir", "purpose", "resume")  # settings that the comparison decides about


@dataclass(frozen=True, slots=True)
class Study:
    agents: Mapping[str, str]  # name -> words of `embodied train`, or CSV
    seeds: int = 5  # of each agent and interim
    interims: int = 5  # at most
    level: float = 0.05  # probability of any wrong claim
    metric: str = "success_once"
    first_seed: int = 0

    def __post_init__(self) -> None:
        for name, words in self.agents.items():
            taken = [word for word in _split(name, words) if word.partition("=")[0] in OURS or word == "evaluate=0"]
            if not NAME.fullmatch(name) or taken:
                found = f"`{taken[0]}` in agents.{name}" if taken else f"an agent called `{name}`"
                raise ConfigError(
                    f"a comparison chooses seeds and folders itself and names these after agents, but found {found}; "
                    f"nothing was started. Leave out {', '.join(OURS)} and evaluate=0, and use letters, digits, _ . "
                    f"+ - in names."
                )
        if self.first_seed < 0 or self.first_seed + self.seeds * self.interims > TUNING_SEEDS:
            raise ConfigError(
                f"first_seed={self.first_seed} would lead to seeds that are for tuning, which begin at {TUNING_SEEDS}; "
                f"nothing was started. Test seeds are lower."
            )
        self.test()

    def test(self) -> AdaStop:
        return AdaStop(tuple(self.agents), seeds_per_interim=self.seeds, interims=self.interims, level=self.level)

    def block(self, interim: int) -> range:
        """Seeds of an interim, counted from 0."""
        return range(self.first_seed + interim * self.seeds, self.first_seed + (interim + 1) * self.seeds)

    def jobs(self, missing: Sequence[tuple[str, int]]) -> list[Job]:
        """Runs of `missing` (agent, seed) that are for us to train, composed and checked."""
        found: list[Job] = []
        for name, words in self.agents.items():
            seeds = [seed for agent, seed in missing if agent == name]
            if words != CSV and seeds:
                fixed = _split(name, words)
                fixed += [] if any(word.startswith("film=") for word in fixed) else ["film=0"]
                found += Plan(tuple(fixed), {}, (), "test").jobs(name, [], seeds=seeds)
        return sorted(found, key=lambda job: job.seed)  # agents in turn: a study that is stopped has them all

    def notes(self) -> list[str]:
        """A sentence where our agents are evaluated under different conditions, which may be what is compared."""
        ours = {name: words for name, words in self.agents.items() if words != CSV}
        runs = [Run(0, {}, conditions=_conditions(_split(name, words))) for name, words in ours.items()]
        told = listed((f"{key}: {', '.join(values)}" for key, values in differences(runs).items()), 4)
        return [
            f"The agents are not evaluated alike ({told}; in the order {', '.join(ours)}): a difference may come from "
            f"that."
        ] * bool(told)


def _split(name: str, words: str) -> list[str]:
    try:
        return shlex.split(words)
    except ValueError as error:
        raise ConfigError(
            f"agents.{name} cannot be split into words ({error}): {words}; nothing was started. Close every quote."
        ) from None


def _conditions(words: Sequence[str]) -> dict[str, Any]:
    """What the composed config says of the final evaluation: where, how long and how often is played."""
    config = compose_config("train", words, beside=NAMES)
    asked = {key: config.get(key) for key in ("simulator", "max_steps", "evaluate")}
    return {key: value for key, value in flat(asked).items() if key.rpartition(".")[2] not in UNLIKE}


@dataclass(frozen=True, slots=True)
class Score:
    agent: str
    seed: int
    value: float  # mean over tasks
    origin: str  # run folder or table


@dataclass(frozen=True, slots=True)
class Standing:
    """What the scores so far decide, and the runs that the next decision needs."""

    test: AdaStop
    missing: tuple[tuple[str, int], ...]  # agent, seed; none when everything is decided


def standing(study: Study, scores: Sequence[Score]) -> Standing:
    """Interim by interim, as far as the scores go; later ones wait until they are asked for."""
    known = {(score.agent, score.seed): score.value for score in scores}
    test = study.test()
    while test.wanted:
        seeds = study.block(len(test.blocks))
        missing = [(name, seed) for seed in seeds for name in test.wanted if (name, seed) not in known]
        if missing:
            return Standing(test, tuple(missing))
        test = test.add({name: [known[name, seed] for seed in seeds] for name in test.wanted})
    return Standing(test, ())


def collect(study: Study, folder: Path, tables: Sequence[Path], saved: Sequence[Score]) -> list[Score]:
    """Scores saved before, those of finished run folders, and those of tables; refuses two that contradict."""
    found = {(score.agent, score.seed): score for score in saved}
    tasks: dict[frozenset[str], str] = {}
    for name, run, origin in [*_trained(study, folder), *_told(study, tables)]:
        before = found.setdefault((name, run.seed), Score(name, run.seed, run.mean, origin))
        if abs(before.value - run.mean) > 1e-9:
            raise ConfigError(
                f"seed {run.seed} of {name} counted with {before.value:g} from {before.origin}, and {origin} says "
                f"{run.mean:g}; nothing was changed. A score that was looked at cannot be replaced."
            )
        if set(run.scores) != {ONLY_TASK}:  # a table without tasks is taken at its word
            tasks.setdefault(frozenset(run.scores), f"seed {run.seed} of {name}")
    if len(tasks) > 1:
        each = "; ".join(f"{who} on {listed(sorted(own), 3)}" for own, who in tasks.items())
        raise ConfigError(
            f"runs were evaluated on different tasks ({each}); nothing was compared. Give all agents the same "
            f"simulator and tasks."
        )
    return [found[key] for key in sorted(found)]


def _trained(study: Study, folder: Path) -> Iterator[tuple[str, Run, str]]:
    for name in study.agents:
        for path in sorted((folder / name).glob("seed*")):
            if state_of(path) == "finished" and isinstance(run := read_run(path, metric=study.metric), Run):
                yield name, run, str(path)


def _told(study: Study, tables: Sequence[Path]) -> Iterator[tuple[str, Run, str]]:
    for table in tables:
        for group in read_table(table, metric=study.metric):
            tuning = [run.seed for run in group.runs if run.purpose == "tuning"]
            if tuning or group.name not in study.agents:
                found = f"tuning seeds {listed(tuning)} of {group.name}" if tuning else f"scores of {group.name}"
                raise ConfigError(
                    f"{table} holds {found}, but test seeds of {listed(study.agents)} are compared; nothing was added. "
                    f"Leave these lines out."
                )
            yield from ((group.name, run, str(table)) for run in group.runs)


def save(study: Study, folder: Path, scores: Sequence[Score]) -> None:
    """Whole or not at all."""
    now = standing(study, scores)
    told = {
        "settings": asdict(study) | {"agents": dict(study.agents)},
        "scores": [asdict(score) for score in scores],
        "interims": len(now.test.blocks),
        "decisions": [{"first": a, "second": b, "found": found} for (a, b), found in now.test.decisions().items()],
        "notes": study.notes(),
        "missing": [{"agent": name, "seed": seed} for name, seed in now.missing],
        "adastop": json.loads(now.test.to_json()),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / STATE, json.dumps(told, indent=1))


def load(folder: Path) -> tuple[Study, list[Score]] | None:
    """None where nothing was begun."""
    path = folder / STATE
    try:
        told: dict[str, Any] = json.loads(path.read_text())
        return Study(**told["settings"]), [Score(**score) for score in told["scores"]]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}); nothing was started. Restore it, or begin anew with another out=..."
        ) from None
