"""Intervals for success rates: of one policy, and of the difference between two.

Episodes are independent here. Where they share tasks, initial states or training seeds, see `cluster_bootstrap`; where
two policies played the same starts, `paired` is the sharper comparison.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Interval:
    estimate: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        return not self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.estimate:.3g} [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True, slots=True)
class Paired:
    """Two policies on the same starts: how often one solved what the other did not."""

    both: int  # starts that both solved
    only_first: int
    only_second: int
    neither: int
    difference: Interval  # success of the first minus that of the second
    p_exact: float  # McNemar's conditional test: its level is guaranteed, and less than nominal with few starts
    p_mid: float  # the same with half the weight on what was seen: sharper, near its level (Fagerland et al. 2013)


def wilson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a success rate; (0, 1) without trials (Wilson 1927)."""
    if trials == 0:
        return 0.0, 1.0
    rate, z = successes / trials, _z(level)
    scale = 1 + z * z / trials
    center = (rate + z * z / (2 * trials)) / scale
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / scale
    return max(0.0, center - half), min(1.0, center + half)


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Interval that covers at least at its level, whatever the rate; (0, 1) without trials (Clopper & Pearson 1934)."""
    if trials == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest

    found = binomtest(successes, trials).proportion_ci(level, method="exact")
    return float(found.low), float(found.high)


def newcombe(first: tuple[int, int], second: tuple[int, int], level: float = 0.95) -> Interval:
    """Difference of two independent success rates, each as (successes, trials): the hybrid score interval.

    Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10.
    """
    if not (first[1] and second[1]):
        raise ConfigError(
            f"the difference of {first[0]} of {first[1]} and {second[0]} of {second[1]} was asked for, but nothing is "
            f"known of a policy that played no episode; nothing was compared. Evaluate it first."
        )
    return difference_of(_scored(first, level), _scored(second, level))


def paired(first: Sequence[bool] | NDArray[Any], second: Sequence[bool] | NDArray[Any], level: float = 0.95) -> Paired:
    """Two policies on the same starts, entry by entry: McNemar's test and Newcombe's interval for paired rates."""
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ConfigError(
            f"a paired comparison needs one outcome of each policy for every start, but found {a.size} and {b.size}; "
            f"nothing was compared. Keep the starts that both played, or use the unpaired difference."
        )
    counts = int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()), int((~a & ~b).sum())
    return paired_counts(*counts, level=level)


def paired_counts(both: int, only_first: int, only_second: int, neither: int, level: float = 0.95) -> Paired:
    """`paired` from the four counts.

    McNemar 1947, exact: under equal rates `only_first` is Binomial(only_first + only_second, 1/2). The interval is
    method 10 of Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions based on
    paired data": the unpaired one with the correlation taken off. It keeps its width when the policies never disagree.
    """
    from scipy.stats import binom, binomtest

    differing = only_first + only_second
    p_exact = float(binomtest(only_first, differing).pvalue) if differing else 1.0
    seen = float(binom.pmf(only_first, differing, 0.5)) if differing else 0.0
    correlation = _correlation(both, only_first, only_second, neither)
    trials = both + differing + neither
    one, other = (_scored((both + only, trials), level) for only in (only_first, only_second))
    difference = difference_of(one, other, correlation)
    p_mid = p_exact - (seen / 2 if only_first == only_second else seen)  # both tails are one outcome where they meet
    return Paired(both, only_first, only_second, neither, difference, p_exact, p_mid)


def _correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Phi of the four counts, drawn towards zero where it is positive (Newcombe 1998)."""
    margins = (both + only_first) * (both + only_second) * (neither + only_first) * (neither + only_second)
    if margins == 0:
        return 0.0
    excess = both * neither - only_first * only_second
    trials = both + only_first + only_second + neither
    return (max(excess - trials / 2, 0.0) if excess > 0 else excess) / math.sqrt(margins)


def difference_of(first: Interval, second: Interval, correlation: float = 0.0) -> Interval:
    """Difference of two rates from the interval of each: square and add (Newcombe 1998, method 10)."""
    below = _side(first.estimate - first.low, second.high - second.estimate, correlation)
    above = _side(first.high - first.estimate, second.estimate - second.low, correlation)
    estimate = first.estimate - second.estimate
    return Interval(estimate, max(-1.0, estimate - below), min(1.0, estimate + above))


def _scored(counts: tuple[int, int], level: float) -> Interval:
    """The rate of (successes, trials) with Wilson's interval."""
    return Interval(counts[0] / counts[1], *wilson(*counts, level))


def _side(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * correlation * one * other + other * other))


def percent(successes: int, trials: int) -> str:
    """`97.0 % [91.5, 99.0] of 100`: a rate never goes without its interval."""
    low, high = wilson(successes, trials)
    rate = successes / trials if trials else float("nan")
    return f"{100 * rate:.1f} % [{100 * low:.1f}, {100 * high:.1f}] of {trials}"


def _z(level: float) -> float:
    """1.96 for 0.95."""
    return NormalDist().inv_cdf(0.5 + level / 2)
