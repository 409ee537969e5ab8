"""Gymnasium: any registered environment whose actions are a finite box.

Actions in [-1, 1] are stretched to the box. Vectors of the observation lie side by side in `state`, pictures are
`rgb/NAME`; names of nested observations are joined with /. Gymnasium observes inside its `step`, so `observe` hands out
what the last step or reset saw. Its time limit is taken off and becomes `Spec.max_steps`; an environment that still
truncates by itself is read as terminated, because only the sampler has a clock.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import field, replace
from importlib import import_module
from importlib.util import find_spec
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
from simulators.gymnasium_pictures import Postponed, drawn_fast
from simulators.mujoco_camera import Render
from simulators.nearest import unknown
from simulators.robosuite_state import numpy_seeded
from simulators.subprocess_env import SubprocessEnv, split
from simulators.vector import Vector

SUCCESS = ("success", "is_success", "succeed")  # as tasks call it
OBSERVERS = ("_get_obs", "_compute_observation")  # as tasks call what observes without a step


@recipe
class GymnasiumRecipe:
    task: str = "Pendulum-v1"  # any id that Gymnasium registers; "module:Name-v0" imports the module first
    num_envs: Count = 8
    processes: Natural = 2  # 0 keeps all environments in this process
    kwargs: dict[str, bool | int | float | str] = field(default_factory=dict)  # handed to gymnasium.make
    success_return: float | None = None  # undiscounted return from which an episode counts as solved
    control_hz: Positive | None = None  # null reads it from the environment
    render: Render = "fast"  # of pictures by MuJoCo; faithful draws what the task asks for
    postpone_pictures: bool = False  # draw only what is observed; not where rewards look at pictures
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
        self.r, self.postponed = r, Postponed(r.task) if r.postpone_pictures else None
        _load(r.task)
        with self._at_work():
            self.env = _make(r)
        self.inner: Any = self.env.unwrapped
        self.actions = _Actions(r.task, self.env.action_space)
        self.reader = _Reader(r.task, self.env.observation_space)
        self.gained = 0.0  # undiscounted return of the running episode
        self.reset(0, -1, 0)
        self.spec = Spec(
            obs=self.reader.spec,
            action_dim=self.actions.size,
            num_envs=1,
            control_hz=r.control_hz or _control_hz(r.task, self.inner),
            tasks=(r.task,),
            max_steps=_max_steps(self.env),
        )

    def reset(self, task: int, initial_state: int, seed: int) -> None:  # noqa: ARG002  (one task)
        key = initial_state if initial_state >= 0 else seed
        with self._at_work(), numpy_seeded(key):  # some tasks draw from numpy's global generator
            self.raw, _ = self.env.reset(seed=key)
        self._check_pictures()
        self.gained = 0.0

    def step(self, action: NDArray[np.float32]) -> tuple[float, bool, bool]:
        with self._at_work():
            self.raw, reward, terminated, truncated, info = self.env.step(self.actions.scaled(action))
        self._check_pictures()
        self.gained += float(reward)
        success = any(bool(info.get(name, False)) for name in SUCCESS)
        if self.r.success_return is not None:
            success = success or self.gained >= self.r.success_return
        return float(reward), bool(terminated or truncated), success

    def observe(self) -> Mapping[str, NDArray[Any]]:
        if self.postponed:
            self.postponed.draw()
        return self.reader.read(self.raw)

    def picture(self) -> Tensor:
        """(H, W, 3) uint8, for people."""
        if not self.r.film:
            raise ConfigError(
                f"a picture of {self.r.task} was asked for, and it has no camera; none was made. Use `filmed`."
            )
        import gymnasium

        try:
            with drawn_fast() if self.r.render == "fast" else nullcontext():
                frames = self.env.render()
            side_by_side = np.concatenate(frames, axis=1) if isinstance(frames, list | tuple) else np.array(frames)
            return torch.from_numpy(side_by_side)
        except (gymnasium.error.DependencyNotInstalled, ImportError, AttributeError, RuntimeError, *_fatal()) as error:
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
        seen = next((getattr(self.inner, name) for name in OBSERVERS if hasattr(self.inner, name)), None)
        with self._at_work():
            self.raw = seen() if seen else self.inner.state
        self._check_pictures()

    def close(self) -> None:
        self.env.close()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Around whatever may make a renderer or draw with one."""
        with (
            drawn_fast() if self.r.render == "fast" else nullcontext(),
            self.postponed.collecting() if self.postponed else nullcontext(),
        ):
            yield

    def _check_pictures(self) -> None:
        if self.postponed:
            self.postponed.check(list(self.reader.shown(self.raw).values()))

    def _is_mujoco(self) -> bool:
        return hasattr(self.inner, "model") and hasattr(self.inner, "data")

    def _physics(self) -> NDArray[Any]:
        """(S,) MuJoCo's positions, velocities, time and warm start, or the `state` of classic control."""
        wrapped = self.env.observation_space != self.inner.observation_space
        state = getattr(self.inner, "state", None)
        observes = any(hasattr(self.inner, name) for name in OBSERVERS)
        if wrapped or not ((self._is_mujoco() and observes) or isinstance(state, np.ndarray)):
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
        self.is_dict = _is_dict(space)
        parts = dict(sorted(_flat(space.spaces).items())) if self.is_dict else {"camera": space}
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
        parts, pictures = self._parts(raw), self.shown(raw)
        if not self.vectors:
            return pictures
        return {"state": np.concatenate([parts[name] for name in self.vectors]).astype(np.float32)} | pictures

    def shown(self, raw: Any) -> dict[str, NDArray[Any]]:
        """The pictures."""
        parts = self._parts(raw)
        return {f"rgb/{name}": parts[name] for name in self.pictures}

    def _parts(self, raw: Any) -> dict[str, Any]:
        return _flat(raw) if self.is_dict else {"camera": raw}


def _is_dict(space: Any) -> bool:
    return hasattr(space, "spaces") and isinstance(space.spaces, dict)


def _flat(parts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Names of what is nested are joined with /, but that all pictures lie in `pixels` goes without saying."""
    flat: dict[str, Any] = {}
    for name, part in parts.items():
        inner = part.spaces if _is_dict(part) else part
        if isinstance(inner, Mapping):
            flat |= _flat(inner, "" if prefix + name == "pixels" else f"{prefix}{name}/")
        else:
            flat[prefix + name] = part
    return flat


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


def _fatal() -> tuple[type[Exception], ...]:
    """What MuJoCo raises where there is no OpenGL, if it was imported."""
    return (sys.modules["mujoco"].FatalError,) if "mujoco" in sys.modules else ()


@contextmanager
def _refusals(task: str) -> Iterator[None]:
    """What Gymnasium raises, as our sentences."""
    import gymnasium

    try:
        yield
    except gymnasium.error.UnregisteredEnv:
        raise unknown("Gymnasium has no task", task, gymnasium.registry) from None
    except gymnasium.error.DependencyNotInstalled as error:
        raise PackageError(f"Gymnasium cannot build {task}: {error}. Nothing was built.") from None
    except (ImportError, AttributeError, RuntimeError, *_fatal()) as error:  # MuJoCo looks for OpenGL when imported
        raise PackageError(
            f"{task} cannot be built on this machine ({error}); nothing was built. If it is about EGL or MUJOCO_GL: "
            f"`make setup` installs the libraries or says what to type; `embodied doctor` says what is missing."
        ) from None


def _load(task: str) -> None:
    """Import what the task is made of, so that it is known whether MuJoCo is. A namespace is a package's name."""
    prepare()
    import gymnasium

    package, slash, _ = task.partition("/")
    with _refusals(task):
        if ":" in task:
            import_module(task.partition(":")[0])
        elif slash and not any(name.startswith(f"{package}/") for name in gymnasium.registry) and find_spec(package):
            import_module(package)
        entry_point = _spec(task).entry_point
        if isinstance(entry_point, str):
            import_module(entry_point.partition(":")[0])


def _asks_for_a_mode(task: str) -> bool:
    """Some tasks always draw, and know of no way to ask for it."""
    from gymnasium.envs.registration import load_env_creator

    creator: Any = _spec(task).entry_point
    creator = load_env_creator(creator) if isinstance(creator, str) else creator
    return "rgb_array" in getattr(creator, "metadata", {}).get("render_modes", ["rgb_array"])


def _spec(task: str) -> Any:
    import gymnasium

    return gymnasium.spec(task.partition(":")[2] or task)


def _make(r: GymnasiumRecipe) -> Any:
    import gymnasium

    try:
        with _refusals(r.task):
            film = {"render_mode": "rgb_array"} if r.film and _asks_for_a_mode(r.task) else {}
            return gymnasium.make(r.task, max_episode_steps=-1, disable_env_checker=True, **film, **r.kwargs)
    except TypeError as error:
        raise ConfigError(f"Gymnasium refuses {r.task} with {r.kwargs} ({error}); nothing was built.") from None
