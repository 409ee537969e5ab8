"""What a page is made of: sections of words, tables, pictures, videos and verbatim text, with no HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from embodied.report.style import Look


@dataclass(frozen=True, slots=True)
class Words:
    kind: ClassVar[str] = "words"
    paragraphs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    name: str  # of its file, without .png
    png: bytes
    size: tuple[int, int]  # pixels, as it should stand on a screen
    alt: str  # what a reader who cannot see it needs
    caption: str  # n, seeds, what the interval means


@dataclass(frozen=True, slots=True)
class Pictures:
    kind: ClassVar[str] = "pictures"
    pictures: tuple[Picture, ...]  # side by side where there is room


@dataclass(frozen=True, slots=True)
class Name:
    """A cell that names a group, with a sample of its line."""

    text: str
    look: Look


Cell = str | Name


@dataclass(frozen=True, slots=True)
class Table:
    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    words: tuple[int, ...] = (0,)  # columns that hold words; the others hold numbers


@dataclass(frozen=True, slots=True)
class Clip:
    title: str
    caption: str
    mp4: bytes
    poster: bytes  # JPEG: what is seen before it plays, and on paper
    size: tuple[int, int]  # pixels


@dataclass(frozen=True, slots=True)
class Clips:
    kind: ClassVar[str] = "clips"
    clips: tuple[Clip, ...]


@dataclass(frozen=True, slots=True)
class Verbatim:
    kind: ClassVar[str] = "verbatim"
    title: str
    text: str
    folded: bool = False  # behind its title until it is opened


@dataclass(frozen=True, slots=True)
class Listing:
    kind: ClassVar[str] = "listing"
    items: tuple[str, ...]


Block = Words | Pictures | Table | Clips | Verbatim | Listing


@dataclass(frozen=True, slots=True)
class Section:
    key: str  # its anchor
    title: str
    blocks: tuple[Block, ...]

    @property
    def pictures(self) -> list[Picture]:
        return [picture for block in self.blocks if isinstance(block, Pictures) for picture in block.pictures]


@dataclass(frozen=True, slots=True)
class Page:
    title: str
    verdict: tuple[str, ...]  # what is concluded, before anything else
    facts: str  # one line: how much there is, when it was made, with what
    groups: tuple[Name, ...]
    sections: tuple[Section, ...]

    @property
    def pictures(self) -> list[Picture]:
        return [picture for section in self.sections for picture in section.pictures]


def words(*paragraphs: str) -> Words:
    return Words(tuple(text for text in paragraphs if text))


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], words: Sequence[int] = (0,)) -> Table:
    return Table(caption, tuple(columns), tuple(tuple(row) for row in rows), tuple(words))


def seeds_of(groups: Mapping[str, Sequence[int]]) -> str:
    """`Each group: n = 3, seeds 0, 1, 2.`"""
    texts = {name: _listed(seeds) for name, seeds in groups.items()}
    if len(texts) > 1 and len(set(texts.values())) == 1:
        return f"Each group: {next(iter(texts.values()))}."
    return f"{'; '.join(f'{name}: {text}' for name, text in texts.items())}."


def _listed(seeds: Sequence[int]) -> str:
    return f"n = {len(seeds)}, seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"
