"""Which of several tasks is running, as numbers beside what is seen."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from embodied.types import Obs, Spec


def num_tasks(spec: Spec) -> int:
    """Classes of the observation `task`; 0 where a simulator has one task and does not say which."""
    return len(spec.tasks) if "task" in spec.obs else 0


def task_code(obs: Obs, count: int) -> Tensor:
    """(B, `count`): 1 for the running task, 0 for the others."""
    return one_hot(obs["task"], count).float()


def with_task(state: Tensor, obs: Obs, count: int) -> Tensor:
    """`state` (B, D), followed by the code of the running task where there are several."""
    return state if count == 0 else torch.cat([state, task_code(obs, count)], dim=1)
