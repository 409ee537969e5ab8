"""Videos: episodes side by side, with a green frame once the task is solved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from embodied.interfaces import Env, EnvRecipe

TILE = 256  # pixels
GREEN = (60, 200, 90)
Picture = NDArray[np.uint8]


class FilmedEnv(Env, Protocol):
    def picture(self) -> Tensor:
        """(N, H, W, 3) uint8: what a person wants to see."""
        ...


@runtime_checkable
class FilmedRecipe(Protocol):
    def filmed(self, num_envs: int) -> EnvRecipe:
        """The same task in this process, with a camera for people: it builds a `FilmedEnv`."""
        ...


def tile_of(picture: Picture, *, solved: bool) -> Picture:
    """(H, W, 3) to (TILE, TILE, 3)."""
    from PIL import Image

    tile = np.asarray(Image.fromarray(picture).resize((TILE, TILE))).copy()
    if solved:
        tile[:6], tile[-6:], tile[:, :6], tile[:, -6:] = GREEN, GREEN, GREEN, GREEN
    return tile


def mosaic(tiles: Sequence[Picture]) -> Picture:
    """As square a grid as can be."""
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    canvas = np.zeros((rows * TILE, columns * TILE, 3), dtype=np.uint8)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        canvas[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE] = tile
    return canvas


def write_film(path: Path, episodes: Sequence[Sequence[Picture]], frames_per_s: float) -> None:
    """One mp4 of `episodes`, each its own tiles; one that is over stands still while others go on."""
    import imageio.v2 as imageio

    length = max(map(len, episodes)) + max(1, round(frames_per_s))  # hold the last one for a second
    with imageio.get_writer(path, fps=max(1.0, frames_per_s), codec="libx264", macro_block_size=1) as writer:
        for t in range(length):
            frame = mosaic([tiles[min(t, len(tiles) - 1)] for tiles in episodes])
            writer.append_data(frame)  # pyright: ignore[reportAttributeAccessIssue]  (missing in its stubs)
