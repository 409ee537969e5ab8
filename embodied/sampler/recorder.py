"""Episodes cut out of trajectories: one record for each that ended, carried across rollouts until it does."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodied.types import Episode, Trajectory


@dataclass(slots=True)
class Running:
    """What an unfinished episode has gathered."""

    reward: float = 0.0
    steps: int = 0
    success_once: bool = False
    success_at_end: bool = False
    first_success: int | None = None

    def take(self, reward: NDArray[np.float32], valid: NDArray[np.bool_], success: NDArray[np.bool_]) -> None:
        """Some decisions, each (t, K). Rewards add up one by one, so that no cut between rollouts changes the sum."""
        counted = valid.ravel()
        if not counted.any():
            return
        rewards, solved = reward.ravel()[counted].astype(np.float64), success.ravel()[counted]
        self.reward = float(np.cumsum(np.concatenate([[self.reward], rewards]))[-1])
        if solved.any() and not self.success_once:
            self.success_once, self.first_success = True, self.steps + int(solved.argmax()) + 1
        self.steps += len(solved)
        self.success_at_end = bool(solved[-1])

    def add(self, reward: float, *, success: bool) -> None:
        """One action that counts: what `take` does with many."""
        self.reward += reward
        self.steps += 1
        if success and not self.success_once:
            self.success_once, self.first_success = True, self.steps
        self.success_at_end = success


class Label(TypedDict):
    """Which episode it is."""

    env: int
    index: int
    task: NotRequired[int]
    initial_state: NotRequired[int]
    seed: NotRequired[int]


class Recorder:
    def __init__(self, num_envs: int) -> None:
        self.running = [Running() for _ in range(num_envs)]

    def state(self) -> Tensor:
        """(N, 5) float64: the fields of `Running`, -1 where there was no success yet."""
        rows = [[-1.0 if x is None else float(x) for x in astuple(running)] for running in self.running]
        return torch.tensor(rows, dtype=torch.float64)

    def load(self, state: Tensor) -> None:
        self.running = [
            Running(reward, int(steps), bool(once), bool(end), None if first < 0 else int(first))
            for reward, steps, once, end, first in state.tolist()
        ]

    def lose(self, labels: list[Label]) -> list[Episode]:
        """Records of the running episodes with these labels, which are now lost."""
        records = []
        for label in labels:
            running = self.running[label["env"]]
            if running.steps:
                records.append(_record(running, label, terminated=False, lost=True))
            self.running[label["env"]] = Running()
        return records

    def take(self, r: Trajectory) -> list[Episode]:
        """Records of the episodes that ended in `r`, in the order they ended."""
        reward, valid, success = (x.cpu().numpy() for x in (r.reward, r.valid, r.success))
        terminated = r.terminated.any(dim=2).cpu().numpy()  # (T, N)
        ended = terminated | r.truncated.cpu().numpy()
        lost = ~valid.any(axis=2)
        found: list[tuple[int, int, Episode]] = []
        for n in range(ended.shape[1]):
            begins = 0
            for t in ended[:, n].nonzero()[0].tolist():
                rows = slice(begins, t + 1)
                self.running[n].take(reward[rows, n], valid[rows, n], success[rows, n])
                record = _record(self.running[n], label_of(r, t, n), terminated=terminated[t, n], lost=lost[t, n])
                found.append((t, n, record))
                self.running[n], begins = Running(), t + 1
            self.running[n].take(reward[begins:, n], valid[begins:, n], success[begins:, n])
        return [record for _, _, record in sorted(found, key=lambda row: row[:2])]


def label_of(r: Trajectory, t: int, n: int) -> Label:
    """Of the episode that environment n played at decision t."""
    return Label(
        env=n,
        index=int(r.episode[t, n]),
        task=int(r.task[t, n]),
        initial_state=int(r.initial_state[t, n]),
        seed=int(r.seed[t, n]),
    )


def _record(running: Running, label: Label, *, terminated: bool, lost: bool) -> Episode:
    return Episode(
        index=label["index"],
        env=label["env"],
        task=label.get("task", -1),
        initial_state=label.get("initial_state", -1),
        seed=label.get("seed", -1),
        steps=running.steps,
        reward=running.reward,
        success_once=running.success_once,
        success_at_end=running.success_at_end,
        first_success_step=running.first_success,
        terminated=bool(terminated),
        lost=bool(lost),
    )
