"""One or several datasets written anew as one, in our log or as a LeRobot dataset: whole, or not at all.

Episodes that cannot be used are left out and returned by name. The inputs are only read.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

from embodied.data.dataset import examined
from embodied.data.episode_log import LogWriter
from embodied.data.layout import fields_of
from embodied.data.lerobot_export import LeRobotWriter, check_absent
from embodied.data.recording import Damage, Dataset, Facts, Recording
from embodied.errors import DatasetError
from embodied.types import Spec

Format = Literal["log", "lerobot"]


class Writer(Protocol):
    def write(self, recording: Recording) -> None: ...

    def __enter__(self) -> Writer: ...

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None: ...


def convert(
    datasets: Sequence[Dataset], to: Format, out: Path, progress: Callable[[], None] = lambda: None
) -> tuple[int, list[Damage]]:
    """Write all episodes of `datasets` to `out`; how many, and what was left out. `progress` is called for each."""
    facts, tasks = joined(datasets)
    check_absent(out)
    for dataset in datasets:
        if out.resolve().is_relative_to(dataset.path.resolve()):
            raise DatasetError(f"{out} lies in {dataset.path}, which is only read; nothing was written.")
    written, left_out = 0, list[Damage]()
    try:
        with LeRobotWriter(out, facts) if to == "lerobot" else _WholeLog(out, facts) as writer:
            for dataset, index_of in zip(datasets, tasks, strict=True):
                for _, found in examined(dataset):
                    if isinstance(found, Damage):
                        left_out.append(found)
                    else:
                        writer.write(replace(found, label=replace(found.label, task=index_of[found.label.task])))
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
    texts = list(dict.fromkeys(text for dataset in datasets for text in dataset.facts.spec.tasks))
    limits = [dataset.facts.spec.max_steps for dataset in datasets]
    spec = replace(
        first.facts.spec,
        tasks=tuple(texts),
        max_steps=None if None in limits else max(limit for limit in limits if limit is not None),
        initial_states=None,
    )
    same = all(dataset.facts.simulator == first.facts.simulator for dataset in datasets)
    facts = Facts(
        spec,
        simulator=first.facts.simulator if same else None,
        origin=" + ".join(dict.fromkeys(dataset.facts.origin for dataset in datasets)),
        lacks=tuple(dict.fromkeys(name for dataset in datasets for name in dataset.facts.lacks)),
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
