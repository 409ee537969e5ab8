"""What is compared: groups of runs that differ in nothing but their seed, and what each run scored.

A run counts once, however many episodes it was evaluated on: a statement about an algorithm rests on its training
seeds, one about a checkpoint on its episodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from embodied.errors import ConfigError
from embodied.evaluation.tables import RATES as RATES
from embodied.evaluation.tables import alike

Purpose = Literal["test", "tuning"]
Metric = Literal["success_once", "success_at_end", "return"]
METRICS: tuple[str, ...] = get_args(Metric)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One evaluated episode."""

    task: str
    initial_state: int
    seed: int
    success: bool  # at any step
    success_at_end: bool
    reward: float  # undiscounted sum
    steps: int
    first_success_step: int | None

    @property
    def start(self) -> tuple[str, int, int]:
        """Equal where two episodes began alike: a stored state begins alike whatever the seed."""
        return alike(self.task, self.initial_state, self.seed)

    def score(self, metric: str) -> float:
        if metric == "return":
            return self.reward
        return float(self.success if metric == "success_once" else self.success_at_end)


@dataclass(frozen=True, slots=True)
class Run:
    """One training run: one seed, by its final evaluation."""

    seed: int
    scores: Mapping[str, float]  # by task: mean over its episodes
    outcomes: tuple[Outcome, ...] = ()  # of the final evaluation; none for a table of scores
    folder: Path | None = None
    purpose: Purpose = "test"
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])  # successes, episodes
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])  # of the training, dotted keys; none for a table
    conditions: Mapping[str, Any] = field(default_factory=dict[str, Any])  # of the evaluation, dotted keys
    lost: int = 0  # episodes of the evaluation whose process died
    code: str | None = None  # version it was trained with, as `git describe` says it

    @property
    def episodes(self) -> int | None:
        """Of all tasks together; None where nobody wrote it down."""
        return sum(count for _, count in self.counts.values()) if self.counts else None

    @property
    def mean(self) -> float:
        """Mean over tasks."""
        return float(np.mean(list(self.scores.values())))


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ in nothing but their seed."""

    name: str
    runs: tuple[Run, ...]
    metric: str = "success_once"
    notes: tuple[str, ...] = ()  # what a reader must know, such as runs that were left out

    @property
    def tasks(self) -> tuple[str, ...]:
        """That any run has, in the order they appear."""
        return tuple(dict.fromkeys(task for run in self.runs for task in run.scores))

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.seed for run in self.runs)

    def matrix(self, tasks: Sequence[str]) -> NDArray[np.float64]:
        """(runs, tasks) scores; refuses holes."""
        missing = [(run.seed, task) for run in self.runs for task in tasks if task not in run.scores]
        if missing or not tasks or not self.runs:
            found = f"seed {missing[0][0]} has no score on `{missing[0][1]}`" if missing else "there is nothing in it"
            raise ConfigError(
                f"scores of {self.name} on {len(tasks)} tasks were asked for, but {found}; nothing was computed. "
                f"Evaluate it there, or compare with tasks=shared."
            )
        return np.array([[run.scores[task] for task in tasks] for run in self.runs], dtype=np.float64)


def listed(items: Iterable[object], limit: int = 8) -> str:
    """`1, 2, 3`; `1, 2, 3 and 20 more`."""
    texts = [str(item) for item in items]
    more = len(texts) - limit
    return ", ".join(texts) if more <= 0 else f"{', '.join(texts[:limit])} and {more} more"


def ranges(numbers: Iterable[int]) -> str:
    """`0-4, 7`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return listed(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def fraction(key: str, text: str, *, undone: str = "compared") -> float:
    """The number of a setting `key=text`; ConfigError says what was not `undone` where it is none between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise ConfigError(f"{key}={text} should be a number between 0 and 1; nothing was {undone}.")
    return value
