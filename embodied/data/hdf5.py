"""Demonstrations in HDF5, as LIBERO and robomimic (and so MimicGen) share them: one group `data/demo_N` per episode.

A file, or a folder of files: in LIBERO each is one task. What is converted, and said in `Facts.origin`:

* In robosuite's actions +1 closes the gripper, the last entry of each arm. It opens here.
* LIBERO keeps OpenGL's rows, bottom first. Its pictures are turned by 180 degrees, as published policies see them.
  robomimic has already turned its pictures upright.
* LIBERO wrote what was seen after each action beside that action. The simulator's states show whether a file is of that
  kind; then each observation goes with the action that followed it: one action less, and nothing missing at the end.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embodied.data.decoding import decoding
from embodied.data.hdf5_layout import Layout, language_of, layout_of
from embodied.data.recording import Damage, Facts, Label, Recording
from embodied.errors import DatasetError
from embodied.packaging import need
from embodied.types import Array, Spec

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SUFFIXES = (".hdf5", ".h5")


def is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def hdf5_files(path: Path) -> list[Path]:
    """The files of demonstrations at `path`: itself, or those in the folder."""
    if path.is_dir():
        return sorted(p for p in path.iterdir() if p.suffix in SUFFIXES)
    return [path] if path.suffix in SUFFIXES or (path.is_file() and is_hdf5(path)) else []


@dataclass(frozen=True, slots=True)
class _Demo:
    file: Path
    group: str
    task: int
    length: int  # actions of the recording
    layout: Layout


class Hdf5Dataset:
    """Opening reads attributes and shapes; one episode per file is looked into for the order of its observations."""

    def __init__(self, path: Path) -> None:
        self.h5py = need("h5py", extra="data")
        self.path = Path(path)
        self.demos: list[_Demo] = []
        self.damaged: list[Damage] = []
        self.tasks: list[str] = []
        layouts: list[tuple[Path, Layout]] = []
        for file in hdf5_files(self.path):
            try:
                layouts.append((file, self._index(file)))
            except DatasetError as error:
                self.damaged.append(Damage(file.name, str(error)))
        if not layouts:
            raise DatasetError(f"{self.path} cannot be read: {self.damaged[0].reason}")
        _check_alike(layouts)
        self.layout = layouts[0][1]
        self.facts = _facts(self.layout, self.tasks)
        self.lengths = np.array([demo.length for demo in self.demos], dtype=np.int64)  # (E,)

    def __len__(self) -> int:
        return len(self.demos)

    def name(self, index: int) -> str:
        demo = self.demos[index]
        return f"{demo.file.name}:{demo.group}"

    def label(self, index: int) -> Label:
        return Label(task=self.demos[index].task, source=self.layout.kind)

    def recording(self, index: int, *, pictures: bool = True) -> Recording:
        demo = self.demos[index]
        with self._opened(demo.file) as file, decoding(self.name(index)):
            group = file["data"][demo.group]
            obs = {
                name: demo.layout.read(group["obs"], name)
                for name, shape in demo.layout.shapes.items()
                if pictures or len(shape) < 3
            }
            if demo.layout.has_next:
                following = group["next_obs"]
                obs = {
                    name: np.concatenate([x, demo.layout.read(following, name, last=True)]) for name, x in obs.items()
                }
            actions = demo.layout.actions(np.asarray(group["actions"]))
            nothing = np.zeros(len(actions))
            reward = np.asarray(group["rewards"]) if "rewards" in group else nothing
            done = np.asarray(group["dones"]) if "dones" in group else nothing
        skipped = 1 if demo.layout.seen_after else 0
        success = (reward > 0) if "success" not in demo.layout.lacks else nothing > 0
        ended = (done > 0) & success if "success" not in demo.layout.lacks else done > 0
        return Recording(
            obs=obs,
            action=actions[skipped:],
            reward=reward[skipped:].astype(np.float32),
            terminated=ended[skipped:],
            success=success[skipped:],
            human=nothing[skipped:] > 0,
            label=self.label(index),
        )

    def _index(self, file: Path) -> Layout:
        """The layout of one file, after its episodes were added."""
        with self._opened(file) as opened, decoding(file.name):
            data = opened.get("data")
            names = sorted(data, key=_number) if isinstance(data, self.h5py.Group) else []
            if not names:
                raise DatasetError(f"{file} has no episodes under `data`: it is neither of LIBERO nor of robomimic.")
            wrong = {name: self._wrong(data[name]) for name in names}
            self.damaged += [Damage(f"{file.name}:{name}", reason) for name, reason in wrong.items() if reason]
            usable = [name for name in names if not wrong[name]]
            if not usable:
                raise DatasetError(f"{file} has no episode that can be read: {self.damaged[-1].reason}.")
            layout = layout_of(data, usable[0])
            task = self._task(language_of(data.attrs, file.stem))
            for name in usable:
                length = len(data[name]["actions"]) - layout.seen_after
                self.demos.append(_Demo(file, name, task, length, layout))
        return layout

    def _task(self, text: str) -> int:
        if text not in self.tasks:
            self.tasks.append(text)
        return self.tasks.index(text)

    def _wrong(self, demo: Any) -> str:
        """What in an episode's group cannot be, from its shapes alone."""
        if not isinstance(demo, self.h5py.Group) or "actions" not in demo or "obs" not in demo:
            return "it lacks actions or obs"
        length = len(demo["actions"])
        if length < 2:
            return f"it has {length} actions"
        said = demo.attrs.get("num_samples")
        if said is not None and int(said) != length:
            return f"num_samples says {int(said)} and there are {length} actions"
        sizes = {f"obs/{key}": x.shape[0] for key, x in demo["obs"].items() if isinstance(x, self.h5py.Dataset)}
        sizes |= {key: demo[key].shape[0] for key in ("rewards", "dones") if key in demo}
        uneven = [f"{key} has {size} rows" for key, size in sizes.items() if size != length]
        return f"{uneven[0]} and there are {length} actions" if uneven else ""

    @contextlib.contextmanager
    def _opened(self, path: Path) -> Generator[Any]:
        with decoding(path):
            file = self.h5py.File(path, "r")
        with file:
            yield file


def _facts(layout: Layout, tasks: list[str]) -> Facts:
    spec = Spec(
        obs={name: Array(shape, torch.uint8 if name.startswith("rgb/") else torch.float32)
             for name, shape in layout.shapes.items()},
        action_dim=layout.action_dim,
        num_envs=1,
        control_hz=layout.control_hz,
        tasks=tuple(tasks),
        robot=layout.robot,
    )  # fmt: skip
    return Facts(spec, None, layout.origin, layout.lacks)


def _check_alike(layouts: list[tuple[Path, Layout]]) -> None:
    first, wanted = layouts[0]
    for file, layout in layouts[1:]:
        for what in ("kind", "robot", "action_dim", "shapes", "control_hz"):
            here, there = getattr(layout, what), getattr(wanted, what)
            if here != there:
                raise DatasetError(
                    f"{file.name} and {first.name} are not one dataset: {what} is {here} and {there}; nothing was "
                    f"read. Name the files one by one."
                )


def _number(name: str) -> tuple[int, str]:
    digits = re.search(r"(\d+)$", name)
    return (int(digits.group(1)) if digits else -1, name)
