"""One whole episode as it is kept, exchanged and learned from, and the seam behind which all formats look alike.

A `Recording` holds what was seen before each of L actions and, where it is known, after the last one: no frame twice.
Everything is numpy on the host; what was images stays uint8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embodied.types import Spec


@dataclass(frozen=True, slots=True)
class Label:
    """Which episode it is and who drove it."""

    task: int = 0  # index into the dataset's `spec.tasks`
    initial_state: int = -1
    seed: int = -1  # of the reset, from which the same actions repeat it; -1: unknown
    source: str = ""  # "planner", "script", "human", "policy", or the format it was imported from


@dataclass(frozen=True, slots=True)
class Recording:
    """L actions and what they led to; every row of `obs` was seen before the action of that row."""

    obs: Mapping[str, NDArray[Any]]  # each (L, ...), or (L + 1, ...) with what was seen after the last action
    action: NDArray[np.float32]  # (L, A) as executed, in [-1, 1]
    reward: NDArray[np.float32]  # (L,)
    terminated: NDArray[np.bool_]  # (L,) the task ended at this action
    success: NDArray[np.bool_]  # (L,) the task is solved after this action; see Facts.lacks
    human: NDArray[np.bool_]  # (L,) a person chose this action
    label: Label = field(default_factory=Label)
    intended: NDArray[np.float32] | None = None  # (L, A) what the demonstrator wanted; None: what was executed

    def __len__(self) -> int:
        return len(self.action)

    @property
    def complete(self) -> bool:
        """Whether the observation after the last action is here: without it, that transition has no successor."""
        return all(len(x) == len(self) + 1 for x in self.obs.values())

    @property
    def lesson(self) -> NDArray[np.float32]:
        """(L, A) what is to be learned: the actions that the demonstrator wanted, whatever was executed."""
        return self.action if self.intended is None else self.intended


@dataclass(frozen=True, slots=True)
class Facts:
    """What holds for all episodes of a dataset. `spec.num_envs` is 1."""

    spec: Spec
    simulator: Mapping[str, Any] | None = None  # the recipe as `to_dict` writes it, where one made the data
    origin: str = ""  # format and tool it comes from, and what was left out on the way, for people
    lacks: tuple[str, ...] = ()  # of "reward", "success", "terminated": what the source did not say, and is 0 here
    intended: bool = False  # recordings may say what was wanted where something else was executed (`collect noise=`)


@dataclass(frozen=True, slots=True)
class Damage:
    """An episode that was left out, and the sentence that says why."""

    episode: str  # its name: an index, a file, an HDF5 group
    reason: str


class Dataset(Protocol):
    """Episodes on disk, of any format. Opening reads facts and lengths, never frames.

    for index, recording in readable(dataset): ...      # skips what is damaged, by name (dataset.py)
    """

    @property
    def path(self) -> Path: ...

    @property
    def facts(self) -> Facts: ...

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(E,) actions in each episode."""
        ...

    @property
    def damaged(self) -> list[Damage]:
        """Episodes that are not counted because they cannot be read or contradict themselves."""
        ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """How the format calls this episode: an index, a part and number, an HDF5 group."""
        ...

    def label(self, index: int) -> Label: ...

    def recording(self, index: int, *, pictures: bool = True) -> Recording:
        """The whole episode; without `pictures` only vectors. DatasetError where it turns out damaged now."""
        ...
