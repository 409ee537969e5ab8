"""What the runs of a sweep came to: each setting over its seeds, from the final evaluations in the run folders."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embodied.evaluation.folder import read_episodes
from embodied.evaluation.tables import RATES, alike, tables_in
from embodied.metrics.bootstrap import clustered_rate
from embodied.metrics.intervals import Interval, wilson
from embodied.sweeping.plan import Job
from embodied.sweeping.recipe import Objective


@dataclass(frozen=True, slots=True)
class Result:
    """The fresh episodes that one run was judged by, without lost ones."""

    seed: int
    starts: tuple[tuple[int, int, int], ...]  # of each, equal where two began alike
    success_once: NDArray[np.float64]
    success_at_end: NDArray[np.float64]
    reward: NDArray[np.float64]

    def score(self, what: Objective) -> float:
        return float((self.reward if what == "return" else getattr(self, what)).mean())


def read_result(run: Path, seed: int) -> Result | None:
    """None where there is no whole final evaluation, or all of its episodes were lost."""
    folder = run / "evaluation" / "final"
    rows = [row for path in tables_in(folder) for row in read_episodes(path) if not row.lost]
    if not rows or not (folder / "summary.json").is_file():
        return None
    once, at_end = (np.array([getattr(row, name) for row in rows], dtype=np.float64) for name in RATES)
    starts = tuple(alike(row.task, row.initial_state, row.seed) for row in rows)
    return Result(seed, starts, once, at_end, np.array([row.reward for row in rows]))


def rate(results: Sequence[Result], what: str) -> Interval:
    """Over episodes and training seeds: whole starts and whole seeds are drawn anew.

    Of one seed, Wilson's where each start came once; where a single one came several times, of that one.
    """
    hits = np.concatenate([getattr(result, what) for result in results])
    starts = ["/".join(map(str, start)) for result in results for start in result.starts]
    several = len(set(starts)) > 1
    if len(results) == 1:
        if several and len(set(starts)) < len(starts):
            return clustered_rate(hits, starts)
        return Interval(float(hits.mean()), *wilson(int(hits.sum()), len(hits)))
    seeds = np.repeat([result.seed for result in results], [len(result.starts) for result in results])
    if not several:
        return clustered_rate(hits, seeds)
    return clustered_rate(hits, starts, seeds)


def show(title: str, rows: Iterable[tuple[str, Sequence[Job], Sequence[Result]]]) -> None:
    """A line for each setting: name, its runs, results of those that were evaluated."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for column in ("setting", "runs", "episodes", "success once", "at end", "return"):
        table.add_column(column, justify="left" if column == "setting" else "right", overflow="fold")
    for name, jobs, results in rows:
        cells = [*(_percent(rate(results, what)) for what in RATES), _mean(results)] if results else ["-"] * 3
        episodes = sum(len(result.starts) for result in results)
        table.add_row(name or "all", f"{len(results)} of {len(jobs)}", f"{episodes}", *cells)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def by_setting(jobs: Sequence[Job], folder: Path) -> list[tuple[str, list[Job], list[Result]]]:
    found: dict[str, list[Job]] = {}
    for job in jobs:
        found.setdefault(job.setting, []).append(job)
    return [
        (name, own, [result for job in own if (result := read_result(folder / job.path, job.seed))])
        for name, own in found.items()
    ]


def _percent(x: Interval) -> str:
    return f"{100 * x.estimate:.1f} % [{100 * x.low:.1f}, {100 * x.high:.1f}]"


def _mean(results: Sequence[Result]) -> str:
    return f"{np.mean([result.score('return') for result in results]):.2f}"
