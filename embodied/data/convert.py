"""One or several datasets written anew as one, in our log or as a LeRobot dataset: whole, or not at all.

Episodes that cannot be used are left out and returned by name; of several datasets, also those that an earlier one has.
The inputs are only read.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from embodied.data.dataset import examined
from embodied.data.episode_log import LogWriter
from embodied.data.layout import fields_of
from embodied.data.lerobot_export import LeRobotWriter, check_absent
from embodied.data.recording import Damage, Dataset, Facts, Recording
from embodied.errors import DatasetError
from embodied.spec import longest, one_or_each
from embodied.types import Spec

Format = Literal["log", "lerobot"]


class Writer(Protocol):
    def write(self, recording: Recording) -> None: ...

    def __enter__(self) -> Writer: ...

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None: ...


def convert(
    datasets: Sequence[Dataset], to: Format, out: Path, progress: Callable[[], None] = lambda: None
) -> tuple[int, list[Damage]]:
    """Write all episodes of `datasets` to `out`; how many, and what was left out. `progress` is called for each.

    Of two copies, of which one says what was intended, that one is written; else the first.
    """
    facts, tasks = joined(datasets)
    check_absent(out)
    for dataset in datasets:
        if out.resolve().is_relative_to(dataset.path.resolve()):
            raise DatasetError(f"{out} lies in {dataset.path}, which is only read; nothing was written.")
    written, left_out = 0, list[Damage]()
    try:
        with LeRobotWriter(out, facts) if to == "lerobot" else _WholeLog(out, facts) as writer:
            for item in _every(datasets, tasks, facts):
                if isinstance(item, Damage):
                    left_out.append(item)
                else:
                    writer.write(item)
                    written += 1
                progress()
            if not written:
                raise DatasetError(f"none of {len(left_out)} episodes can be used; {out} was not made.")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise DatasetError(
            f"{out} could not be written ({error.strerror}); nothing is left of it. Free disk space, or name a folder "
            f"on another disk with out=..."
        ) from None
    return written, left_out


def _every(datasets: Sequence[Dataset], tasks: Sequence[list[int]], facts: Facts) -> Iterator[Recording | Damage]:
    """The episodes of all datasets, or why they are left out; of several, each once."""
    if len(datasets) == 1:
        yield from (found for _, found in examined(datasets[0]))
        return
    known: dict[bytes, str] = {}  # the contents that were written, and whose they were
    waiting: list[tuple[Dataset, int, list[int]]] = []  # for a copy that says what was intended, which may be damaged
    intended = _intended(datasets, tasks) if facts.intended else set()
    for dataset, index_of in zip(datasets, tasks, strict=True):
        for index, found in examined(dataset):
            item = found if isinstance(found, Damage) else _renumbered(found, index_of)
            if isinstance(item, Recording) and item.intended is None and _content(item) in intended:
                waiting.append((dataset, index, index_of))
            else:
                yield _told_apart(item, dataset, index, known)
    for dataset, index, index_of in waiting:
        yield _told_apart(_renumbered(dataset.recording(index), index_of), dataset, index, known)


def _intended(datasets: Sequence[Dataset], tasks: Sequence[list[int]]) -> set[bytes]:
    """The contents of which a copy says what was intended."""
    found: set[bytes] = set()
    for dataset, index_of in zip(datasets, tasks, strict=True):
        if not dataset.facts.intended:
            continue
        only_pictures = all(field.is_picture for field in fields_of(dataset.facts.spec))  # they tell copies apart, then
        for _, r in examined(dataset, pictures=only_pictures):
            if isinstance(r, Recording) and r.intended is not None:
                found.add(_content(_renumbered(r, index_of)))
    return found


def _renumbered(r: Recording, index_of: Sequence[int]) -> Recording:
    """`r` with the new index of its task, in its label and, where it was observed, there."""
    task = {"task": np.asarray(index_of, dtype=r.obs["task"].dtype)[r.obs["task"]]} if "task" in r.obs else {}
    return replace(r, obs={**r.obs, **task}, label=replace(r.label, task=index_of[r.label.task]))


def _told_apart(item: Recording | Damage, dataset: Dataset, index: int, known: dict[bytes, str]) -> Recording | Damage:
    """`item`, or why it is left out; `known` are the contents that were written, and whose they were."""
    if isinstance(item, Damage):
        return replace(item, episode=f"{item.episode} of {dataset.path}")
    name = f"{dataset.name(index)} of {dataset.path}"
    first = known.setdefault(_content(item), name)
    return item if first == name else Damage(name, f"it is episode {first} again")


def _content(r: Recording) -> bytes:
    """Equal for equal starts, actions and vectors. Pictures count only where there is nothing else: video is lossy."""
    vectors = {name: x for name, x in r.obs.items() if x.ndim < 4} or r.obs
    digest = hashlib.sha256(repr((r.label.task, r.label.initial_state, r.label.seed, len(r))).encode())
    for x in (r.action, *(vectors[name][: len(r)] for name in sorted(vectors))):
        digest.update(np.ascontiguousarray(x).tobytes())
    return digest.digest()


def joined(datasets: Sequence[Dataset]) -> tuple[Facts, list[list[int]]]:
    """The facts of all datasets as one, and for each the index there of each of its tasks."""
    first = datasets[0]
    if len(datasets) == 1:
        return first.facts, [list(range(len(first.facts.spec.tasks)))]
    for other in datasets[1:]:
        difference = _difference(first.facts.spec, other.facts.spec)
        if difference:
            raise DatasetError(
                f"{first.path} and {other.path} cannot be one dataset: {difference}; nothing was written. Merge only "
                f"what was recorded with the same robot, actions and observations."
            )
    specs = [dataset.facts.spec for dataset in datasets]
    found = [pair for spec in specs for pair in zip(spec.tasks, spec.limits, strict=True)]
    texts = list(dict.fromkeys(text for text, _ in found))
    spec = replace(
        first.facts.spec,
        tasks=tuple(texts),
        max_steps=one_or_each(longest([limit for other, limit in found if other == text]) for text in texts),
        initial_states=None,
    )
    same = all(dataset.facts.simulator == first.facts.simulator for dataset in datasets)
    facts = Facts(
        spec,
        simulator=first.facts.simulator if same else None,
        origin=" + ".join(dict.fromkeys(dataset.facts.origin for dataset in datasets)),
        lacks=tuple(dict.fromkeys(name for dataset in datasets for name in dataset.facts.lacks)),
        intended=any(dataset.facts.intended for dataset in datasets),
    )
    return facts, [[texts.index(text) for text in dataset.facts.spec.tasks] for dataset in datasets]


def _difference(a: Spec, b: Spec) -> str:
    if a.robot and b.robot and a.robot != b.robot:
        return f"their robots are {a.robot} and {b.robot}"
    if a.action_dim != b.action_dim:
        return f"their actions have {a.action_dim} and {b.action_dim} entries"
    if a.control_hz != b.control_hz:
        return f"they were recorded at {a.control_hz:g} and {b.control_hz:g} actions/s"
    here, there = ({field.name: field for field in fields_of(spec)} for spec in (a, b))
    if here.keys() != there.keys():
        alone = sorted(here.keys() ^ there.keys())
        return f"{alone[0]} is observed in one of them only"
    for name, field in here.items():
        if field != there[name]:
            other = there[name]
            return f"{name} is {field.dtype} {field.shape} in one and {other.dtype} {other.shape} in the other"
    return ""


class _WholeLog:
    """A log that appears under its name when it is complete."""

    def __init__(self, folder: Path, facts: Facts) -> None:
        self.folder = folder
        self.part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        shutil.rmtree(self.part, ignore_errors=True)
        self.log = LogWriter(self.part, facts)

    def write(self, recording: Recording) -> None:
        self.log.write(recording)

    def __enter__(self) -> _WholeLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.log.close()
            if kind is None:
                os.replace(self.part, self.folder)
        finally:
            shutil.rmtree(self.part, ignore_errors=True)
