"""Several simulators in one run: environments of different kinds, of different interpreters too, as one task set.

The tasks of all parts stand one after the other in `Spec.tasks`; each environment plays those of its part
(`Spec.playable`). To a policy they look alike: cameras have the same names and sizes, vectors are filled up with zeros
to the longest, and `task` says which one is running.

A shard that lives in a process of its own must describe the whole mixture, and only a built simulator knows its tasks
and sizes (LIBERO's lie in its files, Gymnasium's in its registry). So one environment of each part is built first, in a
process, asked once for its spec, and closed. A recipe needs no further method for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any

import torch
from pydantic import InstanceOf
from torch import Tensor

from embodied.config import Natural, recipe, to_dict
from embodied.errors import ConfigError
from embodied.interfaces import EnvRecipe
from embodied.sampler.film import TILE, FilmedRecipe
from embodied.spec import one_or_each
from embodied.types import Array, Obs, Spec, Start, Step
from simulators.isolated import shards_of
from simulators.subprocess_env import SubprocessEnv, split
from simulators.vector import with_task

Names = dict[str, str]
_SPECS: dict[str, Spec] = {}  # by recipe: what was asked in this process is not asked again


@recipe
class MixedRecipe:
    parts: tuple[EnvRecipe, ...]  # each with its num_envs; all with the same actions and control_hz
    rename: tuple[Names, ...] = ()  # one for each part: {its name of an observation: the common name}

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("parts is empty: name at least one simulator")
        if self.rename and len(self.rename) != len(self.parts):
            raise ValueError(f"rename has {len(self.rename)} entries and there are {len(self.parts)} parts")

    @property
    def num_envs(self) -> int:
        return sum(part.num_envs for part in self.parts)

    def build(self) -> SubprocessEnv:
        return SubprocessEnv(self.shards())

    def shards(self) -> list[PartRecipe]:
        """Those of every part, in order."""
        return self._shards_of(self.parts)

    def filmed(self, num_envs: int) -> PartsRecipe:
        """Some environments of each part, with cameras for people."""
        filmed: list[EnvRecipe] = []
        for part, size in zip(self.parts, split(num_envs, len(self.parts)), strict=False):
            if not isinstance(part, FilmedRecipe):
                raise ConfigError(f"{type(part).__name__} has no camera for people (`filmed`); no video was made.")
            filmed.append(part.filmed(size))
        return PartsRecipe(shards=tuple(self._shards_of(filmed)))

    def _shards_of(self, parts: Sequence[EnvRecipe]) -> list[PartRecipe]:
        """Of `parts`, which stand for the first of ours."""
        renames = self.rename or ({},) * len(self.parts)
        specs = [_renamed(s, names) for s, names in zip(specs_of(self.parts), renames, strict=True)]
        whole, first, shards = merged(specs), 0, list[PartRecipe]()
        for part, spec, names in zip(parts, specs, renames, strict=False):
            shards += [PartRecipe(part=s, whole=whole, first=first, rename=names) for s in shards_of(part)]
            first += len(spec.tasks)
        return shards


@recipe
class PartsRecipe:
    shards: tuple[EnvRecipe, ...]  # each for a process of its own

    @property
    def num_envs(self) -> int:
        return sum(shard.num_envs for shard in self.shards)

    def build(self) -> SubprocessEnv:
        return SubprocessEnv(self.shards)


@recipe
class PartRecipe:
    part: EnvRecipe
    whole: InstanceOf[Spec]  # of the mixture
    first: Natural  # index of the part's first task among all
    rename: Names

    @property
    def num_envs(self) -> int:
        return self.part.num_envs

    def build(self) -> Part:
        return Part(self.part.build(), self)


class Part:
    """Environments of one simulator, as the mixture shows them."""

    def __init__(self, env: Any, r: PartRecipe) -> None:
        self.env, self.first, self.rename, self.count = env, r.first, r.rename, len(env.spec.tasks)
        num, own = env.spec.num_envs, tuple(range(self.count))
        playable = tuple(tuple(r.first + task for task in row) for row in env.spec.playable or (own,) * num)
        self.spec: Spec = replace(r.whole, num_envs=num, playable=playable)

    def reset(self, mask: Tensor, start: Start) -> None:
        task = torch.where(start.task >= 0, start.task - self.first, -1)  # (N,) -1 leaves it to the simulator
        strange = mask & ((task >= self.count) | ((task < 0) & (start.task >= 0)))
        if strange.any():
            n = int(strange.nonzero()[0])
            raise ConfigError(
                f"task {int(start.task[n])} was asked of an environment that plays {self.first} to "
                f"{self.first + self.count - 1} of the mixture; nothing was reset. See `Spec.playable`."
            )
        self.env.reset(mask, replace(start, task=task))

    def step(self, action: Tensor) -> Step:
        return self.env.step(action)

    def rest(self, mask: Tensor) -> None:
        self.env.rest(mask)

    def observe(self) -> Obs:
        own: Obs = self.env.observe()
        seen = {self.rename.get(name, name): x for name, x in own.items()}
        return {name: self._entry(name, array, seen) for name, array in self.spec.obs.items()}

    def picture(self) -> Tensor:
        """(N, H, W, 3) uint8, for people: parts draw at different sizes."""
        drawn = self.env.picture().permute(0, 3, 1, 2).float()  # (N, 3, H, W)
        tile = torch.nn.functional.interpolate(drawn, size=(TILE, TILE), mode="area")
        return tile.permute(0, 2, 3, 1).round().to(torch.uint8)

    def get_state(self) -> Tensor:
        return self.env.get_state()

    def set_state(self, mask: Tensor, state: Tensor) -> None:
        """`state` (N, S) may be filled up with zeros to that of another part."""
        self.env.set_state(mask, state[:, : self.env.get_state().shape[1]])

    def close(self) -> None:
        self.env.close()

    def _entry(self, name: str, array: Array, seen: Obs) -> Tensor:
        if name == "task":
            return self.first + seen.get("task", torch.zeros(self.spec.num_envs, dtype=torch.int64))
        found = seen.get(name, torch.zeros(self.spec.num_envs, 0, dtype=array.dtype))
        return torch.nn.functional.pad(found, (0, array.shape[0] - found.shape[1])) if _is_vector(array) else found


def specs_of(parts: Sequence[EnvRecipe]) -> list[Spec]:
    """Of one environment of each part, which is built to be asked."""
    small = [_small(part) for part in parts]
    keys = [json.dumps(to_dict(recipe), default=repr) for recipe in small]
    unknown = {key: recipe for key, recipe in zip(keys, small, strict=True) if key not in _SPECS}
    with ThreadPoolExecutor(max(1, len(unknown))) as threads:
        _SPECS.update(zip(unknown, threads.map(_asked, unknown.values()), strict=True))
    return [_SPECS[key] for key in keys]


def merged(specs: Sequence[Spec]) -> Spec:
    """Of the mixture; ConfigError where parts cannot look alike."""
    first, tasks = specs[0], tuple(task for spec in specs for task in spec.tasks)
    for what in ("action_dim", "control_hz", "device"):
        found = [getattr(spec, what) for spec in specs]
        if len(set(found)) > 1:
            raise ConfigError(
                f"the parts of a mixture must have the same {what}, and have {_listed(found)}; nothing was built. "
                f"Change the control or the backend of one of them, or leave it out."
            )
    pictures = [{name: a for name, a in spec.obs.items() if name != "task" and not _is_vector(a)} for spec in specs]
    for index, found in enumerate(pictures):
        if found != pictures[0]:
            raise ConfigError(
                f"the parts of a mixture must have the same pictures, and parts 0 and {index} have "
                f"{_told(pictures[0])} and {_told(found)}; nothing was built. Set their cameras and image_size, or "
                f"`rename`."
            )
    vectors: dict[str, Array] = {}
    for name, array in ((name, a) for spec in specs for name, a in spec.obs.items() if _is_vector(a)):
        vectors[name] = Array((max(array.shape[0], vectors.get(name, array).shape[0]),), array.dtype)
    stored = [count for spec in specs for count in spec.initial_states or (0,) * len(spec.tasks)]
    return with_task(
        replace(
            first,
            obs=vectors | pictures[0],
            tasks=tasks,
            max_steps=one_or_each(limit for spec in specs for limit in spec.limits),
            robot=first.robot if len({spec.robot for spec in specs}) == 1 else "",
            initial_states=tuple(stored) if any(stored) else None,
            playable=None,
        )
    )


def _small(part: EnvRecipe) -> EnvRecipe:
    """The least of `part` that can be built."""
    shard: Any = shards_of(part)[0]
    return replace(shard, num_envs=1) if "num_envs" in {field.name for field in fields(shard)} else shard


def _asked(small: EnvRecipe) -> Spec:
    env = SubprocessEnv([small])
    env.close()
    return env.spec


def _renamed(spec: Spec, names: Mapping[str, str]) -> Spec:
    if unknown := names.keys() - spec.obs.keys():
        raise ConfigError(
            f"rename names `{min(unknown)}`, and that part of the mixture observes {', '.join(spec.obs)}; nothing was "
            f"built."
        )
    return replace(spec, obs={names.get(name, name): array for name, array in spec.obs.items()})


def _is_vector(array: Array) -> bool:
    return len(array.shape) == 1


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


def _told(obs: Mapping[str, Array]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, a.shape))}" for name, a in obs.items()) or "none"
