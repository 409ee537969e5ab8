"""Random access for learning: a dataset decoded once into memory-mapped arrays, uint8 frames and float vectors.

Every frame is kept once. A step points to the frame it acted on and to the one that followed, or to -1 where nobody
looked: frames that were not adjacent are never joined. The arrays lie in the cache (`cache.py`) under the identity of
the dataset, so a changed dataset is decoded anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from embodied.data.cache import alone, cache_folder, check_room, identity
from embodied.data.dataset import open_dataset, readable
from embodied.data.layout import Field, fields_of
from embodied.data.recording import Dataset, Facts, Label, Recording
from embodied.errors import DatasetError

VERSION = 3
STEPS = {  # arrays of S rows besides actions
    "frame": np.dtype(np.int64),
    "next_frame": np.dtype(np.int64),
    "reward": np.dtype(np.float32),
    "terminated": np.dtype(np.bool_),
    "success": np.dtype(np.bool_),
    "human": np.dtype(np.bool_),
    "episode": np.dtype(np.int64),
    "step": np.dtype(np.int64),
}
ACTIONS = ("action", "lesson")  # arrays of S rows of A entries


@dataclass(frozen=True, slots=True)
class Frames:
    """S steps of E episodes over P frames. Arrays are memory-mapped and read-only."""

    facts: Facts
    obs: Mapping[str, NDArray[Any]]  # each (P, ...)
    frame: NDArray[np.int64]  # (S,) row of `obs` that was acted on
    next_frame: NDArray[np.int64]  # (S,) row of `obs` that followed; -1 where nobody looked
    action: NDArray[np.float32]  # (S, A) as executed
    lesson: NDArray[np.float32]  # (S, A) what is to be learned: as intended, where that is known
    reward: NDArray[np.float32]  # (S,)
    terminated: NDArray[np.bool_]  # (S,)
    success: NDArray[np.bool_]  # (S,)
    human: NDArray[np.bool_]  # (S,)
    episode: NDArray[np.int64]  # (S,) from 0 to E - 1, in order
    step: NDArray[np.int64]  # (S,) within the episode
    lengths: NDArray[np.int64]  # (E,)
    labels: tuple[Label, ...]  # E
    names: tuple[str, ...]  # E, as the dataset calls them

    def __len__(self) -> int:
        return len(self.frame)

    def gather(self, frames: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The observations in rows `frames` (B,), copied, each (B, ...): gather(self.frame[steps])."""
        return {name: x[frames] for name, x in self.obs.items()}


def cached(dataset: Dataset, *, pictures: bool = True, progress: bool = True) -> Frames:
    """The frames of `dataset`, decoded now if they are not in the cache. Damaged episodes are left out, by name.

    It is opened again to be decoded, so what was appended to a log since then is there too.

    `pictures=False` leaves out what has three dimensions: nothing is decoded for a policy that does not look.
    """
    place = _place(dataset.path.resolve())
    folder = (
        cache_folder() / "frames" / place / f"{identity(dataset.path)}-{'all' if pictures else 'vectors'}-{VERSION}"
    )
    if not folder.is_dir():
        with alone(folder.parent / "build"):
            if not folder.is_dir():
                _forget(folder)
                _build(open_dataset(dataset.path), folder, pictures=pictures, progress=progress)
    return _open(folder, dataset.facts)


def _place(path: Path) -> str:
    return f"{path.name}-{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"


def _forget(folder: Path) -> None:
    """Delete what is left of the same dataset as it was before, or as earlier versions of this file wrote it."""
    kind = folder.name.partition("-")[0]
    for old in folder.parent.iterdir():
        version = old.name.rpartition("-")[2]
        is_earlier = not version.isdecimal() or int(version) < VERSION
        if old.is_dir() and (is_earlier or old.name.partition("-")[0] != kind):
            shutil.rmtree(old, ignore_errors=True)


def _build(dataset: Dataset, folder: Path, *, pictures: bool, progress: bool) -> None:
    fields = [field for field in fields_of(dataset.facts.spec) if pictures or not field.is_picture]
    steps = int(dataset.lengths.sum())
    frames = steps + len(dataset)  # at most: one more for each episode
    actions = len(ACTIONS) * steps * 4 * dataset.facts.spec.action_dim  # bytes
    check_room(folder.parent, frames * sum(field.size for field in fields) + actions)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        writer = _Writer(part, fields, dataset.facts.spec.action_dim, steps, frames)
        for index, recording in _shown(readable(dataset, pictures=pictures), dataset, progress=progress):
            writer.add(recording, dataset.name(index))
        writer.close()
        os.replace(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _shown(found: Iterator[tuple[int, Recording]], dataset: Dataset, *, progress: bool) -> Iterable[Any]:
    if not progress:
        return found
    return track(found, f"decoding {dataset.path.name}", total=len(dataset), transient=True)


class _Writer:
    """Fills arrays that are as long as they could get; what is not filled takes no disk."""

    def __init__(self, folder: Path, fields: list[Field], action_dim: int, steps: int, frames: int) -> None:
        self.folder = folder
        self.obs = {field.name: self._array(_file(field.name), field.dtype, (frames, *field.shape)) for field in fields}
        self.steps = {name: self._array(name, dtype, (steps,)) for name, dtype in STEPS.items()}
        self.actions = {name: self._array(name, np.dtype(np.float32), (steps, action_dim)) for name in ACTIONS}
        self.step = self.frame = 0
        self.episodes: list[dict[str, Any]] = []

    def add(self, r: Recording, name: str) -> None:
        length = len(r)
        steps, frames = slice(self.step, self.step + length), length + r.complete
        for key, x in self.obs.items():
            x[self.frame : self.frame + frames] = r.obs[key][:frames]
        rows = np.arange(self.frame, self.frame + length)
        following = rows + 1
        if not r.complete:
            following[-1] = -1
        episode = len(self.episodes)
        values = {"frame": rows, "next_frame": following, "episode": episode, "step": np.arange(length),
                  "reward": r.reward, "terminated": r.terminated, "success": r.success, "human": r.human}  # fmt: skip
        for key, x in values.items():
            self.steps[key][steps] = x
        self.actions["action"][steps], self.actions["lesson"][steps] = r.action, r.lesson
        self.episodes.append({"name": name, "length": length, "label": asdict(r.label)})
        self.step, self.frame = self.step + length, self.frame + frames

    def close(self) -> None:
        for x in (*self.obs.values(), *self.steps.values(), *self.actions.values()):
            x.flush()
        if not self.episodes:
            raise DatasetError("the dataset holds no episode that can be used; nothing was decoded.")
        counts = {"steps": self.step, "frames": self.frame, "obs": list(self.obs), "episodes": self.episodes}
        (self.folder / "frames.json").write_text(json.dumps(counts))

    def _array(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.memmap[Any, Any]:
        return np.lib.format.open_memmap(self.folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)


def _open(folder: Path, facts: Facts) -> Frames:
    found = json.loads((folder / "frames.json").read_text())
    frames, steps = found["frames"], found["steps"]

    def array(name: str, rows: int) -> NDArray[Any]:
        return np.load(folder / f"{name}.npy", mmap_mode="r")[:rows]

    return Frames(
        facts=facts,
        obs={name: array(_file(name), frames) for name in found["obs"]},
        **{name: array(name, steps) for name in (*ACTIONS, *STEPS)},
        lengths=np.array([episode["length"] for episode in found["episodes"]], dtype=np.int64),
        labels=tuple(Label(**episode["label"]) for episode in found["episodes"]),
        names=tuple(episode["name"] for episode in found["episodes"]),
    )


def _file(name: str) -> str:
    return "obs-" + name.replace("/", "-")
