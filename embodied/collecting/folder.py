"""The folder of a collection: its settings, a table of everything that was tried, and the log.

collection.json    attempts.csv    dataset.json    log/
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from embodied.collecting.expert import Attempt
from embodied.data.episode_log import ANY_NUMBER, EpisodeLog, LogWriter
from embodied.data.recording import Facts
from embodied.errors import ConfigError

SETTINGS, ATTEMPTS = "collection.json", "attempts.csv"
COLUMNS = ("task", "initial_state", "seed", "success", "kept", "steps", "seconds", "reason")


def check(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a new collection can begin in `folder`; false where an unfinished one with the same settings is."""
    path = folder / SETTINGS
    if path.is_file():
        silent = {"noise": 0.0}  # about which a collection without noise says nothing
        differs = _difference(silent | _plain(settings), silent | json.loads(path.read_text()))
        if differs:
            raise ConfigError(
                f"{folder} holds a collection with another {differs}; nothing was collected. Repeat its settings to "
                f"continue it, or name another folder."
            )
        return False
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder} is there and no collection of ours; nothing was collected or overwritten. Name a new folder."
        )
    return True


def check_writable(folder: Path) -> None:
    """Before a simulator is started for it; what is not there yet stays away."""
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
        if is_new:
            folder.rmdir()
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written ({error.strerror}); nothing was collected. Name another folder with out=..."
        ) from None


def create(folder: Path, settings: Mapping[str, Any], facts: Facts) -> None:
    """A dataset without episodes, and what its collection was asked for."""
    LogWriter(folder, facts).close()
    part = folder / f".{SETTINGS}"
    part.write_text(json.dumps(_plain(settings), indent=1))
    part.rename(folder / SETTINGS)


def attempts_in(folder: Path) -> list[Attempt]:
    """Everything that was tried: what is kept by the log itself, the rest by the table beside it."""
    table = {(attempt.task, attempt.seed): attempt for attempt in _read(folder / ATTEMPTS)}
    found = [attempt for attempt in table.values() if not attempt.kept]
    log = EpisodeLog(folder)
    for index in range(len(log)):
        label, steps = log.label(index), int(log.lengths[index])
        success = table[key].success if (key := (label.task, label.seed)) in table else True
        found.append(Attempt(label.task, label.seed, success, True, steps, 0.0, initial_state=label.initial_state))
    return found


def _read(path: Path) -> list[Attempt]:
    if not path.is_file():
        return []
    rows = [row for row in csv.reader(path.read_text().splitlines()) if len(row) == len(COLUMNS)][1:]
    return [
        Attempt(int(task), int(seed), success == "True", kept == "True", int(steps), float(seconds), reason, int(state))
        for task, state, seed, success, kept, steps, seconds, reason in rows
    ]


def append(folder: Path, a: Attempt) -> None:
    with (folder / ATTEMPTS).open("a", newline="") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(COLUMNS)
        reason = " ".join(a.reason.split())
        row = [a.task, a.initial_state, a.seed, a.success, a.kept, a.steps, f"{a.seconds:.3f}", reason]
        writer.writerow(row)


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back."""
    return json.loads(json.dumps(settings))


def _difference(mine: dict[str, Any], theirs: dict[str, Any], path: str = "") -> str:
    """`simulator.task (PushCube-v1, asked for PickCube-v1)`, or nothing."""
    for key in [key for key in mine | theirs if key not in ANY_NUMBER]:
        here, there = mine.get(key), theirs.get(key)
        if isinstance(here, dict) and isinstance(there, dict):
            if found := _difference(here, there, f"{path}{key}."):
                return found
        elif here != there:
            return f"{path}{key} ({there}, asked for {here})"
    return ""
