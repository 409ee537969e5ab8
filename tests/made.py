"""Small trajectories and policies made by hand; whatever a test does not name is zero, valid and unending."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from embodied.interfaces import Policy
from embodied.noise import EnvNoise
from embodied.types import Array, Batch, Decision, Evaluation, Obs, Spec, Trajectory


def trajectory(steps: int, num_envs: int, chunk: int = 1, action_dim: int = 1, **named: Any) -> Trajectory:
    """T = `steps`, N = `num_envs`, K = `chunk`, A = `action_dim`, U = K * A, V = 1 unless `value` says otherwise."""
    rows, actions = (steps, num_envs), (steps, num_envs, chunk)
    no = torch.zeros(actions, dtype=torch.bool)
    labels = torch.zeros(rows, dtype=torch.int64)
    every = torch.arange(num_envs).expand(rows)  # (T, N)
    fields: dict[str, Any] = {
        "frames": {"state": torch.zeros((steps + 1) * num_envs, 1)},
        "next_frame": torch.arange(num_envs, (steps + 1) * num_envs).view(rows),
        "action": torch.zeros(*actions, action_dim),
        "executed": torch.zeros(*actions, action_dim),
        "log_prob": torch.zeros(*rows, chunk * action_dim),
        "value": torch.zeros(*rows, 1),
        "next_value": torch.zeros(rows),
        "reward": torch.zeros(actions),
        "valid": ~no,
        "terminated": no,
        "success": no,
        "truncated": torch.zeros(rows, dtype=torch.bool),
        "human": no,
        "task": labels,
        "initial_state": labels - 1,
        "seed": labels,
        "episode": every,
        "version": labels,
        "extras": {},
    }
    return Trajectory(**(fields | named))


def played(policy: Policy, spec: Spec, steps: int, chunk: int, seed: int = 0, **named: Any) -> Trajectory:
    """Random observations, what `policy` chose there, and random rewards: consistent, but no simulator's."""
    generator = torch.Generator().manual_seed(seed)
    num = spec.num_envs
    frames = {name: drawn(a, (steps + 1) * num, generator) for name, a in spec.obs.items()}
    obs = {k: x[: steps * num] for k, x in frames.items()}
    decision = policy.act(obs, explore=True, noise=EnvNoise(seed, total=1))
    value = policy.value(obs).detach() if decision.value is None else decision.value
    fields = {
        "frames": frames,
        "action": decision.action.unflatten(0, (steps, num)),
        "executed": decision.action.clamp(-1, 1).unflatten(0, (steps, num)),
        "log_prob": decision.log_prob.unflatten(0, (steps, num)),
        "value": value.unflatten(0, (steps, num)),
        "reward": torch.randn(steps, num, chunk, generator=generator),
        "next_value": torch.randn(steps, num, generator=generator),
    }
    return trajectory(steps, num, chunk, spec.action_dim, **(fields | named))


def drawn(array: Array, count: int, generator: torch.Generator) -> Tensor:
    """(count, ...) random entries of an observation."""
    shape = (count, *array.shape)
    if array.dtype == torch.uint8:
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return torch.randn(shape, generator=generator)


def vectors(obs_dim: int = 4, action_dim: int = 2, num_envs: int = 3) -> Spec:
    return Spec(obs={"state": Array((obs_dim,))}, action_dim=action_dim, num_envs=num_envs, control_hz=10.0)


def batch(**named: Any) -> Batch:
    """One decision of one action with weight 1."""
    one = torch.zeros(1, 1)
    fields: dict[str, Any] = dict.fromkeys(("log_prob", "advantage", "value", "value_target"), one)
    fields |= {"obs": {"state": one}, "action": one[..., None], "sample_weight": one + 1, "extras": {}}
    return Batch(**(fields | named))


class Says(Policy):
    """Chooses `action` (K, A) everywhere; values a state as the sum of its entries; scores with the given numbers."""

    def __init__(self, action: list[list[float]], *, log_prob: float = 0.0, value: float | None = None) -> None:
        super().__init__()
        self.action, self.log_prob, self.fixed_value = torch.tensor(action), log_prob, value
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def act(self, obs: Obs, *, explore: bool, noise: Any = None) -> Decision:  # noqa: ARG002
        value = self.value(obs)
        action = self.action.expand(len(value), *self.action.shape)  # (N, K, A)
        return Decision(action=action, log_prob=torch.zeros(len(value), self.action.numel()), value=value)

    def evaluate(self, obs: Obs, action: Tensor, extras: Mapping[str, Tensor]) -> Evaluation:  # noqa: ARG002
        log_prob = action.flatten(1) * 0 + self.log_prob + self.weight  # (B, U)
        return Evaluation(log_prob, entropy=torch.zeros_like(log_prob), value=self.value(obs) + 0 * self.weight)

    def value(self, obs: Obs) -> Tensor:
        total = obs["state"].sum(dim=1, keepdim=True)  # (N, 1)
        return total if self.fixed_value is None else torch.full_like(total, self.fixed_value)
