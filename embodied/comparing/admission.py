"""What may be compared: who is left out of a claim and why, on which tasks, and what a reader must know of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from embodied.comparing.values import Group, Run, listed, ranges
from embodied.errors import ConfigError

Tasks = Literal["all", "shared"]


@dataclass(frozen=True, slots=True)
class Admitted:
    groups: tuple[Group, ...]  # test runs only
    tasks: tuple[str, ...]  # that every run has
    notes: tuple[str, ...]


def admit(groups: Sequence[Group], *, tasks: Tasks = "all") -> Admitted:
    """Test runs on the same tasks; a sentence for everything that had to go or may mislead."""
    tuned = {run.seed for group in groups for run in group.runs if run.purpose == "tuning"}
    notes = list(dict.fromkeys(note for group in groups for note in group.notes))
    kept: list[Group] = []
    for group in groups:
        runs, said = _test_runs(group, tuned)
        notes += said
        if runs:
            kept.append(replace(group, runs=runs))
    if len(kept) < 2:
        raise ConfigError(_too_few(groups, kept, notes))
    _check_apart(kept)
    chosen, said = _tasks(kept, tasks)
    return Admitted(tuple(kept), chosen, tuple([*notes, *said, *_unequal(kept), *_conditions(kept)]))


def _check_apart(groups: list[Group]) -> None:
    owners: dict[Path, str] = {}
    for group in groups:
        for folder in [run.folder.resolve() for run in group.runs if run.folder is not None]:
            other = owners.setdefault(folder, group.name)
            if other != group.name:
                raise ConfigError(
                    f"{folder} is in both {other} and {group.name}; nothing was compared, as a group cannot differ "
                    f"from a part of itself. Name each run once."
                )


def _test_runs(group: Group, tuned: set[int]) -> tuple[tuple[Run, ...], list[str]]:
    """Settings were chosen by how tuning seeds did, so these seeds flatter them, whichever run they appear in."""
    tuning = [run.seed for run in group.runs if run.purpose == "tuning"]
    known = [run.seed for run in group.runs if run.purpose == "test" and run.seed in tuned]
    notes: list[str] = []
    if tuning:
        notes.append(f"{group.name}: seeds {ranges(tuning)} were for tuning and count in no claim.")
    if known:
        notes.append(
            f"{group.name}: seeds {ranges(known)} were used for tuning elsewhere, so their test runs count in no "
            f"claim; train other seeds."
        )
    return tuple(run for run in group.runs if run.purpose == "test" and run.seed not in tuned), notes


def _too_few(groups: Sequence[Group], kept: list[Group], notes: list[str]) -> str:
    told = " ".join(notes)
    if len(groups) < 2:
        found = f"{groups[0].name} with seeds {ranges(groups[0].seeds)}" if groups else "nothing"
        return (
            f"two groups were to be compared, but found one: {found}. Runs that differ in nothing but their seed are "
            f"one group; nothing was compared. Give another folder, or name parts: A=PATH B=PATH. {told}".rstrip()
        )
    rest = f"only {kept[0].name} has test runs" if kept else "there are no test runs"
    return f"two groups were to be compared, but {rest}; nothing was compared. {told} Train seeds that tuned nothing."


def _tasks(groups: list[Group], tasks: Tasks) -> tuple[tuple[str, ...], list[str]]:
    every = tuple(dict.fromkeys(task for group in groups for task in group.tasks))
    shared = tuple(task for task in every if all(task in run.scores for group in groups for run in group.runs))
    if shared == every:
        return every, []
    if not shared:
        each = "; ".join(f"{group.name}: {listed(group.tasks, 4)}" for group in groups)
        raise ConfigError(
            f"the runs share no task ({each}); nothing was compared, as scores on different tasks say nothing of which "
            f"is better. Each group can still be described alone: `embodied report`."
        )
    holes = listed((_hole(group, task) for task in every if task not in shared for group in groups
                    if any(task not in run.scores for run in group.runs)), 4)  # fmt: skip
    if tasks == "all":
        raise ConfigError(
            f"{len(every) - len(shared)} of {len(every)} tasks are not in every run ({holes}); nothing was compared. "
            f"Evaluate those runs there, or compare on the shared tasks alone ({listed(shared, 4)}): tasks=shared."
        )
    return shared, [f"Compared on {len(shared)} of {len(every)} tasks, those that every run has ({holes})."]


def _hole(group: Group, task: str) -> str:
    lacking = [run.seed for run in group.runs if task not in run.scores]
    if len(lacking) == len(group.runs):
        return f"{group.name} has no `{task}`"
    return f"seeds {listed(lacking, 4)} of {group.name} have no `{task}`"


def _unequal(groups: list[Group]) -> list[str]:
    notes: list[str] = []
    if len({len(group.runs) for group in groups}) > 1:
        each = listed(f"{group.name}: {len(group.runs)}" for group in groups)
        notes.append(f"Unequal numbers of seeds ({each}): the smallest limits what can be told.")
    episodes = {run.episodes for group in groups for run in group.runs if run.episodes is not None}
    if len(episodes) > 1:
        notes.append(
            f"Runs were evaluated on {min(episodes)} to {max(episodes)} episodes. Each run counts once; those with "
            f"fewer are noisier."
        )
    return notes


def _conditions(groups: list[Group]) -> list[str]:
    """Evaluations that differ may be another test altogether."""
    runs = [run for group in groups for run in group.runs if run.conditions]
    differing = differences(runs)
    if not differing:
        return []
    told = listed((f"{key}: {listed(values, 3)}" for key, values in differing.items()), 4)
    return [f"The runs were not evaluated alike ({told}): a difference may come from that."]


def differences(runs: Iterable[Run]) -> dict[str, list[str]]:
    """Settings of the evaluation in which runs differ, with their values."""
    runs = list(runs)
    keys = dict.fromkeys(key for run in runs for key in run.conditions)
    values = {key: list(dict.fromkeys(str(run.conditions.get(key)) for run in runs)) for key in keys}
    return {key: found for key, found in values.items() if len(found) > 1}
