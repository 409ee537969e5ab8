"""A film of environments that do nothing, for tests of what people see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from embodied.sampler.film import FilmedRecipe, tile_of, write_film
from embodied.types import Start


def film(recipe: FilmedRecipe, num_envs: int, path: Path, *, actions: int = 2) -> Path:
    """Each environment plays an episode of its own, of `actions` zeros."""
    env: Any = recipe.filmed(num_envs).build()
    try:
        env.reset(torch.ones(num_envs, dtype=torch.bool), Start.seeded(list(range(num_envs))))
        pictures = [env.picture().cpu().numpy()]
        for _ in range(actions):
            env.step(torch.zeros(num_envs, 1, env.spec.action_dim))
            pictures.append(env.picture().cpu().numpy())
    finally:
        env.close()
    tiles = [[tile_of(picture[n], solved=False) for picture in pictures] for n in range(num_envs)]
    write_film(path, tiles, env.spec.control_hz)
    return path
