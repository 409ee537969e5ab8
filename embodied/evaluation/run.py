"""An evaluation from beginning to end: each condition in processes of its own, each episode written when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from embodied.errors import ConfigError
from embodied.evaluation.folder import Folder
from embodied.evaluation.jobs import Job, Jobs, jobs_of
from embodied.evaluation.protocol import EvaluationRecipe
from embodied.evaluation.queue import NarrowEnough, Queue
from embodied.evaluation.team import Team, players
from embodied.interfaces import EnvRecipe
from embodied.types import Episode, Spec, Weights


@dataclass(frozen=True, slots=True)
class Trained:
    """What is evaluated."""

    spec: Spec  # it was trained with
    weights: Mapping[str, Tensor]
    digest: str = ""  # of its weights


@dataclass(frozen=True, slots=True)
class Part:
    """What came of one condition."""

    name: str
    spec: Spec
    played: tuple[tuple[Job, Episode], ...]  # in order; those that count
    planned: int  # episodes
    is_whole: bool  # not stopped by somebody
    stopped_early: bool  # because there were enough
    steps: int  # that were simulated for it now, over all environments
    seconds: float  # of playing now, without building

    @property
    def episodes(self) -> list[Episode]:
        return [episode for _, episode in self.played]

    @property
    def whole(self) -> list[Episode]:
        return [episode for _, episode in self.played if not episode.lost]

    @property
    def lost(self) -> list[tuple[Job, Episode]]:
        return [row for row in self.played if row[1].lost]

    def by_seed(self) -> dict[int, list[Episode]]:
        """Sorted by index, as they are in the tables."""
        found: dict[int, list[Episode]] = {job.seed: [] for job, _ in self.played}
        for job, episode in self.played:
            found[job.seed].append(episode)
        return {seed: sorted(rows, key=lambda e: e.index) for seed, rows in found.items()}

    def by_task(self) -> dict[int, list[Episode]]:
        """Whole episodes of each task that was played."""
        return {task: [e for e in self.whole if e.task == task] for task in sorted({e.task for e in self.whole})}


@dataclass(frozen=True, slots=True)
class Result:
    parts: tuple[Part, ...]
    seconds: float
    interrupted: bool = False  # what is missing can be played later

    @property
    def whole(self) -> list[Episode]:
        return [episode for part in self.parts for episode in part.whole]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a condition is."""

    condition: str
    done: int
    planned: int
    successes: int
    steps: int  # simulated since it began
    seconds: float
    repeats: bool = False  # some begin alike, so they are not evidence of their own


def evaluate(
    e: EvaluationRecipe,
    trained: Trained,
    folder: Folder | None = None,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Play what `e` asks for and `folder` does not hold yet. `stop` ends it with what is whole."""
    began = time.perf_counter()
    parts: list[Part] = []
    for name, simulator in e.simulators.items():
        if not stop():
            parts.append(_play(e, name, simulator, trained, folder, progress, stop))
    interrupted = len(parts) < len(e.simulators) or not all(part.is_whole for part in parts)
    return Result(tuple(parts), time.perf_counter() - began, interrupted)


def _play(
    e: EvaluationRecipe,
    name: str,
    simulator: EnvRecipe,
    trained: Trained,
    folder: Folder | None,
    progress: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> Part:
    recipes, in_processes = players(
        simulator,
        e.policy,
        trained=trained.spec,
        max_steps=e.max_steps,
        explore=e.actions == "sampled",
        device=device_of(e.device),
    )
    team = Team(recipes, in_processes=in_processes)
    try:
        check_ends(team.spec, e.max_steps)
        jobs = jobs_of(
            team.spec,
            episodes=e.episodes,
            episodes_per_task=e.episodes_per_task,
            seeds=e.seeds,
            repeats=e.repeats,
            tasks=e.tasks,
        )
        check_width(jobs, e.width)
        queue = Queue(
            jobs,
            num_envs=team.spec.num_envs,
            done=folder.played(name, jobs) if folder else None,
            enough=None if e.width is None else NarrowEnough(e.width),
        )
        team.load(Weights(0, trained.weights))
        began, before = time.perf_counter(), sum(episode.success_once for episode in queue.done.values())
        found, repeats = [before], jobs.starts < len(jobs.all)

        def take(job: Job, episode: Episode) -> None:
            if folder:
                folder.add(name, job, episode)
            found[0] += episode.success_once

        def told() -> bool:
            seconds = time.perf_counter() - began
            progress(Progress(name, len(queue.done), len(jobs.all), found[0], team.steps, seconds, repeats))
            return stop()

        team.play(queue, take, stop=told)
        told()
        seconds = time.perf_counter() - began
    finally:
        team.close()
    part = Part(
        name,
        team.spec,
        tuple(queue.counted()),
        planned=len(jobs.all),
        is_whole=queue.is_done,
        stopped_early=queue.stopped_at is not None,
        steps=team.steps,
        seconds=seconds,
    )
    if folder and part.is_whole:
        folder.finish(name, part.by_seed())
    return part


def check_ends(spec: Spec, max_steps: int | None) -> None:
    if not max_steps and None in spec.limits:
        raise ConfigError(
            "this task has no time limit of its own, so an evaluation might never end; nothing was evaluated. Set "
            "max_steps=..."
        )


def check_width(jobs: Jobs, width: float | None) -> None:
    """Stored states are only known when their simulator is there, and do not depend on the seed."""
    if width is not None and jobs.starts < len(jobs.all):
        raise ConfigError(
            f"width={width} counts every episode as evidence of its own, and these {len(jobs.all)} begin from only "
            f"{jobs.starts} different starts, for stored initial states are the same under every seed; nothing was "
            f"played. Set one seed and at most {jobs.starts} episodes, or width=null."
        )


def device_of(device: str) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
