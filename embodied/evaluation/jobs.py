"""The episodes of an evaluation, numbered: which task, stored state and seed each one begins from.

Everything follows from the evaluation's seed and the number of the episode, so it begins alike, and is given the same
random numbers, wherever, whenever and beside whomever it is played.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from embodied.errors import ConfigError
from embodied.evaluation.tables import alike
from embodied.noise import mix
from embodied.sampler.starts import Starts
from embodied.spec import task_names
from embodied.types import Spec

EPISODE_ROLE = 7  # of the seeds under one seed; see `mix`


@dataclass(frozen=True, slots=True)
class Job:
    """One episode to play."""

    order: int  # among all of a condition: round by round, in each round every seed, of each every task
    seed: int  # of the evaluation
    index: int  # under that seed
    task: int
    initial_state: int  # -1: the episode's seed decides
    start_seed: int  # of the episode

    @property
    def start(self) -> tuple[int, int, int]:
        return self.task, self.initial_state, self.start_seed

    def generator(self, device: torch.device) -> torch.Generator:
        """Of the random numbers that its actions are sampled with."""
        return torch.Generator(device).manual_seed(mix(self.seed, EPISODE_ROLE, self.index))


@dataclass(frozen=True, slots=True)
class Jobs:
    """All of them, in order."""

    all: tuple[Job, ...]
    round: int  # jobs in a whole round

    @property
    def starts(self) -> int:
        """How many of them begin otherwise than all others."""
        return len({alike(*job.start) for job in self.all})


def jobs_of(
    spec: Spec,
    *,
    episodes: int | None = None,
    episodes_per_task: int | None = None,
    seeds: Sequence[int] = (0,),
    repeats: int = 1,
    tasks: Sequence[str | int] = (),
) -> Jobs:
    """`episodes` for each seed, or so many of each task, spread evenly over tasks, and in order over stored states.

    `repeats` plays every start again; what was random in its actions is drawn anew.
    """
    chosen = choose_tasks(spec, tasks)
    missing = [task for task in chosen if spec.playable and not any(task in row for row in spec.playable)]
    if missing:
        raise ConfigError(
            f"no environment can play the task `{spec.tasks[missing[0]]}`; nothing was evaluated. Give its simulator "
            f"an environment."
        )
    count = episodes_per_task * len(chosen) if episodes_per_task else episodes or 0
    rounds = -(-count // len(chosen))
    found: list[tuple[tuple[int, int, int], Job]] = []
    for place, seed in enumerate(seeds):
        starts = Starts(seed=seed, role="evaluate")([0] * count, list(range(count)), 1)
        for number, (_, _, start_seed) in enumerate(starts):
            around, turn = divmod(number, len(chosen))
            for repeat in range(repeats):
                task, index = chosen[turn], repeat * count + number
                job = Job(0, seed, index, task, _stored(spec, task, around), start_seed)
                found.append(((repeat * rounds + around, place, turn), job))
    found.sort(key=lambda row: row[0])
    ordered = [Job(order, j.seed, j.index, *j.start) for order, (_, j) in enumerate(found)]
    return Jobs(tuple(ordered), len(chosen) * len(seeds))


def choose_tasks(spec: Spec, tasks: Sequence[str | int]) -> list[int]:
    """Indices of `tasks`, given by index, instruction or short name; none given means all."""
    return list(dict.fromkeys(_found(spec, task) for task in tasks)) or list(range(len(spec.tasks)))


def _found(spec: Spec, task: str | int) -> int:
    if isinstance(task, int):
        if 0 <= task < len(spec.tasks):
            return task
        raise ConfigError(
            f"task {task} was asked for, and the simulator has {len(spec.tasks)}; nothing was evaluated. Count from 0 "
            f"to {len(spec.tasks) - 1}."
        )
    names = [*spec.tasks, *task_names(spec.tasks)]
    if names.count(task) != 1:
        near = difflib.get_close_matches(task, names, n=1, cutoff=0.3)
        how = "several tasks are" if task in names else "no task is"
        raise ConfigError(
            f"{how} called `{task}`; nothing was evaluated."
            + (f" Nearest: `{near[0]}`." if near and task not in names else " Give its index.")
        )
    return names.index(task) % len(spec.tasks)


def _stored(spec: Spec, task: int, around: int) -> int:
    count = spec.initial_states[task] if spec.initial_states else 0
    return around % count if count else -1
