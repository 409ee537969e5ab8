"""Pictures of the report: narrow enough for a phone, told apart without color, drawn as PNG with few colors."""

from __future__ import annotations

import io
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from embodied.report.blocks import Picture
from embodied.report.style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT, DPI, SHARPNESS = 4.8, 3.3, 100, 2  # inches; pixels of the page in one; pixels of the file in that
PALETTE = 96  # colors of a file: halves its size, and nobody sees it
LINE = 0.075  # of the height of a plot, for a line of text
INK, FAINT = "#1a1a1a", "#c9c9c9"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "hatch.linewidth": 0.7,
    "hatch.color": "#444444",
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.9,
    "lines.dash_capstyle": "butt",
    "text.color": INK,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
}


@contextmanager
def canvas(height: float = HEIGHT, panels: int = 1) -> Generator[tuple[Figure, Any]]:
    """A figure of our width, and its axes; it is closed afterwards."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(STYLE):
        figure, axes = pyplot.subplots(1, panels, figsize=(WIDTH, height), layout="constrained", sharey=panels > 1)
        try:
            yield figure, axes
        finally:
            pyplot.close(figure)


def picture(figure: Figure, name: str, *, alt: str, caption: str) -> Picture:
    from PIL import Image

    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=DPI * SHARPNESS)
    image = Image.open(raw).convert("RGB")
    small = image.quantize(PALETTE, dither=Image.Dither.NONE)
    png = io.BytesIO()
    small.save(png, "PNG", optimize=True)
    size = image.width // SHARPNESS, image.height // SHARPNESS
    return Picture(name, png.getvalue(), size, alt, caption)


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, Look]], *, between: tuple[float, float]) -> None:
    """Names beside the ends (x, y) of lines, in the right margin, moved apart so that they do not cover each other."""
    low, high = between
    gap = LINE * max((wrapped(name).count("\n") + 1 for _, _, name, _ in ends), default=1) * (high - low)
    order = sorted(range(len(ends)), key=lambda index: ends[index][1])
    placed = spread([ends[index][1] for index in order], gap, low, high)
    for index, y in zip(order, placed, strict=True):
        x, own, name, look = ends[index]
        axes.annotate(
            wrapped(name), xy=(x, own), xytext=(1.03, y), textcoords=axes.get_yaxis_transform(), va="center",
            color=look.color, fontsize=9.5, linespacing=0.95, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "#999999", "lw": 0.6, "ls": ":", "shrinkA": 1, "shrinkB": 2},
        )  # fmt: skip


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending positions near the `wanted` ones (ascending), `gap` apart, and within bounds where they all fit."""
    placed: list[float] = []
    for y in wanted:
        placed.append(max(y, placed[-1] + gap if placed else low))
    over = (placed[-1] - high) if placed else 0.0
    if over > 0:
        for index in reversed(range(len(placed))):
            roof = high if index == len(placed) - 1 else placed[index + 1] - gap
            placed[index] = min(placed[index], roof)
    return placed


def shortened(name: str, most: int) -> str:
    """What is too long loses its middle: names differ at their ends. Never a formula, never hidden by a legend."""
    half = most // 2 - 1
    found = (name if len(name) <= most else f"{name[:half]}…{name[-half:]}").replace("$", r"\$")
    return f" {found}" if found.startswith("_") else found


def wrapped(name: str, width: int = 18) -> str:
    """In two lines that fit a margin, broken after spaces and signs; three where the signs lie badly."""
    rows = [""]
    for part in re.findall(rf"[^ =,/_-]{{1,{width - 1}}}[ =,/_-]?|[ =,/_-]", shortened(name, 2 * width - width // 3)):
        rows = [*rows[:-1], rows[-1] + part] if len(rows[-1] + part.rstrip()) <= width else [*rows, part]
    return "\n".join(row.rstrip() for row in rows)


def legend(figure: Figure) -> None:
    """Above the plot, a line for each; `legend_height` is what it adds."""
    figure.legend(loc="outside upper left", ncols=1, handlelength=3.4, borderpad=0, labelspacing=0.3)


def legend_height(rows: int) -> float:
    """Inches."""
    return 0.2 * rows + 0.1


def counted(axes: Axes) -> None:
    """20k instead of 20000 along x."""
    axes.locator_params(axis="x", nbins=6)
    axes.xaxis.set_major_formatter(lambda x, _: short_number(x))


def short_number(x: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= size:
            return f"{x / size:.3g}{unit}"
    return f"{x:.3g}"


def time_unit(seconds: float) -> tuple[float, str]:
    """Seconds of the unit in which that much is told, and its name."""
    if seconds >= 2 * 3600:
        return 3600.0, "h"
    return (60.0, "min") if seconds >= 120 else (1.0, "s")


def duration(seconds: float) -> str:
    """`48 s`, `12.5 min`, `3.21 h`."""
    if not np.isfinite(seconds):
        return "-"
    size, unit = time_unit(seconds)
    return f"{seconds / size:.3g} {unit}"
