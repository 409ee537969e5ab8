"""What robosuite remembers between steps outside MuJoCo, as numbers in one vector.

Controllers keep goals and integrals, robots keep buffers of what they felt, grippers how far they are closed, tasks
what was done already. All of it lies in attributes of a few objects, in every version and for every controller under
other names, so it is found by looking rather than listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

WALKED = ("controllers", "utils.buffers", "utils.traj_utils")  # parts of robosuite whose objects are looked through
GRIPPER = "current_action"  # the only thing that a gripper remembers; the rest describes it
DESCRIPTIONS = ("controller_config", "part_controller_config", "composite_controller_config", "initialization_noise")
Place = tuple[dict[Any, Any], Any]  # attributes of an object, and the name of one


class Memory:
    """The places of an environment that has made a step; the same for every environment that is built alike."""

    def __init__(self, env: Any) -> None:
        held = {path: owner[name] for path, (owner, name) in _places(env).items()}
        self.held = {path: value for path, value in held.items() if value is not None}
        self.markers = len(_markers(env))
        self.size = sum(1 + np.size(value) for value in self.held.values()) + self.markers

    def read(self, env: Any) -> NDArray[np.float64]:
        """(M,) each value after a 1, or zeros for one that is not there yet."""
        places, parts = _places(env), []
        for path, example in self.held.items():
            owner, name = places.get(path, ({}, ""))
            value = owner.get(name)
            if value is None:
                parts.append(np.zeros(1 + np.size(example)))
            else:  # fingers are one zero until they move
                parts.append(np.append(1.0, np.broadcast_to(value, np.shape(example))))
        parts.append(np.array([marker in env.wiped_markers for marker in _markers(env)], dtype=np.float64))
        return np.concatenate(parts)

    def write(self, env: Any, memory: NDArray[np.float64]) -> None:
        places, low = _places(env), 0
        for path, example in self.held.items():
            is_there, numbers = memory[low] == 1, memory[low + 1 : low + 1 + np.size(example)]
            low += 1 + np.size(example)
            if path in places:
                owner, name = places[path]
                owner[name] = _like(example, numbers) if is_there else None
        if self.markers:
            env.wiped_markers = [m for m, is_wiped in zip(_markers(env), memory[low:], strict=True) if is_wiped]


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
        return value.dtype.kind in "bif" and array.base is None
    return isinstance(value, bool | int | float | np.bool_ | np.number)


def _like(example: Any, numbers: NDArray[np.float64]) -> Any:
    if isinstance(example, np.ndarray):
        array = np.empty_like(example)  # in the same order of axes: products round differently in another
        array[...] = numbers.reshape(example.shape)
        return array
    return type(example)(numbers[0])


def _markers(env: Any) -> list[Any]:
    """The spots that Wipe keeps a list of."""
    return env.model.mujoco_arena.markers if hasattr(env, "wiped_markers") else []
