"""Where episodes begin: a pure function of the run's seed, the environment and its count of episodes.

So the same seed gives the same episodes whatever the number of processes, and a resumed run needs no random state.
"""

from __future__ import annotations

import numpy as np
import torch

from embodied.config import Count, Natural, recipe
from embodied.types import Start

ROLES = {"train": 0, "evaluate": 1}  # the lowest bit of a seed: those of different roles never coincide


@recipe
class Starts:
    seed: Natural
    role: str = "train"
    group_size: Count = 1  # consecutive environments that share task and initial state: GRPO's G
    num_tasks: Count = 1

    def __call__(self, envs: list[int], counts: list[int], num_envs: int) -> list[tuple[int, int, int]]:
        """(task, initial_state, seed) of episode `counts[i]` in environment `envs[i]` of `num_envs`."""
        groups = num_envs // self.group_size
        return [self._draw(count * groups + env // self.group_size) for env, count in zip(envs, counts, strict=True)]

    def _draw(self, index: int) -> tuple[int, int, int]:
        key = np.random.SeedSequence([self.seed, ROLES[self.role], index])
        seed = (int(key.generate_state(1)[0]) & 0x3FFFFFFF) << 1 | ROLES[self.role]  # below 2^31
        return index % self.num_tasks, -1, seed


def to_start(rows: list[tuple[int, int, int]]) -> Start:
    task, initial_state, seed = (torch.tensor(column, dtype=torch.int64) for column in zip(*rows, strict=True))
    return Start(task=task, initial_state=initial_state, seed=seed)
