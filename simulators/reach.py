"""A point mass that must reach a goal on a plane: the smallest environment that exercises every field of Step.

State (4,): position and goal, m. Image (S, S, 3): the goal green, the mass red, on black, one pixel per 4 m / S.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodied.config import Count, Positive, recipe
from embodied.types import Array, Obs, Spec, Start, Step

EXTENT_M = 2.0  # the picture shows [-2, 2] m on both axes
FILM_PIXELS = 256  # of a picture for people


@recipe
class ReachRecipe:
    num_envs: Count = 16
    tolerance: Positive = 0.1  # m
    obs: Literal["state", "rgb"] = "state"  # rgb: a picture instead of the goal's position
    image_size: Count = 32  # pixels
    max_steps: Count = 40  # actions per episode

    def build(self) -> Reach:
        return Reach(self)

    def demonstrator(self) -> Guide:
        return Guide(replace(self, num_envs=1).build())

    def filmed(self, num_envs: int) -> ReachRecipe:
        """The same task for `num_envs` environments that are looked at."""
        return replace(self, num_envs=num_envs)


class Reach:
    """N point masses, stepped as one tensor; nothing in it is random after reset."""

    def __init__(self, r: ReachRecipe) -> None:
        self.r = r
        obs = {"state": Array((4,))}
        if r.obs == "rgb":
            obs = {"state": Array((2,)), "rgb/top": Array((r.image_size, r.image_size, 3), torch.uint8)}
        tasks = ("reach the goal",)
        self.spec = Spec(obs, action_dim=2, num_envs=r.num_envs, control_hz=10.0, tasks=tasks, max_steps=r.max_steps)
        self.position = torch.zeros(r.num_envs, 2)  # (N, 2) m
        self.goal = torch.zeros(r.num_envs, 2)  # (N, 2) m
        self.ended = torch.ones(r.num_envs, dtype=torch.bool)  # (N,) nothing moves before the first reset

    def reset(self, mask: Tensor, start: Start) -> None:
        for n in mask.nonzero()[:, 0].tolist():
            stored = int(start.initial_state[n])
            generator = torch.Generator().manual_seed(stored if stored >= 0 else int(start.seed[n]))
            self.position[n], self.goal[n] = torch.rand(2, 2, generator=generator) * 2 - 1
        self.ended = self.ended & ~mask

    def step(self, action: Tensor) -> Step:
        executed = action.clamp(-1, 1)  # (N, K, A)
        rows: list[tuple[Tensor, ...]] = []
        for k in range(action.shape[1]):
            valid = ~self.ended
            self.position = torch.where(valid[:, None], self.position + 0.1 * executed[:, k], self.position)
            distance = (self.position - self.goal).norm(dim=1)  # (N,) m
            success = (distance < self.r.tolerance) & valid
            rows.append(((success.float() - 0.1 * distance) * valid, valid, success))
            self.ended = self.ended | success
        reward, valid, success = (torch.stack(column, dim=1) for column in zip(*rows, strict=True))  # each (N, K)
        return Step(reward, valid, success.clone(), success, executed, torch.zeros_like(valid))

    def rest(self, mask: Tensor) -> None:
        self.ended = self.ended | mask

    def observe(self) -> Obs:
        if self.r.obs == "state":
            return {"state": torch.cat([self.position, self.goal], dim=1)}
        return {"state": self.position.clone(), "rgb/top": self._picture()}

    def picture(self) -> Tensor:
        """(N, H, W, 3) uint8, for people: the same picture with larger pixels, whatever is observed."""
        source = torch.arange(FILM_PIXELS) * self.r.image_size // FILM_PIXELS  # (H,) row or column it is taken from
        return self._picture()[:, source][:, :, source]

    def get_state(self) -> Tensor:
        return torch.cat([self.position, self.goal, self.ended[:, None]], dim=1).double()  # (N, 5)

    def set_state(self, mask: Tensor, state: Tensor) -> None:
        self.position = torch.where(mask[:, None], state[:, :2].float(), self.position)
        self.goal = torch.where(mask[:, None], state[:, 2:4].float(), self.goal)
        self.ended = torch.where(mask, state[:, 4].bool(), self.ended)

    def close(self) -> None: ...

    def _picture(self) -> Tensor:
        size = self.r.image_size
        axis = (torch.arange(size) + 0.5) * (2 * EXTENT_M / size) - EXTENT_M  # (S,) m
        grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1)  # (S, S, 2) m
        image = torch.zeros(self.r.num_envs, size, size, 3, dtype=torch.uint8)
        for channel, point in ((1, self.goal), (0, self.position)):
            near = (grid - point[:, None, None]).norm(dim=-1) < 1.5 * self.r.tolerance  # (N, S, S)
            image[..., channel][near] = 255
        return image


class Guide:
    """One point mass and a script that moves it straight to its goal."""

    source = "script"
    correctable = (0, 1)

    def __init__(self, env: Reach) -> None:
        self.env, self.spec = env, env.spec

    def reset(self, task: int, initial_state: int, seed: int) -> None:
        start = (torch.tensor([x], dtype=torch.int64) for x in (task, initial_state, seed))
        self.env.reset(torch.ones(1, dtype=torch.bool), Start(*start))

    def step(self, action: NDArray[np.float32]) -> tuple[float, bool, bool]:
        step = self.env.step(torch.from_numpy(action)[None, None])
        return float(step.reward), bool(step.terminated), bool(step.success)

    def observe(self) -> Obs:
        return {name: x[0] for name, x in self.env.observe().items()}

    def demonstrate(self, act: Callable[[NDArray[np.float32]], None]) -> None:
        while not self.env.ended[0]:
            away = (self.env.goal - self.env.position)[0] * 10  # actions
            act(away.clamp(-1, 1).numpy())

    def close(self) -> None: ...
