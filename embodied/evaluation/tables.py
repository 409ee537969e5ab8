"""What the tables of an evaluation are called and say, for whoever reads them: nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

RATES = ("success_once", "success_at_end")  # columns, and metrics, that are shares of episodes

Task = TypeVar("Task", int, str)


def table_of(folder: Path, condition: str, seed: int) -> Path:
    """episodes-CONDITION-seed0.csv; the only condition has no name."""
    return folder / ("-".join(filter(None, ("episodes", condition, f"seed{seed}"))) + ".csv")


def tables_in(folder: Path) -> dict[Path, str]:
    """The tables of an evaluation, each with the name of its condition; empty for the only one, which has none."""
    return {
        path: path.stem.removeprefix("episodes-").rpartition("seed")[0].rstrip("-")
        for path in sorted(folder.glob("episodes-*seed*.csv"))
    }


def alike(task: Task, initial_state: int, seed: int) -> tuple[Task, int, int]:
    """Equal for two episodes that begin alike: a stored state does so whatever the seed."""
    return task, initial_state, -1 if initial_state >= 0 else seed
