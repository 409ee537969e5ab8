"""Progress of a sweep: a bar for it and one for each run in a terminal, a line for each run that ends anywhere else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from embodied.metrics.axis import AXES
from embodied.run_folder import last_row
from embodied.sweeping.plan import Job


class Progress:
    """with Progress(what, total) as progress: progress.begin(job, folder); progress.show(); progress.end(job, how)"""

    def __init__(self, what: str, total: int, done: int = 0, *, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stdout)
        self.bars = Bars(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[told]}"), console=self.console, transient=True,
        )  # fmt: skip
        self.total, self.done = total, done
        self.whole = self.bars.add_task(what, total=total, completed=done, told="")
        self.running: dict[Job, tuple[TaskID, Path]] = {}

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.bars.stop()

    def begin(self, job: Job, folder: Path) -> None:
        self.running[job] = (self.bars.add_task(f"  {job.path}", total=job.total, told=""), folder)

    def show(self) -> None:
        for bar, folder in self.running.values():
            row = last_row(folder)
            done = next((int(row[axis.key]) for axis in AXES if axis.key in row), 0)
            success = f"success {100 * row['success_once']:.0f} %" if "success_once" in row else ""
            self.bars.update(bar, completed=done, told=success)

    def end(self, job: Job, how: str, why: str = "") -> None:
        bar, _ = self.running.pop(job)
        self.bars.remove_task(bar)
        self.done += how == "finished"
        self.bars.update(self.whole, completed=self.done)
        told: list[Any] = [f"{self.done}/{self.total}", job.path, how + (f": {why}" if why else "")]
        self.console.print(*told, highlight=False, soft_wrap=True, markup=False)
