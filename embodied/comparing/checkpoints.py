"""Two checkpoints, each of one seed: which is better is a question about their episodes.

The answer says nothing of the algorithms: another seed may turn it around.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from embodied.comparing.admission import differences
from embodied.comparing.values import RATES, Group, Outcome, Run
from embodied.metrics.intervals import Interval, newcombe, paired

Method = Literal["mcnemar", "newcombe", "none"]


@dataclass(frozen=True, slots=True)
class Checkpoints:
    first: str
    second: str
    method: Method  # none: no episodes are known, or the metric is not a rate
    difference: Interval | None
    p: float | None  # McNemar's mid-p
    starts: int  # that both played; the episodes of the smaller evaluation where they are not shared
    only_first: int = 0  # starts that the first alone solved
    only_second: int = 0
    reason: str = ""  # why not paired, or why not at all

    @property
    def differ(self) -> bool:
        if self.p is not None:
            return self.p <= 0.05
        return self.difference is not None and self.difference.excludes(0.0)


def compare_checkpoints(first: Group, second: Group, tasks: Sequence[str]) -> Checkpoints:
    """McNemar's test where both played the same starts; else Newcombe's interval of the difference of two rates."""
    a, b = first.runs[0], second.runs[0]
    if first.metric not in RATES:
        return _nothing(first, second, f"{first.metric} is not a rate of successes")
    if not all(task in run.counts for run in (a, b) for task in tasks):
        return _nothing(first, second, "nobody wrote down how many episodes were played")
    rates = [tuple(map(sum, zip(*(run.counts[task] for task in tasks), strict=True))) for run in (a, b)]
    reason = _apart(a, b)
    if not reason:
        one, other = _by_start(a, tasks), _by_start(b, tasks)
        shared = [start for start in one if start in other]
        if len(shared) == rates[0][1] == rates[1][1]:
            hits = [[bool(x[start].score(first.metric)) for start in shared] for x in (one, other)]
            found = paired(hits[0], hits[1])
            return Checkpoints(first.name, second.name, "mcnemar", found.difference, found.p_mid, len(shared),
                               found.only_first, found.only_second)  # fmt: skip
        reason = f"they share {len(shared)} starts of {rates[0][1]} and {rates[1][1]}"
    (hits_a, count_a), (hits_b, count_b) = rates
    found = newcombe((hits_a, count_a), (hits_b, count_b))
    return Checkpoints(first.name, second.name, "newcombe", found, None, min(count_a, count_b), reason=reason)


def _apart(a: Run, b: Run) -> str:
    """Why episode by episode they cannot be set against each other; empty where they can."""
    if not (a.outcomes and b.outcomes):
        return "their episodes are not known one by one"
    differing = differences([run for run in (a, b) if run.conditions])
    return f"they were not evaluated alike ({', '.join(differing)})" if differing else ""


def _by_start(run: Run, tasks: Sequence[str]) -> dict[tuple[str, int, int], Outcome]:
    return {outcome.start: outcome for outcome in run.outcomes if outcome.task in tasks}


def _nothing(first: Group, second: Group, reason: str) -> Checkpoints:
    return Checkpoints(first.name, second.name, "none", None, None, 0, reason=reason)
