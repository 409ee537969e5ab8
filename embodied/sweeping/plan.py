"""What a sweep will run: settings x seeds, each composed and checked before the first one starts.

Seeds vary slowest, so that a sweep that is stopped has tried all settings on the same seeds. Tuning and test seeds are
disjoint by their size (`Training.purpose`): a sweep with purpose=tuning moves its seeds up by TUNING_SEEDS, and every
search is one. Environments' starts follow from the seed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from embodied.compose import compose_config
from embodied.config import from_dict
from embodied.errors import ConfigError
from embodied.sweeping.recipe import NAMES, Sweep, part
from embodied.sweeping.space import MOST, Span, Values, read
from embodied.train import TUNING_SEEDS, Training

PURPOSE = "purpose=tuning"
LONGEST = 100  # letters of a folder's name


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a sweep."""

    setting: str  # the folder of its setting; "" where only the seed varies
    seed: int
    words: tuple[str, ...]  # of `embodied train`, without run_dir
    total: int  # steps along the run's axis

    @property
    def path(self) -> Path:
        """Of its run folder, in the sweep's."""
        return Path(self.setting) / f"seed{self.seed}"


@dataclass(frozen=True, slots=True)
class Plan:
    fixed: tuple[str, ...]  # words for every run
    ranges: Mapping[str, Values]  # of what varies but the seed
    seeds: tuple[int, ...]
    purpose: str

    @property
    def name(self) -> str:
        """Of the experiment, for the folder."""
        return next((word.partition("=")[2] for word in self.fixed if word.startswith("experiment=")), "train")

    def jobs(self, setting: str, words: Sequence[str], *, seeds: Sequence[int] | None = None) -> list[Job]:
        """The runs of one setting, composed and checked; a mistake is a ConfigError."""
        fixed = (*self.fixed, *words)
        config = compose_config("train", fixed, beside=NAMES)
        found: list[Job] = []
        for seed in self.seeds if seeds is None else seeds:
            training: Training = from_dict(config | {"seed": seed})
            total = training.iterations * training.steps_per_iteration
            found.append(Job(setting, seed, (*fixed, f"seed={seed}"), total))
        return found

    def grid(self) -> list[Job]:
        """Every combination, the seeds slowest."""
        choices = [[f"{key}={value}" for value in values] for key, values in self.listed().items()]
        size = len(self.seeds)
        for words in choices:
            size *= len(words)
        if size > MOST:
            raise ConfigError(f"the sweep would be {size} runs, and {MOST} are the most; nothing was started.")
        settings = list(product(*choices))
        by_setting = [self.jobs(name, words) for name, words in zip(folders(settings), settings, strict=True)]
        return [jobs[i] for i in range(len(self.seeds)) for jobs in by_setting]

    def listed(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for key, values in self.ranges.items():
            if isinstance(values, Span):
                raise ConfigError(
                    f"`{key}` is an interval, and a sweep over every combination needs its values one by one; nothing "
                    f"was started. List them, or search with hydra/sweeper=optuna."
                )
            found[key] = values
        return found


def make(words: Sequence[str]) -> tuple[Sweep, Plan]:
    """The sweep that the words after `-m` ask for; its combinations are checked when they are listed."""
    sweep, rest = part(words)
    for word in rest:
        if word.partition("=")[0] in ("run_dir", "resume"):
            raise ConfigError(
                f"`{word}` is about one run, and a sweep has many; nothing was started. Use sweep_dir=..."
            )
    if sweep.sweeper == "optuna":
        if "purpose=test" in rest:
            raise ConfigError(
                "a search chooses by its seeds, so they cannot be purpose=test; nothing was started. Leave purpose "
                "out: the search uses tuning seeds, and then names the command for new test seeds."
            )
        rest = [*(word for word in rest if word != PURPOSE), PURPOSE]
    fixed, ranges = read(rest)
    if "purpose" in ranges:
        raise ConfigError("a sweep has one purpose, test or tuning, and two were given; nothing was started.")
    seeds = ranges.pop("seed", None)
    first = compose_config("train", [*fixed, *(w for k, v in ranges.items() if (w := some(k, v)))], beside=NAMES)
    moved = TUNING_SEEDS if first["purpose"] == "tuning" else 0
    numbers = [seed + moved if 0 <= seed < moved else seed for seed in _numbers(seeds, first["seed"])]
    fixed = [word for word in fixed if not word.startswith("seed=")]
    return sweep, Plan(tuple(fixed), ranges, tuple(dict.fromkeys(numbers)), first["purpose"])


def some(key: str, values: Values) -> str:
    """One of the words."""
    return f"{key}={values.low if isinstance(values, Span) else values[0]}"


def folders(settings: Sequence[tuple[str, ...]]) -> list[str]:
    """A name for each setting that says what it is, is a folder's, and is its own."""
    names = ["_".join(re.sub(r"[^A-Za-z0-9_.+]+", "-", word.lstrip("+~")).strip("-.") for word in s) for s in settings]
    twice = {name for name in names if names.count(name) > 1 or len(name) > LONGEST}
    return [f"{i:03d}-{name[:LONGEST]}" if name in twice else name for i, name in enumerate(names)]


def _numbers(seeds: Values | None, default: Any) -> list[int]:
    if seeds is None:
        return [int(default)]
    if isinstance(seeds, Span) or not all(re.fullmatch(r"\d+", seed) for seed in seeds):
        raise ConfigError(
            f"seeds are whole numbers, as in seed=range(5) or seed=1,2,3, and {seeds} was given; nothing was started."
        )
    return [int(seed) for seed in seeds]
