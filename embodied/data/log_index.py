"""Which episodes the file of an episode log holds, found from the headers of its records, and where one may go on.

What a killed process or a power cut leaves at the end of a file costs the steps that never came to the disk; damage
between two records costs the episode around it.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from embodied.data.recording import Label
from embodied.data.records import BEGIN, DISCARD, STEP, Gap, Record, scan

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Entry:
    """Where one episode lies. `reason` says why it cannot be read."""

    path: Path
    episode: int
    start: int  # of its first step record
    end: int  # after its last record
    steps: int = 0
    label: Label | None = None
    finished: bool = False
    discarded: bool = False
    reason: str = ""

    @property
    def name(self) -> str:
        return f"{self.path.stem}:{self.episode}"

    def rank(self) -> tuple[int, int, int]:
        label = self.label or Label()
        return label.task, label.initial_state, label.seed


def entries_of(path: Path) -> list[Entry]:
    """The episodes of one file."""
    entries: list[Entry] = []
    records: list[Record] = []  # of the last one
    gap: Gap | None = None  # before the next record, or at the end
    with path.open("rb") as file:
        for item in scan(file):
            if isinstance(item, Gap):
                gap = item
                continue
            if gap:
                _take_gap(entries, gap, item, path)
                gap = None
            if item.kind == BEGIN or not entries or entries[-1].episode != item.episode:
                start = item.end if item.kind == BEGIN else item.start
                reason = "" if item.kind == BEGIN else "its first record is damaged"
                entries.append(Entry(path, item.episode, start, start, reason=reason))
                records = []
            records.append(item)
            if item.kind == BEGIN:
                file.seek(item.payload)
                _take_label(entries[-1], file.read(item.length), item.crc)
            else:
                _take(entries[-1], item)
        if gap and not gap.torn:
            _tell_end(entries, gap, path)
        if entries:
            _drop_unwritten(entries, records, file)
    return entries


def _take(entry: Entry, record: Record) -> None:
    if record.step != entry.steps:
        entry.reason = entry.reason or f"the records of steps {entry.steps} to {record.step - 1} are damaged or missing"
    entry.end = record.end
    entry.finished = record.kind != STEP
    entry.discarded = record.kind == DISCARD
    entry.steps = record.step + (record.kind == STEP)


def _take_gap(entries: list[Entry], gap: Gap, following: Record, path: Path) -> None:
    """What lies between two records costs the episode around it, unless none is missing there."""
    expected = entries[-1].episode + 1 if entries else 0
    if not entries or entries[-1].finished:  # so it lies in the next one, or between the two
        if following.kind == BEGIN and following.episode == expected:
            return
        entries.append(Entry(path, expected, gap.end, gap.end))
    entries[-1].reason = entries[-1].reason or _no_record(gap, path)


def _tell_end(entries: list[Entry], gap: Gap, path: Path) -> None:
    """A power cut may leave anything after the last record; only a file without any is lost."""
    if entries:
        logger.warning("%s at its end, as a power cut leaves them; what comes before is read.", _no_record(gap, path))
    else:
        entries.append(Entry(path, 0, gap.end, gap.end, finished=True, reason=_no_record(gap, path)))


def _no_record(gap: Gap, path: Path) -> str:
    return f"bytes {gap.start} to {gap.end} of {path} are not a record"


def _take_label(entry: Entry, payload: bytes, crc: int) -> None:
    if zlib.crc32(payload) != crc:
        entry.reason = "its label is damaged"
        return
    entry.label = Label(**json.loads(payload))


def _drop_unwritten(entries: list[Entry], records: list[Record], file: BinaryIO) -> None:
    """Cut what a power cut left unwritten off the last episode, whose `records` these are."""
    entry, kept = entries[-1], _written(records, file)
    if kept == len(records):
        return
    if kept == 0 and records[0].kind == BEGIN:
        entries.pop()
    elif not entry.reason:
        entry.end, entry.finished = records[kept].start, False
        entry.steps = sum(record.kind == STEP for record in records[:kept])


def _written(records: list[Record], file: BinaryIO) -> int:
    """How many of `records` there are without those at the end whose payload never came to the disk."""
    for kept in range(len(records), 0, -1):
        file.seek(records[kept - 1].payload)
        if zlib.crc32(file.read(records[kept - 1].length)) == records[kept - 1].crc:
            return kept
    return 0


def continue_at(path: Path) -> int:
    """Cut what is no whole record off the end of our own part; the number of the next episode."""
    following, end = 0, 0
    records: list[Record] = []  # of the last episode
    with path.open("rb") as file:
        for item in scan(file):
            if isinstance(item, Record):
                following, end = max(following, item.episode + 1), item.end
                if item.kind == BEGIN:
                    records = []
                records.append(item)
        kept = _written(records, file)
        end = records[kept].start if kept < len(records) else end
        if end < file.seek(0, os.SEEK_END):
            os.truncate(path, end)
    return following
