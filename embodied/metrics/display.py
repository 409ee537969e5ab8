"""Progress that a person can watch: a live panel in a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from embodied.metrics.stats import percent
from embodied.types import Metrics

PLAIN_EVERY_S = 10.0
Outcomes = Sequence[tuple[bool, bool]]  # of the last episodes: success at any step, success at the end


class Display:
    """with Display(title, total) as display: display.show(done, metrics, recent)"""

    def __init__(self, title: str, total: int, done: int = 0, console: Console | None = None) -> None:
        self.title, self.total = title, total
        self.console = console or Console(file=sys.stdout)
        self.began, self.first, self.last_line = time.monotonic(), done, 0.0
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("ETA {task.fields[eta]}"), console=self.console,
        )  # fmt: skip
        self.task = self.progress.add_task(title, total=total, completed=done, eta="?")
        self.live = Live(self.progress, console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self.live.start()
        else:
            self.console.print(f"{self.title}: {self.total:,} environment steps", highlight=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def show(self, done: int, metrics: Metrics, recent: Outcomes) -> None:
        """After an iteration: `done` environment steps, its metrics, the last episodes."""
        eta = self._eta(done)
        if self.console.is_terminal:
            self.progress.update(self.task, completed=min(done, self.total), eta=eta)
            self.live.update(Group(self.progress, _table(metrics, recent)))
        elif time.monotonic() - self.last_line > PLAIN_EVERY_S or done >= self.total:
            self.last_line = time.monotonic()
            self.console.print(_line(done, self.total, metrics, recent, eta), highlight=False, soft_wrap=True)

    def _eta(self, done: int) -> str:
        gone = time.monotonic() - self.began
        if done <= self.first:
            return "?"
        return clock(gone * (self.total - done) / (done - self.first))


def clock(seconds: float) -> str:
    """`3:07` or `1:02:45`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def success_of(recent: Outcomes) -> str:
    return percent(sum(once for once, _ in recent), len(recent)) if recent else "no episode yet"


def _table(metrics: Metrics, recent: Outcomes) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    stages = "  ".join(f"{name} {_share(metrics, name)}" for name in ("collect", "update"))
    inside = "  ".join(f"{name} {_share(metrics, name)}" for name in ("act", "step", "observe", "reset"))
    rows = {
        "success, last episodes": success_of(recent),
        "return": f"{metrics['return']:.2f}" if "return" in metrics else "-",
        "environment steps/s": f"{metrics['steps_per_s']:,.0f}",
        "time by stage": f"{stages}   (collect: {inside})",
    }
    for name, value in rows.items():
        table.add_row(f"  [dim]{name}[/dim]", value)
    return table


def _share(metrics: Metrics, name: str) -> str:
    total = metrics["seconds/collect"] + metrics["seconds/update"]
    return f"{100 * metrics[f'seconds/{name}'] / total:.0f}%"


def _line(done: int, total: int, metrics: Metrics, recent: Outcomes, eta: str) -> str:
    return (
        f"{done:>10,}/{total:,} steps  success {success_of(recent)}  {metrics['steps_per_s']:,.0f} steps/s  "
        f"collect {_share(metrics, 'collect')} update {_share(metrics, 'update')}  ETA {eta}"
    )
