"""Videos: some episodes of a policy side by side, with a green frame once the task is solved."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodied.errors import ConfigError
from embodied.interfaces import Env, EnvRecipe, Policy
from embodied.sampler.starts import Jobs, Starts, to_start

TILE = 256  # pixels
UNLIMITED = 200  # actions, where a task has no time limit
GREEN = (60, 200, 90)


class FilmedEnv(Env, Protocol):
    def picture(self) -> Tensor:
        """(N, H, W, 3) uint8: what a person wants to see."""
        ...


@runtime_checkable
class FilmedRecipe(Protocol):
    def filmed(self, num_envs: int) -> EnvRecipe:
        """The same task in this process, with a camera for people: it builds a `FilmedEnv`."""
        ...


@torch.no_grad()
def film(
    recipe: EnvRecipe, policy: Policy, starts: Starts, *, episodes: int, max_steps: int | None, path: Path
) -> Path:
    """Play `episodes` episodes at once with the policy's most likely actions, and write them as one mp4."""
    if not isinstance(recipe, FilmedRecipe):
        raise ConfigError(f"{type(recipe).__name__} has no camera for people (`filmed`); no video was made.")
    env: Any = recipe.filmed(episodes).build()
    try:
        frames = _play(env, policy, starts, max_steps)
    finally:
        env.close()
    _write(path, frames, env.spec.control_hz / _chunk_of(policy))
    return path


def _play(env: FilmedEnv, policy: Policy, starts: Starts, max_steps: int | None) -> list[NDArray[np.uint8]]:
    """An episode that is over stands still while others go on."""
    num, device = env.spec.num_envs, env.spec.device
    drawn = replace(starts, plan=Jobs.over(env.spec, num, whole=False))(list(range(num)), [0] * num, num)
    env.reset(torch.ones(num, dtype=torch.bool, device=device), to_start(drawn))
    limits = [max_steps or env.spec.limits[task] or UNLIMITED for task, _, _ in drawn]
    left = torch.tensor(limits, device=device)  # (N,) actions
    solved = torch.zeros_like(left, dtype=torch.bool)  # (N,)
    running = ~solved
    pictures = env.picture()  # (N, H, W, 3)
    frames = [_mosaic(pictures, solved)]
    while running.any():
        step = env.step(policy.act(env.observe(), explore=False).action)
        counts = step.valid & (torch.arange(step.valid.shape[1], device=device) < left[:, None])  # (N, K)
        solved = solved | (step.success & counts).any(dim=1)
        pictures = torch.where(running.to(pictures.device)[:, None, None, None], env.picture(), pictures)
        left = left - step.valid.shape[1]
        running = running & ~step.terminated.any(dim=1) & (left > 0)
        frames.append(_mosaic(pictures, solved))
    return frames


def _mosaic(pictures: Tensor, solved: Tensor) -> NDArray[np.uint8]:
    """(N, H, W, 3) to one picture, as square a grid as can be, tiles of TILE pixels."""
    from PIL import Image

    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    canvas = np.zeros((rows * TILE, columns * TILE, 3), dtype=np.uint8)
    for index, picture in enumerate(pictures.cpu().numpy()):
        tile = np.asarray(Image.fromarray(picture).resize((TILE, TILE))).copy()
        if solved[index]:
            tile[:6], tile[-6:], tile[:, :6], tile[:, -6:] = GREEN, GREEN, GREEN, GREEN
        row, column = divmod(index, columns)
        canvas[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE] = tile
    return canvas


def _write(path: Path, frames: list[NDArray[np.uint8]], frames_per_s: float) -> None:
    import imageio.v2 as imageio

    with imageio.get_writer(path, fps=max(1.0, frames_per_s), codec="libx264", macro_block_size=1) as writer:
        for frame in frames + frames[-1:] * max(1, round(frames_per_s)):  # hold the last one for a second
            writer.append_data(frame)  # pyright: ignore[reportAttributeAccessIssue]  (missing in its stubs)


def _chunk_of(policy: Policy) -> int:
    return int(getattr(policy, "chunk", 1))
