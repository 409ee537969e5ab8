"""Gymnasium: any registered environment whose actions are a finite box.

Actions in [-1, 1] are stretched to the box. Vectors of the observation lie side by side in `state`, pictures are
`rgb/NAME`. Gymnasium observes inside its `step`, so `observe` hands out what the last step or reset saw. Its time limit
is taken off and becomes `Spec.max_steps`; an environment that still truncates by itself is read as terminated, because
only the sampler has a clock.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodied.config import Count, Natural, Positive, recipe
from embodied.environment import prepare
from embodied.errors import ConfigError, PackageError
from embodied.interfaces import Env
from embodied.types import Array, Spec
from simulators.subprocess_env import SubprocessEnv, split
from simulators.vector import Vector


@recipe
class GymnasiumRecipe:
    task: str = "Pendulum-v1"  # any id that Gymnasium registers; "module:Name-v0" imports the module first
    num_envs: Count = 8
    processes: Natural = 2  # 0 keeps all environments in this process
    kwargs: dict[str, bool | int | float | str] = field(default_factory=dict)  # handed to gymnasium.make
    success_return: float | None = None  # undiscounted return from which an episode counts as solved
    control_hz: Positive | None = None  # null reads it from the environment
    film: bool = False  # also a camera for people

    def build(self) -> Env:
        if self.processes == 0:
            return Vector(lambda: Single(self), self.num_envs)
        return SubprocessEnv(self.shards())

    def shards(self) -> list[GymnasiumRecipe]:
        """One for each process."""
        if self.processes == 0:
            return [self]
        return [replace(self, num_envs=n, processes=0) for n in split(self.num_envs, self.processes)]

    def filmed(self, num_envs: int) -> GymnasiumRecipe:
        """The same task in this process, with a camera for people."""
        return replace(self, num_envs=num_envs, processes=0, film=True)


class Single:
    """One environment. Its state is the return so far and then its physics."""

    def __init__(self, r: GymnasiumRecipe) -> None:
        self.r, self.env = r, _make(r)
        self.inner: Any = self.env.unwrapped
        self.actions = _Actions(r.task, self.env.action_space)
        self.reader = _Reader(r.task, self.env.observation_space)
        self.gained = 0.0  # undiscounted return of the running episode
        self.raw, _ = self.env.reset(seed=0)
        self.spec = Spec(
            obs=self.reader.spec,
            action_dim=self.actions.size,
            num_envs=1,
            control_hz=r.control_hz or _control_hz(r.task, self.inner),
            tasks=(r.task,),
            max_steps=_max_steps(self.env),
        )

    def reset(self, task: int, initial_state: int, seed: int) -> None:  # noqa: ARG002  (one task)
        self.raw, _ = self.env.reset(seed=initial_state if initial_state >= 0 else seed)
        self.gained = 0.0

    def step(self, action: NDArray[np.float32]) -> tuple[float, bool, bool]:
        self.raw, reward, terminated, truncated, info = self.env.step(self.actions.scaled(action))
        self.gained += float(reward)
        success = bool(info.get("success", info.get("is_success", False)))
        if self.r.success_return is not None:
            success = success or self.gained >= self.r.success_return
        return float(reward), bool(terminated or truncated), success

    def observe(self) -> Mapping[str, NDArray[Any]]:
        return self.reader.read(self.raw)

    def picture(self) -> Tensor:
        """(H, W, 3) uint8, for people."""
        if not self.r.film:
            raise ConfigError(
                f"a picture of {self.r.task} was asked for, and it has no camera; none was made. Use `filmed`."
            )
        import gymnasium

        try:
            return torch.from_numpy(np.array(self.env.render()))
        except (gymnasium.error.DependencyNotInstalled, ImportError, AttributeError, RuntimeError) as error:
            raise PackageError(
                f"{self.r.task} cannot be filmed on this machine ({error}); no picture was made. Off screen, MuJoCo "
                f"needs EGL: `make setup` installs it, or says what to type."
            ) from None

    def get_state(self) -> NDArray[np.float64]:
        return np.concatenate([[self.gained], self._physics().astype(np.float64)])

    def set_state(self, state: NDArray[np.float64]) -> None:
        """Observations are computed again; MuJoCo's body positions are then one substep newer than after a step."""
        self.gained, physics = float(state[0]), state[1:]
        if self._is_mujoco():
            mujoco = _mujoco()
            mujoco.mj_setState(self.inner.model, self.inner.data, physics, mujoco.mjtState.mjSTATE_INTEGRATION)
            mujoco.mj_forward(self.inner.model, self.inner.data)
            mujoco.mj_rnePostConstraint(self.inner.model, self.inner.data)  # contact forces, as Gymnasium observes them
        else:
            self.inner.state = physics.astype(self._physics().dtype)
        self.raw = self.inner._get_obs() if hasattr(self.inner, "_get_obs") else self.inner.state

    def close(self) -> None:
        self.env.close()

    def _is_mujoco(self) -> bool:
        return hasattr(self.inner, "model") and hasattr(self.inner, "data")

    def _physics(self) -> NDArray[Any]:
        """(S,) MuJoCo's positions, velocities, time and warm start, or the `state` of classic control."""
        wrapped = self.env.observation_space != self.inner.observation_space
        state = getattr(self.inner, "state", None)
        if wrapped or not (self._is_mujoco() or isinstance(state, np.ndarray)):
            raise ConfigError(
                f"the physics of {self.r.task} was asked for, and only MuJoCo and classic control tasks without "
                f"observation wrappers can be saved; nothing was saved. Begin its episodes from seeds instead."
            )
        if not self._is_mujoco():
            return np.asarray(state)
        mujoco = _mujoco()
        layout = mujoco.mjtState.mjSTATE_INTEGRATION
        physics = np.empty(mujoco.mj_stateSize(self.inner.model, layout))
        mujoco.mj_getState(self.inner.model, self.inner.data, physics, layout)
        return physics


class _Actions:
    """[-1, 1] to the range of a box."""

    def __init__(self, task: str, space: Any) -> None:
        low, high = getattr(space, "low", None), getattr(space, "high", None)
        if low is None or high is None or not np.issubdtype(space.dtype, np.floating):
            raise ConfigError(
                f"the actions of {task} are {space} and a box of real numbers is needed; nothing was built. "
                f"Choose a task with continuous actions."
            )
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ConfigError(
                f"the actions of {task} have no finite bounds ({space}), so [-1, 1] means nothing to it; nothing was "
                f"built. Register it with a wrapper that bounds them, such as gymnasium.wrappers.RescaleAction."
            )
        self.low, self.high, self.dtype, self.size = low, high, space.dtype, int(np.prod(space.shape))
        self.middle, self.half = (low + high) / 2, (high - low) / 2

    def scaled(self, action: NDArray[np.float32]) -> NDArray[Any]:
        stretched = self.middle + action.reshape(self.low.shape) * self.half
        return stretched.clip(self.low, self.high).astype(self.dtype)


class _Reader:
    """The entries of an observation under our names."""

    def __init__(self, task: str, space: Any) -> None:
        self.is_dict = hasattr(space, "spaces") and isinstance(space.spaces, dict)
        parts = dict(sorted(space.spaces.items())) if self.is_dict else {"camera": space}
        self.vectors = [name for name, part in parts.items() if _is_vector(part)]
        self.pictures = [name for name, part in parts.items() if _is_picture(part)]
        strange = parts.keys() - {*self.vectors, *self.pictures}
        if strange:
            name = min(strange)
            raise ConfigError(
                f"{task} observes {f'`{name}`, ' if self.is_dict else ''}{parts[name]}, which is neither a vector of "
                f"real numbers nor an (H, W, 3) uint8 picture; nothing was built. Register it with an observation "
                f"wrapper such as gymnasium.wrappers.FlattenObservation."
            )
        self.spec: dict[str, Array] = {}
        if self.vectors:
            self.spec["state"] = Array((sum(parts[name].shape[0] for name in self.vectors),))
        self.spec |= {f"rgb/{name}": Array(tuple(parts[name].shape), torch.uint8) for name in self.pictures}

    def read(self, raw: Any) -> dict[str, NDArray[Any]]:
        parts = raw if self.is_dict else {"camera": raw}
        pictures = {f"rgb/{name}": parts[name] for name in self.pictures}
        if not self.vectors:
            return pictures
        return {"state": np.concatenate([parts[name] for name in self.vectors]).astype(np.float32)} | pictures


def _is_vector(space: Any) -> bool:
    return hasattr(space, "low") and len(space.shape) == 1 and np.issubdtype(space.dtype, np.floating)


def _is_picture(space: Any) -> bool:
    return hasattr(space, "low") and len(space.shape) == 3 and space.shape[2] == 3 and space.dtype == np.uint8


def _control_hz(task: str, env: Any) -> float:
    found = 1 / env.dt if getattr(env, "dt", None) else env.metadata.get("render_fps")
    if not found:
        raise ConfigError(
            f"{task} does not say how often it is controlled (it has neither `dt` nor `render_fps`); nothing was "
            f"built. Set control_hz."
        )
    return float(found)


def _mujoco() -> Any:
    """The compiled module, whose functions a type checker does not see."""
    import mujoco

    return mujoco


def _max_steps(env: Any) -> int | None:
    import gymnasium

    return gymnasium.spec(env.spec.id).max_episode_steps  # `env.spec` has lost it with the wrapper


def _make(r: GymnasiumRecipe) -> Any:
    prepare()
    import gymnasium

    film = {"render_mode": "rgb_array"} if r.film else {}
    try:
        return gymnasium.make(r.task, max_episode_steps=-1, disable_env_checker=True, **film, **r.kwargs)
    except gymnasium.error.UnregisteredEnv:
        near = difflib.get_close_matches(r.task, list(gymnasium.registry), n=3)
        raise ConfigError(
            f"Gymnasium has no task `{r.task}`; nothing was built. "
            + (f"Nearest: {', '.join(near)}." if near else f"It has {len(gymnasium.registry)}, such as Pendulum-v1.")
        ) from None
    except gymnasium.error.DependencyNotInstalled as error:
        raise PackageError(f"Gymnasium cannot build {r.task}: {error}. Nothing was built.") from None
    except (ImportError, AttributeError, RuntimeError) as error:  # MuJoCo looks for its graphics library when imported
        raise PackageError(
            f"{r.task} cannot be built on this machine ({error}); nothing was built. If it is about EGL or MUJOCO_GL: "
            f"`make setup` installs the libraries or says what to type; `embodied doctor` says what is missing."
        ) from None
    except TypeError as error:
        raise ConfigError(f"Gymnasium refuses {r.task} with {r.kwargs} ({error}); nothing was built.") from None
