"""Advantages and the units they are counted in: pure functions, time first.

A rollout is kept per action (T, N, K). `units` folds it to the granularity an algorithm works at: S = T rows of
decisions, or S = T * K rows of actions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from embodied.interfaces import Granularity
from embodied.types import Trajectory


@dataclass(frozen=True, slots=True)
class Units:
    """A rollout at one granularity, each (S, N)."""

    reward: Tensor
    value: Tensor
    next_value: Tensor  # of what followed, before any reset
    terminated: Tensor  # bool
    truncated: Tensor  # bool
    valid: Tensor  # bool


def units(r: Trajectory, per: Granularity) -> Units:
    """Fold `r` to rows of decisions (rewards of a chunk add up) or of actions."""
    last_action = torch.zeros_like(r.terminated)  # (T, N, K)
    last_action[..., -1] = True
    if per == "decision":
        reward = (r.reward * r.valid).sum(dim=2)  # (T, N)
        value = r.value[..., 0]  # (T, N)
        terminated, valid, truncated = r.terminated.any(dim=2), r.valid.any(dim=2), r.truncated
        final = r.next_value  # (T, N)
    else:
        reward, value, terminated, valid = (_flat(x) for x in (r.reward * r.valid, r.value, r.terminated, r.valid))
        truncated = _flat(r.truncated[..., None] & last_action)  # (S, N)
        final = _flat(r.next_value[..., None].expand_as(r.reward))  # (S, N)
    following = torch.cat([value[1:], final[-1:]])  # (S, N)
    next_value = torch.where(terminated | truncated, final, following)  # (S, N)
    return Units(reward, value, next_value, terminated, truncated, valid)


def gae(u: Units, *, gamma: float, lam: float, through_termination: bool = False) -> Tensor:
    """Generalized Advantage Estimation (Schulman et al. 2016, eq. 16), (S, N); 0 where not valid.

    Truncation cuts the trace and keeps the bootstrap; termination cuts both, or, with `through_termination`, the trace
    only: RLinf's `bootstrap_type: always`, for dense rewards under which success must not look like a loss of future.
    """
    bootstrap = gamma * u.next_value if through_termination else gamma * u.next_value * ~u.terminated
    delta = (u.reward + bootstrap - u.value) * u.valid  # (S, N)
    carry = gamma * lam * (~(u.terminated | u.truncated) & u.valid)  # (S, N)
    advantage = torch.zeros_like(u.reward)
    running = torch.zeros_like(u.reward[0])
    for t in reversed(range(len(u.reward))):
        advantage[t] = running = delta[t] + carry[t] * running
    return advantage


def per_decision(x: Tensor, steps: int) -> Tensor:
    """(S, N) back to (T, N, V), V = S / T."""
    return x.unflatten(0, (steps, -1)).transpose(1, 2)


def group_relative(score: Tensor, group_size: int, eps: float = 1e-6) -> Tensor:
    """Score of each rollout against its group of G siblings: (N,) -> (N,), zero when the group agrees (GRPO)."""
    if score.shape[0] % group_size:
        raise ValueError(f"{score.shape[0]} rollouts do not split into groups of {group_size}")
    group = score.view(-1, group_size)  # (N/G, G)
    centered = group - group.mean(dim=1, keepdim=True)
    return (centered / (group.std(dim=1, keepdim=True) + eps)).view(-1)


def until_done(done: Tensor) -> Tensor:
    """(S + 1, N) done rows to (S, N) mask: the step at which done fires counts, later ones do not (fixed length)."""
    return (done.long().cumsum(dim=0) == 0)[:-1]


def episode_share(valid: Tensor, episode: Tensor) -> Tensor:
    """Weight (T, N, W) of each valid unit such that every episode of the rollout weighs the same.

    Trajectory-length normalization (SimpleVLA-RL, RLinf): `valid` (T, N, W), `episode` (T, N).
    """
    index = episode.flatten().unique(return_inverse=True)[1].view_as(episode)  # (T, N)
    counts = torch.zeros(int(index.max()) + 1, device=valid.device)
    counts.index_add_(0, index.flatten(), valid.sum(dim=2).flatten().float())
    return valid / counts[index].clamp(min=1)[..., None]  # (T, N, W)


def fold(x: Tensor, num_units: int) -> Tensor:
    """Sum the finest units (B, U) to (B, `num_units`)."""
    return x.unflatten(1, (num_units, -1)).sum(dim=2)


def spread(x: Tensor, num_units: int) -> Tensor:
    """Repeat (B, W) to (B, `num_units`), each unit taking the entry of the coarser one it belongs to."""
    return x.repeat_interleave(num_units // x.shape[1], dim=1)


def _flat(x: Tensor) -> Tensor:
    """(T, N, K) to (T * K, N), time first."""
    return x.transpose(1, 2).flatten(0, 1)
