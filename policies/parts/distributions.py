"""Densities of actions, as functions of tensors: `torch.distributions` costs more than the network at small batches."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from embodied.noise import Noise

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def gaussian_log_prob(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Elementwise log density of N(mean, exp(log_std)); the shapes broadcast."""
    return -0.5 * ((action - mean) * (-log_std).exp()).square() - log_std - _HALF_LOG_TAU


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """Elementwise, in nats."""
    return log_std + 0.5 + _HALF_LOG_TAU


def tanh_gaussian_log_prob(u: Tensor, mean: Tensor, log_std: Tensor, scale: float = 1.0) -> Tensor:
    """Elementwise log density of `scale * tanh(u)` for u ~ N(mean, exp(log_std)).

    Uses log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)), which does not overflow. EXPO's edit policy has
    scale = beta, hence the - log beta.
    """
    jacobian = 2 * (math.log(2.0) - u - softplus(-2 * u))
    return gaussian_log_prob(u, mean, log_std) - jacobian - math.log(scale)


def sample_gaussian(mean: Tensor, log_std: Tensor, noise: Noise | None) -> Tensor:
    """mean (n, ...) plus noise; without a source of its own it comes from torch's global generator."""
    return mean + log_std.exp() * (torch.randn_like(mean) if noise is None else noise.normal(mean))
