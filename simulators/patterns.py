"""Procedural patterns for the textures of a MuJoCo model, in two families that share none: one to train on, one not.

A pattern is a small square of brightness in [-1, 1]; it is laid over a texture of any size, faces of a cube included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

PIXELS = 64  # side of the square
Family = Literal["none", "train", "held_out"]
Square = NDArray[np.float64]  # (PIXELS, PIXELS)


def _axes(generator: np.random.Generator) -> tuple[Square, Square]:
    """Coordinates in [0, 1) along two perpendicular directions, turned by any angle."""
    angle = generator.uniform(0, np.pi)
    y, x = np.mgrid[:PIXELS, :PIXELS] / PIXELS
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def gradient(generator: np.random.Generator) -> Square:
    """From dark to bright in any direction."""
    along, _ = _axes(generator)
    return 2 * (along - along.min()) / np.ptp(along) - 1


def checker(generator: np.random.Generator) -> Square:
    y, x = np.mgrid[:PIXELS, :PIXELS] // (PIXELS // generator.integers(2, 9))
    return 2.0 * ((x + y) % 2) - 1


def stripes(generator: np.random.Generator) -> Square:
    along, _ = _axes(generator)
    return np.sign(np.sin(2 * np.pi * along * generator.integers(3, 10)))


def dots(generator: np.random.Generator) -> Square:
    along, across = _axes(generator)
    count = generator.integers(3, 8)
    return np.where(np.hypot((along * count) % 1 - 0.5, (across * count) % 1 - 0.5) < 0.3, 1.0, -1.0)


def blotches(generator: np.random.Generator) -> Square:
    """Smooth noise."""
    cells = int(generator.integers(4, 9))
    coarse = generator.uniform(-1, 1, (cells + 1, cells + 1))
    place = np.arange(PIXELS) * cells / PIXELS
    low = place.astype(int)
    part = (place - low)[:, None]
    rows = coarse[low] * (1 - part) + coarse[low + 1] * part  # (PIXELS, cells + 1)
    return rows[:, low] * (1 - part.T) + rows[:, low + 1] * part.T


FAMILIES: Mapping[Family, tuple[Callable[[np.random.Generator], Square] | None, ...]] = {
    "none": (None,),
    "train": (None, gradient, checker),  # None: what the model has
    "held_out": (stripes, dots, blotches),
}


def draw(own: NDArray[Any], family: Family, generator: np.random.Generator) -> NDArray[Any]:
    """A texture in place of `own` (H, W, channels) uint8: its mean color under a pattern, or itself.

    Cube textures are six squares on top of each other, which all get the same pattern.
    """
    choices = FAMILIES[family]
    make = choices[int(generator.integers(len(choices)))]
    contrast = generator.uniform(0.15, 0.35)
    if make is None:
        return own
    height, width, channels = own.shape
    color = own[:: max(1, height // 64), :: max(1, width // 64), :3].mean(axis=(0, 1))  # (3,)
    color *= min(1.0, 255 / ((1 + contrast) * max(color.max(), 1.0)))  # so that what is bright stays a pattern
    square = np.clip(color * (1 + contrast * make(generator)[..., None]), 0, 255).astype(
        np.uint8
    )  # (PIXELS, PIXELS, 3)
    faces = height // width if height % width == 0 else 1
    rows = np.arange(height // faces) * PIXELS // (height // faces)
    face = square[rows][:, np.arange(width) * PIXELS // width]  # (height / faces, width, 3)
    drawn = np.tile(face, (faces, 1, 1))
    return drawn if channels == 3 else np.concatenate([drawn, own[..., 3:]], axis=2)
