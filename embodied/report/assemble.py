"""From what was gathered to a page: which sections there are, and in which order."""

from __future__ import annotations

import time

from embodied import __version__
from embodied.comparing.values import listed
from embodied.report.blocks import Block, Listing, Name, Page, Section, words
from embodied.report.command import ReportRecipe
from embodied.report.comparisons import compared
from embodied.report.costs import costs
from embodied.report.gather import Material
from embodied.report.learning import learning
from embodied.report.provenance import provenance
from embodied.report.results import results
from embodied.report.style import looks
from embodied.report.videos import videos

MOST_NAMES = 3  # in the title


def assemble(material: Material, settings: ReportRecipe) -> Page:
    look = dict(zip(material.names, looks(len(material.names)), strict=True))
    comparison = compared(material.groups, look)
    sections = (
        learning(material.histories, look, settings.curve),
        results(material.groups, look, material.histories),
        comparison.section,
        videos(material.histories, settings.videos),
        costs(material.histories, look),
        provenance(material.histories),
        _left_out(material),
    )
    verdict = [*comparison.verdict]
    if material.tuning:
        verdict.append(_tuning(material))
    return Page(
        title=settings.title or _title(material),
        verdict=tuple(verdict),
        facts=_facts(material),
        groups=tuple(Name(name, look[name]) for name in material.names),
        sections=sections,
    )


def _title(material: Material) -> str:
    names = material.names
    if len(names) > MOST_NAMES:
        return f"{material.common or 'Report'}: {len(names)} groups"
    text = f"{names[0]} against {names[1]}" if len(names) == 2 else listed(names)
    return f"{material.common}: {text}" if material.common else text


def _facts(material: Material) -> str:
    tasks = {task for group in material.groups for task in group.tasks}
    scored = sum(len(group.runs) for group in material.groups)
    total = max(scored, len(material.runs))
    episodes = sum(run.episodes or 0 for group in material.groups for run in group.runs)
    parts = [
        _count(len(material.names), "group"),
        _count(total, "run") + (f" ({scored} with a score)" if scored < total else ""),
        _count(len(tasks), "task") if tasks else "",
        f"{episodes:,} evaluated episodes" if episodes else "",
        f"made {time.strftime('%Y-%m-%d %H:%M')} with embodied {__version__}",
    ]
    return " · ".join(part for part in parts if part)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _tuning(material: Material) -> str:
    if not material.groups and material.runs:
        return (
            f"All of these runs are for tuning ({_count(len(material.tuning), 'run')}): they chose the settings, so "
            f"nothing is claimed from them. Train the chosen settings on new seeds."
        )
    return f"{_count(len(material.tuning), 'tuning run')} left out: runs that chose the settings prove nothing of them."


def _left_out(material: Material) -> Section:
    blocks: list[Block] = []
    if material.tuning:
        blocks += [words("Tuning runs. They are in no score, comparison or mean."), Listing(material.tuning)]
    if material.left_out:
        blocks += [words("Not used, and why:"), Listing(material.left_out)]
    return Section(
        "left-out", "What was left out", tuple(blocks) or (words("Nothing: every run that was named is on this page."),)
    )
