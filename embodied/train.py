"""Training: collect, learn, publish; the same page for every policy, simulator and algorithm.

`Training` is what a config file describes. `Loop` is the run itself, one iteration at a time, with nothing around it:
folders, logs, progress and Ctrl-C are `embodied/launch.py`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal

import torch
from torch import Tensor

from embodied.config import Count, Natural, NotNegative, Positive, recipe
from embodied.errors import CheckpointError
from embodied.interfaces import (
    Algorithm,
    Collector,
    EnvRecipe,
    Offline,
    PolicyRecipe,
    Recipe,
    ShardedRecipe,
    Stage,
    TaskSampler,
)
from embodied.learner.checkpoint import Checkpoint
from embodied.learner.learner import Learner, LearnerRecipe
from embodied.metrics.axis import ENV_STEPS
from embodied.metrics.cost import Cost
from embodied.metrics.success import Recent
from embodied.purpose import TUNING_SEEDS
from embodied.runtime.stage import LocalStage
from embodied.sampler.farm import FarmRecipe
from embodied.sampler.sampler import SamplerRecipe
from embodied.sampler.starts import Starts
from embodied.sampler.tasks import Curriculum, Uniform
from embodied.spec import differences, spec_facts, task_names, with_each_limit
from embodied.types import Episode, Metrics, Spec, Trajectory

COLLECTING = ("total_steps", "rollout", "group_size")  # settings that say nothing to an algorithm that is `Offline`


@recipe
class Training:
    simulator: EnvRecipe
    policy: PolicyRecipe
    algorithm: Algorithm
    seed: Natural = 0
    total_steps: Count = 200_000  # environment steps: single actions, over all environments
    rollout: Count = 128  # decisions per environment and iteration: the T of a rollout
    max_steps: Count | None = None  # actions per episode; null takes each task's own limit
    group_size: Count = 1  # consecutive environments that begin in the same state
    tasks: TaskSampler | None = None  # how often each task is played; null: all alike
    learning_rate: Positive = 3e-4
    final_learning_rate: NotNegative | None = None  # reached linearly at the end; null keeps it constant
    micro_batch: Count = 65536  # samples per forward; changes memory, never the result
    max_grad_norm: Positive = 0.5
    device: Literal["auto", "cpu", "cuda"] = "auto"  # of the policy
    purpose: Literal["test", "tuning"] = "test"  # tuning takes seeds from 1000000 on and never counts as a result
    evaluate: Natural = 100  # fresh episodes after training; 0 leaves it out
    film: Natural = 4  # episodes in the final video; 0 leaves it out
    checkpoint_every: Count = 25  # iterations
    keep_checkpoints: Count = 3
    wandb: str | None = None  # a Weights & Biases project; null sends nothing anywhere
    run_dir: str | None = None  # null: runs/EXPERIMENT/seedS-TIME

    def __post_init__(self) -> None:
        if self.algorithm.values is not None and self.policy.values != self.algorithm.values:
            raise ValueError(
                f"algorithm.values={self.algorithm.values} and policy.values={self.policy.values} differ: set both to "
                f"decision or both to action"
            )
        if self.simulator.num_envs % self.group_size:
            raise ValueError(
                f"group_size={self.group_size} does not divide simulator.num_envs={self.simulator.num_envs}"
            )
        if (self.seed >= TUNING_SEEDS) != (self.purpose == "tuning"):
            other = self.seed % TUNING_SEEDS + TUNING_SEEDS * (self.purpose == "tuning")
            raise ValueError(
                f"purpose={self.purpose} cannot use seed={self.seed}: tuning takes seeds from {TUNING_SEEDS} on and "
                f"test those below, so that no result rests on episodes that settings were chosen by; set seed={other}"
            )
        default = {f.name: f.default for f in fields(self)}
        unheard = [name for name in COLLECTING if getattr(self, name) != default[name]]
        unheard += ["tasks"] if self.tasks is not None and self.tasks.adapts else []
        if unheard and isinstance(self.algorithm, Offline):
            raise ValueError(
                f"{unheard[0]} is about collecting, and {type(self.algorithm).__name__} collects nothing: set "
                f"algorithm.updates"
            )

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps in one rollout when no episode ends inside a chunk; gradient steps where none is made."""
        if isinstance(self.algorithm, Offline):
            return self.algorithm.updates_per_iteration
        return self.rollout * self.simulator.num_envs * self.policy.chunk

    @property
    def iterations(self) -> int:
        steps = self.algorithm.updates if isinstance(self.algorithm, Offline) else self.total_steps
        return -(-steps // self.steps_per_iteration)

    @property
    def evaluation_seed(self) -> int:
        """Of the starts of the final evaluation: those of tuning are not those of tests, either."""
        return TUNING_SEEDS if self.purpose == "tuning" else 0

    @property
    def torch_device(self) -> str:
        return ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device


class Loop:
    """loop.iterate() until loop.finished; loop.state() and loop.load() continue it elsewhere, bit for bit."""

    axis = ENV_STEPS

    def __init__(self, t: Training) -> None:
        self.training, self.iteration, self.env_steps, self.cost = t, 0, 0, Cost(t.torch_device)
        torch.backends.cudnn.allow_tf32 = False  # acting and learning must round alike
        self.sampler: Stage[Collector] = LocalStage(collector_recipe(t))
        try:
            self.spec = self.sampler.call(Collector.spec).result()
            self.recent = Recent(self.spec.tasks)
            self.curriculum = Curriculum(t.tasks or Uniform(), self.spec, t.group_size)
            self.sampler.call(Collector.assign, self.curriculum.plan).result()
            self.learner: Stage[Learner] = LocalStage(learner_recipe(t, self.spec))
        except BaseException:
            self.sampler.close()
            raise

    @property
    def done(self) -> int:
        """Along the axis."""
        return self.env_steps

    @property
    def finished(self) -> bool:
        return self.iteration >= self.training.iterations

    def iterate(self) -> tuple[Metrics, list[Episode]]:
        """Collect a rollout, learn from it, and say what came of it."""
        self.cost.start()
        began = time.perf_counter()
        self.sampler.call(Collector.load, self.learner.call(Learner.weights).result()).result()
        trajectory = self.sampler.call(Collector.collect, self.training.rollout).result()
        collected = time.perf_counter()
        self.learner.call(Learner.ingest, trajectory).result()
        metrics = self.learner.call(Learner.update).result()
        ended = time.perf_counter()
        episodes = self.sampler.call(Collector.episodes).result()
        seconds = {"collect": collected - began, "update": ended - collected}
        seconds |= self.sampler.call(Collector.timing).result()
        self._count(trajectory, episodes)
        if self.curriculum.adapts:
            begun = self.sampler.call(Collector.begun).result()
            self.sampler.call(Collector.assign, self.curriculum.follow(episodes, begun)).result()
        return metrics | self._outcome(trajectory, episodes, seconds), episodes

    def state(self) -> tuple[dict[str, Mapping[str, Tensor]], dict[str, Any]]:
        """Tensors by file, and facts, of a checkpoint that continues from here."""
        tensors = learner_state(self.learner)
        tensors["sampler"] = self.sampler.call(Collector.state).result()
        if self.curriculum.adapts:
            tensors["tasks"] = self.curriculum.state()
        return tensors, {
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            **self.cost.metrics(),
            "spec": spec_facts(self.spec),
            "recent": self.recent.state(),
        }

    def load(self, checkpoint: Checkpoint) -> bool:
        """Continue from a checkpoint; whether the running episodes came out exactly as they were."""
        load_learner(self.learner, self.spec, checkpoint)
        self.sampler.call(Collector.assign, self.curriculum.load(checkpoint.tensors.get("tasks", {}))).result()
        try:
            exact = self.sampler.call(Collector.resume, checkpoint.tensors["sampler"]).result()
        except (KeyError, RuntimeError):
            raise CheckpointError(
                f"the checkpoint {checkpoint.folder} was saved with another number of processes or on another kind of "
                f"device; nothing was continued. `embodied evaluate` can still use it."
            ) from None
        facts = checkpoint.facts
        self.iteration, self.env_steps = facts["iteration"], facts["env_steps"]
        self.cost.load(facts)
        self.recent.load(facts["recent"])
        return exact

    def close(self) -> None:
        self.learner.close()
        self.sampler.close()

    def _count(self, trajectory: Trajectory, episodes: list[Episode]) -> None:
        self.iteration += 1
        self.env_steps += int(trajectory.valid.sum())
        self.cost.stop()
        self.recent.take(episodes)

    def _outcome(self, trajectory: Trajectory, episodes: list[Episode], seconds: Metrics) -> Metrics:
        """What the rollout was worth and what it cost; success is over the last episodes, not only this rollout's.

        With several tasks it is the mean over them, so it does not change with how often each is played.
        """
        whole = [episode for episode in episodes if not episode.lost]
        numbers: Metrics = {"episodes": float(len(whole)), "lost_episodes": float(len(episodes) - len(whole))}
        numbers |= self.recent.metrics()
        if self.curriculum.adapts:
            names = task_names(self.spec.tasks)
            numbers |= {f"share/{name}": x for name, x in zip(names, self.curriculum.share().tolist(), strict=True)}
        if whole:
            numbers["return"] = sum(episode.reward for episode in whole) / len(whole)
            numbers["episode_steps"] = sum(episode.steps for episode in whole) / len(whole)
        numbers["steps_per_s"] = float(trajectory.valid.sum()) / (seconds["collect"] + seconds["update"])
        return numbers | self.cost.metrics() | {f"seconds/{name}": value for name, value in seconds.items()}


def learner_recipe(t: Training, spec: Spec) -> LearnerRecipe:
    return LearnerRecipe(
        algorithm=t.algorithm,
        policy=t.policy,
        spec=spec,
        learning_rate=t.learning_rate,
        final_learning_rate=t.final_learning_rate,
        updates=t.iterations,
        micro_batch=t.micro_batch,
        max_grad_norm=t.max_grad_norm,
        device=t.torch_device,
        seed=t.seed,
    )


def learner_state(learner: Stage[Learner]) -> dict[str, Mapping[str, Tensor]]:
    """What a checkpoint keeps of it, by file: the weights apart, for whoever wants nothing else."""
    state = learner.call(Learner.state).result()
    weights = {name.removeprefix("policy/"): x for name, x in state.items() if name.startswith("policy/")}
    return {"weights": weights, "learner": {name: x for name, x in state.items() if not name.startswith("policy/")}}


def load_learner(learner: Stage[Learner], spec: Spec, checkpoint: Checkpoint) -> None:
    here = spec_facts(spec)
    if differs := differences(with_each_limit(checkpoint.facts["spec"], here), here):
        raise CheckpointError(
            f"the checkpoint {checkpoint.folder} was made with another simulator: {'; '.join(differs)}; nothing was "
            f"continued. Install the simulator's version that the run began with, or begin a new run."
        )
    weights = {f"policy/{name}": x for name, x in checkpoint.tensors["weights"].items()}
    learner.call(Learner.load, {**checkpoint.tensors["learner"], **weights}).result()


def collector_recipe(t: Training) -> Recipe[Collector]:
    """One sampler, or, for a simulator that wants several processes, one in each beside its environments."""
    shards = t.simulator.shards() if isinstance(t.simulator, ShardedRecipe) else [t.simulator]
    samplers: list[SamplerRecipe] = []
    for env in shards:
        samplers.append(
            SamplerRecipe(
                env=env,
                policy=t.policy,
                starts=Starts(seed=t.seed, group_size=t.group_size),
                max_steps=t.max_steps,
                seed=t.seed,
                device=t.torch_device,
                first=sum(sampler.env.num_envs for sampler in samplers),
                total=t.simulator.num_envs,
            )
        )
    in_processes = len(samplers) > 1 or samplers[0].env is not t.simulator
    return FarmRecipe(samplers=tuple(samplers)) if in_processes else samplers[0]
