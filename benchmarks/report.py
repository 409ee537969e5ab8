"""What every benchmark prints: a table for people and, as its last line, one JSON object for programs."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table

CONSOLE = Console(width=120)


@dataclass(frozen=True, slots=True)
class Target:
    """One number that was asked for; `at` says on which side of `target` it must be, or nothing when not measured."""

    name: str
    value: float | None
    unit: str
    target: float
    at: Literal["least", "most"] = "least"
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.target if self.at == "least" else self.value <= self.target


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and range of repeated measurements."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        return Spread(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:,.4g} [{self.low:,.4g}, {self.high:,.4g}]"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Of pairs measured one after the other, so that what disturbs the machine disturbs both."""
    return Spread.of([a / b for a, b in zip(ours, theirs, strict=True)])


def alternate(pairs: int, *measures: Callable[[], float]) -> list[list[float]]:
    """Each of `measures` in turn, `pairs` times; one list of values for each."""
    rows = [[measure() for measure in measures] for _ in range(pairs)]
    return [list(column) for column in zip(*rows, strict=True)]


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    drawn = Table(title=title)
    for index, column in enumerate(columns):
        drawn.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        drawn.add_row(*[cell if isinstance(cell, str) else f"{cell:,.4g}" if isinstance(cell, float) else str(cell)
                        for cell in row])  # fmt: skip
    CONSOLE.print(drawn)


def finish(benchmark: str, targets: Sequence[Target]) -> None:
    """Print the targets and the closing JSON line."""
    words = {True: "met", False: "missed", None: "not measured"}
    table(
        f"{benchmark}: targets",
        ("name", "value", "unit", "target", "result"),
        [
            (t.name, "-" if t.value is None else f"{t.value:,.4g}", t.unit, f"at {t.at} {t.target:g}",
             words[t.met] + (f" ({t.note})" if t.note else ""))
            for t in targets
        ],
    )  # fmt: skip
    listed = [
        {key: value for key, value in asdict(t).items() if key != "note" or value} | {"met": t.met} for t in targets
    ]
    for row in listed:
        row["value"] = None if row["value"] in (math.inf, -math.inf) else row["value"]
    print(json.dumps({"benchmark": benchmark, "targets": listed}), flush=True)
