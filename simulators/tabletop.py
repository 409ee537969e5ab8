"""A Franka at a table, on MuJoCo alone: several tasks, impedance control at 20 Hz, state and cameras, scripted experts.

Everything is drawn and collided as capsules, boxes and cylinders, so a core makes hundreds of control steps with a
picture each second. One scene holds a model for every task it plays, compiled once, so a reset may change the task.
Base frame, SI units; see `tabletop_world.py` for the frame and `tabletop_tasks.py` for what is solved when.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodied.config import Count, Natural, Positive, recipe
from embodied.environment import prepare
from embodied.errors import PackageError
from embodied.interfaces import Env
from embodied.spec import one_or_each
from embodied.types import Array, Spec
from simulators import osc
from simulators.mujoco_camera import Camera, Render
from simulators.nearest import nearest
from simulators.randomize import Randomize
from simulators.subprocess_env import SubprocessEnv, split
from simulators.tabletop_experts import expert_action
from simulators.tabletop_tasks import KINDS, Kind, Task
from simulators.tabletop_world import CONTROL_HZ, HIGH, LOW, World, world_xml
from simulators.variation import Variation
from simulators.vector import Vector

FILM_PIXELS = 480
TILT_RAD = 1.2  # the farthest the tool is asked to turn from pointing down: no joint meets its limit there
DOWN = np.diag([1.0, -1.0, -1.0])  # orientation of a tool that points down, its fingers apart along y


@recipe
class TabletopRecipe:
    tasks: tuple[str, ...] = ("push",)  # of reach, push, pick, stack, insert, drawer; several: each reset names one
    num_envs: Count = 8
    processes: Natural = 2  # 0 keeps all environments in this process
    obs: Literal["state", "rgb", "rgbd"] = "state"  # state: with the objects; else the arm alone, and pictures
    segmentation: bool = False  # also which geom each pixel shows; with pictures
    cameras: tuple[Literal["front", "side", "top", "wrist"], ...] = ("front",)  # of the pictures
    image_size: Count = 128  # pixels, of every camera
    render: Render = "fast"  # faithful: shadows, multisampling, round shapes
    control: Literal["position", "pose"] = "position"  # 3 or 6 numbers move the tool's target, one more the gripper
    position_scale: Positive = 0.025  # m that an action of 1 moves the target along each axis
    rotation_scale: Positive = 0.07  # rad around each axis
    lead: Positive = 0.06  # m, the farthest the target gets from the tool: 2,000 N/m pull it there
    reward: Literal["dense", "sparse"] = "dense"  # at most 1 per action
    terminate_on_success: bool = True  # false: the episode goes on until its time limit
    randomize: Randomize = Randomize()  # looks, lights, cameras, places and dynamics of an episode, from its seed

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError(f"no task was named; set tasks to some of {', '.join(KINDS)}")
        for task in self.tasks:
            if task not in KINDS:
                raise ValueError(f"the tabletop has no task `{task}`. {nearest(task, KINDS)}")
        if self.obs != "state" and not self.cameras:
            raise ValueError(f"obs={self.obs} needs a camera: front, side, top or wrist")
        if self.obs == "state" and self.segmentation:
            raise ValueError("segmentation=true goes with pictures: set obs=rgb, or segmentation=false")
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"a task is named twice in {', '.join(self.tasks)}; name each once")

    def build(self) -> Env:
        if self.processes == 0:
            lens = Lens(self)
            return Vector(lambda: Tabletop(self, lens), self.num_envs)
        return SubprocessEnv(self.shards())

    def shards(self) -> list[TabletopRecipe]:
        """One for each process."""
        if self.processes == 0:
            return [self]
        return [replace(self, num_envs=n, processes=0) for n in split(self.num_envs, self.processes)]

    def demonstrator(self) -> Tabletop:
        """One scene in this process, whose experts solve every task."""
        return Tabletop(replace(self, num_envs=1, processes=0))

    def filmed(self, num_envs: int) -> TabletopRecipe:
        """The same tasks in this process; every scene can be filmed."""
        return replace(self, num_envs=num_envs, processes=0)


class Lens:
    """The cameras of all scenes of a process: without meshes and textures, one OpenGL context draws every model."""

    def __init__(self, r: TabletopRecipe) -> None:
        self.r = r
        self.made: dict[str, Camera] = {}

    def of(self, model: Any, whose: Literal["policy", "people"]) -> Camera:
        if whose not in self.made:
            size, render = (self.r.image_size, self.r.render) if whose == "policy" else (FILM_PIXELS, "faithful")
            try:
                self.made[whose] = Camera(model, size, size, render=render)
            except (ImportError, AttributeError, RuntimeError) as error:
                raise PackageError(
                    f"pictures of the tabletop cannot be drawn on this machine ({error}); none was. Off screen, MuJoCo "
                    f"needs EGL: `make setup` installs it or says what to type; obs=state needs no pictures."
                ) from None
        camera = self.made[whose]
        camera.model = model
        return camera

    def close(self) -> None:
        while self.made:
            self.made.popitem()[1].close()


class Tabletop:
    """One scene. `model` and `data` are those of the running task."""

    def __init__(self, r: TabletopRecipe, lens: Lens | None = None) -> None:
        prepare()
        self.r, self.lens = r, lens or Lens(r)
        self.motion = osc.Motion(
            step_m=r.position_scale,
            turn_rad=r.rotation_scale,
            lead_m=r.lead,
            lead_rad=2.3 * r.rotation_scale,
            tilt_rad=TILT_RAD,
            low=LOW,
            high=HIGH,
            period_s=1 / CONTROL_HZ,
        )
        self.action_dim = 4 if r.control == "position" else 7
        self.correctable = tuple(range(self.action_dim - 1))  # its experts look before every action
        self.worlds = [self._built(KINDS[task]) for task in r.tasks]
        worlds = [world for world, _, _ in self.worlds]
        self.size = max(world.size for world in worlds)
        self.features = max(len(play.features()) for _, play, _ in self.worlds)
        self.reset(0, 0, 0)
        obs = {name: Array(tuple(x.shape), torch.as_tensor(x).dtype) for name, x in self.observe().items()}
        self.spec = Spec(
            obs=obs,
            action_dim=self.action_dim,
            num_envs=1,
            control_hz=CONTROL_HZ,
            tasks=tuple(KINDS[task].instruction for task in r.tasks),
            max_steps=one_or_each(KINDS[task].max_steps for task in r.tasks),
            robot="panda",
        )

    @property
    def model(self) -> Any:
        return self.world.model

    @property
    def data(self) -> Any:
        return self.world.data

    @property
    def task(self) -> str:
        """Name of the running one."""
        return self.r.tasks[self.index]

    def reset(self, task: int, initial_state: int, seed: int) -> None:
        self._enter(task)
        generator = np.random.default_rng(initial_state if initial_state >= 0 else seed)
        self.world.begin(generator)
        self.play.begin(generator)
        self.variation.apply(seed, self.data)
        self.world.ready()

    def step(self, action: NDArray[np.float32]) -> tuple[float, bool, bool]:
        arm, action = self.world.arm, self.variation.late(action)
        arm.move(action[:3], action[3:6] if self.r.control == "pose" else None)
        arm.open(float(action[-1]))
        self.world.step()
        reward, success = self.play.judge()
        if self.r.reward == "sparse":
            reward = float(success)
        return reward, success and self.r.terminate_on_success, success

    def observe(self) -> Mapping[str, NDArray[Any]]:
        """`state`, and `rgb/CAMERA`, `depth/CAMERA`, `segmentation/CAMERA` as asked for."""
        if self.r.obs == "state":
            return {"state": np.concatenate([self.proprioception(), self._padded()]).astype(np.float32)}
        obs: dict[str, NDArray[Any]] = {"state": self.proprioception().astype(np.float32)}
        lens = self.lens.of(self.model, "policy")
        self.variation.show(lens)
        for camera in self.r.cameras:
            obs[f"rgb/{camera}"] = lens.rgb(self.data, camera)
            if self.r.obs == "rgbd":
                obs[f"depth/{camera}"] = lens.depth(self.data, camera)
            if self.r.segmentation:
                obs[f"segmentation/{camera}"] = lens.segmentation(self.data, camera)
        return obs

    def proprioception(self) -> NDArray[np.float64]:
        """Joints (7,) rad, their speeds (7,), tool (3,) m, its rotation vector from pointing down (3,), distance of the
        fingers (1,), and how far the target leads the tool: (3,) m, with `pose` also (3,) rad.
        """
        world, arm = self.world, self.world.arm
        parts = [arm.angles, arm.speeds, world.tool, osc.rotation_vector(world.tool_matrix @ DOWN)]
        parts += [[world.width], arm.lead()]
        if self.r.control == "pose":
            parts.append(arm.turn_lead())
        return np.concatenate(parts)

    def demonstrate(self, act: Callable[[NDArray[np.float32]], None]) -> None:
        """Play the running episode with the expert of its task until it is solved."""
        while not self.play.judge()[1]:
            act(expert_action(self))

    def picture(self) -> Tensor:
        """(H, W, 3) uint8, for people."""
        lens = self.lens.of(self.model, "people")
        self.variation.show(lens)
        return torch.from_numpy(lens.rgb(self.data, "people"))

    def get_state(self) -> NDArray[np.float64]:
        """Index of the task, what is varied, then its physics, with zeros behind where another task's is longer."""
        padding = np.zeros(self.size - self.world.size)
        return np.concatenate([[self.index], self.variation.save(), self.world.save(), padding])

    def set_state(self, state: NDArray[np.float64]) -> None:
        self._enter(int(state[0]))
        varied = 1 + len(self.variation.save())
        self.variation.load(state[1:varied])
        self.world.restore(state[varied : varied + self.world.size])

    def close(self) -> None:
        self.lens.close()

    def _enter(self, index: int) -> None:
        self.index = index
        self.world, self.play, self.variation = self.worlds[index]

    def _built(self, kind: Kind) -> tuple[World, Task, Variation]:
        randomize = self.r.randomize
        xml = world_xml(kind.bodies, kind.materials, textured=randomize.family != "none")
        world = World(xml, self.motion)
        idle = (*np.zeros(self.action_dim - 1), 1.0)  # it stays, open
        return world, kind.play(world), Variation(world.model, randomize, still=("people",), idle=idle)

    def _padded(self) -> NDArray[np.float64]:
        """What the task tells, with zeros behind where another one tells more."""
        told = self.play.features()
        return np.concatenate([told, np.zeros(self.features - len(told))])
