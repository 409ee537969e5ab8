"""An environment that counts its own actions, and can be told to break: what the samplers' tests look at.

State (2,): actions so far, and the last action. Reward 1 for each action.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodied.config import Count, recipe
from embodied.types import Array, Spec
from simulators.vector import Vector


@recipe
class CountingRecipe:
    num_envs: Count = 2
    length: Count = 1000  # actions until the task terminates, by success
    max_steps: Count | tuple[Count, ...] | None = None  # the task's own time limit; several: a task for each
    breaks: Literal["never", "exit", "raise", "sleep", "nan"] = "never"  # how
    breaks_at: Count = 1  # the action of an episode at which it breaks
    first_action: float | None = None  # breaks only when this action comes
    once: str | None = None  # path of a file that is written when it breaks; it does not break while this exists
    at_seed: int | None = None  # breaks only in the episode of this seed
    tally: str | None = None  # path of a file to which each environment adds, when it is closed, its actions in all

    def build(self) -> Vector:
        return Vector(lambda: Counting(self), self.num_envs)


class Counting:
    def __init__(self, r: CountingRecipe) -> None:
        self.r, self.count, self.last, self.seed, self.observed, self.total = r, 0, 0.0, 0, 0, 0
        tasks = tuple(f"count to {limit}" for limit in r.max_steps) if isinstance(r.max_steps, tuple) else ("",)
        obs, limits = {"state": Array((2,))}, r.max_steps
        self.spec = Spec(obs, action_dim=1, num_envs=1, control_hz=10.0, tasks=tasks, max_steps=limits)

    def reset(self, task: int, initial_state: int, seed: int) -> None:  # noqa: ARG002  (every start is the same)
        self.count, self.last, self.seed = 0, 0.0, seed

    def step(self, action: NDArray[np.float32]) -> tuple[float, bool, bool]:
        self.count, self.last, self.total = self.count + 1, float(action[0]), self.total + 1
        reward = self._break() if self._is_time() else 1.0
        return reward, self.count >= self.r.length, self.count >= self.r.length

    def observe(self) -> dict[str, Tensor]:
        self.observed += 1
        return {"state": torch.tensor([float(self.count), self.last])}

    def picture(self) -> Tensor:
        return torch.full((2, 2, 3), self.count, dtype=torch.uint8)

    def get_state(self) -> NDArray[np.float64]:
        return np.array([self.count, self.last])

    def set_state(self, state: NDArray[np.float64]) -> None:
        self.count, self.last = int(state[0]), float(state[1])

    def close(self) -> None:
        if self.r.tally is not None:
            with Path(self.r.tally).open("a") as file:
                file.write(f"{self.total}\n")

    def _is_time(self) -> bool:
        r = self.r
        meant = r.first_action is None or abs(self.last - r.first_action) < 1e-6
        meant = meant and r.at_seed in (None, self.seed)
        spent = r.once is not None and Path(r.once).exists()
        return r.breaks != "never" and self.count == r.breaks_at and meant and not spent

    def _break(self) -> float:
        if self.r.once is not None:
            Path(self.r.once).touch()
        if self.r.breaks == "exit":
            os._exit(3)
        if self.r.breaks == "raise":
            raise RuntimeError("the gripper melted")
        if self.r.breaks == "sleep":
            time.sleep(60)
        return float("nan")
