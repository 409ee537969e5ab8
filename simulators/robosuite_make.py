"""Building a robosuite environment, of 1.4 or of 1.5: names are checked here, and differences between the two end here.

1.4 names a robot's controller in one flat file; 1.5 composes it of parts. A file or a name of the first kind is put
into the arms of the second, by robosuite's own conversion.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.errors import ConfigError, PackageError
from simulators.nearest import unknown
from simulators.robosuite_state import import_robosuite, numpy_seeded

SAID = {
    "Lift": "lift the cube",
    "Stack": "stack the red cube on the green cube",
    "NutAssembly": "put both nuts on their pegs",
    "NutAssemblySingle": "put the nut on its peg",
    "NutAssemblySquare": "put the square nut on the square peg",
    "NutAssemblyRound": "put the round nut on the round peg",
    "PickPlace": "put every object into its bin",
    "PickPlaceSingle": "put the object into its bin",
    "PickPlaceMilk": "put the milk into its bin",
    "PickPlaceBread": "put the bread into its bin",
    "PickPlaceCereal": "put the cereal into its bin",
    "PickPlaceCan": "put the can into its bin",
    "Door": "open the door",
    "Wipe": "wipe the table clean",
    "ToolHang": "assemble the frame and hang the tool on it",
    "TwoArmLift": "lift the pot with both arms",
    "TwoArmPegInHole": "put the peg into the hole of the plate",
    "TwoArmHandover": "hand the hammer over to the other arm",
    "TwoArmTransport": "move the hammer to the other bin and clear away the trash",
}


@dataclass(frozen=True, slots=True)
class Control:
    """Which controller every robot gets: a name, the path of a file, or None for the robot's default."""

    name: str | None
    fields: Mapping[str, Any]  # of it, that are to be other than it says


def make(task: str, robots: Sequence[str], control: Control, model_seed: int, settings: Mapping[str, Any]) -> Any:
    """The environment, without a renderer; the sizes of its objects follow from `model_seed`."""
    suite = _import(task)
    known = tasks()
    if task not in known:
        raise unknown("robosuite has no task", task, known)
    robots = _enough(robots, known[task])
    quiet = dict.fromkeys(("hard_reset", "use_camera_obs", "has_renderer", "has_offscreen_renderer"), False)
    seed = {"seed": model_seed} if is_new(suite) else {}
    try:
        with numpy_seeded(model_seed):
            controllers = [_config(control, robot) for robot in robots]
            common = {"robots": robots, "controller_configs": controllers, "ignore_done": True, "renderer": "mujoco"}
            return known[task](**common, **quiet, **seed, **settings)
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        found = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            f"robosuite refuses {task} with robots={', '.join(robots)} and controller={control.name} ({found}); "
            f"nothing was built. Choose another robot or controller, or leave `kwargs` and `controller_fields` empty."
        ) from None


def _import(task: str) -> Any:
    try:
        return import_robosuite("robosuite")
    except (ImportError, AttributeError, RuntimeError) as error:  # it looks for a graphics library when imported
        raise PackageError(
            f"robosuite's {task} cannot be built on this machine ({error}); nothing was built. If it is about EGL or "
            f"MUJOCO_GL: `make setup` installs the libraries or says what to type; `embodied doctor` says what is "
            f"missing."
        ) from None


def is_new(suite: Any) -> bool:
    """1.5 or later."""
    return tuple(int(part) for part in suite.__version__.split(".")[:2]) >= (1, 5)


def tasks() -> dict[str, Any]:
    """Those that robosuite ships, by name; LIBERO registers its own in the same place."""
    from robosuite.environments.base import REGISTERED_ENVS

    return {name: cls for name, cls in REGISTERED_ENVS.items() if cls.__module__.startswith("robosuite.")}


def _enough(robots: Sequence[str], task: Any) -> list[str]:
    """A task for two arms takes a single-armed robot twice."""
    from robosuite.environments.manipulation.two_arm_env import TwoArmEnv
    from robosuite.robots import ROBOT_CLASS_MAPPING

    for robot in robots:
        if robot not in ROBOT_CLASS_MAPPING:
            raise unknown("robosuite has no robot", robot, ROBOT_CLASS_MAPPING)
    needs_another = issubclass(task, TwoArmEnv) and len(robots) == 1 and len(arms(robots[0])) == 1
    return list(robots) * (2 if needs_another else 1)


def arms(robot: str) -> list[str]:
    import robosuite
    from robosuite.models.robots.robot_model import REGISTERED_ROBOTS

    if is_new(robosuite):
        return list(REGISTERED_ROBOTS[robot].arms)
    from robosuite.robots import BIMANUAL_ROBOTS

    return ["right", "left"] if robot.lower() in BIMANUAL_ROBOTS else ["right"]


def _config(control: Control, robot: str) -> dict[str, Any] | None:
    import robosuite

    if control.name is None:
        if control.fields:
            raise ConfigError(
                f"controller_fields={dict(control.fields)} was asked for without a controller; nothing was built. Name "
                f"the controller that they change, such as controller=OSC_POSE."
            )
        return None
    if is_new(robosuite):
        return _composed(control.name, control.fields, robot)
    from robosuite.controllers import ALL_CONTROLLERS, load_controller_config

    is_shipped = control.name in ALL_CONTROLLERS
    config = (
        load_controller_config(default_controller=control.name) if is_shipped else _read(control.name, ALL_CONTROLLERS)
    )
    if config["type"] == "IK_POSE" and not find_spec("pybullet"):
        raise PackageError(
            f"controller={control.name} of robosuite 1.4 needs `pybullet`, which is not installed; nothing was built. "
            f"Type: pip install pybullet. Or choose another controller, such as OSC_POSE."
        )
    return _changed(config, control.fields)


def _composed(name: str, fields: Mapping[str, Any], robot: str) -> dict[str, Any]:
    """1.5: fields change the controller of each arm."""
    suite: Any = import_module("robosuite")
    factory = import_module("robosuite.controllers.composite.composite_controller_factory")
    if name in suite.ALL_PART_CONTROLLERS:
        config = suite.load_part_controller_config(default_controller=name)
    elif name in suite.ALL_COMPOSITE_CONTROLLERS:
        config = suite.load_composite_controller_config(controller=name)
    else:
        config = _read(name, [*suite.ALL_PART_CONTROLLERS, *suite.ALL_COMPOSITE_CONTROLLERS])
        if "body_parts" in config:
            config = suite.load_composite_controller_config(controller=name)
    config = factory.refactor_composite_controller_config(config, robot, arms(robot))
    parts = config["body_parts"]
    parts |= {arm: _changed(parts[arm], fields) for arm in arms(robot) if arm in parts}
    return config


def _read(path: str, known: Iterable[str]) -> dict[str, Any]:
    if not path.endswith(".json"):
        raise unknown("robosuite has no controller", path, known)
    try:
        config = json.loads(Path(path).read_text())
        if not isinstance(config, dict) or "type" not in config:
            raise ValueError("it has no `type`")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"controller={path} was asked for and cannot be read as a controller of robosuite ({error}); nothing was "
            f"built. Give the path of a JSON file, or one of the names {', '.join(known)}."
        ) from None
    return config


def _changed(config: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    for name in fields:
        if name not in config:
            raise unknown(f"the controller {config['type']} of robosuite has no field", name, config)
    return config | dict(fields)


def gripper_entries(env: Any) -> NDArray[np.bool_]:
    """(A,) which entries of an action move fingers."""
    entries: list[bool] = []
    for robot in env.robots:
        parts = getattr(robot, "_action_split_indexes", None)  # 1.5: {part: (start, end)}
        if parts is not None:
            own = np.zeros(robot.action_dim, dtype=bool)
            for name, (start, end) in parts.items():
                own[start:end] = name.endswith("gripper")
            entries += own.tolist()
            continue
        arms = robot.gripper if isinstance(robot.gripper, dict) else {"": robot.gripper}  # 1.4: arm, fingers, arm, ...
        size = robot.action_dim // len(arms)
        for gripper in arms.values():
            fingers = gripper.dof if gripper is not None else 0
            entries += [False] * (size - fingers) + [True] * fingers
    return np.array(entries)
