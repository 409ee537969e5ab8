"""The folder of an evaluation: what was asked, and one row for every episode, written as soon as it is whole.

    evaluation.json                     settings and checkpoint: only the same evaluation continues here
    episodes-seedS.csv                  of each seed; episodes-CONDITION-seedS.csv where conditions have names
    summary.json                        once everything was played
    video.mp4 success.mp4 failure.mp4   afterwards

An evaluation that was killed leaves whole rows, and at most a torn last one, which is cut off. When it is done the
tables are sorted, and hold the episodes that count.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from embodied.errors import ConfigError
from embodied.evaluation.jobs import Job, Jobs
from embodied.evaluation.tables import table_of, tables_in
from embodied.files import write_whole
from embodied.metrics.logger import COLUMNS, csv_line
from embodied.types import Episode

IDENTITY, SUMMARY = "evaluation.json", "summary.json"
FREE = ("num_envs", "processes", "device", "film", "film_outcomes", "out", "checkpoint")  # change no result


class Folder:
    """`settings` are those of the evaluation as plain values; `weights` is the digest of what acted."""

    def __init__(self, path: Path, settings: Mapping[str, Any], weights: str, *, replace: bool = False) -> None:
        """Begin, or continue the same evaluation; another one is refused, or with `replace` deleted."""
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        asked = {"weights": weights, "settings": settings}
        before = _read(path / IDENTITY) if tables_in(path) else None  # an evaluation that never began binds nobody
        if before is not None and (differs := _difference(before, asked)):
            if not replace:
                raise ConfigError(
                    f"{path} holds an evaluation with {differs}; nothing was played or overwritten. Name another "
                    f"folder with out=..., or leave it out."
                )
            before = None
        if before is None:
            for old in (*path.glob("episodes-*.csv"), path / SUMMARY):
                old.unlink(missing_ok=True)
            write_whole(path / IDENTITY, json.dumps(asked, indent=1))

    def table(self, condition: str, seed: int) -> Path:
        return table_of(self.path, condition, seed)

    def played(self, condition: str, jobs: Jobs) -> dict[int, Episode]:
        """What is already there, by order; a torn last row is cut off."""
        known = {(job.seed, job.index): job for job in jobs.all}
        found: dict[int, Episode] = {}
        for seed in dict.fromkeys(job.seed for job in jobs.all):
            path = self.table(condition, seed)
            if not path.exists() or b"\n" not in path.read_bytes():
                write_whole(path, csv_line(COLUMNS))
            for episode in read_episodes(path, mend=True):
                job = known.get((seed, episode.index))
                if job is None or job.start != (episode.task, episode.initial_state, episode.seed):
                    raise ConfigError(
                        f"{path} says that episode {episode.index} began otherwise than it would now, so the "
                        f"simulator has changed; nothing was played. Begin anew with another out=..."
                    )
                found[job.order] = episode
        return found

    def add(self, condition: str, job: Job, episode: Episode) -> None:
        """In one write, so that a row is whole or torn at the end of the file."""
        with self.table(condition, job.seed).open("a", newline="") as file:
            file.write(csv_line(asdict(episode).values()))

    def finish(self, condition: str, counted: Mapping[int, Sequence[Episode]]) -> None:
        """The tables of a condition: the episodes of each seed that count, in order."""
        for seed, episodes in counted.items():
            rows = [csv_line(asdict(episode).values()) for episode in sorted(episodes, key=lambda e: e.index)]
            write_whole(self.table(condition, seed), csv_line(COLUMNS) + "".join(rows))

    def summarize(self, summary: Mapping[str, Any]) -> None:
        write_whole(self.path / SUMMARY, json.dumps(summary, indent=1))


def read_episodes(path: Path, *, mend: bool = False) -> list[Episode]:
    """The rows of a table; `mend` cuts off a last one that is torn."""
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if mend and len(whole) < len(text):
        os.truncate(path, len(whole))
    rows = csv.DictReader(whole.decode().splitlines())
    try:
        if whole and "index" not in (rows.fieldnames or ()):
            raise ValueError("its first line names no columns")
        return [_episode(row) for row in rows]
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"{path} line {rows.line_num} is not an episode ({error}); nothing was played. Restore the table, or begin "
            f"anew with another out=..."
        ) from None


def _episode(row: Mapping[str, str]) -> Episode:
    flags = {"True": True, "False": False}
    values: dict[str, Any] = {}
    for field in fields(Episode):
        text = row[field.name]
        if field.name == "reward":
            values[field.name] = float(text)
        elif text in flags:
            values[field.name] = flags[text]
        else:
            values[field.name] = int(text) if text else None
    return Episode(**values)


def _difference(before: Mapping[str, Any], asked: Mapping[str, Any]) -> str | None:
    """The first setting that matters and differs, in words; None where nothing does."""
    if "weights" not in before:
        return "settings that it does not tell"
    if before["weights"] != asked["weights"]:
        return "another checkpoint"
    old, new = (_settings(what) for what in (before, asked))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            return f"{key}={json.dumps(old.get(key))}, and this one has {key}={json.dumps(new.get(key))}"
    return None


def _settings(told: Mapping[str, Any]) -> dict[str, Any]:
    found = json.loads(json.dumps(told.get("settings", {})))
    return {**dict(_flat(found)), "conditions": sorted(found.get("conditions") or ())}  # first of all by their names


def _flat(node: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Dotted keys and values, without those that change no result, or hold nothing."""
    for key, value in node.items():
        if key in FREE:
            continue
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _read(path: Path) -> dict[str, Any]:
    """Empty where nobody knows what was begun."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
