"""Our own format: a folder with dataset.json and one append-only file for each process that writes.

    dataset.json    format, version, spec, simulator, origin        log/PART.log    framed records (records.py)

An episode is a begin record (its label), a record for each step with what was seen before the action, and an end record
with what was seen last, or a discard record. Each is handed to the operating system before the next, so a killed
process loses at most the step in flight. Its unfinished episode is kept, without a last observation: what a robot or a
person did cannot be had again, and every step of it is true. A damaged record takes its own episode with it, no other.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from embodied.data.decoding import decoding
from embodied.data.layout import HUMAN, INTENDED, SUCCESS, TERMINATED, Layout, fields_of
from embodied.data.log_index import Entry, continue_at, entries_of
from embodied.data.recording import Damage, Facts, Label, Recording
from embodied.data.records import BEGIN, DISCARD, END, HEADER, STEP, Record, frame, parse
from embodied.errors import DatasetError
from embodied.spec import spec_facts, spec_from, with_each_limit

FORMAT = "embodied episode log"
VERSIONS = {False: 1, True: 2}  # without and with intended actions
FACTS = "dataset.json"
ANY_NUMBER = ("num_envs", "processes")  # of a simulator's recipe: they change nothing in an episode


class LogWriter:
    """Appends episodes to one part of a dataset; each process writes a part of its own.

    with LogWriter(folder, facts, part="0") as log:
        log.begin(label)
        log.step(obs, action, reward, terminated=False, success=False)
        log.end(obs)
    """

    def __init__(self, folder: Path, facts: Facts, *, part: str = "0") -> None:
        if not re.fullmatch(r"[\w-]+", part):
            raise DatasetError(f"the part {part!r} is no file name (letters, digits, _ and -); nothing was written.")
        self.folder = Path(folder)
        self.facts = _single(facts)
        _found(self.folder, self.facts)
        self.layout = Layout(self.facts.spec)
        self.path = self.folder / "log" / f"{part}.log"
        self.path.parent.mkdir(exist_ok=True)
        self.file = self.path.open("a+b", buffering=0)
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.file.close()
            raise DatasetError(
                f"{self.path} is being written by another process; nothing was written. Give this one another part."
            ) from None
        self.episode = continue_at(self.path) - 1
        self.steps = 0
        self.running = False

    def begin(self, label: Label) -> None:
        """Start an episode; one that was running stays as it is, unfinished."""
        self.episode, self.steps, self.running = self.episode + 1, 0, True
        self._append(BEGIN, json.dumps(asdict(label)).encode())

    def step(
        self,
        obs: Mapping[str, Any],
        action: Any,
        reward: float,
        *,
        terminated: bool,
        success: bool,
        human: bool = False,
        intended: Any = None,
    ) -> None:
        """What was seen, the action (A,) that was executed then, what it led to, and what was `intended` instead."""
        self._check_running("step")
        if intended is not None and not self.facts.intended:
            raise DatasetError(
                f"{self.folder} keeps executed actions alone and was given an intended one; the step was not written. "
                f"Give the writer facts with intended=True."
            )
        outcome = {"terminated": terminated, "success": success, "human": human}
        self._append(STEP, self.layout.pack_step(obs, action, reward, **outcome, intended=intended))
        self.steps += 1

    def end(self, obs: Mapping[str, Any] | None) -> None:
        """Finish the episode with what was seen after its last action; None if nobody looked."""
        self._check_running("end")
        self._append(END, b"" if obs is None else self.layout.pack_obs(obs))
        self.running = False

    def discard(self) -> None:
        """Forget the running episode: readers pass over it."""
        self._check_running("discard")
        self._append(DISCARD, b"")
        self.running = False

    def discard_unfinished(self) -> None:
        """Forget the episode that was being written to this part when its process was killed."""
        for entry in entries_of(self.path):
            is_whole = entry.finished or entry.discarded or entry.reason
            if entry.episode == self.episode and entry.steps and not is_whole:
                self.steps, self.running = entry.steps, True
                self.discard()

    def write(self, recording: Recording) -> None:
        """A whole episode."""
        r = recording
        self.begin(r.label)
        for t in range(len(r)):
            seen = {name: x[t] for name, x in r.obs.items()}
            outcome = {"terminated": r.terminated[t], "success": r.success[t], "human": r.human[t]}
            flags = {name: bool(x) for name, x in outcome.items()}
            intended = None if r.intended is None else r.intended[t]
            self.step(seen, r.action[t], float(r.reward[t]), **flags, intended=intended)
        self.end({name: x[-1] for name, x in r.obs.items()} if r.complete else None)

    def close(self) -> None:
        if not self.file.closed:
            os.fsync(self.file.fileno())
            self.file.close()

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, kind: int, payload: bytes) -> None:
        """One write for one record; a full disk leaves none of it."""
        before = self.file.seek(0, os.SEEK_END)
        data = memoryview(frame(kind, self.episode, self.steps, payload))
        try:
            while data:
                data = data[self.file.write(data) :]
        except OSError as error:
            os.ftruncate(self.file.fileno(), before)
            error.filename = error.filename or str(self.path)
            raise

    def _check_running(self, what: str) -> None:
        if not self.running:
            raise DatasetError(f"{what}() without an episode in {self.path}; nothing was written. Call begin() first.")


class EpisodeLog:
    """The episodes of a log; opening reads the records' headers and labels alone.

    Their order is that of task, initial state and seed, then of parts and of writing: the same whoever wrote which.
    """

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder)
        self.facts = _read_facts(self.path)
        self.layout = Layout(self.facts.spec)
        parts = sorted((self.path / "log").glob("*.log"), key=lambda path: (len(path.stem), path.stem))
        entries = [entry for path in parts for entry in entries_of(path) if not entry.discarded]
        self.entries = sorted((e for e in entries if not e.reason and e.steps), key=Entry.rank)  # equal ones stay
        self.lengths = np.array([entry.steps for entry in self.entries], dtype=np.int64)  # (E,)
        self.damaged = [Damage(entry.name, entry.reason) for entry in entries if entry.reason]

    def __len__(self) -> int:
        return len(self.entries)

    def name(self, index: int) -> str:
        return self.entries[index].name

    def label(self, index: int) -> Label:
        return self.entries[index].label or Label()

    def recording(self, index: int, *, pictures: bool = True) -> Recording:
        """DatasetError where one of its records turns out damaged."""
        with decoding(f"episode {self.name(index)}", zlib.error, struct.error):
            return self._recording(index, pictures=pictures)

    def _recording(self, index: int, *, pictures: bool) -> Recording:
        entry = self.entries[index]
        with entry.path.open("rb") as file:
            file.seek(entry.start)
            data = file.read(entry.end - entry.start)
        steps = entry.steps
        rows = {
            field.name: np.empty((steps + 1, *field.shape), dtype=field.dtype)
            for field in self.layout.fields
            if pictures or not field.is_picture
        }
        action, intended = np.empty((2, steps, self.facts.spec.action_dim), dtype=np.float32)
        reward, bits = np.empty(steps, dtype=np.float32), np.empty(steps, dtype=np.uint8)
        complete = False
        for record, payload in _payloads(entry, data):
            if record.kind == STEP:
                t = record.step
                action[t], reward[t], bits[t], intended[t], payload = self.layout.unpack_step(payload)
                self.layout.unpack_obs(payload, rows, t)
            elif len(payload):
                complete = True
                self.layout.unpack_obs(payload, rows, steps)
        flags = (bits & bit > 0 for bit in (TERMINATED, SUCCESS, HUMAN))
        obs = rows if complete else {name: x[:steps] for name, x in rows.items()}
        wanted = intended if (bits & INTENDED).any() else None
        return Recording(obs, action, reward, *flags, label=self.label(index), intended=wanted)


def _payloads(entry: Entry, data: bytes) -> list[tuple[Record, memoryview]]:
    """The records in `data`, which is what `entry` covers of its file; each payload is checked."""
    view, at, found = memoryview(data), 0, list[tuple[Record, memoryview]]()
    while at < len(data):
        record = parse(data, at, entry.start + at)
        if record is None or record.crc != zlib.crc32(payload := view[at + HEADER.size : record.end - entry.start]):
            raise DatasetError(
                f"episode {entry.name} of {entry.path} is damaged at byte {entry.start + at}; it was not read."
            )
        found.append((record, payload))
        at = record.end - entry.start
    return found


def _single(facts: Facts) -> Facts:
    """The facts of one environment on the host."""
    return replace(facts, spec=replace(facts.spec, num_envs=1, playable=None, device="cpu"))


def _found(folder: Path, facts: Facts) -> None:
    """Write dataset.json, or see that the one which is there says the same."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FACTS
    if not path.exists():
        if any(p.name not in (FACTS, "log") and not p.name.startswith(f".{FACTS}") for p in folder.iterdir()):
            raise DatasetError(f"{folder} holds other files; nothing was written. Name a new folder for the dataset.")
        rest = {"origin": facts.origin, "lacks": list(facts.lacks)}
        version = VERSIONS[facts.intended]
        text = json.dumps({"format": FORMAT, "version": version} | _plain(facts) | rest, indent=1)
        part = folder / f".{FACTS}.{uuid.uuid4().hex}"
        part.write_text(text)
        try:
            os.link(part, path)  # whole or absent, and the first of several processes wins
        except FileExistsError:
            pass
        finally:
            part.unlink()
    there, here = _plain(_read_facts(folder)), _plain(facts)
    there["spec"] = with_each_limit(there["spec"], here["spec"])
    differs = _first_difference(there, here)
    if differs:
        raise DatasetError(
            f"{folder} already holds a dataset with another {differs}; nothing was written. Name another folder."
        )


def _plain(facts: Facts) -> dict[str, Any]:
    """What must agree between two writers, as JSON gives it back."""
    simulator = None if facts.simulator is None else dict(facts.simulator)
    intended = {"intended": True} if facts.intended else {}
    return json.loads(json.dumps({"spec": spec_facts(facts.spec), "simulator": simulator} | intended))


def _first_difference(there: Any, here: Any, path: str = "") -> str:
    """`spec.robot (panda, here so100)`, or nothing."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [k for k in {**there, **here} if k not in ANY_NUMBER]:
            if found := _first_difference(there.get(key), here.get(key), f"{path}.{key}".lstrip(".")):
                return found
        return ""
    return "" if there == here else f"{path} ({there}, here {here})"


def _read_facts(folder: Path) -> Facts:
    path = folder / FACTS
    if not path.is_file():
        raise DatasetError(
            f"{folder} is no episode log: it has no {FACTS}; nothing was read. Make one of another dataset with "
            f"`embodied data convert {folder} to=log`."
        )
    try:
        found = json.loads(path.read_text())
        if found["format"] != FORMAT or found["version"] not in VERSIONS.values():
            raise DatasetError(
                f"{path} is of {found['format']!r}, version {found['version']}, and this version reads {FORMAT!r}, "
                f"versions 1 and 2; nothing was read."
            )
        spec = spec_from(found["spec"])
        fields_of(spec)
        lacks, intended = tuple(found.get("lacks", ())), found["version"] == VERSIONS[True]
        return Facts(spec, found["simulator"], found["origin"], lacks, intended)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} does not describe a dataset ({error}); nothing was read.") from None
