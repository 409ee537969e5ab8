"""Which group is better, by how much, with what certainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embodied.comparing.values import Group
from embodied.report.blocks import Section, words
from embodied.report.style import Look


@dataclass(frozen=True, slots=True)
class Compared:
    verdict: tuple[str, ...]
    section: Section


def compared(groups: Sequence[Group], looks: Mapping[str, Look]) -> Compared:
    return Compared(("to come",), Section("comparisons", "Comparisons", (words("to come"),)))
