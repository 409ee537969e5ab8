"""Counting with somebody who can count, and who can be told to fail: what the tests of collecting look at."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Literal

import numpy as np

from embodied.config import recipe
from embodied.errors import DemonstrationError
from tests.counting import Counting, CountingRecipe


@recipe
class ShownRecipe:
    """Counting, with an expert that counts."""

    scene: CountingRecipe = CountingRecipe(length=3)
    num_envs: int = 1
    patience: int = 1000  # actions after which the expert returns
    gives_up: bool = False
    breaks_at: int | None = None  # initial state at which the expert has a bug
    solves_once: bool = False  # and never again from the same seed
    breaks_again: Literal["never", "exit", "raise"] = "never"  # how, at the second episode that it plays again
    tasks: int = 1
    stored: tuple[int, ...] | None = None  # initial states of each task

    def build(self):
        return self.scene.build()

    def demonstrator(self):
        return Shown(self)


class Shown:
    source = "script"

    def __init__(self, r):
        self.r, self.scene = r, Counting(r.scene)
        self.spec = replace(self.scene.spec, tasks=tuple(f"count {n}" for n in range(r.tasks)), initial_states=r.stored)
        self.began, self.repeats = set(), 0

    def reset(self, task, initial_state, seed):
        self.state = initial_state
        self.is_repeated = (task, seed) in self.began
        self.began.add((task, seed))
        self.repeats += self.is_repeated
        if self.is_repeated and self.repeats == 2 and self.r.breaks_again == "exit":
            os._exit(3)
        if self.is_repeated and self.repeats == 2 and self.r.breaks_again == "raise":
            raise RuntimeError("the gripper melted")
        self.scene.reset(task, initial_state, seed)

    def step(self, action):
        reward, terminated, success = self.scene.step(action)
        return reward, terminated, success and not (self.r.solves_once and self.is_repeated)

    def observe(self):
        return self.scene.observe()

    def demonstrate(self, act):
        if self.state == self.r.breaks_at:
            raise ZeroDivisionError("no way has no length")
        for _ in range(self.r.patience):
            act(np.array([0.5], dtype=np.float32))
        if self.r.gives_up:
            raise DemonstrationError("the expert saw no way")

    def close(self): ...
