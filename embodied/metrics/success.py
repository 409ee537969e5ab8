"""How the last training episodes went, task by task.

With several tasks the success of a run is the mean over tasks, each judged by its own last episodes: a curriculum plays
some tasks more than others and must not change the number by that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from embodied.metrics.intervals import percent
from embodied.spec import task_names
from embodied.types import Episode, Metrics

RECENT, RECENT_OF_EACH = 100, 20  # episodes: of the only task, of each of several
Outcome = tuple[bool, bool, float]  # success at any step, success at the end, return


class Recent:
    """recent.take(episodes); recent.metrics(); str(recent)"""

    def __init__(self, tasks: Sequence[str]) -> None:
        self.names = task_names(tasks)
        self.outcomes = [deque[Outcome](maxlen=RECENT if len(tasks) == 1 else RECENT_OF_EACH) for _ in tasks]

    def take(self, episodes: Iterable[Episode]) -> None:
        for e in episodes:
            if not e.lost:
                self.outcomes[e.task].append((e.success_once, e.success_at_end, e.reward))

    def metrics(self) -> Metrics:
        """Success over all tasks that were played, and success and return of each where there are several."""
        played = {name: rows for name, rows in zip(self.names, self.outcomes, strict=True) if rows}
        if not played:
            return {}
        once, at_end, reward = ({name: _mean(rows, i) for name, rows in played.items()} for i in range(3))
        numbers = {"success_once": sum(once.values()) / len(once), "success_at_end": sum(at_end.values()) / len(once)}
        if len(self.names) == 1:
            return numbers
        each = {"success": once, "return": reward}
        return numbers | {f"{what}/{name}": x for what, found in each.items() for name, x in found.items()}

    def __str__(self) -> str:
        hits, count = sum(_hits(rows) for rows in self.outcomes), sum(map(len, self.outcomes))
        if not count:
            return "no episode yet"
        if len(self.names) == 1:
            return percent(hits, count)
        played = sum(map(bool, self.outcomes))
        return f"{100 * self.metrics()['success_once']:.1f} % over {played} of {len(self.names)} tasks"

    def state(self) -> list[list[list[Any]]]:
        """As JSON takes it."""
        return [[list(outcome) for outcome in rows] for rows in self.outcomes]

    def load(self, state: list[list[list[Any]]]) -> None:
        for rows, saved in zip(self.outcomes, state, strict=True):
            rows.extend((once, at_end, reward) for once, at_end, reward in saved)


def _hits(rows: Iterable[Outcome]) -> int:
    return sum(once for once, _, _ in rows)


def _mean(rows: Sequence[Outcome], column: int) -> float:
    return sum(row[column] for row in rows) / len(rows)
