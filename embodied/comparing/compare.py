"""Which group is better, by how much and how surely: every pair, tested over training seeds.

A claim rests on the permutation test, corrected for the number of pairs (Holm 1979); intervals and probabilities say
how large a difference is. Where two groups have one seed each, only their checkpoints can be told apart
(`checkpoints`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from embodied.comparing.admission import Tasks, admit
from embodied.comparing.checkpoints import Checkpoints, compare_checkpoints
from embodied.comparing.permutation import By, decided_by, difference, least_p, p_value, rejected
from embodied.comparing.seeds import Needed, seeds_needed
from embodied.comparing.values import RATES, Group
from embodied.metrics.aggregates import Scores, iqm, mean, median, optimality_gap
from embodied.metrics.bootstrap import aggregate_intervals, improvement_interval
from embodied.metrics.intervals import Interval

Verdict = Literal["better", "worse", "open"]
REPLICATES = 10_000  # of the bootstrap
FEWEST = 5  # seeds of a group whose bootstrap says anything


@dataclass(frozen=True, slots=True)
class Summary:
    """A group by itself. Intervals need two seeds."""

    name: str
    seeds: tuple[int, ...]
    episodes: tuple[int, int] | None  # fewest and most of a run; None where nobody wrote it down
    mean: float
    median: float
    iqm: float
    optimality_gap: float | None  # of rates: how far they stay below 1
    interval: Interval | None  # of the IQM: bootstrap over whole runs, 95 %


@dataclass(frozen=True, slots=True)
class Claim:
    """The first of a pair against the second."""

    first: str
    second: str
    by: By  # what the test rests on: the IQMs, or the means where the IQMs tie
    difference: Interval  # of these
    interval_level: float  # of that interval, corrected for the number of pairs
    improvement: Interval  # P(a run of the first beats one of the second on the same task); NaN: no interval
    p: float  # permutation test over seeds
    p_holm: float  # corrected for all pairs of this comparison
    least_p: float  # that so many seeds can give
    least_p_holm: float  # the same, corrected: where all pairs have their least
    fewest: int  # seeds of the smaller group
    pairs: int  # that were tested together
    verdict: Verdict
    needed: Needed | None  # seeds that would settle it; None where it is settled or nothing differs


@dataclass(frozen=True, slots=True)
class Single:
    """A group of one seed beside a group of several: where the one lies among the others, and no claim."""

    first: str
    second: str
    score: float
    lowest: float
    highest: float
    runs: int


@dataclass(frozen=True, slots=True)
class Comparison:
    metric: str
    tasks: tuple[str, ...]
    level: float  # probability of any wrong claim
    groups: tuple[Group, ...]  # as they were admitted
    summaries: tuple[Summary, ...]
    claims: tuple[Claim, ...]
    checkpoints: tuple[Checkpoints, ...]  # pairs with one seed each
    singles: tuple[Single, ...]
    notes: tuple[str, ...]


def compare(groups: Sequence[Group], *, tasks: Tasks = "all", level: float = 0.05) -> Comparison:
    """Every pair of groups on the same tasks. Tuning seeds are left out, and what cannot be claimed is not."""
    admitted = admit(groups, tasks=tasks)
    scores = {group.name: group.matrix(admitted.tasks) for group in admitted.groups}
    pairs = list(itertools.combinations(admitted.groups, 2))
    tested = [(a, b) for a, b in pairs if min(len(a.runs), len(b.runs)) > 1]
    return Comparison(
        metric=groups[0].metric,
        tasks=admitted.tasks,
        level=level,
        groups=admitted.groups,
        summaries=tuple(_summary(group, scores[group.name]) for group in admitted.groups),
        claims=tuple(_claims(tested, scores, level)),
        checkpoints=tuple(
            compare_checkpoints(a, b, admitted.tasks) for a, b in pairs if len(a.runs) == len(b.runs) == 1
        ),
        singles=tuple(
            _single(a, b, scores) if len(a.runs) == 1 else _single(b, a, scores)
            for a, b in pairs
            if min(len(a.runs), len(b.runs)) == 1 < max(len(a.runs), len(b.runs))
        ),
        notes=admitted.notes,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected for their number, in the same order: the k-th smallest of m times m - k + 1, never falling."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    found, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        found[i] = highest
    return found


def _summary(group: Group, scores: Scores) -> Summary:
    counts = [run.episodes for run in group.runs if run.episodes is not None]
    return Summary(
        name=group.name,
        seeds=group.seeds,
        episodes=(min(counts), max(counts)) if len(counts) == len(group.runs) else None,
        mean=float(mean(scores)),
        median=float(median(scores)),
        iqm=float(iqm(scores)),
        optimality_gap=float(optimality_gap(scores)) if group.metric in RATES else None,
        interval=aggregate_intervals(scores, replicates=REPLICATES, whole=True)["iqm"] if len(scores) > 1 else None,
    )


def _claims(tested: Sequence[tuple[Group, Group]], scores: dict[str, Scores], level: float) -> list[Claim]:
    """Of all pairs together. An interval leaves out 0 where the claim is made, and nowhere else.

    Intervals are at level / pairs (Bonferroni); that of a pair which only a later step of Holm's shows, at that step's.
    """
    pairs = len(tested)
    p_values = [p_value(scores[a.name], scores[b.name]) for a, b in tested]
    least = [least_p(len(a.runs), len(b.runs)) for a, b in tested]
    order = sorted(range(pairs), key=lambda i: p_values[i])
    found: list[Claim] = []
    for i, p_holm, least_holm in zip(range(pairs), holm(p_values), holm(least), strict=True):
        first, second = tested[i]
        a, b = scores[first.name], scores[second.name]
        shown, at_once = rejected(p_holm, level), rejected(p_values[i], level / pairs)
        interval_level = 1 - level / (pairs - order.index(i) if shown and not at_once else pairs)
        seen = difference(a, b, level=interval_level, bounds=(-1.0, 1.0) if first.metric in RATES else None)
        verdict: Verdict = "better" if seen.estimate > 0 else "worse"
        found.append(
            Claim(
                first=first.name,
                second=second.name,
                by=decided_by(a, b),
                difference=seen,
                interval_level=interval_level,
                improvement=_improvement(a, b, level),
                p=p_values[i],
                p_holm=p_holm,
                least_p=least[i],
                least_p_holm=least_holm,
                fewest=min(len(a), len(b)),
                pairs=pairs,
                verdict=verdict if shown else "open",
                needed=None if shown or seen.estimate == 0.0 else seeds_needed(a, b, alpha=level / pairs),
            )
        )
    return found


def _improvement(a: Scores, b: Scores, level: float) -> Interval:
    """Without an interval where the bootstrap draws the same again and again, or from fewer than `FEWEST` runs."""
    found = improvement_interval(a, b, replicates=REPLICATES, level=1 - level, whole=True).probability
    if min(len(a), len(b)) < FEWEST or found.high - found.low < 1e-9:
        return Interval(found.estimate, math.nan, math.nan)
    return found


def _single(one: Group, several: Group, scores: dict[str, Scores]) -> Single:
    others = scores[several.name].mean(axis=1)
    own = float(scores[one.name].mean())
    return Single(one.name, several.name, own, float(others.min()), float(others.max()), len(others))
