"""Whether two groups of runs differ: a permutation test over training seeds, and the interval that goes with it.

Runs are what is exchangeable if two algorithms are alike, so whole runs change places, with the scores of all their
tasks. The statistic is the difference of the two interquartile means, the number that is reported; as these do not see
the outermost runs, four seeds of each could never differ, so what they leave equal is told apart by the means, whose
difference is reported then. The test holds its level for any number of runs and any spread of scores (Phipson & Smyth
2010, "Permutation p-values should never be zero"; Hemerik & Goeman 2018); a t-test on two to five seeds rests on a
normal distribution that success rates do not have (Colas et al. 2019, "A hitchhiker's guide to statistical comparisons
of RL algorithms").
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embodied.metrics.aggregates import Scores, iqm, mean
from embodied.metrics.intervals import Interval

Indices = NDArray[np.intp]
By = Literal["iqm", "mean"]

MOST = 10_000  # permutations; all of them where there are no more
BUDGET = 2_000_000  # scores in all permutations together, beyond which fewer are drawn
LEAST = 2000
TIE = 1e-5  # weight of the difference of means, which matters where those of the interquartile means are equal
ROUNDING = 1e-12  # of the spread: statistics closer than this are equal; and of a level
EPSILONS = 16  # of the largest score: what its unit and offset may cost in precision
PRECISION = 1 / 1000  # of an end of the interval, in spreads of the scores
WIDEST = 64  # spreads that an end is sought away from the estimate


def p_value(first: Scores, second: Scores, *, seed: int = 0) -> float:
    """Two-sided p-value of (runs, tasks) against (runs, tasks). Never below one over the number of permutations."""
    return p_of(first, second, _relabelings(first, second, seed))


def least_p(first: int, second: int) -> float:
    """The smallest p-value that so many runs can give: when all of one group beat all of the other."""
    return min(1.0, (2 if first == second else 1) / math.comb(first + second, first))


def rejected(p: float, level: float) -> bool:
    """Whether p is at most `level`, which may be a quotient."""
    return p <= level + ROUNDING


def decided_by(first: Scores, second: Scores) -> By:
    """Which part of the statistic has its sign: the means where the interquartile means tie, but they do not."""
    middle, whole = float(iqm(first) - iqm(second)), float(mean(first) - mean(second))
    noise = _noise(np.concatenate([first, second]))
    return "mean" if abs(middle) <= max(TIE * abs(whole), noise) and abs(whole) > noise else "iqm"


def difference(
    first: Scores, second: Scores, *, level: float = 0.95, bounds: tuple[float, float] | None = None, seed: int = 0
) -> Interval:
    """Difference of what decides (`decided_by`), with the interval of shifts that the test does not reject.

    It leaves out 0 where the test rejects at 1 - `level` and nowhere else: scores on a grid tie at a shift of exactly
    0, and an end beside it is moved there. It covers at least at its level where the groups differ by a shift (Lehmann
    & Romano 2005, section 5.12). `bounds` are the differences that can be; without them an end that the runs are too
    few to tell is infinite.
    """
    relabelings, by, alpha = _relabelings(first, second, seed), decided_by(first, second), 1 - level
    shown = rejected(p_of(first, second, relabelings), alpha)
    estimate = float(mean(first) - mean(second) if by == "mean" else iqm(first) - iqm(second))
    noise = _noise(np.concatenate([first, second]))
    estimate = estimate if abs(estimate) > noise else 0.0
    spread = max(float(np.ptp(first)), float(np.ptp(second)), abs(estimate))

    def rejects(shift: float) -> bool:
        return rejected(p_of(first - shift, second, relabelings, by), alpha)

    def end(side: int) -> float:
        limit = math.inf * side if bounds is None else bounds[side > 0]
        if least_p(len(first), len(second)) > alpha + ROUNDING:
            return limit
        if spread <= noise:
            return estimate  # all scores are equal: any shift is seen
        near, far = 0.0, spread / 4
        if shown and estimate * side < 0:
            far = abs(estimate)  # the end lies before 0, which is rejected
        else:
            while not rejects(estimate + side * far):
                near, far = far, 2 * far
                if far > WIDEST * spread:
                    return limit
        while far - near > PRECISION * spread:
            middle = (near + far) / 2
            near, far = (near, middle) if rejects(estimate + side * middle) else (middle, far)
        found = estimate + side * near  # the last shift that is not rejected
        return min(found, limit) if side > 0 else max(found, limit)

    low, high = end(-1), end(1)
    return Interval(estimate, low, high) if shown else Interval(estimate, min(low, 0.0), max(high, 0.0))


def p_of(first: Scores, second: Scores, relabelings: Indices, by: By = "iqm") -> float:
    """Share of relabelings whose statistic is as far from zero as the one seen, which is the first.

    Scores are centered and scaled by their spread before, so that neither their unit nor their offset matters. `by`
    "mean" takes the difference of the means alone; its p is never larger where the interquartile means tie.
    """
    pooled, runs = np.concatenate([first, second]), len(first)
    spread, precision = float(np.ptp(pooled)), _precision(pooled)
    if spread <= precision:
        return 1.0
    pooled = (pooled - (pooled.min() + spread / 2)) / spread
    size = max(1, BUDGET // pooled.size)
    found = np.concatenate(
        [_statistic(pooled, relabelings[i : i + size], runs, by) for i in range(0, len(relabelings), size)]
    )
    return float((np.abs(found) >= abs(found[0]) - ROUNDING - precision / spread).mean())


def _noise(pooled: Scores) -> float:
    """What cannot be told from 0."""
    return ROUNDING * float(np.ptp(pooled)) + _precision(pooled)


def _precision(scores: Scores) -> float:
    return EPSILONS * float(np.finfo(np.float64).eps * np.abs(scores).max())


def _statistic(pooled: Scores, relabelings: Indices, runs: int, by: By) -> NDArray[Any]:
    first, second = pooled[relabelings[:, :runs]], pooled[relabelings[:, runs:]]
    if by == "mean":
        return mean(first) - mean(second)
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
