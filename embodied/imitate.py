"""The loop of an algorithm that is `Offline`: gradient steps on a dataset, and fresh episodes every so often.

It has the calls of `train.Loop`, so a run has the same folder, logs, checkpoints and evaluation around it. What is
counted are gradient steps; what is played is only looked at, never learned from.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from embodied.config import Count, Natural, recipe
from embodied.evaluation.jobs import jobs_of
from embodied.evaluation.queue import Queue
from embodied.evaluation.run import check_ends
from embodied.evaluation.team import Team, players
from embodied.interfaces import EnvRecipe, Offline, PolicyRecipe, Stage
from embodied.learner.checkpoint import Checkpoint
from embodied.learner.learner import Learner
from embodied.metrics.axis import GRADIENT_STEPS
from embodied.metrics.cost import Cost
from embodied.metrics.success import Recent
from embodied.noise import mix
from embodied.runtime.stage import LocalStage
from embodied.spec import spec_facts
from embodied.train import Training, learner_recipe, learner_state, load_learner
from embodied.types import Episode, Metrics, Spec, Weights

JUDGE_ROLE = 5  # of the seeds under one seed of the run; see `mix`


@recipe
class JudgeRecipe:
    simulator: EnvRecipe
    policy: PolicyRecipe
    episodes: Count
    seed: Natural = 0
    max_steps: Count | None = None  # actions per episode; None takes each task's own limit
    device: str = "cpu"  # of the policy

    def build(self) -> Judge:
        return Judge(self)


class Judge:
    """judge.play(weights, number): the likeliest actions, in episodes that belong to this round alone."""

    def __init__(self, r: JudgeRecipe) -> None:
        self.r = r
        recipes, in_processes = players(r.simulator, r.policy, max_steps=r.max_steps, device=r.device)
        self.team = Team(recipes, in_processes=in_processes)
        try:
            check_ends(self.team.spec, r.max_steps)
        except BaseException:
            self.team.close()
            raise

    def spec(self) -> Spec:
        return self.team.spec

    def play(self, weights: Weights, number: int) -> list[Episode]:
        """The episodes of round `number`, whose indices are unique within the run."""
        self.team.load(weights)
        seed = mix(self.r.seed, JUDGE_ROLE, number)
        jobs = jobs_of(self.team.spec, episodes=self.r.episodes, seeds=[seed])
        queue = Queue(jobs, num_envs=self.team.spec.num_envs)
        self.team.play(queue)
        return [replace(e, index=number * self.r.episodes + e.index) for _, e in queue.counted()]

    def close(self) -> None:
        self.team.close()


class Imitation:
    """loop.iterate() until loop.finished; loop.state() and loop.load() continue it elsewhere, bit for bit."""

    axis = GRADIENT_STEPS

    def __init__(self, t: Training, algorithm: Offline) -> None:
        self.training, self.algorithm, self.iteration, self.cost = t, algorithm, 0, Cost(t.torch_device)
        torch.backends.cudnn.allow_tf32 = False  # acting and learning must round alike
        self.judge: Stage[Judge] = LocalStage(_judge_recipe(t, algorithm))
        try:
            self.spec = self.judge.call(Judge.spec).result()
            self.recent = Recent(self.spec.tasks)
            self.learner: Stage[Learner] = LocalStage(learner_recipe(t, self.spec))
        except BaseException:
            self.judge.close()
            raise

    @property
    def done(self) -> int:
        """Along the axis."""
        return self.iteration * self.algorithm.updates_per_iteration

    @property
    def finished(self) -> bool:
        return self.iteration >= self.training.iterations

    def iterate(self) -> tuple[Metrics, list[Episode]]:
        """Learn from the dataset, play if it is time, and say what came of it."""
        self.cost.start()
        began = time.perf_counter()
        metrics = self.learner.call(Learner.update).result()
        learned = time.perf_counter()
        self.iteration += 1
        episodes = self._judged()
        ended = time.perf_counter()
        self.cost.stop()
        seconds = {"update": learned - began, "evaluate": ended - learned}
        return metrics | self._outcome(episodes, seconds), episodes

    def state(self) -> tuple[dict[str, Mapping[str, Tensor]], dict[str, Any]]:
        """Tensors by file, and facts, of a checkpoint that continues from here."""
        return learner_state(self.learner), {
            "iteration": self.iteration,
            **self.cost.metrics(),
            "spec": spec_facts(self.spec),
            "recent": self.recent.state(),
        }

    def load(self, checkpoint: Checkpoint) -> bool:
        """Continue from a checkpoint; always exactly, because no episode is running."""
        load_learner(self.learner, self.spec, checkpoint)
        self.iteration = checkpoint.facts["iteration"]
        self.cost.load(checkpoint.facts)
        self.recent.load(checkpoint.facts["recent"])
        return True

    def close(self) -> None:
        self.learner.close()
        self.judge.close()

    def _judged(self) -> list[Episode]:
        """Fresh episodes of the present weights, when it is time; `recent` holds those alone."""
        every = self.algorithm.evaluate_every
        if every == 0 or self.iteration % every:
            return []
        weights = self.learner.call(Learner.weights).result()
        episodes = self.judge.call(Judge.play, weights, self.iteration // every).result()
        self.recent = Recent(self.spec.tasks)
        self.recent.take(episodes)
        return episodes

    def _outcome(self, episodes: list[Episode], seconds: Metrics) -> Metrics:
        numbers: Metrics = {}
        if episodes:
            whole = [episode for episode in episodes if not episode.lost]
            numbers |= {"episodes": float(len(whole)), "lost_episodes": float(len(episodes) - len(whole))}
            numbers |= self.recent.metrics()
            numbers["return"] = sum(episode.reward for episode in whole) / max(1, len(whole))
            numbers["episode_steps"] = sum(episode.steps for episode in whole) / max(1, len(whole))
        numbers["updates_per_s"] = self.algorithm.updates_per_iteration / seconds["update"]
        return numbers | self.cost.metrics() | {f"seconds/{name}": value for name, value in seconds.items()}


def _judge_recipe(t: Training, algorithm: Offline) -> JudgeRecipe:
    return JudgeRecipe(
        simulator=t.simulator,
        policy=t.policy,
        episodes=algorithm.evaluate_episodes,
        seed=t.seed,
        max_steps=t.max_steps,
        device=t.torch_device,
    )
