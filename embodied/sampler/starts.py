"""Where episodes begin: a pure function of the run's seed, the environment and its count of episodes.

So the same seed gives the same episodes whatever the number of processes, and a resumed run needs no random state.
Which task an episode of training plays is the business of a plan, `Draw`; those of evaluation are numbered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from embodied.config import Count, Natural, recipe
from embodied.errors import ConfigError
from embodied.interfaces import Plan
from embodied.types import Spec, Start

ROLES = {"train": 0, "evaluate": 1, "demonstrate": 2}  # the lowest bit tells evaluation's seeds from all others
TURN, DRAW, STATE = 1, 2, 3  # what a random number is for, after the seed and the role in its key


@recipe
class Starts:
    seed: Natural
    role: str = "train"
    group_size: Count = 1  # consecutive environments that share task and initial state: GRPO's G
    plan: Plan | None = None  # None: the only task, from the seed

    def __call__(self, envs: list[int], counts: list[int], num_envs: int) -> list[tuple[int, int, int]]:
        """(task, initial_state, seed) of episode `counts[i]` in environment `envs[i]` of `num_envs`."""
        groups = num_envs // self.group_size
        return [self._draw(env // self.group_size, count, groups) for env, count in zip(envs, counts, strict=True)]

    def _draw(self, group: int, count: int, groups: int) -> tuple[int, int, int]:
        role = ROLES[self.role]
        number, task, initial_state = count * groups + group, 0, -1
        if self.plan is not None:
            number, task, initial_state = self.plan.choose((self.seed, role), group, count)
        key = np.random.SeedSequence([self.seed, role, number])
        return task, initial_state, (int(key.generate_state(1)[0]) & 0x3FFFFFFF) << 1 | role & 1  # a seed below 2^31


def to_start(rows: list[tuple[int, int, int]]) -> Start:
    task, initial_state, seed = (torch.tensor(column, dtype=torch.int64) for column in zip(*rows, strict=True))
    return Start(task=task, initial_state=initial_state, seed=seed)


@dataclass(frozen=True, slots=True)
class Draw:
    """Training: each group of environments takes a task for `stay` episodes (a visit), then the next one.

    Without `shares` the groups take all tasks in turn, in a new order each time around. With them a task is drawn. When
    the shares change, a visit keeps those of its beginning, so that all members of a group, some of which are ahead of
    others, play the same: version v counts from visit `since[v, g]` of group g.
    """

    playable: tuple[tuple[int, ...], ...]  # by each group
    peers: tuple[tuple[int, int], ...]  # of each group: its place among those that can play the same, and their number
    initial_states: tuple[int, ...] | None
    stay: int
    shares: NDArray[np.float64] | None  # (V, tasks)
    since: NDArray[np.int64]  # (V, groups)

    @staticmethod
    def over(spec: Spec, group_size: int = 1, *, stay: int = 1, shares: NDArray[np.float64] | None = None) -> Draw:
        """All of the environments in `spec`; `shares` (tasks,) need not sum to one."""
        rows = _playable(spec)
        groups = tuple(rows[::group_size])
        apart = [n for n, row in enumerate(rows) if row != groups[n // group_size]]
        if apart:
            raise ConfigError(
                f"environment {apart[0]} cannot play the tasks of the others in its group of {group_size}; nothing was "
                f"started. Choose a group_size that divides the environments of each simulator."
            )
        idle = [] if shares is None else [row for row in groups if not shares[list(row)].any()]
        if idle:
            raise ConfigError(
                f"some environments play none but {[spec.tasks[task] for task in idle[0]]}, and these have no share; "
                f"nothing was started. Give one of them a weight, or leave out those environments."
            )
        number, seen = Counter(groups), Counter[tuple[int, ...]]()
        peers: list[tuple[int, int]] = []
        for row in groups:
            peers.append((seen[row], number[row]))
            seen[row] += 1
        versions = None if shares is None else shares[None]  # (1, tasks)
        since = np.zeros((1, len(groups)), dtype=np.int64)
        return Draw(groups, tuple(peers), spec.initial_states, stay, versions, since)

    def choose(self, key: tuple[int, int], group: int, count: int) -> tuple[int, int, int]:
        number, visit = count * len(self.playable) + group, count // self.stay
        task = self._in_turn(key, group, visit) if self.shares is None else self._drawn(key, group, visit)
        stored = self.initial_states[task] if self.initial_states else 0
        return number, task, int(np.random.default_rng([*key, STATE, number]).integers(stored)) if stored else -1

    def revised(self, shares: NDArray[np.float64], begun: NDArray[np.int64]) -> Draw:
        """With `shares` (tasks,) for visits that nobody has begun; `begun` (groups, members) counts episodes less one.

        Versions that no member can still need are forgotten.
        """
        assert self.shares is not None
        visits = begun // self.stay  # (groups, members), -1 before the first
        versions = np.concatenate([self.shares, shares[None]])  # (V + 1, tasks)
        since = np.concatenate([self.since, visits.max(axis=1)[None] + 1])  # (V + 1, groups)
        replaced = (since[:-1] == since[1:]).all(axis=1)
        passed = (since[1:] <= visits.min(axis=1)).all(axis=1)  # a later version counts already, for everybody
        kept = np.append(~(replaced | passed), True)
        return replace(self, shares=versions[kept], since=since[kept])

    def with_history(self, shares: NDArray[np.float64], since: NDArray[np.int64]) -> Draw:
        """As it was when a checkpoint was written: `shares` (V, tasks) and `since` (V, groups)."""
        return replace(self, shares=shares, since=since)

    def _in_turn(self, key: tuple[int, int], group: int, visit: int) -> int:
        row, (place, peers) = self.playable[group], self.peers[group]
        around, at = divmod(visit * peers + place, len(row))
        if len(row) == 1:
            return row[0]
        return row[int(np.random.default_rng([*key, TURN, around]).permutation(len(row))[at])]

    def _drawn(self, key: tuple[int, int], group: int, visit: int) -> int:
        assert self.shares is not None
        version = max(0, int(np.searchsorted(self.since[:, group], visit, side="right")) - 1)
        row = self.playable[group]
        up_to = self.shares[version, list(row)].cumsum()
        point = np.random.default_rng([*key, DRAW, group, visit]).random()
        return row[int(np.searchsorted(up_to / up_to[-1], point, side="right"))]


def _playable(spec: Spec) -> list[tuple[int, ...]]:
    every: Iterable[tuple[int, ...]] = (tuple(range(len(spec.tasks))),) * spec.num_envs
    return list(spec.playable or every)
