"""One number, or one curve, for a matrix of scores: what to report of several runs on several tasks.

After Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice". A matrix has one row
for each run (training seed) and one column for each task; scores are normalized, so that 1 is what is hoped for. Every
function takes leading axes too, which is how the bootstrap calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodied.errors import ConfigError

Scores = NDArray[np.float64]  # (..., runs, tasks)


def as_scores(rows: ArrayLike | Sequence[Sequence[float]], name: str = "scores") -> Scores:
    """(runs, tasks) that are numbers, all of them; (runs,) is one task.

    Refuses what has no answer: a task with fewer runs than the others weighs differently in each aggregate, and a NaN
    (a crashed run) left out would flatter whoever crashes most.
    """
    try:
        scores = np.asarray(rows, dtype=np.float64)
    except ValueError as error:
        raise ConfigError(
            f"{name} should be one row of scores for each run and one column for each task, but the rows differ in "
            f"length or are not numbers; nothing was computed. Keep the runs that every task has."
        ) from error
    scores = scores[:, None] if scores.ndim == 1 else scores
    if scores.ndim != 2 or not scores.size:
        raise ConfigError(
            f"{name} should be a matrix of runs and tasks, but has the shape {scores.shape}; nothing was computed. "
            f"Give one row for each run and one column for each task."
        )
    wrong = np.argwhere(~np.isfinite(scores))
    if len(wrong):
        run, task = wrong[0]
        raise ConfigError(
            f"{name} holds {len(wrong)} values that are not finite, the first in run {run} of task {task}; nothing was "
            f"computed. Evaluate that run again, or write down the score that a failed run deserves, such as 0."
        )
    return scores


def mean(scores: Scores) -> Scores:
    """(...,) mean over tasks of the means over runs."""
    return scores.mean(axis=(-2, -1))


def median(scores: Scores) -> Scores:
    """(...,) median over tasks of the means over runs: blind to nearly half of the tasks."""
    return np.median(scores.mean(axis=-2), axis=-1)


def iqm(scores: Scores) -> Scores:
    """(...,) mean of the middle half of all scores, runs and tasks together: the 25 % trimmed mean."""
    flat = scores.reshape(*scores.shape[:-2], -1)
    cut = int(0.25 * flat.shape[-1])
    middle = np.partition(flat, (cut, flat.shape[-1] - cut - 1), axis=-1)[..., cut : flat.shape[-1] - cut]
    return middle.mean(axis=-1)


def optimality_gap(scores: Scores, target: float = 1.0) -> Scores:
    """(...,) how far scores stay below `target` on average; nothing is gained above it."""
    return target - np.minimum(scores, target).mean(axis=(-2, -1))


def profile(scores: Scores, thresholds: Scores) -> Scores:
    """(..., thresholds) share of runs and tasks above each threshold."""
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    rows = flat.reshape(-1, flat.shape[-1])
    below = np.stack([np.searchsorted(row, thresholds, side="right") for row in rows])  # (rows, thresholds)
    return (1 - below / flat.shape[-1]).reshape(*scores.shape[:-2], len(thresholds))


def improvement(first: Scores, second: Scores) -> Scores:
    """(...,) probability that a run of the first beats one of the second on the same task, ties half; mean over tasks.

    The Mann-Whitney statistic over the number of pairs. The numbers of runs may differ.
    """
    a, b = first[..., :, None, :], second[..., None, :, :]  # (..., runs, 1, tasks), (..., 1, runs, tasks)
    pairs = first.shape[-2] * second.shape[-2] * first.shape[-1]
    wins = np.count_nonzero(a > b, axis=(-3, -2, -1)) + 0.5 * np.count_nonzero(a == b, axis=(-3, -2, -1))
    return wins / pairs


AGGREGATES: dict[str, Callable[[Scores], Any]] = {
    "mean": mean,
    "median": median,
    "iqm": iqm,
    "optimality_gap": optimality_gap,
}
