"""How many training seeds would settle a comparison, by simulating it with the spread that was seen.

Runs are drawn anew from those there are, whole, around the means of their tasks, and compared by the very test that
decides (`permutation`). The spread of a few runs is itself uncertain, by far the most of what is uncertain here, so the
answer is a range: with r runs in g groups a variance is known to a factor of chi-squared(r - g) / (r - g), and the
number of seeds goes with the variance.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from embodied.comparing.permutation import least_p, p_of, relabelings
from embodied.metrics.aggregates import Scores

NUMBERS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 24, 28, 32, 40, 50, 64)  # of seeds in each group
SIMULATED = 200  # comparisons for each number of seeds
RELABELED = 400  # of each
BUDGET = 200_000  # scores in all relabelings together, beyond which fewer are drawn
CONFIDENCE = 0.8  # of the range


@dataclass(frozen=True, slots=True)
class Needed:
    """Seeds of each group, in all; None: more than were tried. The ends are those of the range for the spread."""

    seeds: int | None
    fewest: int | None
    most: int | None
    have: int  # in the smaller group
    runs: int  # that the spread is known from
    power: float

    def __str__(self) -> str:
        """`about 7 more seeds each would settle a difference of this size (80 % power; ...)`."""
        chance = f"{100 * self.power:.0f} % power"
        if self.seeds is None:
            return f"more than {NUMBERS[-1]} seeds each would be needed to settle a difference of this size ({chance})"
        few = 1 if self.fewest is None else max(1, self.fewest - self.have)
        many = f"over {NUMBERS[-1] - self.have}" if self.most is None else str(max(1, self.most - self.have))
        more = max(1, self.seeds - self.have)
        return (
            f"about {more} more seed{'s' * (more > 1)} each would settle a difference of this size ({chance}; "
            f"{few} to {many}, as the spread is known from {self.runs} runs only)"
        )


def seeds_needed(first: Scores, second: Scores, *, alpha: float = 0.05, power: float = 0.8, seed: int = 0) -> Needed:
    """For a true difference as large as the one seen between (runs, tasks) and (runs, tasks), two or more runs each."""
    from scipy.stats import chi2

    runs, have = len(first) + len(second), min(len(first), len(second))
    able = [number for number in NUMBERS if least_p(number, number) <= alpha]
    at = bisect_left(able, power, key=lambda number: power_of(first, second, number, alpha=alpha, seed=seed))
    if at == len(able):
        return Needed(None, None, None, have, runs, power)
    ends = chi2.ppf([(1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2], runs - 2) / (runs - 2)
    fewest, most = (max(able[0], math.ceil(able[at] / factor)) for factor in ends)
    return Needed(able[at], fewest, most if most <= able[-1] else None, have, runs, power)


def power_of(first: Scores, second: Scores, seeds: int, *, alpha: float = 0.05, seed: int = 0) -> float:
    """How often the test would find the difference that was seen, with so many seeds of each group."""
    generator = np.random.default_rng((seed, seeds))
    most = int(np.clip(BUDGET // (2 * seeds * first.shape[1]), RELABELED // 4, RELABELED))
    orders = relabelings(seeds, seeds, most=most, seed=seed)
    found = [p_of(_drawn(first, seeds, generator), _drawn(second, seeds, generator), orders) for _ in range(SIMULATED)]
    return float((np.array(found) <= alpha).mean())


def _drawn(scores: Scores, seeds: int, generator: np.random.Generator) -> Scores:
    """(seeds, tasks) of whole runs, drawn with replacement. Few runs look too much alike, which the factor undoes."""
    runs, center = len(scores), scores.mean(axis=0)
    spread = math.sqrt(runs / (runs - 1))
    return center + spread * (scores[generator.integers(runs, size=seeds)] - center)
