"""Demonstrations as imitation learns from them: whole episodes laid end to end, of which any row can begin a chunk.

Opening checks that the data fit the simulator; whatever then comes out of here does. An action here is what the
demonstrator intended, where that is known and something else was executed (`Recording.lesson`).
"""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodied.data.dataset import open_dataset
from embodied.data.frames import Frames, cached
from embodied.data.recording import Dataset
from embodied.errors import CheckpointError, DatasetError
from embodied.interfaces import Policy
from embodied.noise import mix
from embodied.types import Chunks, Spec

logger = logging.getLogger(__name__)
SPLIT_ROLE = 4  # of the seeds under one seed of the run; see `mix`
PORTION = 4096  # rows whose observations are measured at once


class Demonstrations:
    """demonstrations.sample(256, generator); demonstrations.held_out(rows)

    Row r is one action and the frame that was seen before it; `last` says where its episode ends.
    """

    def __init__(
        self,
        frames: Mapping[str, NDArray[Any]],
        frame: NDArray[np.int64],
        action: Tensor,
        lengths: Tensor,
        held_out: Tensor,
        *,
        chunk: int,
        task: Tensor | None = None,
        identity: Sequence[int] = (),
    ) -> None:
        """`frames` each (P, ...), of which row r saw `frame[r]` and did `action[r]`; R rows of E episodes.

        `lengths` (E,); `held_out` (E,) from learning; `task` (E,) is added to what was seen where it is given.
        `identity` (E,) of the episodes, by which a continued run knows them again.
        """
        self.frames, self.frame, self.action, self.lengths, self.chunk = frames, frame, action, lengths, chunk
        self.task = None if task is None else task.repeat_interleave(lengths)  # (R,)
        self.last = (lengths.cumsum(0) - 1).repeat_interleave(lengths)  # (R,)
        kept_out = held_out.repeat_interleave(lengths)  # (R,) bool
        self.crc = zlib.crc32(repr(list(identity)).encode(), zlib.crc32(action.numpy().tobytes()))
        self.learned, self.validation = (~kept_out).nonzero()[:, 0], kept_out.nonzero()[:, 0]  # rows of each

    def sample(self, count: int, generator: torch.Generator) -> Chunks:
        """`count` chunks that begin anywhere in the episodes to learn from."""
        drawn = torch.randint(len(self.learned), (count,), generator=generator)
        return self.chunks(self.learned[drawn])

    def held_out(self, count: int) -> Chunks:
        """At most `count` chunks of the episodes kept for validation, always the same, spread evenly over them."""
        spread = torch.linspace(0, len(self.validation) - 1, min(count, len(self.validation))).long()
        return self.chunks(self.validation[spread])

    def chunks(self, rows: Tensor) -> Chunks:
        """What begins at `rows` (B,). Beyond an episode's end its last action is repeated, with weight 0."""
        wanted = rows[:, None] + torch.arange(self.chunk)  # (B, K)
        last = self.last[rows][:, None]  # (B, 1)
        action = self.action[wanted.minimum(last)]  # (B, K, A)
        return Chunks(obs=self.obs(rows), action=action, sample_weight=(wanted <= last).float())

    def obs(self, rows: Tensor, only: Sequence[str] | None = None) -> dict[str, Tensor]:
        """What was seen before the actions in `rows` (B,), copied, each (B, ...); all of it, or `only` some."""
        frame = self.frame[rows.numpy()]  # (B,)
        names = self.frames if only is None else only
        seen = {name: torch.from_numpy(self.frames[name][frame]) for name in names}
        return seen if self.task is None else seen | {"task": self.task[rows]}

    def describe(self, policy: Policy) -> None:
        """Let `policy` measure every vector and action of the episodes to learn from, once; pictures are not read."""
        device = next(policy.parameters()).device
        vectors = [name for name, x in self.frames.items() if x.ndim < 4]
        for rows in self.learned.split(PORTION):
            policy.track({name: x.to(device) for name, x in self.obs(rows, only=vectors).items()})
        policy.calibrate(self.action[self.learned].to(device))

    def state(self) -> Mapping[str, Tensor]:
        """Which data these are: nothing else is needed to continue."""
        return {"lengths": self.lengths, "validation": self.validation, "crc": torch.tensor(self.crc)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Refuse to continue on other data than the run began with."""
        mine = self.state()
        if any(name not in state or not torch.equal(mine[name], state[name]) for name in mine):
            raise CheckpointError(
                f"the run learned from {len(state['lengths'])} episodes with {int(state['lengths'].sum())} actions and "
                f"the dataset now holds {len(self.lengths)} with {len(self.action)}, others or divided differently; "
                f"nothing was continued. Restore the dataset, or begin a new run."
            )


def open_demonstrations(
    path: Path,
    spec: Spec,
    *,
    chunk: int,
    validation: float,
    episodes: int | None = None,
    seed: int = 0,
    only_successes: bool = True,
) -> Demonstrations:
    """Some `episodes` (None: all) of the dataset at `path`, for a policy that acts in `spec` with K = `chunk`.

    As many of each task, the first ones. The share `validation` of them, drawn by `seed`, is held out. Where the
    dataset says what succeeded, nothing else is learned from, unless `only_successes` is false.
    """
    dataset, name = open_dataset(path), str(path)
    check_fits(dataset.facts.spec, spec, name)
    tasks = matched(dataset.facts.spec.tasks, spec.tasks, name)
    if len(dataset) == 0:
        raise DatasetError(_empty(name, len(dataset.damaged)))
    frames = cached(dataset, pictures=any(len(array.shape) == 3 for array in spec.obs.values()))
    _tell_left_out(dataset, frames, name)
    playable = [e for e, label in enumerate(frames.labels) if label.task in tasks]
    if len(playable) < len(frames.labels):
        logger.warning(
            "%s: %d episodes show tasks that the simulator does not have; they are left out.",
            name, len(frames.labels) - len(playable),
        )  # fmt: skip
    if not playable:
        raise DatasetError(_empty(name, len(dataset) + len(dataset.damaged) - len(frames.labels)))
    wanted = _succeeded(frames, playable, name) if only_successes and "success" not in dataset.facts.lacks else playable
    chosen = first_of_each([frames.labels[e].task for e in wanted], episodes)
    chosen = [wanted[index] for index in chosen]
    frame, action = _rows(frames, chosen)
    _tell_outside(action, name)
    identity = [_identity(frames, e) for e in chosen]
    return Demonstrations(
        {key: _near(frames.obs[key]) for key in spec.obs if key != "task"},
        frame,
        action,
        torch.from_numpy(frames.lengths[chosen]),
        split([_beginning(frames, e) for e in chosen], validation, seed, name),
        chunk=chunk,
        task=torch.tensor([tasks[frames.labels[e].task] for e in chosen]) if "task" in spec.obs else None,
        identity=identity,
    )


def first_of_each(tasks: Sequence[int], count: int | None) -> list[int]:
    """In their order, `count` of the episodes whose `tasks` (E,) these are: the first of each task, then the second."""
    seen: Counter[int] = Counter()
    turns: list[tuple[int, int]] = []  # which of its task an episode is, and where
    for index, task in enumerate(tasks):
        turns.append((seen[task], index))
        seen[task] += 1
    return sorted(index for _, index in sorted(turns)[:count])


def split(beginnings: Sequence[int], fraction: float, seed: int, name: str) -> Tensor:
    """(E,) bool: which episodes are held out, drawn by how they begin and not by their place.

    Those that begin alike are held out together, and at most as many as `fraction` asks for; where no beginning has so
    few, those of the smallest.
    """
    count, number = len(beginnings), round(len(beginnings) * fraction)
    if fraction == 0:
        return torch.zeros(count, dtype=torch.bool)
    drawn = [mix(seed, SPLIT_ROLE, one) for one in beginnings]
    sizes = Counter(drawn)
    if len(sizes) < 2:
        raise DatasetError(
            f"{name} has {count} usable episodes (1 beginning), and holding out {fraction:.0%} of them for validation "
            f"leaves none to learn from; nothing was learned. Collect more, or set algorithm.validation=0."
        )
    chosen, held = set[int](), 0
    for one in sorted(sizes):
        if held + sizes[one] <= min(number, count - 1):
            chosen.add(one)
            held += sizes[one]
    if not chosen:
        chosen = {min(sorted(sizes), key=sizes.__getitem__)}
    held_out = torch.tensor([one in chosen for one in drawn])
    if (held := int(held_out.sum())) != number:
        logger.warning(
            "%s: %d of %d episodes (%.1f %%) are held out for validation where %g %% were asked for: at least one is, "
            "and those that begin alike stay together.", name, held, count, 100 * held / count, 100 * fraction,
        )  # fmt: skip
    return held_out


def check_fits(have: Spec, want: Spec, name: str) -> None:
    """Refuse a dataset (`have`) that a policy for the simulator (`want`) cannot learn from."""
    if have.robot and want.robot and have.robot != want.robot:
        raise DatasetError(
            f"{name} shows the robot {have.robot} and the simulator has {want.robot}; nothing was learned. Give "
            f"algorithm.dataset demonstrations of the same robot."
        )
    if have.action_dim != want.action_dim:
        raise DatasetError(
            f"{name} has actions of {have.action_dim} entries and the simulator takes {want.action_dim}; nothing was "
            f"learned. Set the simulator's controller to that of the demonstrations."
        )
    if abs(have.control_hz - want.control_hz) > 0.01 * want.control_hz:
        logger.warning(
            "%s was recorded at %g actions/s and the simulator takes %g: what was demonstrated will be played at "
            "another speed.", name, have.control_hz, want.control_hz,
        )  # fmt: skip
    for key, array in want.obs.items():
        if key == "task":
            continue
        if key not in have.obs:
            raise DatasetError(
                f"{name} has no observation `{key}`, which the simulator offers: it has {sorted(have.obs)}; nothing "
                f"was learned. Collect it with the simulator settings of this run."
            )
        if have.obs[key].shape != array.shape or have.obs[key].dtype != array.dtype:
            raise DatasetError(
                f"`{key}` is {_form(have, key)} in {name} and {_form(want, key)} in the simulator; nothing was "
                f"learned. Set the simulator to observe what was recorded, or collect anew."
            )


def matched(have: Sequence[str], want: Sequence[str], name: str) -> dict[int, int]:
    """For each task of a dataset that the simulator has, too, its index there, found by its instruction.

    Where a simulator has one task, data without a word about theirs are taken to be of it.
    """
    if not any(have) and len(want) == 1:
        return dict.fromkeys(range(len(have)), 0)
    places = {text: index for index, text in enumerate(want)}
    found = {index: places[text] for index, text in enumerate(have) if text in places}
    if not found:
        raise DatasetError(
            f"{name} shows {_listed(have)} and the simulator's tasks are {_listed(want)}, so no episode is of a task "
            f"that could be played; nothing was learned. Choose the simulator's task by its instruction."
        )
    return found


def _rows(frames: Frames, episodes: list[int]) -> tuple[NDArray[np.int64], Tensor]:
    """Frame and action to learn of every step of `episodes`: (R,) and (R, A)."""
    rows = np.isin(frames.episode, episodes)
    return frames.frame[rows], torch.from_numpy(frames.lesson[rows])


def _identity(frames: Frames, episode: int) -> int:
    """The same for an episode that begins alike, wherever it is kept; without a seed, for one whose actions are alike.

    By the words of the task: its number may change when datasets are merged.
    """
    label = frames.labels[episode]
    first, length = int(frames.lengths[:episode].sum()), int(frames.lengths[episode])
    actions = b"" if label.seed >= 0 else frames.action[first : first + length].tobytes()
    return _hashed((frames.facts.spec.tasks[label.task], label.initial_state, label.seed), actions)


def _beginning(frames: Frames, episode: int) -> int:
    """The same for all episodes of one stored initial state, whatever their seeds; without one, the identity."""
    label = frames.labels[episode]
    if label.initial_state < 0:
        return _identity(frames, episode)
    return _hashed((frames.facts.spec.tasks[label.task], label.initial_state))


def _hashed(start: tuple[str | int, ...], actions: bytes = b"") -> int:
    return int.from_bytes(hashlib.sha256(repr(start).encode() + actions).digest()[:8], "little")


def _succeeded(frames: Frames, episodes: list[int], name: str) -> list[int]:
    """Those of `episodes` in which the task was solved at some step."""
    solved = set(frames.episode[frames.success].tolist())
    kept = [e for e in episodes if e in solved]
    failed = len(episodes) - len(kept)
    if not kept:
        raise DatasetError(
            f"{name} holds {failed} episodes and none of them succeeds; nothing was learned. Demonstrate the task to "
            f"its end, or set algorithm.only_successes=false to learn from failures."
        )
    if failed:
        logger.warning("%s: %d episodes without success are left out.", name, failed)
    return kept


def _tell_outside(action: Tensor, name: str) -> None:
    outside = int((action.abs() > 1 + 1e-6).any(dim=1).sum())
    if outside:
        logger.warning(
            "%s: %d of %d actions reach beyond [-1, 1], where a policy's actions end: they are in other units than "
            "the simulator takes, or will be cut off.", name, outside, len(action),
        )  # fmt: skip


def _near(frames: NDArray[Any]) -> NDArray[Any]:
    """Vectors in memory; pictures stay where they are, on the disk or in its cache."""
    return frames if frames.ndim == 4 else np.array(frames)


def _tell_left_out(dataset: Dataset, frames: Frames, name: str) -> None:
    """Name what is damaged each time: the cache says why only when it is filled."""
    unread = {dataset.name(index) for index in range(len(dataset))} - set(frames.names)
    damaged = [f"{damage.episode} ({damage.reason})" for damage in dataset.damaged] + sorted(unread)
    if damaged:
        logger.warning("%s: %d damaged episodes are left out: %s.", name, len(damaged), ", ".join(damaged))


def _empty(name: str, damaged: int) -> str:
    return (
        f"{name} holds no episode that can be learned from ({damaged} are damaged); nothing was learned. Collect "
        f"demonstrations into it, or name another folder."
    )


def _form(spec: Spec, key: str) -> str:
    array = spec.obs[key]
    return f"{str(array.dtype).removeprefix('torch.')} {'x'.join(map(str, array.shape))}"


def _listed(tasks: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(f"`{text}`" for text in tasks[:most])
    return shown + (f" and {len(tasks) - most} more" if len(tasks) > most else "")
