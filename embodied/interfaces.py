"""The seams of the platform, as structural types: implement the methods, inherit nothing (except `Policy`).

Recipes are told apart by one attribute each (`num_envs`, `chunk`, `storage`), so a policy in the simulator's place is
refused when the run is composed, not at its first call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embodied.noise import Noise
from embodied.types import (
    Batch,
    Chunks,
    Decision,
    Episode,
    Evaluation,
    Metrics,
    Obs,
    Spec,
    Start,
    Step,
    Trajectory,
    Transitions,
    Weights,
)

B = TypeVar("B", Batch, Transitions, Chunks)
Target = TypeVar("Target", covariant=True)
P = ParamSpec("P")
R = TypeVar("R")
Loss = Callable[[B], tuple[Tensor, dict[str, Tensor]]]
Granularity = Literal["decision", "action"]


class Env(Protocol):
    """N environments stepped together. A simulator and a robot (N = 1) are the same thing here.

    `step` is physics, `observe` is rendering, and neither ever resets: the sampler owns time limits and resets, so an
    episode cannot end unseen in the middle of an action chunk.

        env.reset(torch.ones(N, dtype=torch.bool), start)
        while True:
            step = env.step(policy.act(env.observe(), explore=True).action)
            env.reset(step.terminated.any(dim=1), start)
    """

    @property
    def spec(self) -> Spec: ...

    def reset(self, mask: Tensor, start: Start) -> None:
        """Begin a new episode wherever `mask` (N,) is true, as `start` says; blocks until those are ready.

        Two environments with the same task and the same `initial_state` (or, where that is -1, the same `seed`) begin
        in the same state. What a recipe randomizes on top (looks, places, friction) follows from the seed.
        """
        ...

    def step(self, action: Tensor) -> Step:
        """Apply a chunk (N, K, A) in [-1, 1], one round trip. Nothing moves after termination; nothing is rendered.

        Actions outside [-1, 1] are clipped, and `Step.action` says what was executed.
        """
        ...

    def rest(self, mask: Tensor) -> None:
        """Wherever `mask` (N,) is true the episode is over: until they are reset, nothing moves and no action is valid.

        An evaluation ends episodes at their time limit and steps on with the others. What they show stays as it was.
        """
        ...

    def observe(self) -> Obs:
        """The current observation, each (N, ...). Valid until the next `step` or `reset`: copy what must last."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class StatefulEnv(Env, Protocol):
    """A simulator whose physics can be saved and restored: demonstration-prefix starts, branching."""

    def get_state(self) -> Tensor:
        """(N, S) float64: all that the physics needs."""
        ...

    def set_state(self, mask: Tensor, state: Tensor) -> None:
        """Continue from `state` (N, S) wherever `mask` (N,) is true."""
        ...


class Demonstrator(Protocol):
    """One scene and someone who can solve its tasks: a motion planner, a script, a person. `spec.num_envs` is 1.

    It may say `source`, who that is ("script" if it does not), and `correctable`, the entries of an action that may be
    executed otherwise than asked for, because the next one is chosen by what came of it: not those of a gripper, and
    none where a plan is followed.
    """

    @property
    def spec(self) -> Spec: ...

    def reset(self, task: int, initial_state: int, seed: int) -> None:
        """Begin an episode of `task`, an index into `spec.tasks`; -1 leaves the initial state to `seed`."""
        ...

    def step(self, action: NDArray[np.float32]) -> tuple[float, bool, bool]:
        """Apply one action (A,) in [-1, 1]; reward, terminated, success. Renders nothing."""
        ...

    def observe(self) -> Mapping[str, NDArray[Any] | Tensor]:
        """The current observation, without the leading N."""
        ...

    def demonstrate(self, act: Callable[[NDArray[np.float32]], None]) -> None:
        """Play the running episode: call `act` with one action (A,) in [-1, 1] after another, and return when done.

        `act` executes (and records) the action. It raises when the episode is over; let that pass. DemonstrationError
        where no way is found.
        """
        ...

    def close(self) -> None: ...


class Policy(nn.Module, ABC):
    """Maps observations to action chunks. The one base class here, because every policy is a torch module."""

    @abstractmethod
    def act(self, obs: Obs, *, explore: bool, noise: Noise | None = None) -> Decision:
        """Choose one chunk per environment, without gradients. All randomness comes from `noise`."""

    @abstractmethod
    def evaluate(self, obs: Obs, action: Tensor, extras: Mapping[str, Tensor]) -> Evaluation:
        """Re-score `action` (B, K, A) under the current weights, with gradients: the exact density of `act`."""

    @abstractmethod
    def value(self, obs: Obs) -> Tensor:
        """(N, V) expected return from each observation: a value-only forward, no action is decoded."""

    def track(self, obs: Obs) -> None:
        """Take the observations (B, ...) of a finished rollout into running statistics, after they were learned from.

        Not before: a policy must score its own fresh actions exactly as when it acted (ratio 1). Imitation instead
        gives it the demonstrations to learn from once, before the first step, and of them vectors and `task` alone: no
        pictures are read for it.
        """

    def imitate(self, obs: Obs, action: Tensor) -> Tensor:
        """(B, K) loss of each of the demonstrated actions (B, K, A), with gradients; here: how unlikely it is."""
        log_prob = self.evaluate(obs, action, {}).log_prob  # (B, U)
        return -log_prob.unflatten(1, (action.shape[1], -1)).sum(dim=2)

    def calibrate(self, action: Tensor) -> None:
        """Take demonstrated actions (B, A) as the measure of what this policy says, before it learns anything."""


@runtime_checkable
class Plan(Protocol):
    """Which task each episode of a run plays: a pure function, so that it travels to whoever needs it."""

    def choose(self, key: tuple[int, int], group: int, count: int) -> tuple[int, int, int]:
        """Number, task and initial state (-1: none stored) of episode `count` of a group; `key` is seed and role."""
        ...


@runtime_checkable
class TaskSampler(Protocol):
    """A recipe that says how often each task is played in training."""

    @property
    def stay(self) -> int: ...  # episodes in a row on one task
    @property
    def adapts(self) -> bool: ...  # whether `shares` follows what was seen

    def shares(self, tasks: Sequence[str], success: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """(tasks,) not negative, of any sum, given the estimated success of each (tasks,); None: all in turn."""
        ...


class Collector(Protocol):
    """What turns a policy's weights into trajectories: a `Sampler`, or a `Farm` of them."""

    def spec(self) -> Spec: ...

    def load(self, weights: Weights) -> None:
        """Act with `weights` from the next decision on."""
        ...

    def assign(self, plan: Plan) -> None:
        """Choose tasks by `plan` from the next episode on."""
        ...

    def begun(self) -> Tensor:
        """(N,) episodes that each environment has begun, less one."""
        ...

    def collect(self, decisions: int) -> Trajectory: ...

    def episodes(self) -> list[Episode]:
        """Records of the episodes that ended since the last call."""
        ...

    def timing(self) -> Metrics:
        """Seconds spent in each part since the last call."""
        ...

    def state(self) -> dict[str, Tensor]: ...

    def resume(self, state: Mapping[str, Tensor]) -> bool:
        """Continue from `state`; whether every observation came out the same."""
        ...

    def close(self) -> None: ...


class Optimize(Protocol):
    version: int  # of the weights that the next step starts from

    def __call__(self, group: str, loss: Loss[B], batch: B) -> Metrics:
        """One optimizer step of `group` on `loss` over `batch`, across micro-batches and ranks."""
        ...


class Storage(Protocol):
    """Where trajectories wait to be learned from; `Rollouts.take()` or, off-policy, `Replay.sample(...)`."""

    def add(self, trajectory: Trajectory) -> None: ...

    def state(self) -> Mapping[str, Tensor]:
        """What a checkpoint must hold to continue."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None: ...


@runtime_checkable
class EnvRecipe(Protocol):
    @property
    def num_envs(self) -> int: ...

    def build(self) -> Env: ...


@runtime_checkable
class ShardedRecipe(Protocol):
    def shards(self) -> Sequence[EnvRecipe]:
        """The same environments, in order, as recipes that each want a process of their own."""
        ...


@runtime_checkable
class DemonstrableRecipe(Protocol):
    def demonstrator(self) -> Demonstrator:
        """One scene of this simulator, in this process, with an expert for its tasks; ConfigError where none is."""
        ...


@runtime_checkable
class PolicyRecipe(Protocol):
    @property
    def chunk(self) -> int: ...  # K
    @property
    def values(self) -> Granularity: ...  # one value per decision (V = 1) or per action (V = K)

    def build(self, spec: Spec) -> Policy: ...


@runtime_checkable
class Algorithm(Protocol):
    """A frozen recipe whose methods are the algorithm; all state lives in the policy and the storage."""

    @property
    def values(self) -> Granularity | None: ...  # what it wants of the policy; None: it asks for no values

    def storage(self, spec: Spec, chunk: int) -> Any:
        """Where it learns from, in environments like `spec` with chunks of K = `chunk`; demonstrations open here."""
        ...

    def update(self, policy: Any, storage: Any, optimize: Optimize, generator: torch.Generator) -> Metrics:
        """Learn from what the storage holds. `generator` is the only source of randomness."""
        ...


@runtime_checkable
class Offline(Protocol):
    """An algorithm that learns from a dataset alone. Nothing is collected; a run is counted in gradient steps."""

    @property
    def updates(self) -> int: ...  # gradient steps in the whole run
    @property
    def updates_per_iteration(self) -> int: ...  # in one call of `update`
    @property
    def evaluate_every(self) -> int: ...  # iterations between evaluations by fresh episodes; 0: none while it learns
    @property
    def evaluate_episodes(self) -> int: ...  # of each of those


S = TypeVar("S", covariant=True)


class Recipe(Protocol[S]):
    def build(self) -> S: ...


class Stage(Protocol[Target]):
    """One running component. `stage.call(Learner.update)` names the method itself, so editors can follow it."""

    def call(self, method: Callable[Concatenate[Target, P], R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Start; `.result()` waits. Calls run one at a time, in order."""
        ...

    def close(self) -> None: ...
