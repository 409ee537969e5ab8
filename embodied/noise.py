"""Random numbers for acting, so that who runs beside whom changes nothing.

Training draws by environment: each process draws for all N environments and keeps the rows of its own, for the price
of a few unused numbers. Evaluation draws by episode: the numbers belong to it wherever and whenever it is played.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Noise(Protocol):
    """What `Policy.act` draws from."""

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers in the shape (n, ...) of `like`."""
        ...


class EnvNoise:
    """A generator that serves rows `first` .. `first + num` of `total`."""

    def __init__(self, seed: int, *, total: int, first: int = 0, device: torch.device | str = "cpu") -> None:
        self.total, self.first = total, first
        self.generator = torch.Generator(device=device).manual_seed(seed)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers in the shape (n, ...) of `like`."""
        shape = (max(self.total, self.first + len(like)), *like.shape[1:])
        drawn = torch.randn(shape, generator=self.generator, device=like.device, dtype=like.dtype)
        return drawn[self.first : self.first + len(like)]

    def state(self) -> Tensor:
        return self.generator.get_state()

    def load(self, state: Tensor) -> None:
        self.generator.set_state(state)


class EpisodeNoise:
    """A generator for each of the n running episodes, which lasts as long as the episode."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators = generators

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers in the shape (n, ...) of `like`, row by row."""
        rows = [
            torch.randn(like.shape[1:], generator=own, device=like.device, dtype=like.dtype) for own in self.generators
        ]
        return torch.stack(rows)


def mix(seed: int, *role: int) -> int:
    """A seed of its own for each role (small numbers) under one seed of the run."""
    value = seed & 0xFFFFFFFFFFFFFFFF
    for part in (len(role), *role):  # splitmix64
        value = (value + 0x9E3779B97F4A7C15 * (part + 1)) & 0xFFFFFFFFFFFFFFFF
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        value ^= value >> 31
    return value >> 1  # what torch.Generator takes
