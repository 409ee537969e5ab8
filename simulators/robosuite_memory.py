"""What robosuite remembers between steps outside MuJoCo, as numbers in one vector.

Controllers keep goals and integrals, robots keep buffers of what they felt, grippers how far they are closed, tasks
what was done already. All of it lies in attributes of a few objects, in every version and for every controller under
other names, so it is found by looking rather than listed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.errors import ConfigError

WALKED = ("controllers", "utils.buffers", "utils.traj_utils")  # parts of robosuite whose objects are looked through
GRIPPER = "current_action"  # the only thing that a gripper remembers; the rest describes it
DESCRIPTIONS = ("controller_config", "part_controller_config", "composite_controller_config", "initialization_noise")
Place = tuple[dict[Any, Any], Any]  # attributes of an object, and the name of one


class Memory:
    """The places of an environment, and what was seen in each; the same for every environment that is built alike.

    memory.learn(env)  after a reset, and again after a step: values appear, and change their shape, with the first
    """

    def __init__(self) -> None:
        self.held: dict[str, list[Any]] = {}  # by place, an example of each type and shape

    def learn(self, env: Any) -> None:
        for path, (owner, name) in _places(env).items():
            examples = self.held.setdefault(path, [])
            if owner[name] is not None and _kind(owner[name], examples) == 0:
                examples.append(copy.copy(owner[name]))

    def read(self, env: Any) -> NDArray[np.float64]:
        """(M,) for each place its kind, 0 where nothing is, and its numbers, padded to the longest kind."""
        values = {path: owner[name] for path, (owner, name) in _places(env).items() if owner[name] is not None}
        for path, value in values.items():
            if _kind(value, self.held.get(path, [])) == 0:
                raise ConfigError(
                    f"the state of a robosuite scene was asked for, and its {path} is {value!r}, which is nothing of "
                    f"what was there after its first step; nothing was saved. Begin its episodes from seeds instead."
                )
        parts = []
        for path, examples in self.held.items():
            part = np.zeros(1 + _longest(examples))
            if path in values:
                part[0] = _kind(values[path], examples)
                part[1 : 1 + np.size(values[path])] = np.ravel(values[path])
            parts.append(part)
        parts.append(np.array([marker in env.wiped_markers for marker in _markers(env)], dtype=np.float64))
        return np.concatenate(parts)

    def write(self, env: Any, memory: NDArray[np.float64]) -> None:
        places, low = _places(env), 0
        for path, examples in self.held.items():
            kind, numbers = int(memory[low]), memory[low + 1 :]
            low += 1 + _longest(examples)
            if path in places:
                owner, name = places[path]
                owner[name] = _like(examples[kind - 1], numbers) if kind else None
        wiped = [marker for marker, is_wiped in zip(_markers(env), memory[low:], strict=True) if is_wiped]
        if hasattr(env, "wiped_markers"):
            env.wiped_markers = wiped


def _kind(value: Any, examples: list[Any]) -> int:
    """Counted from 1: the example of the type and shape of `value`; 0 if there is none."""
    alike = (type(value) is type(example) and np.shape(value) == np.shape(example) for example in examples)
    return next((index for index, is_alike in enumerate(alike, start=1) if is_alike), 0)


def _longest(examples: list[Any]) -> int:
    return max(map(np.size, examples), default=0)


def _places(env: Any) -> dict[str, Place]:
    """By a path from the environment, in an order that depends on its build alone."""
    places = {f"env.{name}": (vars(env), name) for name, value in vars(env).items() if _is_number(value)}
    seen: set[int] = set()
    for index, robot in enumerate(env.robots):
        places |= dict(_inside(f"robot{index}", robot, seen))
    return places


def _inside(path: str, thing: Any, seen: set[int]) -> Iterator[tuple[str, Place]]:
    owner: dict[Any, Any] = thing if isinstance(thing, dict) else vars(thing)
    seen.add(id(thing))
    for name, value in owner.items():
        here = f"{path}.{name}"
        if value is None or _is_number(value):
            yield here, (owner, name)
        elif hasattr(value, GRIPPER):
            yield f"{here}.{GRIPPER}", (vars(value), GRIPPER)
        elif id(value) not in seen and name not in DESCRIPTIONS and (isinstance(value, dict) or _is_walked(value)):
            yield from _inside(here, value, seen)


def _is_walked(value: Any) -> bool:
    package, _, module = type(value).__module__.partition(".")
    return package == "robosuite" and module.startswith(WALKED)


def _is_number(value: Any) -> bool:
    """Or an array of numbers of its own: a view into MuJoCo's memory belongs to the physics."""
    if isinstance(value, np.ndarray):
        array = value
        while isinstance(array.base, np.ndarray):
            array = array.base
        return value.dtype.kind in "bif" and type(array.base).__name__ != "PyCapsule"
    return isinstance(value, bool | int | float | np.bool_ | np.number)


def _like(example: Any, numbers: NDArray[np.float64]) -> Any:
    if isinstance(example, np.ndarray):
        array = np.empty_like(example)  # in the same order of axes: products round differently in another
        array[...] = numbers[: example.size].reshape(example.shape)
        return array
    return type(example)(numbers[0])


def _markers(env: Any) -> list[Any]:
    """The spots that Wipe keeps a list of."""
    return env.model.mujoco_arena.markers if hasattr(env, "wiped_markers") else []
