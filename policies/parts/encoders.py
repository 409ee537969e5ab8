"""Image encoders: pictures (B, H, W, 3) uint8, with depth (B, H, W, 1) in m where there is any, to features (B, F).

Both end in a grid of 4 x 4 cells, so any picture of 32 pixels and more fits, and where things are survives; a global
average, as ImageNet networks end in, would lose it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from embodied.errors import ConfigError
from embodied.types import Array, Obs
from policies.parts.heads import orthogonal, steady

Trunk = Literal["cnn", "resnet18"]
SMALLEST = 32  # pixels
GRID = 4  # cells on each side


class Camera(nn.Module):
    """One camera: color, depth or both, as channels of one picture."""

    def __init__(self, keys: list[str], obs: Mapping[str, Array], *, trunk: Trunk, width: int, features: int) -> None:
        super().__init__()
        self.keys = keys
        sizes = {obs[key].shape[:2] for key in keys}
        if len(sizes) > 1 or min(min(sizes)) < SMALLEST:
            raise ConfigError(
                f"{' and '.join(keys)} have (height, width) {sorted(sizes)}, and one size of at least {SMALLEST} "
                f"pixels is needed; nothing was built. Change the simulator's image_size."
            )
        channels = sum(obs[key].shape[2] for key in keys)
        layers, outputs = cnn(channels, width) if trunk == "cnn" else resnet18(channels, width)
        self.trunk = layers
        self.neck = nn.Sequential(
            nn.AdaptiveAvgPool2d(GRID),
            nn.Flatten(),
            orthogonal(nn.Linear(outputs * GRID * GRID, features), math.sqrt(2)),
            nn.LayerNorm(features),
            nn.Tanh(),
        )

    def forward(self, obs: Obs) -> Tensor:
        """(B, F)."""
        pictures = [scaled(obs[key]) for key in self.keys]  # each (B, H, W, C)
        picture = pictures[0] if len(pictures) == 1 else torch.cat(pictures, dim=-1)
        return steady(self.neck, self.trunk(picture.permute(0, 3, 1, 2)))


class Encoder(nn.Module):
    """Features of every camera beside the vector `state`, if there is one, and `beside` more entries: (B, F)."""

    def __init__(self, obs: Mapping[str, Array], *, trunk: Trunk, width: int, features: int, beside: int = 0) -> None:
        super().__init__()
        names = sorted({key.partition("/")[2] for key in obs if key.startswith(("rgb/", "depth/"))})
        if not names:
            raise ConfigError(
                f"policies.vision needs pictures `rgb/CAMERA` and this simulator offers {sorted(obs)}; nothing was "
                f"built. Use policy=mlp, or let the simulator observe rgb."
            )
        self.cameras = nn.ModuleDict()
        for name in names:
            keys = [key for key in (f"rgb/{name}", f"depth/{name}") if key in obs]
            self.cameras[name.replace(".", "_")] = Camera(keys, obs, trunk=trunk, width=width, features=features)
        self.size = features * len(names) + (obs["state"].shape[0] if "state" in obs else 0) + beside

    def forward(self, obs: Obs, state: Tensor | None) -> Tensor:
        """`state` (B, D) as it shall be seen, normalized or not, with what stands beside it."""
        encoded = [camera(obs) for camera in self.cameras.values()]
        return torch.cat(encoded if state is None else [*encoded, state], dim=1)


def scaled(picture: Tensor) -> Tensor:
    """Color to [-0.5, 0.5]; depth d in m to 1 / (1 + d) - 0.5: near is finer than far, and infinity is a number."""
    if picture.dtype == torch.uint8:
        return picture.float() / 255 - 0.5
    return 1 / (1 + picture.clamp(min=0)) - 0.5


def cnn(channels: int, width: int) -> tuple[nn.Sequential, int]:
    """Three halvings, in the spirit of Mnih et al. (2015) with smaller kernels: 64 pixels become 8 x 8 cells."""
    sizes = [(channels, width, 4), (width, 2 * width, 4), (2 * width, 2 * width, 4)]
    layers: list[nn.Module] = []
    for inputs, outputs, kernel in sizes:
        conv = nn.Conv2d(inputs, outputs, kernel, stride=2, padding=1)
        layers += [orthogonal(conv, math.sqrt(2)), nn.ReLU()]
    return nn.Sequential(*layers), 2 * width


def resnet18(channels: int, width: int) -> tuple[nn.Sequential, int]:
    """He et al. (2016) with GroupNorm for BatchNorm: running statistics would make acting and learning differ."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False),
        _norm(width),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    inputs = width
    for stage in range(4):
        outputs = width * 2**stage
        layers += [Block(inputs, outputs, stride=1 if stage == 0 else 2), Block(outputs, outputs, stride=1)]
        inputs = outputs
    return nn.Sequential(*layers), inputs


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut. The second starts at zero, so each block starts as its shortcut."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.first_norm = _norm(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = _norm(outputs)
        nn.init.zeros_(self.second_norm.weight)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), _norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.second_norm(self.second(relu(self.first_norm(self.first(x)))))
        return relu(inner + self.shortcut(x))


def _norm(channels: int) -> nn.GroupNorm:
    """Groups of 16 channels, or what divides."""
    return nn.GroupNorm(math.gcd(channels, max(1, channels // 16)), channels)
