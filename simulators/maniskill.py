"""ManiSkill 3: any registered task, with state, rgb or rgbd observations.

On a CPU every environment is a scene of its own, spread over processes; with CUDA all of them are one batch in PhysX on
the GPU, and its tensors are handed on without a copy. Two things differ from `gym.make(...).step`: nothing is observed
inside `step` (a third of its time with state, nearly all of it with images), and every reset has its seed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodied.config import Count, Natural, recipe
from embodied.environment import has_gpu, prepare
from embodied.errors import ConfigError, PackageError
from embodied.interfaces import Demonstrator, Env
from embodied.packaging import need
from embodied.types import Array, Obs, Spec, Start, Step
from simulators.maniskill_cpu import quicken
from simulators.maniskill_light import lightened
from simulators.maniskill_planner import Planner
from simulators.nearest import unknown
from simulators.subprocess_env import SubprocessEnv, split
from simulators.vector import Vector


@recipe
class ManiSkillRecipe:
    task: str = "PushCube-v1"  # any id that ManiSkill registers
    num_envs: Count = 8
    processes: Natural = 2  # on the CPU backend; 0 keeps all environments in this process
    backend: Literal["auto", "cpu", "gpu"] = "auto"  # auto: gpu where CUDA and SAPIEN's GPU physics are
    robot: str | None = None  # null takes the task's default; panda_wristcam adds a camera to the Panda's hand
    obs: Literal["state", "rgb", "rgbd"] = "state"
    segmentation: bool = False  # also which body each pixel shows; with pictures
    image_size: Count = 128  # pixels, of every camera
    render: Literal["fast", "faithful"] = "faithful"  # fast: light meshes, for pictures on a CPU
    control: str | None = "pd_joint_delta_pos"  # controller; null takes the robot's default
    reward: Literal["normalized_dense", "dense", "sparse"] = "normalized_dense"
    terminate_on_success: bool = True  # false: the episode goes on until its time limit
    film: bool = False  # also a camera for people

    def __post_init__(self) -> None:
        if self.segmentation and self.obs == "state":
            raise ValueError("segmentation=true needs pictures: set obs=rgb or obs=rgbd")

    def build(self) -> Env:
        if self._on_gpu():
            return Batch(_Scene(self, self.num_envs, "gpu"))
        if self.processes == 0:
            return Vector(lambda: Single(_Scene(self, 1, "cpu")), self.num_envs)
        return SubprocessEnv(self.shards())

    def shards(self) -> list[ManiSkillRecipe]:
        """One for each process; a batch on the GPU stays whole."""
        if self.processes == 0 or self._on_gpu():
            return [self]
        return [replace(self, num_envs=n, processes=0, backend="cpu") for n in split(self.num_envs, self.processes)]

    def _on_gpu(self) -> bool:
        if self.backend != "auto":
            return self.backend == "gpu"
        return torch.cuda.is_available() and physics_library().is_file()

    def demonstrator(self) -> Demonstrator:
        """One scene on the CPU with ManiSkill's own motion planner."""
        alone = replace(self, num_envs=1, processes=0, backend="cpu")
        return Planner(self.task, self.control, lambda: Single(_Scene(alone, 1, "cpu")))

    def filmed(self, num_envs: int) -> ManiSkillRecipe:
        """The same task in this process, with a camera for people."""
        return replace(self, num_envs=num_envs, processes=0, backend="cpu", film=True)


class _Scene:
    """One ManiSkill environment with a batch of n."""

    def __init__(self, r: ManiSkillRecipe, num_envs: int, backend: Literal["cpu", "gpu"]) -> None:
        self.r = r
        self.gym_env = _make(r, num_envs, backend)
        self.env: Any = self.gym_env.unwrapped
        self.actions = _Actions(self.env.action_space)
        if backend == "cpu":
            quicken(self.env.agent)
        self.info: Any = None  # what `evaluate` said of the present state: costly, so asked once
        self.reset([0] * num_envs)
        obs = {name: Array(tuple(x.shape[1:]), x.dtype) for name, x in self.observe().items()}
        self.spec = Spec(
            obs=obs,
            action_dim=self.actions.size,
            num_envs=num_envs,
            control_hz=float(self.env.control_freq),
            tasks=(r.task,),
            max_steps=_registered()[r.task].max_episode_steps,
            device=str(self.env.device),
            robot=_robot(self.env.robot_uids),
        )

    def reset(self, seeds: list[int] | None, envs: Tensor | None = None) -> None:
        options = {} if envs is None else {"env_idx": envs}
        self.env.reset(seed=seeds, options=options)
        self.info = None

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, A) in [-1, 1]; reward, terminated, success, each (n,)."""
        env = self.env
        applied = env._step_action(self.actions.scaled(action))
        env._elapsed_steps += 1
        info = self.info = env.get_info()
        reward = env.get_reward(obs=None, action=applied, info=info)
        no = torch.zeros(len(action), dtype=torch.bool, device=action.device)
        success = torch.as_tensor(info.get("success", no)).reshape(no.shape).bool()
        failed = torch.as_tensor(info.get("fail", no)).reshape(no.shape).bool()
        return reward, (failed | success) if self.r.terminate_on_success else failed, success

    def observe(self) -> dict[str, Tensor]:
        """Each (n, ...): `state`, `rgb/CAMERA` uint8, `depth/CAMERA` float32 in m, `segmentation/CAMERA` int32.

        Segmentation counts the scene's bodies as ManiSkill's `segmentation_id_map` names them; 0 is nothing.
        """
        if self.info is None:
            self.info = self.env.get_info()
        raw: Any = self.env.get_obs(self.info)
        if self.r.obs == "state":
            return {"state": raw.float()}
        from mani_skill.utils import common

        told = {"agent": raw["agent"], "extra": raw["extra"]}
        state: Any = common.flatten_state_dict(told, use_torch=True, device=self.env.device)
        obs = {"state": state.float()}
        for camera, pictures in raw["sensor_data"].items():
            obs[f"rgb/{camera}"] = pictures["rgb"]
            if self.r.obs == "rgbd":
                obs[f"depth/{camera}"] = pictures["depth"].float() / 1000
            if self.r.segmentation:
                obs[f"segmentation/{camera}"] = pictures["segmentation"].int()
        return obs

    def set_state(self, state: Tensor, envs: Tensor | None = None) -> None:
        self.env.set_state(state, envs)
        self.info = None

    def picture(self) -> Tensor:
        """(n, H, W, 3) uint8, for people."""
        return torch.as_tensor(self.env.render_rgb_array())


class Single:
    """One scene on the CPU. Inference mode saves a fifth of its time, most of which is small tensors."""

    def __init__(self, scene: _Scene) -> None:
        self.scene, self.spec = scene, scene.spec

    @torch.inference_mode()
    def reset(self, task: int, initial_state: int, seed: int) -> None:  # noqa: ARG002  (one task)
        self.scene.reset([initial_state if initial_state >= 0 else seed])

    @torch.inference_mode()
    def step(self, action: NDArray[np.float32]) -> tuple[float, bool, bool]:
        reward, terminated, success = self.scene.step(torch.from_numpy(action)[None])
        return float(reward), bool(terminated), bool(success)

    @torch.inference_mode()
    def observe(self) -> Mapping[str, Tensor]:
        return {name: x[0] for name, x in self.scene.observe().items()}

    @torch.inference_mode()
    def picture(self) -> Tensor:
        return self.scene.picture()[0]

    @torch.inference_mode()
    def get_state(self) -> NDArray[np.float64]:
        return self.scene.env.get_state()[0].double().numpy()

    @torch.inference_mode()
    def set_state(self, state: NDArray[np.float64]) -> None:
        self.scene.set_state(torch.from_numpy(state).float()[None])

    def close(self) -> None:
        self.scene.gym_env.close()


class Batch:
    """All environments in one scene graph on the GPU; every tensor stays there."""

    def __init__(self, scene: _Scene) -> None:
        self.scene, self.spec = scene, scene.spec
        self.ended = torch.ones(self.spec.num_envs, dtype=torch.bool, device=self.spec.device)

    def reset(self, mask: Tensor, start: Start) -> None:
        """A start follows from the seeds of all that are reset together, and from the place among them.

        ManiSkill draws a batch's starts from one generator (that of its environment 0), so it is seeded here with the
        first of them; those that must begin alike then take the state of the first among them.
        """
        envs = mask.nonzero()[:, 0]
        seeds = torch.where(start.initial_state >= 0, start.initial_state, start.seed)[envs.cpu()]
        with torch.random.fork_rng(devices=[envs.device] if envs.is_cuda else []):
            torch.manual_seed(int(seeds[0]))
            self.scene.reset(None, envs)
        alike, leaders = _first_alike(seeds.tolist())
        if alike:
            state = self.scene.env.get_state()  # (N, S)
            self.scene.set_state(state[envs[leaders]], envs[alike])
        self.ended = self.ended & ~mask

    def step(self, action: Tensor) -> Step:
        """PhysX moves the whole batch, so an environment that ended inside the chunk is put back at its end."""
        executed = action.clamp(-1, 1)  # (N, K, A)
        rows: list[tuple[Tensor, ...]] = []
        final: Tensor | None = None
        already = self.ended.clone()
        for k in range(action.shape[1]):
            reward, terminated, success = self.scene.step(executed[:, k])
            valid = ~self.ended
            rows.append((reward.float() * valid, valid, terminated & valid, success & valid))
            ending = terminated & valid
            if k + 1 < action.shape[1] and ending.any():
                state = self.scene.env.get_state()  # (N, S)
                final = state if final is None else torch.where(ending[:, None], state, final)
            self.ended = self.ended | ending
        if final is not None:
            envs = (self.ended & ~already & ~rows[-1][2]).nonzero()[:, 0]
            self.scene.set_state(final[envs], envs)
        reward, valid, terminated, success = (torch.stack(column, dim=1) for column in zip(*rows, strict=True))
        return Step(reward, valid, terminated, success, executed, torch.zeros_like(valid))

    def rest(self, mask: Tensor) -> None:
        """PhysX moves the whole batch: what rests moves along with the others, and counts for nothing."""
        self.ended = self.ended | mask

    def observe(self) -> Obs:
        return self.scene.observe()

    def picture(self) -> Tensor:
        return self.scene.picture()

    def get_state(self) -> Tensor:
        state = self.scene.env.get_state()  # (N, S)
        return torch.cat([state, self.ended[:, None]], dim=1).double()

    def set_state(self, mask: Tensor, state: Tensor) -> None:
        envs = mask.nonzero()[:, 0]
        self.scene.set_state(state[envs, :-1].float(), envs)
        self.ended = torch.where(mask, state[:, -1].bool(), self.ended)

    def close(self) -> None:
        self.scene.gym_env.close()


def _first_alike(seeds: list[int]) -> tuple[list[int], list[int]]:
    """Places whose seed came before, and the place where it did first."""
    first: dict[int, int] = {}
    pairs = [(place, first[seed]) for place, seed in enumerate(seeds) if first.setdefault(seed, place) != place]
    return [place for place, _ in pairs], [leader for _, leader in pairs]


class _Actions:
    """[-1, 1] to the range of the controller; the arms of several robots side by side in one vector."""

    def __init__(self, space: Any) -> None:
        parts = dict(space.spaces) if hasattr(space, "spaces") else {"": space}
        self.sizes = {name: box.shape[-1] for name, box in parts.items()}
        self.size = sum(self.sizes.values())
        low = np.concatenate([box.low.reshape(-1, box.shape[-1])[0] for box in parts.values()])
        high = np.concatenate([box.high.reshape(-1, box.shape[-1])[0] for box in parts.values()])
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ConfigError(
                "some joints of this controller have no limits, so [-1, 1] means nothing to them; nothing was built. "
                "Set another simulator.control, such as pd_joint_delta_pos."
            )
        self.plain = bool((low == -1).all() and (high == 1).all())
        self.middle = torch.from_numpy((low + high) / 2).float()
        self.half = torch.from_numpy((high - low) / 2).float()

    def scaled(self, action: Tensor) -> Any:
        if not self.plain:
            action = self.middle.to(action.device) + action * self.half.to(action.device)
        if list(self.sizes) == [""]:
            return action
        return dict(zip(self.sizes, action.split(list(self.sizes.values()), dim=1), strict=True))


def physics_library() -> Path:
    """Where SAPIEN keeps PhysX for the GPU; it would download it unasked, so we look before it does."""
    version = need("sapien.physx", extra="maniskill").version()
    return Path.home() / ".sapien" / "physx" / version / "libPhysXGpu_64.so"


def _registered() -> Mapping[str, Any]:
    prepare()
    warnings.filterwarnings("ignore", message="Failed to find system libvulkan")
    need("mani_skill.envs", extra="maniskill")
    from mani_skill.utils.registration import REGISTERED_ENVS

    return REGISTERED_ENVS


def _robots() -> Mapping[str, Any]:
    from mani_skill.agents.registration import REGISTERED_AGENTS

    return REGISTERED_AGENTS


def _robot(uids: Any) -> str:
    """`panda`, or `panda, panda` where two work together; some tasks name a class."""
    parts = uids if isinstance(uids, list | tuple) else [uids]
    return ", ".join(part if isinstance(part, str) else part.uid for part in parts)


def _light(spec: Any, pixels: int) -> Any:
    """The registered task with light meshes, for us alone."""
    from mani_skill.utils.registration import EnvSpec

    env_class = lightened(spec.cls, pixels)
    return EnvSpec(spec.uid, env_class, spec.max_episode_steps, spec.asset_download_ids, spec.default_kwargs)


def _make(r: ManiSkillRecipe, num_envs: int, backend: str) -> Any:
    registered = _registered()
    if r.task not in registered:
        raise unknown("ManiSkill has no task", r.task, registered)
    if r.robot is not None and r.robot not in _robots():
        raise unknown("ManiSkill has no robot", r.robot, _robots())
    if backend == "gpu" and not physics_library().is_file():
        raise PackageError(
            f"backend=gpu needs SAPIEN's GPU physics, and {physics_library()} is not there; nothing was built and "
            f"nothing was downloaded. Type: python -c 'import sapien.physx; sapien.physx.enable_gpu()', or set "
            f"backend=cpu."
        )
    needs_pictures = r.obs != "state" or r.film
    textures = {"state": "state", "rgb": "rgb", "rgbd": "rgb+depth"}[r.obs]
    robot = {} if r.robot is None else {"robot_uids": r.robot}
    spec = registered[r.task] if r.render == "faithful" else _light(registered[r.task], r.image_size)
    try:
        return spec.make(
            num_envs=num_envs,
            obs_mode=textures + ("+segmentation" if r.segmentation else ""),
            control_mode=r.control,
            reward_mode=r.reward,
            sim_backend="physx_cpu" if backend == "cpu" else "physx_cuda",
            render_backend="none" if not needs_pictures else ("gpu" if has_gpu() else "cpu"),
            render_mode="rgb_array" if r.film else None,
            sensor_configs={"width": r.image_size, "height": r.image_size},
            **robot,
        )
    except EOFError:
        raise PackageError(
            f"ManiSkill's task `{r.task}` needs assets that are not on this machine, and nothing is downloaded "
            f"unasked; the environment was not built. Type: python -m mani_skill.utils.download_asset {r.task}"
        ) from None
    except RuntimeError as error:
        if "device" not in str(error).lower():
            raise
        raise PackageError(
            f"ManiSkill found no Vulkan driver it can use ({error}); the environment was not built. `make setup` "
            f"provides a software driver without root; `embodied doctor` says what is missing."
        ) from None
    except (KeyError, NotImplementedError, AssertionError) as error:
        raise ConfigError(
            f"ManiSkill refuses task={r.task} with obs={r.obs}, control={r.control}, reward={r.reward} "
            f"({type(error).__name__}: {error}); nothing was built. "
            f"Robots other than the Panda want simulator.control=null."
        ) from None
