"""ManiSkill's own motion planners as demonstrators.

They are programs that call `env.step` by themselves. Here they get a stand-in for that environment: all that they look
up comes from our scene, and each of their joint targets becomes the action in [-1, 1] with which our controller moves
there, so what is recorded is exactly what was executed. Controllers of the tool's pose are left out: between their
actions and joint targets lies an inverse kinematics that does not give the target back.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodied.errors import ConfigError, DemonstrationError, PackageError
from embodied.packaging import need
from embodied.types import Spec

ARMS = ("panda", "so100", "xarm6")  # whose planners ManiSkill ships
CONTROLS = ("pd_joint_pos", "pd_joint_delta_pos", "pd_joint_target_delta_pos")
MOST_STEPS = 5  # of a relative controller towards one joint target; then the arm is held up by something
GAVE_UP = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RuntimeError, TypeError, ValueError)


class Scene(Protocol):
    """What is needed of `maniskill.Single`."""

    @property
    def scene(self) -> Any: ...
    @property
    def spec(self) -> Spec: ...
    def reset(self, task: int, initial_state: int, seed: int) -> None: ...
    def step(self, action: NDArray[np.float32]) -> tuple[float, bool, bool]: ...
    def observe(self) -> Mapping[str, Tensor]: ...
    def close(self) -> None: ...


class Planner:
    """One scene and ManiSkill's program for its task."""

    source = "planner"
    correctable = ()  # it plans a path and follows it blindly

    def __init__(self, task: str, control: str | None, make: Callable[[], Scene]) -> None:
        _check_versions()
        if control not in CONTROLS:
            raise ConfigError(
                f"ManiSkill's planners move joints, and with control={control} their motions cannot be repeated "
                f"exactly; nothing was demonstrated. Set simulator.control to one of {', '.join(CONTROLS)}."
            )
        self.single = make()
        try:
            self.solve = _program(task, self.single.spec.robot)
            self.actions = _actions(self.single.scene)
        except BaseException:
            self.single.close()
            raise
        self.spec, self.reset, self.step = self.single.spec, self.single.reset, self.single.step
        self.observe, self.close = self.single.observe, self.single.close

    @torch.inference_mode()
    def demonstrate(self, act: Callable[[NDArray[np.float32]], None]) -> None:
        """DemonstrationError where the planner finds no way, in whichever manner it says so."""
        stand_in = _StandIn(self.single.scene.env, self.actions, act)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                outcome = self.solve(stand_in, seed=None, debug=False, vis=False)
        except GAVE_UP as error:
            if stand_in.acting:
                raise
            raise DemonstrationError(f"the planner gave up: {type(error).__name__}: {error}") from None
        if isinstance(outcome, int):  # -1
            raise DemonstrationError("the planner found no path to its last target")


class _StandIn:
    """Looks like the environment a planner expects; its steps are ours, and its resets were done before."""

    def __init__(self, env: Any, actions: Actions, act: Callable[[NDArray[np.float32]], None]) -> None:
        self._env, self._actions, self._act = env, actions, act
        self.control_mode = "pd_joint_pos"
        self.unwrapped = self
        self.acting = False  # whether our own code runs, whose errors are not the planner's

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def reset(self, **_: Any) -> tuple[None, dict[str, Any]]:
        return None, {}

    def step(self, target: NDArray[np.float64]) -> tuple[None, float, bool, bool, dict[str, Any]]:
        self.acting = True
        self._actions(np.asarray(target, dtype=np.float64), self._act)
        self.acting = False
        return None, 0.0, False, False, {}


Actions = Callable[[NDArray[np.float64], Callable[[NDArray[np.float32]], None]], None]


def _actions(scene: Any) -> Actions:
    """How our controller is made to take over joint targets, gripper included."""
    control = scene.env.control_mode
    middle, half = scene.actions.middle.double().numpy(), scene.actions.half.double().numpy()  # (A,)
    if control == "pd_joint_pos":
        return lambda target, act: act(((target - middle) / half).clip(-1, 1).astype(np.float32))
    arm = getattr(scene.env.agent.controller, "controllers", {}).get("arm")
    if arm is None or not scene.actions.plain:
        raise ConfigError(
            f"control={control} of {scene.env.robot_uids} moves more than its arm by differences; nothing was "
            f"demonstrated. Set simulator.control=pd_joint_pos."
        )
    reach = float(arm.config.upper)  # rad, of one action, to both sides

    def move(target: NDArray[np.float64], act: Callable[[NDArray[np.float32]], None]) -> None:
        joints = arm.single_action_space.shape[0]
        for _ in range(MOST_STEPS):
            now = arm._target_qpos if arm.config.use_target else arm.qpos  # (1, J)
            away = (target[:joints] - now[0].double().numpy()) / reach
            act(np.concatenate([away, target[joints:]]).clip(-1, 1).astype(np.float32))
            if np.abs(away).max() <= 1:
                return

    return move


def _program(task: str, robot: str) -> Callable[..., Any]:
    arm = next((arm for arm in ARMS if robot.startswith(arm)), None)
    if arm is None:
        raise ConfigError(
            f"ManiSkill ships motion planners for {', '.join(ARMS)}, and {task} has {robot}; nothing was demonstrated. "
            f"Choose a task of one of these arms, such as PushCube-v1."
        )
    programs = import_module(f"mani_skill.examples.motionplanning.{arm}.run").MP_SOLUTIONS
    if task not in programs:
        raise ConfigError(
            f"ManiSkill ships no motion planner for {task} with {robot}; nothing was demonstrated. Tasks that have "
            f"one: {', '.join(sorted(programs))}."
        )
    return programs[task]


def _check_versions() -> None:
    need("mplib", extra="maniskill")
    if int(np.__version__.partition(".")[0]) > 1:
        raise PackageError(
            f"ManiSkill's planner crashes with numpy {np.__version__}, and this process has it; nothing was "
            f"demonstrated. Type: pip install 'numpy>=1.26,<2'"
        )
