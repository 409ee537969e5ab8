"""What a report is made from: groups with their scores, histories of their runs, and what could not be used and why.

A report shows what is there: a run that is damaged, not evaluated or only for tuning is left out by name, and the rest
is still reported. What would make every number of the page wrong is refused, as `embodied compare` refuses it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from embodied.comparing.folders import FINAL, find_runs, group_runs, learned_settings, read_run
from embodied.comparing.scores import Group, Run, listed, named, read_groups
from embodied.errors import ConfigError
from embodied.report.history import History, read_history
from embodied.report.style import short_names

LOOSE = "runs"  # what single folders of runs that have no score yet are called


@dataclass(frozen=True, slots=True)
class Material:
    groups: tuple[Group, ...]  # with scores of test runs
    histories: Mapping[str, tuple[History, ...]]  # by group; also of runs and groups that have no score yet
    left_out: tuple[str, ...]  # sentences
    tuning: tuple[str, ...] = ()  # sentences
    metric: str = "success_once"
    common: str = ""  # what the names of all groups began with

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.histories)

    @property
    def runs(self) -> list[History]:
        return [row for rows in self.histories.values() for row in rows]


@dataclass(slots=True, eq=False)
class Pile:
    """Run folders that belong together by name, sorted by what can be done with them."""

    name: str | None
    histories: dict[Path, History] = field(default_factory=dict[Path, History])
    settings: dict[Path, str] = field(default_factory=dict[Path, str])
    scored: list[Path] = field(default_factory=list[Path])


@dataclass(slots=True)
class Sorting:
    """Folders as they are looked at, one after the other."""

    metric: str
    evaluation: str
    only_tuning: bool  # whether to keep tuning runs, and nothing of them is claimed
    left_out: list[str] = field(default_factory=list[str])
    tuning: list[str] = field(default_factory=list[str])
    tuned: set[int] = field(default_factory=set[int])  # seeds

    def look(self, pile: Pile, folder: Path) -> None:
        try:
            settings = learned_settings(folder)
        except ConfigError as error:
            self.left_out.append(f"{folder} was left out: {_reason(error)}")
            return
        history, score = _history(folder), _score(folder, self.metric, self.evaluation)
        if isinstance(history, str) and isinstance(score, str):
            self.left_out.append(f"{folder} was left out: {history}")
            return
        known = history if isinstance(history, History) else score
        if isinstance(known, History | Run) and known.purpose == "tuning":
            self.tuning.append(f"{folder} (seed {known.seed})")
            self.tuned.add(known.seed)
            if not self.only_tuning:
                return
            score = "it is for tuning."
        pile.settings[folder] = json.dumps(settings, sort_keys=True, default=str)
        if isinstance(history, History):
            pile.histories[folder] = history
            if isinstance(score, str):
                self.left_out.append(f"{folder} ({history.standing}) has a curve here, and no score: {score}")
        else:
            self.left_out.append(f"{folder} has a score here, and no curve: {history}")
        if isinstance(score, Run):
            pile.scored.append(folder)

    def of_table(self, group: Group) -> Group:
        """Without its tuning runs."""
        tuning = [run.seed for run in group.runs if run.purpose == "tuning"]
        self.tuning += [f"{group.name}, seed {seed}" for seed in tuning]
        self.tuned |= {*tuning}
        return replace(group, runs=tuple(run for run in group.runs if run.purpose != "tuning"))

    def untuned(self, group: Group) -> Group:
        """Without runs of seeds that settings were chosen by elsewhere, as `embodied compare` does it."""
        known = [run.seed for run in group.runs if run.seed in self.tuned]
        self.tuning += [f"{group.name}, seed {seed}: a test run, but the seed was used for tuning" for seed in known]
        return replace(group, runs=tuple(run for run in group.runs if run.seed not in self.tuned))

    def shown(self, rows: Sequence[History]) -> tuple[History, ...]:
        return tuple(row for row in rows if self.only_tuning or row.seed not in self.tuned)


def _history(folder: Path) -> History | str:
    try:
        return read_history(folder)
    except ConfigError as error:
        return _reason(error)


def _score(folder: Path, metric: str, evaluation: str) -> Run | str:
    try:
        return read_run(folder, metric=metric, evaluation=evaluation)
    except ConfigError as error:
        return _reason(error)


def _reason(error: ConfigError) -> str:
    """Without what did not happen to whoever else asked."""
    return f"{str(error).partition('; nothing was')[0].rstrip('.')}."


def gather(words: Sequence[str], *, metric: str = "success_once", evaluation: str = FINAL) -> Material:
    """Tuning runs are kept only where there is nothing else, and then have no score."""
    found = _gather(words, metric, evaluation, only_tuning=False)
    if not found.groups and not found.histories and found.tuning:
        found = _gather(words, metric, evaluation, only_tuning=True)
    if not found.groups and not found.histories:
        only = f"Only tuning runs: {listed(found.tuning)}." if found.tuning else ""
        why = " ".join([*found.left_out, only]).strip() or "No run was found."
        raise ConfigError(f"nothing of what was named can be reported; nothing was written. {why}")
    return found


def _gather(words: Sequence[str], metric: str, evaluation: str, *, only_tuning: bool) -> Material:
    sorting = Sorting(metric, evaluation, only_tuning)
    loose = Pile(None)
    found: list[Pile | list[Group]] = []  # in the order of the words
    for word in words:
        name, path = named(word)
        if path.is_file():
            found.append([sorting.of_table(group) for group in read_groups([word], metric=metric)])
            continue
        folders = _candidates(path)
        pile = loose if name is None and folders == [path] else Pile(name or path.resolve().name)
        if pile not in found:
            found.append(pile)
        for folder in folders:
            sorting.look(pile, folder)
    groups: list[Group] = []
    histories: dict[str, tuple[History, ...]] = {}
    for each in found:
        if isinstance(each, list):
            scored, own = each, {group.name: () for group in each}
        else:
            scored = group_runs(each.scored, each.name, metric=metric, evaluation=evaluation) if each.scored else []
            own = _assigned(each, scored)
        left = [group for group in map(sorting.untuned, scored) if group.runs]
        gone = {group.name for group in scored} - {group.name for group in left}
        groups += left
        _join(histories, {name: sorting.shown(rows) for name, rows in own.items() if name not in gone})
    order = list(histories)
    common, short = short_names(order)
    called = dict(zip(order, short, strict=True))
    notes = [note for group in groups for note in group.notes]
    return Material(
        groups=tuple(replace(group, name=called[group.name]) for group in groups),
        histories={called[name]: rows for name, rows in histories.items()},
        left_out=tuple(dict.fromkeys([*sorting.left_out, *notes])),
        tuning=tuple(sorting.tuning),
        metric=metric,
        common=common,
    )


def _candidates(path: Path) -> list[Path]:
    """Run folders at or below `path`, also those whose config cannot be read."""
    found: list[Path] = []
    for folder, below, files in os.walk(path):
        if "config.yaml" in files and ("metrics.jsonl" in files or "facts.json" in files):
            found.append(Path(folder))
            below.clear()
        below[:] = sorted(name for name in below if not name.startswith("."))
    return found or find_runs(path)


def _assigned(pile: Pile, groups: Sequence[Group]) -> dict[str, tuple[History, ...]]:
    """Each run by the group whose settings it has; those without one by groups of their own."""
    names: dict[str, str] = {}
    for group in groups:
        names |= {pile.settings[run.folder]: group.name for run in group.runs if run.folder in pile.settings}
    found: dict[str, list[History]] = {group.name: [] for group in groups}
    for folder, history in sorted(pile.histories.items(), key=lambda item: item[1].seed):
        settings = pile.settings[folder]
        if settings not in names:
            names[settings] = _free(pile.name or LOOSE, found)
        found.setdefault(names[settings], []).append(history)
    return {name: tuple(rows) for name, rows in found.items()}


def _free(name: str, taken: Mapping[str, Any]) -> str:
    return next(
        found for number in range(1, len(taken) + 2)
        if (found := name if number == 1 else f"{name} #{number}") not in taken
    )  # fmt: skip


def _join(histories: dict[str, tuple[History, ...]], more: Mapping[str, tuple[History, ...]]) -> None:
    if twice := sorted(histories.keys() & more.keys()):
        raise ConfigError(
            f"two groups are called {twice[0]}; nothing was written. Give each a name of its own: NAME=PATH."
        )
    histories |= more
