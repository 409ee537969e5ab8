"""What `embodied collect` says to a person: progress while it runs, and a summary with what to do next."""

from __future__ import annotations

import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import progress
from rich.console import Console
from rich.table import Table

from embodied.collecting.expert import Attempt
from embodied.metrics.display import PLAIN_EVERY_S, clock
from embodied.metrics.intervals import percent
from embodied.types import Spec

CHUNK = 8  # actions: planners pause, and what is seen then does not tell a single action when to go on


class Progress:
    """A bar in a terminal, a line now and then anywhere else."""

    def __init__(self, total: int, done: int, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stdout)
        self.total, self.first = total, done
        self.began = self.last_line = time.monotonic()
        self.bar = progress.Progress(
            progress.TextColumn("episodes"), progress.BarColumn(), progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[said]}"), console=self.console, transient=True,
        )  # fmt: skip
        self.task = self.bar.add_task("", total=total, completed=done, said="")

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def show(self, done: int, successes: int, tries: int) -> None:
        if self.console.is_terminal:
            self.bar.update(self.task, completed=done, said=self._said(done, successes, tries))
        elif time.monotonic() - self.last_line > PLAIN_EVERY_S:
            self.last_line = time.monotonic()
            text = f"{done:>6,}/{self.total:,} episodes  {self._said(done, successes, tries)}"
            self.console.print(text, highlight=False, soft_wrap=True)

    def _said(self, done: int, successes: int, tries: int) -> str:
        gone = time.monotonic() - self.began
        fresh = done - self.first
        left = clock(gone * (self.total - done) / fresh) if fresh else "?"
        rate = f"{100 * successes / tries:.0f} %" if tries else "?"
        return f"{fresh / max(gone, 1e-9):.1f}/s  expert solves {rate}  {left} left"


def summary(
    folder: Path,
    spec: Spec,
    attempts: Sequence[Attempt],
    again: Mapping[str, bool] | None,
    early: str,
    words: Sequence[str],
    *,
    noise: float = 0.0,
    resumes: bool = False,
) -> None:
    """`early` says why it is not complete, `resumes` whether the same command would go on as if nothing had been.

    `words` of the command line chose the simulator.
    """
    console = Console(width=None if sys.stdout.isatty() else 120)
    if attempts:
        console.print(_table(spec, attempts))
    for reason, count in Counter(a.reason for a in attempts if a.reason).most_common(3):
        print(f"failed {count} times: {reason}")
    kept = [attempt for attempt in attempts if attempt.kept]
    if again:
        print(replayed(again, len(kept)))
    if spec.initial_states and kept:
        print(_stored(spec, kept))
    if early:
        hint = " Repeat the command to continue." if resumes else ""
        print(f"{len(kept)} episodes are kept in {folder}; not complete: {early}.{hint}")
        return
    print(f"{len(kept)} episodes are in {folder}. Look at them, then learn from them:")
    print(f"  embodied data show {shlex.quote(str(folder))}")
    sees = ["policy=vision"] if any(name.startswith(("rgb/", "depth/")) for name in spec.obs) else []
    learn = ["algorithm=bc", f"algorithm.dataset={folder}", *words, *sees, f"policy.chunk={CHUNK}"]
    learn += [] if noise else _limit(spec, kept)
    print(f"  embodied train {shlex.join(learn)}")


def replayed(again: Mapping[str, bool], total: int, *, named: int = 5) -> str:
    """Up to `named` of those that do not repeat are named."""
    failed = [name for name, same in again.items() if not same]
    same = percent(len(again) - len(failed), len(again))
    text = f"replayed {len(again)} of {total} episodes from their seeds: {same} end as they did"
    return text + (f"; not {', '.join(failed[:named])}{' and more' if failed[named:] else ''}" if failed else "")


def _stored(spec: Spec, kept: Sequence[Attempt]) -> str:
    states = {(attempt.task, attempt.initial_state) for attempt in kept if attempt.initial_state >= 0}
    return (
        f"They begin in {len(states)} of the simulator's {sum(spec.initial_states or ())} stored initial states, which "
        f"are those of evaluation; simulator.starts=sampled collects from others."
    )


def _table(spec: Spec, attempts: Sequence[Attempt]) -> Table:
    table = Table(title="demonstrations (rates with 95 % Wilson intervals)")
    for column in ("task", "kept", "tried", "expert's success", "actions: mean", "range"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for task, name in enumerate(spec.tasks):
        mine = [attempt for attempt in attempts if attempt.task == task]
        steps = [attempt.steps for attempt in mine if attempt.kept]
        table.add_row(
            name,
            str(len(steps)),
            str(len(mine)),
            percent(sum(attempt.success for attempt in mine), len(mine)),
            f"{sum(steps) / len(steps):.1f}" if steps else "-",
            f"{min(steps)} to {max(steps)}" if steps else "-",
        )
    return table


def _limit(spec: Spec, kept: Sequence[Attempt]) -> list[str]:
    """A word that gives the policy as much time as its examples took, and no task less than it has."""
    limits = [limit for limit in spec.limits if limit is not None]
    if len(limits) < len(spec.limits) or all(attempt.steps <= limits[attempt.task] for attempt in kept):
        return []
    most = max(attempt.steps for attempt in kept)
    return [f"max_steps={max(-(-most // 10) * 10, *limits)}"]
