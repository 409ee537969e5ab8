"""Progress that a person can watch: a live panel in a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from embodied.metrics.axis import ENV_STEPS, Axis
from embodied.metrics.success import Recent
from embodied.types import Metrics

PLAIN_EVERY_S = 10.0
STAGES, PARTS = ("collect", "update", "evaluate"), ("act", "step", "observe", "reset")  # of an iteration, of collecting


class Display:
    """with Display(title, total) as display: display.show(done, metrics, recent)"""

    def __init__(
        self, title: str, total: int, done: int = 0, *, axis: Axis = ENV_STEPS, console: Console | None = None
    ) -> None:
        self.title, self.total, self.axis = title, total, axis
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
            self.console.print(f"{self.title}: {self.total:,} {self.axis.name}", highlight=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def show(self, done: int, metrics: Metrics, recent: Recent) -> None:
        """After an iteration: how much is done, its metrics, the last episodes."""
        eta = self._eta(done)
        if self.console.is_terminal:
            self.progress.update(self.task, completed=min(done, self.total), eta=eta)
            self.live.update(Group(self.progress, _table(self.axis, metrics, recent)))
        elif time.monotonic() - self.last_line > PLAIN_EVERY_S or done >= self.total:
            self.last_line = time.monotonic()
            line = _line(self.axis, done, self.total, metrics, recent, eta)
            self.console.print(line, highlight=False, soft_wrap=True)

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


def success_of(recent: Recent) -> str:
    return str(recent)


def _table(axis: Axis, metrics: Metrics, recent: Recent) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    inside = "  ".join(f"{name} {_share(metrics, name)}" for name in PARTS if f"seconds/{name}" in metrics)
    rows = {
        "success, last episodes": success_of(recent),
        "return": f"{metrics['return']:.2f}" if "return" in metrics else "-",
        f"{axis.name}/s": f"{metrics[axis.rate]:,.0f}",
        "time by stage": _stages(metrics) + (f"   (collect: {inside})" if inside else ""),
    }
    if losses := _losses(metrics):
        rows |= {"loss": losses}
    for name, value in rows.items():
        table.add_row(f"  [dim]{name}[/dim]", value)
    return table


def _stages(metrics: Metrics) -> str:
    return "  ".join(f"{name} {_share(metrics, name)}" for name in STAGES if f"seconds/{name}" in metrics)


def _share(metrics: Metrics, name: str) -> str:
    total = sum(metrics.get(f"seconds/{stage}", 0.0) for stage in STAGES)
    return f"{100 * metrics[f'seconds/{name}'] / total:.0f}%"


def _losses(metrics: Metrics) -> str:
    """What says how imitation goes before the first episode is played."""
    if "validation_loss" not in metrics:
        return f"{metrics['bc_loss']:.4f}" if "bc_loss" in metrics else ""
    return f"{metrics['loss']:.4f}, on episodes held out {metrics['validation_loss']:.4f}"


def _line(axis: Axis, done: int, total: int, metrics: Metrics, recent: Recent, eta: str) -> str:
    unit = axis.name.split()[-1]
    losses = f"loss {found}  " if (found := _losses(metrics)) else ""
    return (
        f"{done:>10,}/{total:,} {unit}  {losses}success {success_of(recent)}  {metrics[axis.rate]:,.0f} {unit}/s  "
        f"{_stages(metrics)}  ETA {eta}"
    )
