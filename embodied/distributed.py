"""Collectives that are the identity in a single process."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def all_sum(x: Tensor) -> Tensor:
    """Sum `x` over ranks, in place."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(x)
    return x


def whiten(x: Tensor, mask: Tensor, eps: float = 1e-5) -> Tensor:
    """Zero mean and unit variance over the elements of `x` where `mask`, on all ranks; the others become 0.

    The variance is Bessel-corrected, as in RLinf (algorithms: `docs/algorithms.md`, golden vector G1).
    """
    weight = mask.to(x.dtype)
    count = all_sum(weight.sum())
    mean = all_sum((x * weight).sum()) / count.clamp(min=1)
    variance = all_sum(((x - mean).square() * weight).sum()) / (count - 1).clamp(min=1)
    return torch.where(mask, (x - mean) / (variance.sqrt() + eps), torch.zeros_like(x))
