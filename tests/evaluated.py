"""Evaluations in this process, of environments and policies that are there already; and what they say."""

from __future__ import annotations

from typing import Any

from embodied.evaluation.jobs import jobs_of
from embodied.evaluation.player import Player
from embodied.evaluation.queue import Queue
from embodied.evaluation.run import Trained
from embodied.evaluation.team import Team
from embodied.learner.learner import seeded_policy
from embodied.types import Episode, Spec


class Ready:
    """A player where a recipe is wanted."""

    def __init__(self, player: Player) -> None:
        self.player = player

    def build(self) -> Player:
        return self.player


def played(env: Any, policy: Any, *, max_steps=None, explore=False, enough=None, **jobs: Any) -> list[Episode]:
    """The episodes of `jobs_of(...)`, in order; closes `env`."""
    team = Team([Ready(Player(env, policy, max_steps=max_steps, explore=explore))], in_processes=False)
    try:
        queue = Queue(jobs_of(team.spec, **jobs), num_envs=team.spec.num_envs, enough=enough)
        team.play(queue)
    finally:
        team.close()
    return [episode for _, episode in queue.counted()]


def trained(recipe: Any, spec: Spec, seed: int = 0) -> Trained:
    """A policy with its first weights."""
    return Trained(spec, seeded_policy(recipe, spec, seed).state_dict())
