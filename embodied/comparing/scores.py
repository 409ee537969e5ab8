"""Scores of training runs, read from run folders or from a table that someone else made.

    groups = read_groups(["runs/ppo", "sac=runs/sac_long", "others.csv"])
    groups[0].matrix(groups[0].tasks)  # (runs, tasks)

A run folder is scored by the evaluation of its last checkpoint (evaluation/final), never by its best one. Runs belong
together when their configs differ in nothing but seed and housekeeping (`folders.HOUSEKEEPING`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from embodied.comparing.folders import FINAL, find_runs, group_runs
from embodied.comparing.table import read_table
from embodied.comparing.values import METRICS, RATES, Group, Metric, Outcome, Purpose, Run, listed
from embodied.errors import ConfigError

__all__ = ["METRICS", "RATES", "Group", "Metric", "Outcome", "Purpose", "Run", "listed", "read_groups"]


def read_groups(words: Sequence[str | Path], *, metric: str = "success_once", evaluation: str = FINAL) -> list[Group]:
    """Run folders, folders of run folders, or CSV tables of scores; NAME=PATH names what is found there.

    Single run folders without a name join the group of their config, whichever words they come from. A folder of runs
    is one group, or one for each config in it. Runs are scored by RUN/evaluation/`evaluation`; a word may name such a
    folder itself, and then means its run by that evaluation. Tuning runs are read like others: `Run.purpose` tells
    them apart.
    """
    if metric not in METRICS:
        raise ConfigError(f"metric={metric} was asked for; nothing was read. There is {', '.join(METRICS)}.")
    groups: list[Group] = []
    loose: dict[str, list[Path]] = {}  # by the evaluation that scores them
    place = 0  # of the groups of loose runs: where the first of them was named
    for name, path in map(named, words):
        if path.is_file():
            groups += _renamed(read_table(path, metric=metric), name, path)
            continue
        path, scored = _of_evaluation(path, evaluation)
        folders = find_runs(path)
        if name is None and folders == [path]:
            place = place if loose else len(groups)
            loose.setdefault(scored, []).append(path)
        else:
            groups += group_runs(folders, name or path.resolve().name, metric=metric, evaluation=scored)
    groups[place:place] = [
        group for scored, paths in loose.items() for group in group_runs(paths, None, metric=metric, evaluation=scored)
    ]
    return _distinct(groups)


def named(word: str | Path) -> tuple[str | None, Path]:
    """A path may hold an equals sign itself, as folders of sweeps do: then it exists as it is."""
    name, equals, rest = str(word).partition("=")
    is_named = bool(equals) and not Path(word).exists()
    path = Path(rest if is_named else word)
    if not path.exists():
        raise ConfigError(
            f"there is no file or folder {path}; nothing was read. Give run folders, folders of them, or a CSV table "
            f"of scores, each as PATH or NAME=PATH."
        )
    return (name if is_named else None), path


def _of_evaluation(path: Path, evaluation: str) -> tuple[Path, str]:
    """The run and the name of the evaluation where `path` is RUN/evaluation/NAME; else as they are."""
    if path.parent.name == "evaluation" and (path.parent.parent / "config.yaml").is_file():
        return path.parent.parent, path.name
    return path, evaluation


def _renamed(groups: list[Group], name: str | None, path: Path) -> list[Group]:
    if name is None:
        return groups
    if len(groups) > 1:
        raise ConfigError(
            f"{path} was named {name}, but holds {len(groups)} groups: {listed(g.name for g in groups)}; nothing was "
            f"read. Leave out `{name}=`."
        )
    return [replace(groups[0], name=name)]


def _distinct(groups: list[Group]) -> list[Group]:
    names = [group.name for group in groups]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"two groups are called {twice[0]}; nothing was read. Give each a name of its own: NAME=PATH."
        )
    return groups
