"""robosuite: every manipulation task of 1.4 and of 1.5, whichever the interpreter has, with state or pictures.

Five things differ from `robosuite.make(...).step`. Nothing is observed inside a step. What is observed is of one
moment: robosuite shows bodies where they were a substep (2 ms) before its joints, and 1.5 relates objects to the hand
where they were an observation before. A reset draws places anew and keeps the model. And every reset has its seed.
Physics, controllers, rewards and success are its own, to the last bit. And +1 opens a gripper, as everywhere in this
repository; in robosuite, its demonstrations and policies it closes (`gripper: closes`).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodied.config import Count, Natural, Positive, recipe
from embodied.errors import PackageError
from embodied.interfaces import Demonstrator, Env
from embodied.types import Array, Spec
from simulators.mujoco_camera import Camera, Render
from simulators.nearest import unknown
from simulators.randomize import Randomize
from simulators.robosuite_experts import expert_of
from simulators.robosuite_make import SAID, Control, gripper_entries, make
from simulators.robosuite_memory import Memory
from simulators.robosuite_state import advance, numpy_seeded
from simulators.subprocess_env import SubprocessEnv, split
from simulators.variation import Variation
from simulators.vector import Vector

FILM_CAMERA, FILM_PIXELS = "agentview", 384


@recipe
class RobosuiteRecipe:
    task: str = "Lift"  # any that robosuite ships: Stack, Door, Wipe, NutAssemblySquare, PickPlaceCan, TwoArmLift, ...
    num_envs: Count = 8
    processes: Natural = 2  # 0 keeps all environments in this process
    robots: tuple[str, ...] = ("Panda",)  # a task for two arms takes a single one twice
    controller: str | None = "OSC_POSE"  # a shipped one, or the path of a JSON file; null takes the robot's default
    controller_fields: dict[str, Any] = field(default_factory=dict)  # of the controller, to be other than it says
    gripper: Literal["opens", "closes"] = "opens"  # what +1 does to it; robosuite's own demonstrations: closes
    control_hz: Positive = 20.0
    reward: Literal["dense", "sparse"] = "dense"
    terminate_on_success: bool = True  # false: the episode goes on until its time limit
    horizon: Count = 500  # actions, the task's time limit
    obs: Literal["state", "rgb", "rgbd"] = "state"  # with pictures, `state` is what the robot knows of itself
    segmentation: bool = False  # also which geom each pixel shows
    cameras: tuple[str, ...] = ("agentview",)  # or frontview, birdview, sideview, robot0_eye_in_hand, ...
    image_size: Count = 128  # pixels, of every camera
    render: Render = "fast"  # faithful draws robosuite's own pictures
    redraw_sizes: bool = False  # every reset draws object sizes anew, as robosuite does, and builds the model for it
    kwargs: dict[str, Any] = field(default_factory=dict)  # of the task, such as {prehensile: false}
    randomize: Randomize = Randomize()  # looks, lights, cameras, places and dynamics of an episode, from its seed

    def build(self) -> Env:
        if self.processes == 0:
            return Vector(lambda: Single(self), self.num_envs)
        return SubprocessEnv(self.shards())

    def shards(self) -> list[RobosuiteRecipe]:
        """One for each process."""
        if self.processes == 0:
            return [self]
        return [replace(self, num_envs=n, processes=0) for n in split(self.num_envs, self.processes)]

    def filmed(self, num_envs: int) -> RobosuiteRecipe:
        """The same task in this process; every scene can be filmed."""
        return replace(self, num_envs=num_envs, processes=0)

    def demonstrator(self) -> Demonstrator:
        """One scene in this process and a script that solves its task; ConfigError where there is none."""
        expert_of(self.task, self.robots, self.controller, self.controller_fields)
        return Single(replace(self, num_envs=1, processes=0))


class Single:
    """One scene. Its state is the seed of its model, MuJoCo's state and what robosuite remembers."""

    def __init__(self, r: RobosuiteRecipe) -> None:
        self.r, self.model_seed = r, 0
        self.eyes: dict[str, Camera] = {}
        self.env = self._make()
        self._bind()
        self.passes = 2 if hasattr(self.env, "rng") else 1  # 1.5 relates an object to the hand before it looks for it
        low, high = self.env.action_spec
        self.middle, self.half = (low + high) / 2, (high - low) / 2
        grips = gripper_entries(self.env)  # (A,)
        self.sign = np.where(grips & (r.gripper == "opens"), -1.0, 1.0)  # (A,)
        self.correctable = tuple(np.flatnonzero(~grips).tolist())  # the scripts look before every action
        self._check_cameras()
        self.memory = Memory()
        self.reset(0, -1, 0)
        self.memory.learn(self.env)
        self.step(np.zeros(len(low), dtype=np.float32))
        self.memory.learn(self.env)
        self.reset(0, -1, 0)
        self.spec = Spec(
            obs={name: Array(x.shape, torch.from_numpy(x).dtype) for name, x in self.observe().items()},
            action_dim=len(low),
            num_envs=1,
            control_hz=r.control_hz,
            tasks=(SAID.get(r.task, r.task),),
            max_steps=r.horizon,
            robot="+".join(robot.name.lower() for robot in self.env.robots),
        )

    def reset(self, task: int, initial_state: int, seed: int) -> None:  # noqa: ARG002  (one task)
        key = initial_state if initial_state >= 0 else seed
        if self.r.redraw_sizes:
            self._build_again(key + 1)  # not the numbers that places are drawn with
        env = self.env
        with numpy_seeded(key), _one_object(env, key):
            if hasattr(env, "rng"):  # 1.5: its samplers hold the generator itself
                env.rng.bit_generator.state = np.random.default_rng(key).bit_generator.state
            for robot in env.robots:
                for gripper in _grippers(robot):  # 1.4 would begin with the last episode's fingers
                    gripper.current_action = np.zeros_like(gripper.current_action)
                robot.torques = None  # as a new robot has it, and not those of the last episode
            env.reset()
        if not self.r.randomize.is_off:
            self.variation.apply(seed, self.data)
            self.mujoco.mj_forward(self.model, self.data)

    def step(self, action: NDArray[np.float32]) -> tuple[float, bool, bool]:
        env, scaled = self.env, self.middle + self.variation.late(action) * self.sign * self.half
        env.timestep += 1
        advance(env, scaled)
        env.cur_time += env.control_timestep
        with contextlib.redirect_stdout(io.StringIO()):  # Wipe prints every joint that comes near its limit
            reward, over, _ = env._post_action(scaled)
        success = bool(env._check_success())
        env.done = False  # only the sampler has a clock
        if self.r.terminate_on_success:
            return float(reward), bool(over) or success, success
        return float(reward), bool(over) and not success, success

    def observe(self) -> dict[str, NDArray[Any]]:
        """Bodies are brought up to date with positions first; the physics does not notice."""
        self._look()
        env, r = self.env, self.r
        env._obs_cache = {}
        for _ in range(self.passes):
            env._update_observables(force=True)
        seen = env._get_observations()
        parts = ["object-state"] if r.obs == "state" and "object-state" in seen else []
        parts += [f"robot{index}_proprio-state" for index in range(len(env.robots))]
        obs: dict[str, NDArray[Any]] = {"state": np.concatenate([seen[part] for part in parts]).astype(np.float32)}
        for name in r.cameras if r.obs != "state" or r.segmentation else ():
            if r.obs != "state":
                obs[f"rgb/{name}"] = self._eye("policy").rgb(self.data, name)
            if r.obs == "rgbd":
                obs[f"depth/{name}"] = self._eye("policy").depth(self.data, name)
            if r.segmentation:
                obs[f"segmentation/{name}"] = self._eye("policy").segmentation(self.data, name)
        return obs

    def picture(self) -> Tensor:
        """(H, W, 3) uint8, for people."""
        self._look()
        return torch.from_numpy(self._eye("people").rgb(self.data, FILM_CAMERA))

    def demonstrate(self, act: Callable[[NDArray[np.float32]], None]) -> None:
        """Play the running episode with the script of this task until it is solved."""
        expert = expert_of(self.r.task, self.r.robots, self.r.controller, self.r.controller_fields)
        while not self.env._check_success():
            self._look()
            act((expert(self.env) * self.sign).astype(np.float32))

    def get_state(self) -> NDArray[np.float64]:
        physics = np.empty(self.mujoco.mj_stateSize(self.model, self.layout))
        self.mujoco.mj_getState(self.model, self.data, physics, self.layout)
        parts = [np.array([self.model_seed]), self.variation.save(), physics]
        parts += [*self._outside(), self.memory.read(self.env)]
        return np.concatenate([part.ravel() for part in parts])

    def set_state(self, state: NDArray[np.float64]) -> None:
        if int(state[0]) != self.model_seed:
            self._build_again(int(state[0]))
        varied = 1 + len(self.variation.save())
        self.variation.load(state[1:varied])
        low = varied + self.mujoco.mj_stateSize(self.model, self.layout)
        outside = self._outside()
        *kept, remembered = np.split(state[low:], np.cumsum([array.size for array in outside]))
        _put(outside, kept)
        self.mujoco.mj_setState(self.model, self.data, state[varied:low].copy(), self.layout)
        self.mujoco.mj_forward(self.model, self.data)
        _put(outside, kept)  # what sensors show is of the last substep, not of the next
        self.memory.write(self.env, remembered)
        _show_one_object(self.env)

    def _outside(self) -> list[NDArray[Any]]:
        """What a reset or a step may change beside the physics: parts of the model, and what sensors show."""
        model = [self.model.body_pos, self.model.body_quat, self.model.geom_rgba, self.model.site_rgba]
        return [*model, self.data.sensordata, self.data.qacc]

    def close(self) -> None:
        self._close_eyes()
        self.env.close()

    def _make(self) -> Any:
        r = self.r
        settings = {"reward_shaping": r.reward == "dense", "use_object_obs": r.obs == "state"}
        settings |= {"control_freq": r.control_hz, "horizon": r.horizon, **r.kwargs}
        return make(r.task, r.robots, Control(r.controller, r.controller_fields), self.model_seed, settings)

    def _build_again(self, model_seed: int) -> None:
        self._close_eyes()
        self.env.close()
        self.model_seed = model_seed
        self.env = self._make()
        self._bind()

    def _bind(self) -> None:
        import mujoco

        self.mujoco: Any = mujoco
        self.layout = int(self.mujoco.mjtState.mjSTATE_INTEGRATION)
        self.model, self.data = self.env.sim.model._model, self.env.sim.data._data
        things = [thing.root_body for thing in self.env.model.mujoco_objects]
        idle = np.zeros(len(self.env.action_spec[0]))
        self.variation = Variation(self.model, self.r.randomize, things=things, idle=idle)

    def _look(self) -> None:
        self.mujoco.mj_kinematics(self.model, self.data)
        self.mujoco.mj_comPos(self.model, self.data)
        self.mujoco.mj_camlight(self.model, self.data)

    def _check_cameras(self) -> None:
        known = self.env.sim.model.camera_names
        for name in self.r.cameras:
            if name not in known:
                raise unknown(f"robosuite's {self.r.task} has no camera", name, known)

    def _eye(self, whose: Literal["policy", "people"]) -> Camera:
        """Made when it is first needed: an OpenGL context is dear."""
        if whose not in self.eyes:
            size, render = (self.r.image_size, self.r.render) if whose == "policy" else (FILM_PIXELS, "faithful")
            try:
                self.eyes[whose] = Camera(self.model, size, size, render=render)
            except (ImportError, AttributeError, RuntimeError) as error:
                raise PackageError(
                    f"pictures of {self.r.task} cannot be drawn on this machine ({error}); none was. Off screen, "
                    f"MuJoCo needs EGL: `make setup` installs it or says what to type; `embodied doctor` says what is "
                    f"missing."
                ) from None
            self.eyes[whose].option.geomgroup[0] = 0  # collision shapes
        self.variation.show(self.eyes[whose])
        return self.eyes[whose]

    def _close_eyes(self) -> None:
        for eye in self.eyes.values():
            eye.close()
        self.eyes.clear()


def _put(arrays: list[NDArray[Any]], values: list[NDArray[np.float64]]) -> None:
    for array, value in zip(arrays, values, strict=True):
        array[:] = value.reshape(array.shape)


def _grippers(robot: Any) -> list[Any]:
    """Of each arm that has one."""
    held = robot.gripper.values() if isinstance(robot.gripper, dict) else [robot.gripper]
    return [gripper for gripper in held if gripper is not None and gripper.dof]


@contextlib.contextmanager
def _one_object(env: Any, key: int) -> Iterator[None]:
    """Choose the object of a task that plays with one of several, while the task believes that it is always this one.

    Its own choice is from a set of names, whose order is another in every process.
    """
    if getattr(env, "single_object_mode", 0) != 1:
        yield
        return
    kind, things = ("nut_id", env.nuts) if hasattr(env, "nuts") else ("object_id", env.objects)
    setattr(env, kind, int(np.random.default_rng(key).integers(len(things))))
    env.single_object_mode = 2
    try:
        yield
    finally:
        env.single_object_mode = 1


def _show_one_object(env: Any) -> None:
    """Of such a task, only what belongs to the chosen object is observed."""
    if getattr(env, "single_object_mode", 0) != 1:
        return
    is_nut = hasattr(env, "nuts")
    chosen, things = (env.nut_id, env.nuts) if is_nut else (env.object_id, env.objects)
    env.obj_to_use = things[chosen].name
    for index, names in (env.nut_id_to_sensors if is_nut else env.object_id_to_sensors).items():
        for name in names:
            env._observables[name].set_enabled(index == chosen)
            env._observables[name].set_active(index == chosen)
