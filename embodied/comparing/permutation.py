"""Whether two groups of runs differ: a permutation test over training seeds, and the interval that goes with it.

Runs are what is exchangeable if two algorithms are alike, so whole runs change places, with the scores of all their
tasks. The statistic is the difference of the two interquartile means, the number that is reported; as these do not see
the outermost runs, four seeds of each could never differ, so what they leave equal is told apart by the means. The test
holds its level for any number of runs and any spread of scores (Phipson & Smyth 2010, "Permutation p-values should
never be zero"; Hemerik & Goeman 2018); a t-test on two to five seeds rests on a normal distribution that success rates
do not have (Colas et al. 2019, "A hitchhiker's guide to statistical comparisons of RL algorithms").
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.metrics.aggregates import Scores, iqm, mean
from embodied.metrics.intervals import Interval

Indices = NDArray[np.intp]

MOST = 10_000  # permutations; all of them where there are no more
BUDGET = 2_000_000  # scores in all permutations together, beyond which fewer are drawn
LEAST = 2000
TIE = 1e-5  # weight of the difference of means, which matters where those of the interquartile means are equal
ROUNDING = 1e-9  # of the largest score: statistics closer than this are equal
PRECISION = 1 / 1000  # of an end of the interval, in spreads of the scores
WIDEST = 64  # spreads that an end is sought away from the estimate


def p_value(first: Scores, second: Scores, *, seed: int = 0) -> float:
    """Two-sided p-value of (runs, tasks) against (runs, tasks). Never below one over the number of permutations."""
    return p_of(first, second, _relabelings(first, second, seed))


def least_p(first: int, second: int) -> float:
    """The smallest p-value that so many runs can give: when all of one group beat all of the other."""
    return min(1.0, (2 if first == second else 1) / math.comb(first + second, first))


def difference(
    first: Scores, second: Scores, *, level: float = 0.95, bounds: tuple[float, float] | None = None, seed: int = 0
) -> Interval:
    """Difference of the interquartile means with the interval of all shifts that the test does not reject.

    It leaves out 0 where the test rejects at 1 - `level`, and covers at least at its level where the groups differ by
    a shift (Lehmann & Romano 2005, section 5.12). `bounds` are the differences that can be; without them an end that
    the runs are too few to tell is infinite.
    """
    relabelings = _relabelings(first, second, seed)
    estimate = float(iqm(first) - iqm(second))
    low, high = (_end(first, second, relabelings, estimate, side, 1 - level, bounds) for side in (-1, 1))
    return Interval(estimate, low, high)


def _end(
    first: Scores,
    second: Scores,
    relabelings: Indices,
    estimate: float,
    side: int,
    alpha: float,
    bounds: tuple[float, float] | None,
) -> float:
    """Where the test begins to reject, on one side of the estimate."""

    def rejects(shift: float) -> bool:
        return p_of(first - shift, second, relabelings) <= alpha

    limit = math.inf * side if bounds is None else bounds[side > 0]
    if least_p(len(first), len(second)) > alpha:
        return limit
    spread = max(float(np.ptp(first)), float(np.ptp(second)), abs(estimate), 1e-6)
    near, step = 0.0, spread / 4
    while not rejects(estimate + side * step):
        near, step = step, 2 * step
        if step > WIDEST * spread:
            return limit
    far = step
    while far - near > PRECISION * spread:
        middle = (near + far) / 2
        near, far = (near, middle) if rejects(estimate + side * middle) else (middle, far)
    end = estimate + side * near  # the last shift that is not rejected
    return min(end, limit) if side > 0 else max(end, limit)


def p_of(first: Scores, second: Scores, relabelings: Indices) -> float:
    """Share of relabelings whose statistic is as far from zero as the one seen, which is the first."""
    pooled, runs = np.concatenate([first, second]), len(first)
    size = max(1, BUDGET // pooled.size)
    found = np.concatenate(
        [_statistic(pooled, relabelings[i : i + size], runs) for i in range(0, len(relabelings), size)]
    )
    tolerance = ROUNDING * max(1.0, float(np.abs(pooled).max()))
    return float((np.abs(found) >= abs(found[0]) - tolerance).mean())


def _statistic(pooled: Scores, relabelings: Indices, runs: int) -> NDArray[Any]:
    first, second = pooled[relabelings[:, :runs]], pooled[relabelings[:, runs:]]
    return iqm(first) - iqm(second) + TIE * (mean(first) - mean(second))


def _relabelings(first: Scores, second: Scores, seed: int) -> Indices:
    most = int(np.clip(BUDGET // (first.size + second.size), LEAST, MOST))
    return relabelings(len(first), len(second), most=most, seed=seed)


@lru_cache(maxsize=8)
def relabelings(first: int, second: int, *, most: int, seed: int) -> Indices:
    """(relabelings, runs) orders of all runs, of which the first so many are the first group; row 0 changes nothing."""
    total = first + second
    if math.comb(total, first) <= most:
        chosen = np.array(list(itertools.combinations(range(total), first)))
        rest = np.ones((len(chosen), total), dtype=bool)
        np.put_along_axis(rest, chosen, values=False, axis=1)
        return np.concatenate([chosen, rest.nonzero()[1].reshape(len(chosen), second)], axis=1)
    orders = np.tile(np.arange(total), (most, 1))
    orders[1:] = np.random.default_rng(seed).permuted(orders[1:], axis=1)
    return orders
