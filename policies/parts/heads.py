"""Fully connected networks with the initialization that PPO is usually run with."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU, "silu": nn.SiLU}


def mlp(sizes: tuple[int, ...], *, activation: str = "tanh", last_gain: float = 1.0) -> nn.Sequential:
    """Layers of `sizes`, orthogonal weights of gain sqrt(2), `last_gain` for the last, which has no activation."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [orthogonal(nn.Linear(inputs, outputs), math.sqrt(2)), ACTIVATIONS[activation]()]
    last = layers[-2]
    assert isinstance(last, nn.Linear)
    orthogonal(last, last_gain)
    return nn.Sequential(*layers[:-1])


def steady(net: nn.Module, x: Tensor, rows: int = 8) -> Tensor:
    """`net(x)`, computed on at least `rows` rows.

    BLAS takes another path, with other rounding, for very few rows; an action must have the same density when it is
    learned from in a large batch, and an episode must not depend on how many run beside it.
    """
    if len(x) >= rows:
        return net(x)
    return net(torch.cat([x, x.new_zeros(rows - len(x), *x.shape[1:])]))[: len(x)]


def orthogonal(layer: nn.Linear | nn.Conv2d, gain: float) -> nn.Linear | nn.Conv2d:
    nn.init.orthogonal_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
