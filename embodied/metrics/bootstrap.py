"""Intervals by resampling: of aggregates over runs and tasks, and of rates whose episodes are not independent.

Draws come from a seed, so a report says the same each time it is rendered. Memory is bounded: replicates are made in
chunks of `CHUNK` numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodied.errors import ConfigError
from embodied.metrics.aggregates import AGGREGATES, Scores, as_scores, improvement, profile
from embodied.metrics.intervals import Interval, wilson

CHUNK = 2_000_000  # float64 numbers of one chunk: 16 MB


@dataclass(frozen=True, slots=True)
class Band:
    """An interval at each of several points."""

    estimate: Scores  # (points,)
    low: Scores
    high: Scores


@dataclass(frozen=True, slots=True)
class Improvement:
    probability: Interval  # that a run of the first beats one of the second

    @property
    def is_meaningful(self) -> bool:
        """The rule of Agarwal et al. 2021: the whole interval lies above one half."""
        return self.probability.low > 0.5


def aggregate_intervals(
    scores: ArrayLike, *, replicates: int = 50_000, level: float = 0.95, seed: int = 0, whole: bool = False
) -> dict[str, Interval]:
    """Mean, median, IQM and optimality gap of (runs, tasks), each with its bootstrap interval.

    Runs are drawn anew inside each task, independently (stratified; Agarwal et al. 2021, section 4.1): right where each
    task was trained by itself. Where one policy plays all tasks its scores rise and fall together, and `whole` runs
    must be drawn. The statement is about other runs on the same tasks. All four see the same draws.
    """
    matrix = _several_runs(scores, "scores")
    found: dict[str, list[Scores]] = {name: [] for name in AGGREGATES}
    for drawn in resamples(matrix, replicates, np.random.default_rng(seed), whole=whole):
        for name, aggregate in AGGREGATES.items():
            found[name].append(aggregate(drawn))
    return {
        name: _interval(float(aggregate(matrix)), np.concatenate(found[name]), level)
        for name, aggregate in AGGREGATES.items()
    }


def profile_band(
    scores: ArrayLike,
    thresholds: ArrayLike,
    *,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    whole: bool = False,
) -> Band:
    """Performance profile of (runs, tasks) at each threshold, with its pointwise bootstrap band.

    `whole`: see `aggregate_intervals`.
    """
    matrix, points = _several_runs(scores, "scores"), np.asarray(thresholds, dtype=np.float64)
    chunks = resamples(matrix, replicates, np.random.default_rng(seed), width=len(points), whole=whole)
    found = np.concatenate([profile(drawn, points) for drawn in chunks])  # (replicates, thresholds)
    low, high = np.percentile(found, _ends(level), axis=0)
    return Band(profile(matrix, points), low, high)


def improvement_interval(
    first: ArrayLike,
    second: ArrayLike,
    *,
    replicates: int = 50_000,
    level: float = 0.95,
    seed: int = 0,
    whole: bool = False,
) -> Improvement:
    """Probability of improvement between two matrices over the same tasks, both drawn anew.

    `whole`: see `aggregate_intervals`.
    """
    a, b = _several_runs(first, "the scores of the first"), _several_runs(second, "the scores of the second")
    if a.shape[1] != b.shape[1]:
        raise ConfigError(
            f"the first has scores on {a.shape[1]} tasks and the second on {b.shape[1]}; nothing was compared. Keep "
            f"the tasks that both played."
        )
    generator, width = np.random.default_rng(seed), a.size * b.shape[0]  # pairs of runs on all tasks
    both = zip(
        resamples(a, replicates, generator, width=width, whole=whole),
        resamples(b, replicates, generator.spawn(1)[0], width=width, whole=whole),
        strict=True,
    )
    found = np.concatenate([improvement(x, y) for x, y in both])
    return Improvement(_interval(float(improvement(a, b)), found, level))


def resamples(
    scores: Scores, replicates: int, generator: np.random.Generator, *, width: int = 0, whole: bool = False
) -> Iterator[Scores]:
    """Chunks (some, runs, tasks) that add up to `replicates`; `width` numbers are needed to work on one replicate.

    Runs are drawn for each task by itself, or `whole`.
    """
    runs, tasks = scores.shape
    size = max(1, CHUNK // max(scores.size, width))
    for start in range(0, replicates, size):
        count = min(size, replicates - start)
        yield take(scores, generator.integers(runs, size=(count, runs, 1 if whole else tasks), dtype=np.int32))


def take(scores: Scores, draws: NDArray[Any]) -> Scores:
    """Entry (b, r, t) is the score of run `draws[b, r, t]` on task t; draws (b, r, 1) are for all tasks."""
    tasks = scores.shape[1]
    return scores.reshape(-1)[draws * tasks + np.arange(tasks, dtype=draws.dtype)]


def cluster_bootstrap(
    values: ArrayLike,
    clusters: Sequence[Any] | NDArray[Any],
    seeds: Sequence[Any] | NDArray[Any] | None = None,
    *,
    replicates: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Mean of episodes that come in clusters, such as one for each task and initial state, and over training seeds.

    Whole clusters are drawn, and whole training seeds independently of them where `seeds` is given; an episode counts
    as often as both were drawn (Owen 2007, "The pigeonhole bootstrap"). One fewer than there are is drawn each time,
    without which few clusters would seem to vary too little (Rao & Wu 1988). The values are successes, or for two
    policies on the same starts their differences. Where all are alike nothing can be resampled: see `clustered_rate`.
    """
    outcomes = np.asarray(values, dtype=np.float64)
    factors = [_codes(labels, outcomes, name) for labels, name in ((clusters, "clusters"), (seeds, "training seeds"))
               if labels is not None]  # fmt: skip
    shape = [int(codes.max()) + 1 for codes in factors] + [1] * (2 - len(factors))
    cells = factors[0] * shape[1] + (factors[1] if len(factors) > 1 else 0)
    sums = np.bincount(cells, outcomes, shape[0] * shape[1]).reshape(shape)  # (clusters, seeds)
    counts = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
    generator, found = np.random.default_rng(seed), list[Scores]()
    size = max(1, CHUNK // max(shape))
    for start in range(0, replicates, size):
        rows, columns = (_times(generator, min(size, replicates - start), number) for number in shape)
        weight = ((rows @ counts) * columns).sum(axis=1)
        if not weight.all():
            raise ConfigError(
                f"{shape[0]} clusters and {shape[1]} training seeds share so few episodes that a draw of both held "
                f"none; nothing was computed. Evaluate every seed on every start."
            )
        found.append(((rows @ sums) * columns).sum(axis=1) / weight)
    return _interval(float(outcomes.mean()), np.concatenate(found), level)


def clustered_rate(
    successes: ArrayLike,
    clusters: Sequence[Any] | NDArray[Any],
    seeds: Sequence[Any] | NDArray[Any] | None = None,
    *,
    replicates: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """`cluster_bootstrap` of a success rate; where all episodes ended alike, Wilson's interval of the fewest clusters.

    A policy that solved everything has not shown that it always will, and the bootstrap cannot say so: each cluster
    then counts as one trial.
    """
    outcomes = np.asarray(successes, dtype=np.float64)
    found = cluster_bootstrap(outcomes, clusters, seeds, replicates=replicates, level=level, seed=seed)
    if found.low < found.high or found.estimate not in (0.0, 1.0):
        return found
    trials = min(len(np.unique(np.asarray(labels))) for labels in (clusters, seeds) if labels is not None)
    return Interval(found.estimate, *wilson(round(found.estimate * trials), trials, level))


def _codes(labels: Sequence[Any] | NDArray[Any], outcomes: Scores, name: str) -> NDArray[Any]:
    """Each label as a number from 0."""
    codes = np.unique(np.asarray(labels), return_inverse=True)[1]
    if outcomes.ndim != 1 or len(codes) != len(outcomes):
        raise ConfigError(
            f"{outcomes.size} episodes were given with {len(codes)} labels of {name}; nothing was computed. Give one "
            f"label for each episode."
        )
    if not len(codes) or not codes.any():
        raise ConfigError(
            f"an interval over {name} was asked for, but the episodes have {len(np.unique(codes))} of them; nothing "
            f"was computed. Add another, or leave {name} out and speak of this one only."
        )
    return codes


def _times(generator: np.random.Generator, count: int, number: int) -> Scores:
    """(count, number) how often each of `number` was drawn in `number` - 1 draws; once where there is a single one."""
    if number == 1:
        return np.ones((count, 1))
    draws = generator.integers(number, size=(count, number - 1)) + number * np.arange(count)[:, None]
    return np.bincount(draws.reshape(-1), minlength=count * number).reshape(count, number).astype(np.float64)


def _several_runs(scores: ArrayLike, name: str) -> Scores:
    matrix = as_scores(scores, name)
    if len(matrix) < 2:
        raise ConfigError(
            f"an interval over runs was asked for, but {name} hold one run, which says nothing of how runs differ; "
            f"nothing was computed. Train at least 5 seeds, or report the number without an interval as one run."
        )
    return matrix


def _interval(estimate: float, found: Scores, level: float) -> Interval:
    low, high = np.percentile(found, _ends(level))
    return Interval(estimate, float(low), float(high))


def _ends(level: float) -> tuple[float, float]:
    return 50 * (1 - level), 50 * (1 + level)
