"""Opening a dataset of any format, found out by its content, and walking over the episodes that can be used."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from embodied.data.episode_log import FACTS, EpisodeLog
from embodied.data.hdf5 import Hdf5Dataset, hdf5_files
from embodied.data.layout import fields_of
from embodied.data.lerobot import LeRobotDataset
from embodied.data.lerobot_format import INFO
from embodied.data.recording import Damage, Dataset, Facts, Recording
from embodied.errors import DatasetError

logger = logging.getLogger(__name__)


def open_dataset(path: str | Path) -> Dataset:
    """The dataset at `path`: our log, a LeRobot dataset, or HDF5 demonstrations."""
    path = Path(path)
    if (path / FACTS).is_file():
        return EpisodeLog(path)
    if (path / INFO).is_file():
        return LeRobotDataset(path)
    if hdf5_files(path):
        return Hdf5Dataset(path)
    if not path.exists():
        raise DatasetError(f"there is nothing at {path}; nothing was read.")
    raise DatasetError(
        f"{path} is no dataset; nothing was read. A dataset is a folder with {FACTS} (made here) or {INFO} (LeRobot), "
        f"or an HDF5 file, or a folder of them (LIBERO, robomimic)."
    )


def readable(dataset: Dataset, *, pictures: bool = True) -> Iterator[tuple[int, Recording]]:
    """Every episode that can be read and agrees with the facts, with its index; the others are logged by name."""
    for index, found in examined(dataset, pictures=pictures):
        if isinstance(found, Damage):
            logger.warning("episode %s is left out: %s", found.episode, found.reason)
        else:
            yield index, found


def examined(dataset: Dataset, *, pictures: bool = True) -> Iterator[tuple[int, Recording | Damage]]:
    """Every episode with its index, or why it cannot be used; first those that opening found damaged (index -1)."""
    for damage in dataset.damaged:
        yield -1, damage
    for index in range(len(dataset)):
        try:
            recording = dataset.recording(index, pictures=pictures)
        except DatasetError as error:
            yield index, Damage(dataset.name(index), str(error))
            continue
        wrong = contradiction(recording, dataset.facts, pictures=pictures)
        yield index, Damage(dataset.name(index), wrong) if wrong else recording


def contradiction(recording: Recording, facts: Facts, *, pictures: bool = True) -> str:
    """What in `recording` cannot be, in words; empty if nothing."""
    r, length = recording, len(recording)
    if length == 0:
        return "it has no actions"
    if not 0 <= r.label.task < len(facts.spec.tasks):
        return f"it is of task {r.label.task} and the dataset has {len(facts.spec.tasks)}"
    if r.action.shape != (length, facts.spec.action_dim):
        return f"its actions have {r.action.shape[1:]} entries where the dataset says {facts.spec.action_dim}"
    if r.lesson.shape != r.action.shape:
        return f"its intended actions are {r.lesson.shape} and the executed ones {r.action.shape}"
    for name in ("reward", "terminated", "success", "human"):
        if getattr(r, name).shape != (length,):
            return f"{name} has {len(getattr(r, name))} rows and there are {length} actions"
    for field in fields_of(facts.spec):
        if field.is_picture and not pictures:
            continue
        if field.name not in r.obs:
            return f"{field.name} is missing"
        rows = r.obs[field.name]
        if len(rows) not in (length, length + 1):
            return f"{field.name} has {len(rows)} rows and there are {length} actions"
        if rows.shape[1:] != field.shape or rows.dtype != field.dtype:
            return f"{field.name} is {rows.dtype} {rows.shape[1:]} where the dataset says {field.dtype} {field.shape}"
        if field.name == "task" and not field.shape and not ((rows >= 0) & (rows < len(facts.spec.tasks))).all():
            return f"it observes tasks {rows.min()} to {rows.max()} and the dataset has {len(facts.spec.tasks)}"
    return _not_finite(recording)


def _not_finite(r: Recording) -> str:
    for name, x in (("action", r.action), ("intended", r.lesson), ("reward", r.reward), *r.obs.items()):
        if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
            step = int(np.argwhere(~np.isfinite(x).reshape(len(x), -1).all(axis=1))[0, 0])
            return f"{name} is not finite at step {step}"
    return ""
