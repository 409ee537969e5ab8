"""Which group is better, by how much and how surely: every pair, tested over training seeds.

A claim rests on the permutation test, corrected for the number of pairs (Holm 1979); intervals and probabilities say
how large a difference is. Where two groups have one seed each, only their checkpoints can be told apart
(`checkpoints`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from embodied.comparing.admission import Tasks, admit
from embodied.comparing.checkpoints import Checkpoints, compare_checkpoints
from embodied.comparing.permutation import difference, least_p, p_value
from embodied.comparing.seeds import Needed, seeds_needed
from embodied.comparing.values import RATES, Group
from embodied.metrics.aggregates import Scores, iqm, mean, median, optimality_gap
from embodied.metrics.bootstrap import aggregate_intervals, improvement_interval
from embodied.metrics.intervals import Interval

Verdict = Literal["better", "worse", "open"]
REPLICATES = 10_000  # of the bootstrap


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
    difference: Interval  # of the IQMs
    improvement: Interval  # probability that a run of the first beats one of the second on the same task
    p: float  # permutation test over seeds
    p_holm: float  # corrected for all pairs of this comparison
    least_p: float  # that so many seeds can give
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
    claims = [_claim(a, b, scores[a.name], scores[b.name], level, len(tested)) for a, b in tested]
    return Comparison(
        metric=groups[0].metric,
        tasks=admitted.tasks,
        level=level,
        groups=admitted.groups,
        summaries=tuple(_summary(group, scores[group.name]) for group in admitted.groups),
        claims=tuple(_corrected(claims, scores, level)),
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


def _claim(first: Group, second: Group, a: Scores, b: Scores, level: float, pairs: int) -> Claim:
    bounds = (-1.0, 1.0) if first.metric in RATES else None
    p = p_value(a, b)
    return Claim(
        first=first.name,
        second=second.name,
        difference=difference(a, b, level=1 - level, bounds=bounds),
        improvement=improvement_interval(a, b, replicates=REPLICATES, level=1 - level, whole=True).probability,
        p=p,
        p_holm=p,
        least_p=least_p(len(a), len(b)),
        pairs=pairs,
        verdict="open",
        needed=None,
    )


def _corrected(claims: list[Claim], scores: dict[str, Scores], level: float) -> list[Claim]:
    found: list[Claim] = []
    for claim, p in zip(claims, holm([claim.p for claim in claims]), strict=True):
        if p <= level:
            verdict: Verdict = "better" if claim.difference.estimate > 0 else "worse"
            found.append(replace(claim, p_holm=p, verdict=verdict))
            continue
        differs = abs(claim.difference.estimate) > 1e-9
        a, b = scores[claim.first], scores[claim.second]
        needed = seeds_needed(a, b, alpha=level / len(claims)) if differs else None
        found.append(replace(claim, p_holm=p, needed=needed))
    return found


def _single(one: Group, several: Group, scores: dict[str, Scores]) -> Single:
    others = scores[several.name].mean(axis=1)
    own = float(scores[one.name].mean())
    return Single(one.name, several.name, own, float(others.min()), float(others.max()), len(others))
