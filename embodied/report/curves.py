"""Curves of several seeds as one: on a common grid, with a band that says how far other seeds might lie.

No run is continued beyond what it has shown: the curve of a group ends with its shortest run. Only along wall time does
a run that finished keep its last value, which is what its policy is worth from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from embodied.metrics.aggregates import iqm
from embodied.report.history import History, Numbers

POINTS = 200  # of the grid
BAND_SEEDS = 3  # fewer have no band: there is nothing to draw from
REPLICATES, CHUNK = 2000, 100
COVERS = {3: 75, 4: 80, 5: 83, 6: 86, 8: 88, 10: 90, 15: 92, 20: 93, 30: 94}  # %, by seeds: of normal curves, simulated
Middle = Literal["mean", "iqm"]
Along = Literal["progress", "wall_s"]


@dataclass(frozen=True, slots=True)
class Line:
    """One run."""

    x: Numbers
    y: Numbers
    ends: bool  # it has ended where its line ends: it was not stopped and does not go on


@dataclass(frozen=True, slots=True)
class Curve:
    """A group on a grid, where all of its runs are known; low and high are empty without a band."""

    lines: tuple[Line, ...]
    x: Numbers  # (points,) empty where the runs share no stretch
    y: Numbers
    low: Numbers
    high: Numbers

    @property
    def has_band(self) -> bool:
        return len(self.low) > 0


def line_of(history: History, along: Along) -> Line:
    progress, wall_s, success = history.curve
    return Line(progress if along == "progress" else wall_s, success, history.state == "finished")


def curve_of(lines: Sequence[Line], *, middle: Middle = "mean", hold: bool = False, seed: int = 0) -> Curve:
    """`hold`: a run that finished keeps its last value. Where a run has no point at all, there is no curve."""
    nothing = np.empty(0)
    if not lines or not all(len(line.x) for line in lines):
        return Curve(tuple(lines), nothing, nothing, nothing, nothing)
    first = max(line.x[0] for line in lines)
    last = min((line.x[-1] for line in lines if not (hold and line.ends)), default=max(line.x[-1] for line in lines))
    if last < first:
        return Curve(tuple(lines), nothing, nothing, nothing, nothing)
    grid = np.linspace(first, last, POINTS)
    values = np.stack([np.interp(grid, line.x, line.y) for line in lines])  # (runs, points); beyond its end: the last
    low, high = band(values, middle, seed) if len(lines) >= BAND_SEEDS else (nothing, nothing)
    return Curve(tuple(lines), grid, _middle(values, middle), low, high)


def band(values: Numbers, middle: Middle = "mean", seed: int = 0) -> tuple[Numbers, Numbers]:
    """Pointwise 95 % percentile bootstrap over runs of (runs, points); whole runs are drawn."""
    generator, runs = np.random.default_rng(seed), len(values)
    draws = generator.integers(runs, size=(REPLICATES, runs))
    if middle == "mean":
        weights = np.stack([np.bincount(draw, minlength=runs) for draw in draws]) / runs  # (replicates, runs)
        found = weights @ values
    else:
        found = np.concatenate(
            [_middle(values[draws[i : i + CHUNK]], middle) for i in range(0, REPLICATES, CHUNK)]
        )  # (replicates, points)
    low, high = np.percentile(found, (2.5, 97.5), axis=0)
    return low, high


def covers(runs: int) -> int:
    """How often, in percent, the band of so many seeds holds the mean of all seeds; `tests` simulate it."""
    return COVERS[max(known for known in COVERS if known <= runs)]


def _middle(values: Numbers, middle: Middle) -> Numbers:
    """Over the runs of (..., runs, points)."""
    if middle == "mean":
        return values.mean(axis=-2)
    return iqm(np.swapaxes(values, -2, -1)[..., None])  # one task
