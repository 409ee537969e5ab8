"""Two checkpoints, each of one seed: which is better is a question about the starts that they played.

The answer says nothing of the algorithms: another seed may turn it around. A start that was played several times is
one start: its episodes are averaged before anything is tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from embodied.comparing.admission import differences
from embodied.comparing.values import RATES, Group, Run
from embodied.metrics.bootstrap import cluster_bootstrap, clustered_rate
from embodied.metrics.intervals import Interval, difference_of, newcombe, paired, wilson

Method = Literal["mcnemar", "starts", "newcombe", "clusters", "none"]
FINEST = 2520  # parts of an episode that differences of starts are told in: all shares of up to ten repeats
Start = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Checkpoints:
    first: str
    second: str
    method: Method  # none: no episodes are known, or the metric is not a rate
    difference: Interval | None
    p: float | None  # mid-p, of McNemar's test or of sign flips of starts
    starts: int  # that both played; those of the smaller evaluation where they are not shared
    only_first: int = 0  # starts that the first alone solved, or solved more often
    only_second: int = 0
    reason: str = ""  # why not paired, or why not at all

    @property
    def differ(self) -> bool:
        if self.p is not None:
            return self.p <= 0.05
        return self.difference is not None and self.difference.excludes(0.0)


def compare_checkpoints(first: Group, second: Group, tasks: Sequence[str]) -> Checkpoints:
    """Start by start where both played the same: McNemar's test, or where starts were repeated a sign-flip test.

    Else the interval of the difference of two rates: Newcombe's, or over whole starts where these were repeated.
    """
    a, b = first.runs[0], second.runs[0]
    if first.metric not in RATES:
        return _nothing(first, second, f"{first.metric} is not a rate of successes")
    if not all(task in run.counts for run in (a, b) for task in tasks):
        return _nothing(first, second, "nobody wrote down how many episodes were played")
    one, other = (_by_start(run, tasks, first.metric) for run in (a, b))
    repeated = any(len(hits) > 1 for own in (one, other) for hits in own.values())
    if repeated and 1 in (len(one), len(other)):
        return _nothing(first, second, "all episodes began at a single start, whose repeats say nothing of others")
    reason = _apart(a, b) or _unshared(one, other)
    if not reason and repeated:
        return _by_starts(first, second, one, other)
    if not reason:
        found = paired([one[start][0] for start in one], [other[start][0] for start in one])
        return Checkpoints(first.name, second.name, "mcnemar", found.difference, found.p_mid, len(one),
                           found.only_first, found.only_second)  # fmt: skip
    rates = [tuple(map(sum, zip(*(run.counts[task] for task in tasks), strict=True))) for run in (a, b)]
    (hits_a, count_a), (hits_b, count_b) = rates
    if repeated:
        found = difference_of(_rate(one, hits_a, count_a), _rate(other, hits_b, count_b))
        starts = min(len(one) or count_a, len(other) or count_b)
        return Checkpoints(first.name, second.name, "clusters", found, None, starts, reason=reason)
    found = newcombe((hits_a, count_a), (hits_b, count_b))
    return Checkpoints(first.name, second.name, "newcombe", found, None, min(count_a, count_b), reason=reason)


def flip_p(differences: ArrayLike) -> float:
    """Two-sided mid-p of a sum of differences, one for each start, whose signs are arbitrary if nothing differs.

    Exact: all 2**n choices of signs, by convolution, after rounding to `FINEST` parts. With one episode of each at
    every start it is McNemar's mid-p.
    """
    parts = np.rint(np.abs(np.asarray(differences, dtype=np.float64)) * FINEST).astype(np.int64)
    seen = abs(int(np.rint(np.asarray(differences, dtype=np.float64) * FINEST).sum()))
    if not parts.any():
        return 1.0
    unit = int(np.gcd.reduce(parts))
    steps, far = parts[parts > 0] // unit, int(parts.sum()) // unit
    weights = np.zeros(far + 1)  # of how much of the whole was drawn to be positive
    weights[0] = 1.0
    for step in steps:
        weights[step:] = weights[step:] / 2 + weights[: len(weights) - step] / 2
        weights[:step] /= 2
    sums = np.abs(2 * np.arange(far + 1) - far) * unit
    return float(weights[sums > seen].sum() + weights[sums == seen].sum() / 2)


def _by_starts(
    first: Group, second: Group, one: Mapping[Start, Sequence[bool]], other: Mapping[Start, Sequence[bool]]
) -> Checkpoints:
    """Each start once, by the shares of its episodes that succeeded."""
    gaps = [float(np.mean(one[start]) - np.mean(other[start])) for start in one]
    found = cluster_bootstrap(gaps, range(len(gaps)))
    if found.low == found.high:  # nothing to resample: a start is a trial of each
        rates = [(round(sum(map(np.mean, own.values()))), len(own)) for own in (one, other)]
        ends = newcombe(rates[0], rates[1])
        found = Interval(found.estimate, min(ends.low, found.low), max(ends.high, found.high))
    return Checkpoints(first.name, second.name, "starts", found, flip_p(gaps), len(gaps),
                       sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps))  # fmt: skip


def _rate(own: Mapping[Start, Sequence[bool]], hits: int, count: int) -> Interval:
    """Over whole starts where these are known; else a start for each episode."""
    if not own:
        return Interval(hits / count, *wilson(hits, count))
    labels = [i for i, ended in enumerate(own.values()) for _ in ended]
    return clustered_rate([hit for ended in own.values() for hit in ended], labels)


def _apart(a: Run, b: Run) -> str:
    """Why episode by episode they cannot be set against each other; empty where they can."""
    if not (a.outcomes and b.outcomes):
        return "their episodes are not known one by one"
    differing = differences([run for run in (a, b) if run.conditions])
    return f"they were not evaluated alike ({', '.join(differing)})" if differing else ""


def _unshared(one: Mapping[Start, Sequence[bool]], other: Mapping[Start, Sequence[bool]]) -> str:
    if one.keys() == other.keys():
        return ""
    return f"they share {len(one.keys() & other.keys())} starts of {len(one)} and {len(other)}"


def _by_start(run: Run, tasks: Sequence[str], metric: str) -> dict[Start, list[bool]]:
    """Whether each of its episodes succeeded."""
    found: dict[Start, list[bool]] = {}
    for outcome in run.outcomes:
        if outcome.task in tasks:
            found.setdefault(outcome.start, []).append(bool(outcome.score(metric)))
    return found


def _nothing(first: Group, second: Group, reason: str) -> Checkpoints:
    return Checkpoints(first.name, second.name, "none", None, None, 0, reason=reason)
