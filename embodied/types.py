"""Values that travel between stages: tensors in frozen dataclasses. Imports torch and nothing else of ours.

Dimensions, everywhere in this repository:
    N  parallel environments        T  policy decisions in a rollout     B  decisions in a minibatch
    K  actions in one chunk         A  action dimensions                 U  log-prob units of one decision
    V  values of one decision       M  candidate actions                 G  rollouts per group
    E  critics in an ensemble       W  weighted units of one decision (1, or K)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

Obs = Mapping[str, Tensor]
Metrics = dict[str, float]
Tree = TypeVar("Tree")


@dataclass(frozen=True, slots=True)
class Array:
    """Shape and type of one entry of an observation, without the leading N."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True, slots=True)
class Spec:
    """What one environment offers, without the leading N."""

    obs: Mapping[str, Array]  # state (D,), rgb/CAMERA uint8 (H, W, 3), depth/CAMERA float32 (H, W, 1) in m,
    # segmentation/CAMERA int32 (H, W, 1); with several tasks also `task` int64 (), the index of the running one
    action_dim: int  # A
    num_envs: int  # N
    control_hz: float  # rate of single actions, not of decisions
    tasks: tuple[str, ...] = ("",)  # language instruction of each task
    max_steps: int | tuple[int | None, ...] | None = None  # limit in actions, of all tasks or of each; None: no limit
    device: str = "cpu"  # where its tensors live
    robot: str = ""  # which arm it is: demonstrations of another one do not fit
    playable: tuple[tuple[int, ...], ...] | None = None  # N rows: tasks that each environment can play; None: all
    initial_states: tuple[int, ...] | None = None  # how many each task has stored, 0: none; None: no task has any

    def __post_init__(self) -> None:
        if len(self.limits) != len(self.tasks):
            raise ValueError(
                f"max_steps has {len(self.limits)} entries and there are {len(self.tasks)} tasks; nothing was built. "
                f"Give one number for all tasks, or one for each."
            )

    @property
    def limits(self) -> tuple[int | None, ...]:
        """Time limit of each task in actions, which the sampler applies; None where it has none."""
        return self.max_steps if isinstance(self.max_steps, tuple) else (self.max_steps,) * len(self.tasks)


@dataclass(frozen=True, slots=True)
class Start:
    """Where the next episodes begin. -1 leaves the choice to the environment."""

    task: Tensor  # (N,) int64, index into Spec.tasks
    initial_state: Tensor  # (N,) int64, index into stored or seeded initial states; equal within a group
    seed: Tensor  # (N,) int64

    @staticmethod
    def seeded(seeds: list[int]) -> Start:
        """Start from `seeds` alone, task and initial state left to the environment."""
        free = torch.full((len(seeds),), -1, dtype=torch.int64)  # (N,)
        return Start(task=free, initial_state=free.clone(), seed=torch.tensor(seeds, dtype=torch.int64))


@dataclass(frozen=True, slots=True)
class Step:
    """The outcome of one chunk of K actions in each of N environments. Images are not here: Env.observe renders them.

    A chunk without one valid action means that the episode was over before it, or was lost (its process died): it must
    be reset, and counts for nothing.
    """

    reward: Tensor  # (N, K) float32, per action, 0 where not valid
    valid: Tensor  # (N, K) bool, false after the action that ended the episode
    terminated: Tensor  # (N, K) bool, the task ended at this action, by success or by failure
    success: Tensor  # (N, K) bool, the task is solved after this action
    action: Tensor  # (N, K, A) what was executed, after limits and human override
    human: Tensor  # (N, K) bool, a person chose this action


@dataclass(frozen=True, slots=True)
class Decision:
    """One chunk per environment, with what is needed to learn from it later."""

    action: Tensor  # (N, K, A), meant for [-1, 1]; the environment clips
    log_prob: Tensor  # (N, U) at the policy's finest unit; `returns.fold` sums it to the algorithm's
    value: Tensor | None  # (N, V): V = 1, one value per decision, or V = K; None: ask for a rollout's values at once
    extras: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)  # each (N, ...): tokens, denoising chain


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a policy says today about decisions it took before."""

    log_prob: Tensor  # (B, U)
    entropy: Tensor  # (B, U)
    value: Tensor  # (B, V)


@dataclass(frozen=True, slots=True)
class Trajectory:
    """T consecutive decisions of N environments, as collected: nothing derived, nothing normalized.

    Every frame is kept once: the first T * N rows of `frames` are the observations that were acted on, in the order
    (t, n); the rest are the last observations of episodes and of the rollout, which nobody acted on.
    """

    frames: Obs  # each (P, ...), P >= T * N
    next_frame: Tensor  # (T, N) int64, row of `frames` that followed, before any reset
    action: Tensor  # (T, N, K, A) what the policy chose: on-policy ratios need this one
    executed: Tensor  # (T, N, K, A) what was done, after limits and human override: replay needs this one
    log_prob: Tensor  # (T, N, U) of `action`, under the weights that acted
    value: Tensor  # (T, N, V)
    next_value: Tensor  # (T, N) V(next observation) where an episode or the rollout ends here; 0 elsewhere
    reward: Tensor  # (T, N, K) per action, undiscounted
    valid: Tensor  # (T, N, K) bool
    terminated: Tensor  # (T, N, K) bool
    success: Tensor  # (T, N, K) bool
    truncated: Tensor  # (T, N) bool, the sampler's time limit or a lost episode; never together with terminated
    human: Tensor  # (T, N, K) bool
    task: Tensor  # (T, N) int64
    initial_state: Tensor  # (T, N) int64
    seed: Tensor  # (T, N) int64, of the running episode
    episode: Tensor  # (T, N) int64, unique within a run
    version: Tensor  # (T, N) int64, of the weights that acted
    extras: Mapping[str, Tensor]  # each (T, N, ...)

    @property
    def obs(self) -> Obs:
        """Each (T, N, ...): what the policy saw; a view, not a copy."""
        steps, envs = self.truncated.shape
        return {name: frame[: steps * envs].unflatten(0, (steps, envs)) for name, frame in self.frames.items()}

    @property
    def next_obs(self) -> Obs:
        """Each (T, N, ...): what the decision led to, before any reset; copied out of `frames` on demand."""
        return {name: frame[self.next_frame] for name, frame in self.frames.items()}


@dataclass(frozen=True, slots=True)
class Batch:
    """B decisions, flattened. The optimizer makes `sample_weight` sum to one over the minibatch, across ranks.

    Every loss is `(sample_weight * per_unit).sum()`: masks, padding, uneven ranks and gradient accumulation need no
    other arithmetic.
    """

    obs: Obs  # each (B, ...)
    action: Tensor  # (B, K, A)
    log_prob: Tensor  # (B, U)
    advantage: Tensor  # (B, V)
    value: Tensor  # (B, V) as predicted when acting: value clipping needs it
    value_target: Tensor  # (B, V)
    sample_weight: Tensor  # (B, W)
    extras: Mapping[str, Tensor]

    def __len__(self) -> int:
        return self.sample_weight.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Batch:
        return tree_map(lambda x: x[index], self)


@dataclass(frozen=True, slots=True)
class Transitions:
    """B decisions with their successors, from replay. Demonstrations and online data look the same here."""

    obs: Obs
    action: Tensor  # (B, K, A) as executed
    reward: Tensor  # (B,)
    terminated: Tensor  # (B,) bool
    next_obs: Obs
    sample_weight: Tensor  # (B, 1)

    def __len__(self) -> int:
        return self.sample_weight.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Transitions:
        return tree_map(lambda x: x[index], self)


@dataclass(frozen=True, slots=True)
class Chunks:
    """B demonstrated chunks. Actions beyond an episode's end repeat its last one and have weight 0."""

    obs: Obs  # each (B, ...), what was seen before the first action
    action: Tensor  # (B, K, A)
    sample_weight: Tensor  # (B, K)

    def __len__(self) -> int:
        return self.sample_weight.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Chunks:
        return tree_map(lambda x: x[index], self)


@dataclass(frozen=True, slots=True)
class Weights:
    """Learner state that is published to those who act."""

    version: int
    state: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Episode:
    """The record of one finished episode. `lost` means that its environment process died: nothing else counts."""

    index: int  # unique within a run
    env: int  # 0 .. N - 1
    task: int
    initial_state: int
    seed: int
    steps: int  # valid actions
    reward: float  # undiscounted sum
    success_once: bool
    success_at_end: bool
    first_success_step: int | None
    terminated: bool
    lost: bool = False


def tree_map(fn: Callable[[Tensor], Tensor], node: Tree) -> Tree:
    """Apply `fn` to every tensor of a nested dataclass or mapping."""
    return _map(lambda *xs: fn(xs[0]), node)


def tree_stack(nodes: list[Tree], dim: int = 0) -> Tree:
    """Stack equal trees tensor by tensor."""
    return _map(lambda *xs: torch.stack(xs, dim), *nodes)


def _map(fn: Callable[..., Tensor], *nodes: Any) -> Any:
    first = nodes[0]
    if isinstance(first, Tensor):
        return fn(*nodes)
    if isinstance(first, Mapping):
        return {key: _map(fn, *(n[key] for n in nodes)) for key in first}
    if dataclasses.is_dataclass(first) and not isinstance(first, type):
        names = [f.name for f in dataclasses.fields(first)]
        return type(first)(**{name: _map(fn, *(getattr(n, name) for n in nodes)) for name in names})
    return first
