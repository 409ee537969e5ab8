"""LIBERO: 130 language-instructed tasks of a Panda at a table, in the suites spatial, object, goal, 10 and 90.

Suites, initial states, settling, cameras, success and time limits are those of published evaluations of VLA policies,
and physics and `render: faithful` are LIBERO's own to the last bit. Three conventions differ, each a field:

* `gripper`: +1 opens here, as everywhere in this repository; in LIBERO, its demonstrations and policies, +1 closes.
* `rotated`: LIBERO returns OpenGL's rows, bottom first, so its pictures are upside down. Published policies turn them
  by 180 degrees, and then see the scene upright but mirrored left to right. true gives exactly that, false LIBERO's.
* A picture is of the moment after the action. LIBERO's own is 4 ms (two substeps) older.

LIBERO draws the places of cabinets and stoves anew at each reset (within 1 cm), even where objects come from a stored
state. Here they follow from the initial state, or from the seed where that was left open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodied.config import Count, Natural, recipe
from embodied.errors import ConfigError
from embodied.interfaces import Demonstrator, Env
from embodied.spec import one_or_each
from embodied.types import Array, Spec
from simulators.libero_assets import assets_folder
from simulators.libero_package import import_libero
from simulators.libero_scene import WAIT, Scene, Scenes, state_width
from simulators.libero_suites import MAX_STEPS, ROBOT_QPOS, check_suite, choose, size
from simulators.mujoco_camera import Render
from simulators.randomize import Randomize
from simulators.subprocess_env import SubprocessEnv, split
from simulators.vector import Vector

CAMERAS = {"agent": "agentview", "wrist": "robot0_eye_in_hand"}
PROPRIOCEPTION = 8  # hand position 3 and axis-angle 3, fingers 2
FILM_PIXELS = 512


@recipe
class LiberoRecipe:
    suite: str | int = "spatial"  # spatial, object, goal, 10, 90; 130: all of them
    tasks: tuple[str | int, ...] = ()  # names, instructions or indices within the suite; none: all
    num_envs: Count = 8
    processes: Natural = 2  # 0 keeps all environments in this process
    obs: Literal["state", "rgb", "rgbd"] = "rgb"  # state: no pictures, but where the objects are
    cameras: tuple[Literal["agent", "wrist"], ...] = ("agent", "wrist")
    image_size: Count = 128  # pixels, of every camera
    segmentation: bool = False  # also which geom each pixel shows
    rotated: bool = True  # pictures as published policies see them: LIBERO's turned by 180 degrees
    render: Render = "fast"  # faithful: LIBERO's pictures to the last bit
    gripper: Literal["opens", "closes"] = "opens"  # what +1 does to it; published policies and demonstrations: closes
    starts: Literal["stored", "sampled"] = "stored"  # sampled: new places for all objects, from the seed
    settle_steps: Natural = 10  # actions that nobody chose, while objects fall into place
    terminate_on_success: bool = True  # false: the episode goes on until its time limit
    keep: Count = 2  # built tasks in each process, 0.1 to 0.25 GB each; more are kept only while they are played
    randomize: Randomize = Randomize()  # looks, lights, cameras, places and dynamics of an episode, from its seed
    assets: str | None = None  # folder of the meshes; null: EMBODIED_LIBERO_ASSETS, or where `embodied setup` puts them

    def __post_init__(self) -> None:
        check_suite(str(self.suite))
        if (self.obs != "state" or self.segmentation) and not self.cameras:
            raise ValueError("pictures were asked for and cameras is empty; name agent, wrist, or both")

    def build(self) -> Env:
        if self.processes == 0:
            scenes = self._scenes()
            return Vector(lambda: Single(self, scenes), self.num_envs)
        return SubprocessEnv(self.shards())

    def shards(self) -> list[LiberoRecipe]:
        """One for each process."""
        if self.processes == 0:
            return [self]
        return [replace(self, num_envs=n, processes=0) for n in split(self.num_envs, self.processes)]

    def filmed(self, num_envs: int) -> LiberoRecipe:
        """The same tasks in this process."""
        return replace(self, num_envs=num_envs, processes=0)

    def demonstrator(self) -> Demonstrator:
        """One scene with a scripted expert."""
        from simulators.libero_expert import LiberoExpert, check_expert

        check_expert(str(self.suite), choose(str(self.suite), self.tasks))
        return LiberoExpert(Single(self, self._scenes()))

    def _scenes(self) -> Scenes:
        tasks = choose(str(self.suite), self.tasks)
        assets = assets_folder(self.assets)

        def build(task: int) -> Scene:
            return Scene(tasks[task], import_libero(assets), self.randomize)

        return Scenes(build, self.keep)


class Single:
    """One environment. Its episode lies in the scene of its task while it is its turn."""

    def __init__(self, r: LiberoRecipe, scenes: Scenes) -> None:
        self.r, self.scenes = r, scenes
        self.tasks = choose(str(r.suite), r.tasks)
        self.task, self.saved = 0, np.empty(0)
        self.sizes = [size(task) for task in self.tasks]
        self.objects = max(one.positions for one in self.sizes) - ROBOT_QPOS  # numbers, padded with zeros
        self.spec = Spec(
            obs=self._layout(),
            action_dim=7,
            num_envs=1,
            control_hz=20.0,
            tasks=tuple(task.instruction for task in self.tasks),
            max_steps=one_or_each(MAX_STEPS[task.suite] for task in self.tasks),
            robot="panda",
            initial_states=tuple(one.initial_states for one in self.sizes) if r.starts == "stored" else None,
        )
        self.reset(0, 0, 0)  # so that what is missing on this machine is found now
        self.observe()

    def reset(self, task: int, initial_state: int, seed: int) -> None:
        """Without a stored state, the seed chooses one."""
        stored = self.sizes[task].initial_states
        if self.r.starts == "stored" and initial_state >= stored:
            raise ConfigError(
                f"initial state {initial_state} of `{self.tasks[task].name}` was asked for, and {stored} are stored; "
                f"the episode did not begin. Count from 0 to {stored - 1}."
            )
        self.task = task
        scene, sampled = self.scenes.enter(self, task), self.r.starts == "sampled"
        if initial_state >= 0:
            scene.begin(initial_state, initial_state, seed, sampled=sampled)
        else:
            scene.begin(int(np.random.default_rng(seed).integers(stored)), seed, seed, sampled=sampled)
        for _ in range(self.r.settle_steps):
            scene.step(WAIT)

    def step(self, action: NDArray[np.float32]) -> tuple[float, bool, bool]:
        """LIBERO rewards success, and nothing else."""
        theirs = action.astype(np.float64)
        if self.r.gripper == "opens":
            theirs[-1] = -theirs[-1]
        success = self.scene.step(theirs)
        return float(success), success and self.r.terminate_on_success, success

    @property
    def scene(self) -> Scene:
        return self.scenes.turn(self)

    def observe(self) -> Mapping[str, NDArray[Any]]:
        scene, r = self.scene, self.r
        scene.look()
        obs: dict[str, NDArray[Any]] = {"state": self._state(scene)}
        if r.obs == "state" and not r.segmentation:
            return obs
        camera = scene.camera(r.image_size, r.render)
        for name in r.cameras:
            if r.obs != "state":
                obs[f"rgb/{name}"] = self._turned(camera.rgb(scene.data, CAMERAS[name]))
            if r.obs == "rgbd":
                obs[f"depth/{name}"] = self._turned(camera.depth(scene.data, CAMERAS[name]))
            if r.segmentation:
                obs[f"segmentation/{name}"] = self._turned(camera.segmentation(scene.data, CAMERAS[name]))
        return obs

    def picture(self) -> Tensor:
        """(H, W, 3) uint8, for people: the agent's camera, upright and not mirrored."""
        scene = self.scene
        scene.look()
        return torch.from_numpy(np.array(scene.camera(FILM_PIXELS, self.r.render).rgb(scene.data, CAMERAS["agent"])))

    def get_state(self) -> NDArray[np.float64]:
        """The task, how many numbers its scene needs, those, and zeros: as long for every task."""
        scene = self.scene.save()
        padding = max(map(state_width, self.sizes)) + len(self.scene.variation.save()) - len(scene)
        return np.concatenate([[self.task, len(scene)], scene, np.zeros(padding)])

    def set_state(self, state: NDArray[np.float64]) -> None:
        self.task = int(state[0])
        self.scenes.enter(self, self.task).load(state[2 : 2 + int(state[1])])

    def close(self) -> None:
        self.scenes.close()

    def _state(self, scene: Scene) -> NDArray[np.float32]:
        """As OpenVLA-OFT and openpi read it; then, with obs=state, the positions of all joints but the robot's: of an
        object its position (m) and quaternion (wxyz), of a drawer, a door or a knob one number."""
        data = scene.data
        hand = data.site_xpos[scene.hand_site], axis_angle(data.xquat[scene.hand_body])
        parts = [*hand, data.qpos[ROBOT_QPOS - 2 : ROBOT_QPOS]]
        if self.r.obs == "state":
            objects = data.qpos[ROBOT_QPOS:]
            parts += [objects, np.zeros(self.objects - len(objects))]
        return np.concatenate(parts).astype(np.float32)

    def _turned(self, upright: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(upright[:, ::-1] if self.r.rotated else upright[::-1])

    def _layout(self) -> dict[str, Array]:
        r, side = self.r, self.r.image_size
        obs = {"state": Array((PROPRIOCEPTION + (self.objects if r.obs == "state" else 0),))}
        for name in r.cameras if r.obs != "state" or r.segmentation else ():
            if r.obs != "state":
                obs[f"rgb/{name}"] = Array((side, side, 3), torch.uint8)
            if r.obs == "rgbd":
                obs[f"depth/{name}"] = Array((side, side, 1))
            if r.segmentation:
                obs[f"segmentation/{name}"] = Array((side, side, 1), torch.int32)
        return obs


def axis_angle(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) of a quaternion (4,) wxyz, as published policies read it: the angle is in [0, 2 pi], not the shorter one."""
    w = min(max(quaternion[0], -1.0), 1.0)
    sine = np.sqrt(1.0 - w * w)
    if np.isclose(sine, 0.0):
        return np.zeros(3)
    return quaternion[1:] * (2.0 * np.arccos(w) / sine)
