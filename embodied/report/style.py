"""How groups look, on a screen and on a gray printout: each has a line, a marker and a gray of its own, and a color.

Colors are those of Okabe & Ito (told apart by color-blind readers), ordered so that neighbors differ in lightness too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

COLORS = ("#0072b2", "#d55e00", "#222222", "#009e73", "#a0508a", "#8a6d00")
DASHES: tuple[tuple[float, ...], ...] = (
    (),
    (5, 2),
    (1.2, 1.6),
    (6, 1.6, 1.2, 1.6),
    (2.6, 1.4),
    (8, 1.6, 1.2, 1.6, 1.2, 1.6),
)
MARKERS = ("o", "s", "^", "D", "v", "X", "P")
SHAPES = {  # around (0, 0), as SVG draws them
    "o": "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0",
    "s": "M-3.2-3.2h6.4v6.4h-6.4z",
    "^": "M0-4l4 7.2h-8z",
    "D": "M0-4.2l4.2 4.2l-4.2 4.2l-4.2-4.2z",
    "v": "M0 4l4-7.2h-8z",
    "X": "M-4-2.2l1.8-1.8l2.2 2.2l2.2-2.2l1.8 1.8l-2.2 2.2l2.2 2.2l-1.8 1.8l-2.2-2.2l-2.2 2.2l-1.8-1.8l2.2-2.2z",
    "P": "M-1.3-4h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7v-2.6h2.7z",
}


@dataclass(frozen=True, slots=True)
class Look:
    color: str
    dashes: tuple[float, ...]  # on and off, in widths of the line; empty: solid
    marker: str

    @property
    def line(self) -> tuple[float, tuple[float, ...]] | str:
        """As matplotlib names it."""
        return (0.0, self.dashes) if self.dashes else "solid"

    @property
    def svg_dashes(self) -> str:
        return " ".join(f"{2 * length:g}" for length in self.dashes)

    @property
    def shape(self) -> str:
        return SHAPES[self.marker]


def short_names(names: Sequence[str]) -> tuple[str, list[str]]:
    """What names of the form `BASE (SETTINGS)` have in common, and their settings; nothing and the names otherwise."""
    found = [re.fullmatch(r"(.+?) \((.+)\)", name) for name in names]
    bases = {match[1] for match in found if match}
    if len(names) > 1 and all(found) and len(bases) == 1:
        return bases.pop(), [match[2] for match in found if match]
    return "", list(names)


def looks(count: int) -> list[Look]:
    """`count` looks, no two alike among the first 42: markers repeat after 7, colors and lines after 6."""
    return [
        Look(COLORS[index % len(COLORS)], DASHES[index % len(DASHES)], MARKERS[index % len(MARKERS)])
        for index in range(count)
    ]
