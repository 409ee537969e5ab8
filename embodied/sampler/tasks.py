"""Task samplers: how often each task of a set is played in training, all alike or where there is most to learn.

A sampler is a recipe that turns estimates of success into shares; `Curriculum` keeps the estimates of a run and makes
the plan that the samplers of episodes follow. Evaluation never sees any of this: it plays all tasks equally often.

The estimate is the mean of Beta(1 + successes, 1 + failures) whose evidence fades with every rollout. Left out is the
prediction from a value function V(s0) (PCL): it asks for returns that are success probabilities, and pays where prompts
do not come again; a set of tasks that is played over and over is estimated without bias by counting.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from embodied.config import Count, Fraction, NotNegative, recipe
from embodied.errors import ConfigError
from embodied.interfaces import TaskSampler
from embodied.sampler.starts import Draw
from embodied.spec import task_names
from embodied.types import Episode, Spec

DECAY = 0.95  # of the evidence, with every rollout in which an episode ended
Floor = Annotated[float, Field(gt=0, le=1)]
Shares = NDArray[np.float64]


@recipe
class Uniform:
    """Every task as often as the others, or as often as it is told."""

    weights: tuple[tuple[int | str, NotNegative], ...] = ()  # of tasks by index or name: [[3, 2.0]]; others have 1
    stay: Count = 1  # episodes in a row on one task, for simulators that take long to change it

    @property
    def adapts(self) -> bool:
        return False

    def shares(self, tasks: Sequence[str], success: Shares) -> Shares | None:  # noqa: ARG002
        if not self.weights:
            return None
        shares = np.ones(len(tasks))
        for named, weight in self.weights:
            shares[_index_of(named, tasks)] = weight
        return shares


@recipe
class Variance:
    """Tasks whose outcome is open: share proportional to sqrt(p (1 - p))."""

    floor: Floor = 0.1  # of all episodes, spread evenly, so that no task starves
    stay: Count = 1  # episodes in a row on one task

    @property
    def adapts(self) -> bool:
        return True

    def shares(self, tasks: Sequence[str], success: Shares) -> Shares:  # noqa: ARG002
        return _floored(np.sqrt(success * (1 - success)), self.floor)


@recipe
class Filter:
    """Tasks that are neither solved nor hopeless, all alike; where there is none, every task."""

    low: Fraction = 0.1  # estimated success
    high: Fraction = 0.9
    floor: Floor = 0.1  # of all episodes, spread evenly, so that no task starves
    stay: Count = 1  # episodes in a row on one task

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ValueError(f"no task has a success between low={self.low} and high={self.high}: low must be smaller")

    @property
    def adapts(self) -> bool:
        return True

    def shares(self, tasks: Sequence[str], success: Shares) -> Shares:  # noqa: ARG002
        inside = ((success >= self.low) & (success <= self.high)).astype(np.float64)
        return _floored(inside if inside.any() else np.ones_like(inside), self.floor)


@recipe
class Hard:
    """More episodes for tasks that mostly fail: 1 + extra (1 - p) below p = 0.5, and 1 above (DARS).

    The paper ends a task's extra rollouts at its first success inside one iteration; here the estimate ends them.
    """

    extra: NotNegative = 4.0  # episodes of a hopeless task on top of each one of a solved task
    floor: Floor = 0.1  # of all episodes, spread evenly, so that no task starves
    stay: Count = 1  # episodes in a row on one task

    @property
    def adapts(self) -> bool:
        return True

    def shares(self, tasks: Sequence[str], success: Shares) -> Shares:  # noqa: ARG002
        return _floored(np.where(success < 0.5, 1 + self.extra * (1 - success), 1.0), self.floor)


class Curriculum:
    """What a run knows of its tasks: feed it episodes, and it plans those that nobody has begun."""

    def __init__(self, sampler: TaskSampler, spec: Spec, group_size: int = 1) -> None:
        self.sampler, self.tasks = sampler, spec.tasks
        self.hits, self.misses = np.zeros((2, len(spec.tasks)))  # evidence of success and failure, each (tasks,)
        shares = sampler.shares(spec.tasks, self.success())
        self.plan = Draw.over(spec, group_size, stay=sampler.stay, shares=shares)
        self.adapts = sampler.adapts and len(spec.tasks) > 1

    def success(self) -> Shares:
        """(tasks,) estimated."""
        return (1 + self.hits) / (2 + self.hits + self.misses)

    def follow(self, episodes: Sequence[Episode], begun: Tensor) -> Draw:
        """The plan after the `episodes` of a rollout; `begun` (N,) counts those that each environment has begun."""
        whole = [episode for episode in episodes if not episode.lost]
        if whole:
            self.hits, self.misses = DECAY * self.hits, DECAY * self.misses
        for episode in whole:
            (self.hits if episode.success_once else self.misses)[episode.task] += 1
        shares = self.sampler.shares(self.tasks, self.success())
        assert shares is not None
        self.plan = self.plan.revised(shares, begun.numpy().reshape(len(self.plan.playable), -1))
        return self.plan

    def share(self) -> Shares:
        """(tasks,) of the episodes to come, where every environment can play every task."""
        shares = np.ones(len(self.tasks)) if self.plan.shares is None else self.plan.shares[-1]
        return shares / shares.sum()

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint; nothing where nothing changes."""
        if not self.adapts or self.plan.shares is None:
            return {}
        rows = {"hits": self.hits, "misses": self.misses, "shares": self.plan.shares, "since": self.plan.since}
        return {name: torch.from_numpy(x.copy()) for name, x in rows.items()}

    def load(self, state: Mapping[str, Tensor]) -> Draw:
        if state:
            self.hits, self.misses = state["hits"].numpy().copy(), state["misses"].numpy().copy()
            self.plan = self.plan.with_history(state["shares"].numpy(), state["since"].numpy())
        return self.plan


def _floored(wanted: Shares, floor: float) -> Shares:
    """`wanted` (tasks,) as probabilities, of which `floor` is spread evenly."""
    return (1 - floor) * wanted / wanted.sum() + floor / len(wanted)


def _index_of(named: int | str, tasks: Sequence[str]) -> int:
    """Of the task with this index, instruction or short name."""
    short = task_names(tasks)
    known = {**{str(i): i for i in range(len(tasks))}, **{name: i for i, name in enumerate(short)}}
    known |= {task: i for i, task in enumerate(tasks)}
    if str(named) in known:
        return known[str(named)]
    near = difflib.get_close_matches(str(named), [*tasks, *short], n=1)
    hint = f"Nearest: `{near[0]}`" if near else f"It has {len(tasks)}, such as 0: `{tasks[0]}`"
    raise ConfigError(
        f"tasks.weights names `{named}`, and the simulator has no such task; nothing was started. {hint}."
    )
