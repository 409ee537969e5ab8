"""Statistics of observations and of actions that travel with the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from embodied.distributed import all_sum


class RunningNorm(nn.Module):
    """Zero mean and unit variance over everything tracked so far; the identity until then.

    Statistics move only in `track`, after a rollout was learned from, so acting and learning see the same policy.
    Merged by Chan et al. (1979), in float64, across ranks.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, size: int, limit: float = 10.0, smallest_std: float = 1e-4) -> None:
        super().__init__()
        self.limit = limit  # standard deviations beyond which an entry is clipped
        self.smallest_std = smallest_std  # an entry that varies less is not blown up
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(size), persistent=False)
        self.register_buffer("scale", torch.ones(size), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module._refresh())

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return ((x - self.shift) * self.scale).clamp(-self.limit, self.limit)

    @torch.no_grad()
    def track(self, x: Tensor) -> None:
        """Take (..., D) into the statistics."""
        flat = x.reshape(-1, x.shape[-1]).double()  # (B, D)
        count = all_sum(self.count.new_tensor(float(len(flat))))
        mean = all_sum(flat.sum(dim=0)) / count  # (D,)
        squares = all_sum((flat - mean).square().sum(dim=0))  # (D,)
        total = self.count + count
        delta = mean - self.mean
        merged = self.variance * self.count + squares + delta.square() * self.count * count / total
        self.mean += delta * count / total
        self.variance.copy_(merged / total)
        self.count.copy_(total)
        self._refresh()

    def _refresh(self) -> None:
        self.shift = self.mean.float()
        self.scale = (self.variance + self.smallest_std**2).rsqrt().float()


class ActionNorm(nn.Module):
    """One unit of a policy's own output, for each action entry: what demonstrations did; the identity until `fit`.

    Mean and standard deviation, not quantiles: nothing is clipped, so what happens seldom (a gripper closes once) can
    still be said, and every entry that moves weighs the same in an imitation loss. One that moves less than `SMALLEST`
    counts as if it moved that much: a constant is met exactly, and its noise is not blown up.
    """

    SMALLEST = 0.01  # of an action's range [-1, 1]

    mean: Tensor
    std: Tensor

    def __init__(self, action_dim: int, chunk: int) -> None:
        super().__init__()
        self.chunk = chunk
        self.register_buffer("mean", torch.zeros(action_dim))
        self.register_buffer("std", torch.ones(action_dim))
        for name in ("shift", "scale", "log_scale"):  # (K * A,): those of a whole chunk
            self.register_buffer(name, torch.empty(0), persistent=False)
        self._refresh()
        self.register_load_state_dict_post_hook(lambda module, _: module._refresh())

    def forward(self, unit: Tensor) -> Tensor:
        """What the policy says (B, K * A) as actions."""
        return torch.addcmul(self.shift, unit, self.scale)

    def inverse(self, action: Tensor) -> Tensor:
        """Actions (B, K * A) as the policy would say them."""
        return (action - self.shift) / self.scale

    def log_std(self, unit: Tensor) -> Tensor:
        """Logarithm of a spread (K * A,), in the policy's units, as that of actions."""
        return unit + self.log_scale

    @torch.no_grad()
    def fit(self, action: Tensor) -> None:
        """Measure demonstrated actions (..., A)."""
        flat = action.reshape(-1, action.shape[-1]).double()  # (B, A)
        self.mean.copy_(flat.mean(dim=0))
        self.std.copy_(flat.std(dim=0, correction=0).clamp(min=self.SMALLEST))
        self._refresh()

    def _refresh(self) -> None:
        self.shift, self.scale = self.mean.repeat(self.chunk), self.std.repeat(self.chunk)
        self.log_scale = self.scale.log()
