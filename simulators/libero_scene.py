"""One LIBERO task, built once: the simulator's own environment without its renderer, and turns for those who play it.

A build takes seconds and hundreds of megabytes; an episode is a few hundred numbers. So the environments of a process
share the scene of a task: each keeps its own state and puts it in when it is its turn.
"""

from __future__ import annotations

import gc
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embodied.errors import ConfigError, PackageError
from simulators.libero_control import Arm
from simulators.libero_suites import Size, Task, size
from simulators.mujoco_camera import Camera, Render
from simulators.randomize import Randomize
from simulators.robosuite_state import numpy_seeded
from simulators.variation import Variation

log = logging.getLogger(__name__)
ACTUATORS = 9  # seven torques and two fingers
REMEMBERED = 15  # numbers of the controller: goal position 3 and orientation 9, fingers 2, whether its view is new
FIXTURE = 7  # numbers of the pose of a cabinet, a stove, ..., which LIBERO writes into the model
WAIT = np.array([0, 0, 0, 0, 0, 0, -1], dtype=np.float32)  # an action as LIBERO takes it: stay, open
ATTEMPTS = 100  # to place objects, before a task is given up
Vector = NDArray[np.float64]


class Scene:
    """A task whose physics is read and written as a whole. `owner` is whose episode lies in it."""

    def __init__(self, task: Task, envs: Any, randomize: Randomize) -> None:
        import mujoco

        self.mujoco: Any = mujoco
        self.task, self.size = task, size(task)
        self.owner: Player | None = None
        self.env = _build(task, envs)
        self.model, self.data = self.env.sim.model._model, self.env.sim.data._data
        self.arm = Arm(self.env)
        self.stored = task.initial_states()
        things = [thing.root_body for thing in (*self.env.objects_dict.values(), *self.env.fixtures_dict.values())]
        self.variation = Variation(self.model, randomize, things=things, idle=WAIT)
        self.cameras: dict[int, Camera] = {}  # by their pixels
        robot = self.env.robots[0]
        self.gripper: Any = robot.gripper
        self.hand_site, self.hand_body = robot.eef_site_id, self.model.body(robot.robot_model.eef_name).id
        self.first = {name: np.copy(value) for name, value in vars(robot.controller).items() if _is_view(value)}
        self.placed = [  # how LIBERO places each fixture, and its body
            (sampler, self.model.body(sampler.mujoco_objects[0].root_body).id)
            for sampler in self.env.placement_initializer.samplers.values()
            if sampler.mujoco_objects[0].name in self.env.fixtures_dict
        ]
        found = (self.model.nq, self.model.nv, self.model.nu)
        if found != (self.size.positions, self.size.velocities, ACTUATORS) or len(self.placed) > self.size.fixtures:
            raise ConfigError(
                f"LIBERO's scene of `{task.name}` has {found} positions, velocities and actuators, and its files say "
                f"{(self.size.positions, self.size.velocities, ACTUATORS)}; nothing was built. The package and its "
                f"initial states are of different versions."
            )

    def begin(self, initial_state: int, key: int, seed: int, *, sampled: bool) -> None:
        """Start from a stored state, or from places that LIBERO's own samplers draw; `key` decides what is random.

        What is randomized beyond follows from `seed`.
        """
        with numpy_seeded(key):
            if sampled:
                start = self._sample()
            else:
                start = self.stored[initial_state]
                self._place_fixtures()
        self.mujoco.mj_resetData(self.model, self.data)
        nq = self.size.positions
        self.data.time, self.data.qpos[:], self.data.qvel[:] = start[0], start[1 : 1 + nq], start[1 + nq :]
        self.variation.apply(seed, self.data)
        for name, value in self.first.items():  # of the arm's rest pose, as in LIBERO, until the first substep is over
            setattr(self.controller, name, np.copy(value))
        self.controller.new_update = False
        self.gripper.current_action = np.zeros(2)
        self.env._post_process()

    @property
    def controller(self) -> Any:
        return self.env.robots[0].controller

    def step(self, action: NDArray[np.floating[Any]]) -> bool:
        """One action as LIBERO takes it (+1 closes the gripper); whether the task is solved after it."""
        self.arm.step(self.variation.late(action))
        solved = bool(self.env._check_success())
        self.env._post_process()  # colors a stove that is on
        return solved

    def look(self) -> None:
        """Bring what is seen up to date with the positions; the physics does not notice."""
        self.mujoco.mj_kinematics(self.model, self.data)
        self.mujoco.mj_comPos(self.model, self.data)
        self.mujoco.mj_camlight(self.model, self.data)

    def save(self) -> Vector:
        """(S,) from which `load` continues, bit for bit."""
        physics = np.empty(self.mujoco.mj_stateSize(self.model, self._layout()))
        self.mujoco.mj_getState(self.model, self.data, physics, self._layout())
        c = self.controller
        memory = [c.goal_pos, c.goal_ori.ravel(), self.gripper.current_action, [float(c.new_update)]]
        poses = [np.concatenate([self.model.body_pos[b], self.model.body_quat[b]]) for _, b in self.placed]
        return np.concatenate([*memory, physics, *poses, self.variation.save()])

    def load(self, state: Vector) -> None:
        state, varied = np.split(state, [len(state) - len(self.variation.save())])
        self.variation.load(varied)
        memory, physics = state[:REMEMBERED], state[REMEMBERED : len(state) - FIXTURE * len(self.placed)]
        self.mujoco.mj_resetData(self.model, self.data)
        self.mujoco.mj_setState(self.model, self.data, physics, self._layout())
        for (_, body), pose in zip(self.placed, state[REMEMBERED + len(physics) :].reshape(-1, FIXTURE), strict=True):
            self.model.body_pos[body], self.model.body_quat[body] = pose[:3], pose[3:]
        for name, value in self.first.items():
            setattr(self.controller, name, np.copy(value))
        self.controller.goal_pos, self.controller.goal_ori = memory[:3].copy(), memory[3:12].reshape(3, 3).copy()
        self.gripper.current_action = memory[12:14].copy()
        self.controller.new_update = bool(memory[14])
        self.env._post_process()

    def camera(self, pixels: int, render: Render) -> Camera:
        """Made when it is first needed: an OpenGL context is dear. Shows what robosuite's renderer shows."""
        if pixels not in self.cameras:
            try:
                made = Camera(self.model, pixels, pixels, render=render)
            except (ImportError, AttributeError, RuntimeError) as error:
                raise PackageError(
                    f"LIBERO cannot be drawn on this machine ({error}); nothing was built. Off screen, MuJoCo needs "
                    f"EGL: `make setup` installs it or says what to type; obs=state needs no pictures."
                ) from None
            made.option.geomgroup[0] = 0  # shapes for collisions
            self.cameras[pixels] = made
        self.variation.show(self.cameras[pixels])
        return self.cameras[pixels]

    def close(self) -> None:
        for camera in self.cameras.values():
            camera.close()
        self.cameras = {}
        self.env.close()

    def _layout(self) -> int:
        kinds = self.mujoco.mjtState
        wanted = (kinds.mjSTATE_TIME, kinds.mjSTATE_QPOS, kinds.mjSTATE_QVEL, kinds.mjSTATE_CTRL)
        return int(sum(map(int, wanted)) + int(kinds.mjSTATE_WARMSTART))

    def _place_fixtures(self) -> None:
        """Within the centimeter that LIBERO allows: its stored states do not say where they stood."""
        for sampler, body in self.placed:
            ((position, quaternion, _),) = sampler.sample().values()
            self.model.body_pos[body], self.model.body_quat[body] = position, quaternion

    def _sample(self) -> Vector:
        """A new arrangement, fixtures included."""
        from robosuite.utils.errors import RandomizationError

        for _ in range(ATTEMPTS):
            self.env.sim.reset()
            try:
                self.env._reset_internal()
            except RandomizationError:
                continue
            return np.concatenate([[0.0], self.data.qpos, np.zeros(self.model.nv)])
        raise ConfigError(
            f"LIBERO found no place for the objects of `{self.task.name}` in {ATTEMPTS} attempts; the episode did not "
            f"begin. Use starts=stored."
        )


def state_width(of: Size) -> int:
    """The most numbers that `Scene.save` gives for a task of this size."""
    return REMEMBERED + 1 + of.positions + 2 * of.velocities + ACTUATORS + FIXTURE * of.fixtures


def _is_view(value: Any) -> bool:
    """Whether it is an array of numbers that a controller computed."""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _build(task: Task, envs: Any) -> Any:
    """LIBERO's environment as its own wrapper makes it, but without a renderer and with resets that rebuild nothing."""
    from robosuite.controllers import load_controller_config
    from robosuite.utils.errors import RandomizationError

    problem = envs.bddl_base_domain.BDDLUtils.get_problem_info(str(task.bddl))["problem_name"]
    for attempt in range(ATTEMPTS):
        with numpy_seeded(attempt):
            try:
                env = envs.TASK_MAPPING[problem](
                    str(task.bddl),
                    robots=["Panda"],
                    controller_configs=load_controller_config(default_controller="OSC_POSE"),
                    initialization_noise=None,
                    use_camera_obs=False,
                    has_offscreen_renderer=False,
                    control_freq=20,
                    ignore_done=True,
                    hard_reset=False,
                )
                env.reset()
            except RandomizationError:
                continue
            return env
    raise ConfigError(
        f"LIBERO found no place for the objects of `{task.name}` in {ATTEMPTS} attempts; nothing was built."
    )


class Player(Protocol):
    """An environment that takes turns in scenes."""

    saved: Vector  # its state when it is not its turn


class Scenes:
    """The built tasks of one process: those that are played, and the latest others up to `keep` in all."""

    def __init__(self, build: Callable[[int], Scene], keep: int) -> None:
        self.build, self.keep = build, keep
        self.built: OrderedDict[int, Scene] = OrderedDict()
        self.playing: dict[Player, int] = {}

    def enter(self, player: Player, task: int) -> Scene:
        """`player` plays `task` from now on; whatever lay in its scene is put away."""
        self.leave(player)
        self.playing[player] = task
        if task not in self.built:
            self._make_room()
            self.built[task] = self.build(task)
        self.built.move_to_end(task)
        scene = self.built[task]
        _put_away(scene)
        scene.owner = player
        return scene

    def turn(self, player: Player) -> Scene:
        """The scene of `player`, with its episode in it."""
        scene = self.built[self.playing[player]]
        if scene.owner is not player:
            _put_away(scene)
            scene.load(player.saved)
            scene.owner = player
        return scene

    def leave(self, player: Player) -> None:
        task = self.playing.pop(player, None)
        if task is not None and self.built[task].owner is player:
            self.built[task].owner = None

    def close(self) -> None:
        while self.built:
            self.built.popitem()[1].close()

    def _make_room(self) -> None:
        played = set(self.playing.values())
        idle = [task for task in self.built if task not in played]  # the oldest first
        for task in idle[: max(0, len(idle) - max(0, self.keep - len(played)))]:
            log.info("LIBERO's scene of %s is closed to make room", self.built[task].task.name)
            self.built.pop(task).close()
        gc.collect()  # robosuite's parts refer to each other in circles


def _put_away(scene: Scene) -> None:
    if scene.owner is not None:
        scene.owner.saved = scene.save()
        scene.owner = None
