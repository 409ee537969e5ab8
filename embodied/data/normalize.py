"""Statistics of observations that travel with the weights."""

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

    def __init__(self, size: int, limit: float = 10.0) -> None:
        super().__init__()
        self.limit = limit  # standard deviations beyond which an entry is clipped
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
        self.scale = (self.variance + 1e-8).rsqrt().float()
