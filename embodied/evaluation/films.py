"""Videos of an evaluation: its first episodes, and some that succeeded and some that failed, played again.

A simulator that contacts make unrepeatable (PhysX) may end an episode otherwise the second time, and one that is drawn
is another one than that which counted: what ends otherwise is left out, so that a video of failures shows failures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embodied.errors import ConfigError
from embodied.evaluation.jobs import Job, choose_tasks, jobs_of
from embodied.evaluation.player import Player
from embodied.evaluation.protocol import EvaluationRecipe
from embodied.evaluation.run import Part, Trained, device_of
from embodied.interfaces import EnvRecipe
from embodied.learner.learner import load_policy
from embodied.sampler.film import FilmedEnv, FilmedRecipe, Picture, tile_of, write_film
from embodied.types import Spec

UNLIMITED = 200  # actions, where a task has no time limit


@dataclass(frozen=True, slots=True)
class Take:
    """One filmed episode."""

    job: Job
    solved: bool
    tiles: list[Picture]


def film_first(e: EvaluationRecipe, trained: Trained, path: Path) -> Path:
    """The first `e.film` episodes of the evaluation, under its first condition."""
    simulator = next(iter(e.simulators.values()))

    def first(spec: Spec) -> list[Job]:
        tasks = [task for task in choose_tasks(spec, e.tasks) if any(task in row for row in _playable(spec))]
        return list(jobs_of(spec, episodes=e.film * len(tasks), seeds=e.seeds[:1], tasks=tasks).all)

    takes, frames_per_s = _shoot(e, simulator, trained, first, e.film)
    write_film(path, [take.tiles for take in takes], frames_per_s)
    return path


def film_outcomes(e: EvaluationRecipe, trained: Trained, part: Part, folder: Path) -> list[str]:
    """`success.mp4` and `failure.mp4` of up to `e.film_outcomes` episodes each; what became of them, in sentences."""
    told: list[str] = []
    simulator = e.simulators[part.name]
    for name, outcome in (("success", True), ("failure", False)):
        known = [job for job, episode in part.played if not episode.lost and episode.success_once == outcome]
        path = folder / f"{name}.mp4"
        path.unlink(missing_ok=True)
        if not known:
            continue
        takes, frames_per_s = _shoot(
            e, simulator, trained, lambda _, jobs=known: jobs, min(len(known), e.film_outcomes)
        )
        same = [take.tiles for take in takes if take.solved == outcome]
        if same:
            write_film(path, same, frames_per_s)
            told.append(f"{len(same)} of {len(known)} episodes with {name}: {path}")
        if len(same) < len(takes):
            told.append(
                f"{len(takes) - len(same)} that ended with {name} ended otherwise when played again for a video"
            )
    return told


def _shoot(
    e: EvaluationRecipe, simulator: EnvRecipe, trained: Trained, choose: Callable[[Spec], list[Job]], count: int
) -> tuple[list[Take], float]:
    """Up to `count` of the jobs that `choose(spec)` lists, as far as environments can play them; frames per second."""
    if not isinstance(simulator, FilmedRecipe):
        raise ConfigError(f"{type(simulator).__name__} has no camera for people (`filmed`); no video was made.")
    env: Any = simulator.filmed(count).build()
    try:
        policy = e.policy.build(trained.spec).to(device_of(e.device))
        load_policy(policy, trained.weights)
        limits = [e.max_steps or limit or UNLIMITED for limit in env.spec.limits]
        given = _given(env.spec, choose(env.spec))
        player = Player(env, policy, explore=e.actions == "sampled")
        player.limits = limits
        return _play(env, player, given), env.spec.control_hz / e.policy.chunk
    finally:
        env.close()


def _play(env: FilmedEnv, player: Player, jobs: Mapping[int, Job]) -> list[Take]:
    player.begin(jobs)
    tiles: dict[int, list[Picture]] = {n: [] for n in jobs}

    def look(envs: Sequence[int]) -> None:
        pictures = env.picture().cpu().numpy()
        for n in envs:
            tiles[n].append(tile_of(pictures[n], solved=player.records[n].success_once))

    look(list(jobs))
    while running := player.running:
        player.decide()
        look(running)
    return [Take(job, player.records[n].success_once, tiles[n]) for n, job in jobs.items()]


def _given(spec: Spec, jobs: Sequence[Job]) -> dict[int, Job]:
    """A job for each environment, the first that nobody before it took and that it can play."""
    left, given = list(jobs), dict[int, Job]()
    for n, playable in enumerate(_playable(spec)):
        if job := next((job for job in left if job.task in playable), None):
            given[n] = job
            left.remove(job)
    return given


def _playable(spec: Spec) -> Sequence[tuple[int, ...]]:
    return spec.playable or (tuple(range(len(spec.tasks))),) * spec.num_envs
