"""The mean score of a group, or of a group on one task, with the widest interval that its data can honestly carry.

Where episodes are known, runs and starts are drawn anew (`clustered_rate`); where only scores are, runs within tasks;
a single run says something of its episodes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embodied.comparing.values import RATES, Group, Run
from embodied.metrics.bootstrap import clustered_rate, resamples
from embodied.metrics.intervals import Interval, wilson

REPLICATES = 4000
SEEDS_AND_STARTS = "over training seeds and starts"
SEEDS = "over training seeds"
EPISODES = "one seed: over its episodes only"
NOTHING = "one seed: no interval"
ALIKE = "all seeds alike: no interval"


@dataclass(frozen=True, slots=True)
class Estimate:
    value: float
    interval: Interval | None
    meaning: str  # of the interval


def estimate(group: Group, tasks: Sequence[str]) -> Estimate:
    """Of runs that have all of `tasks`."""
    scores = group.matrix(tasks)
    value, runs = float(scores.mean()), group.runs
    if len(runs) == 1:
        found = _of_episodes(runs[0], tasks, group.metric) if group.metric in RATES and len(tasks) == 1 else None
        return Estimate(value, found, EPISODES if found else NOTHING)
    if group.metric in RATES and _share_starts(runs, tasks):
        return Estimate(value, _of_seeds_and_starts(group, tasks), SEEDS_AND_STARTS)
    drawn = np.concatenate(
        [x.mean(axis=(-2, -1)) for x in resamples(scores, REPLICATES, np.random.default_rng(0), whole=True)]
    )
    low, high = np.percentile(drawn, (2.5, 97.5))
    if low == high and group.metric in RATES and value in (0.0, 1.0):  # as `clustered_rate` does: a seed is one trial
        low, high = wilson(round(value * len(runs)), len(runs))
    if low == high:
        return Estimate(value, None, ALIKE)
    return Estimate(value, Interval(value, float(low), float(high)), SEEDS)


def _of_episodes(run: Run, tasks: Sequence[str], metric: str) -> Interval | None:
    if run.outcomes:
        starts = [o.start for o in run.outcomes if o.task in tasks]
        places = {start: place for place, start in enumerate(dict.fromkeys(starts))}
        if len(places) < len(starts):  # some were repeated, and a start is one trial
            found = [o.score(metric) for o in run.outcomes if o.task in tasks]
            return clustered_rate(found, [places[start] for start in starts]) if len(places) > 1 else None
    counts = [run.counts[task] for task in tasks if task in run.counts]
    hits, trials = sum(hits for hits, _ in counts), sum(trials for _, trials in counts)
    return Interval(hits / trials, *wilson(hits, trials)) if trials else None


def _share_starts(runs: Sequence[Run], tasks: Sequence[str]) -> bool:
    """Whether all runs played the same starts, two or more, and each task as often: then all episodes weigh alike."""
    played = [sorted(o.start for o in run.outcomes if o.task in tasks) for run in runs]
    if any(starts != played[0] for starts in played) or len(set(played[0])) < 2:
        return False
    return len({sum(start[0] == task for start in played[0]) for task in tasks}) == 1


def _of_seeds_and_starts(group: Group, tasks: Sequence[str]) -> Interval:
    episodes = [(run.seed, o) for run in group.runs for o in run.outcomes if o.task in tasks]
    starts = {start: number for number, start in enumerate(sorted({o.start for _, o in episodes}))}
    return clustered_rate(
        [o.score(group.metric) for _, o in episodes],
        [starts[o.start] for _, o in episodes],
        [seed for seed, _ in episodes],
        replicates=REPLICATES,
    )
