"""Training: collect, learn, publish; the same page for every policy, simulator and algorithm.

`Training` is what a config file describes. `Loop` is the run itself, one iteration at a time, with nothing around it:
folders, logs, progress and Ctrl-C are `embodied/launch.py`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from embodied.config import Count, Natural, NotNegative, Positive, recipe
from embodied.errors import CheckpointError
from embodied.interfaces import Algorithm, Collector, EnvRecipe, PolicyRecipe, Recipe, ShardedRecipe, Stage
from embodied.learner.checkpoint import Checkpoint
from embodied.learner.learner import Learner, LearnerRecipe
from embodied.runtime.stage import LocalStage
from embodied.sampler.farm import FarmRecipe
from embodied.sampler.sampler import SamplerRecipe
from embodied.sampler.starts import Starts
from embodied.spec import spec_facts
from embodied.types import Episode, Metrics, Trajectory

RECENT = 100  # episodes over which success while training is reported
Outcome = tuple[bool, bool]  # success at any step, success at the end


@recipe
class Training:
    simulator: EnvRecipe
    policy: PolicyRecipe
    algorithm: Algorithm
    seed: Natural = 0
    total_steps: Count = 200_000  # environment steps: single actions, over all environments
    rollout: Count = 128  # decisions per environment and iteration: the T of a rollout
    max_steps: Count | None = None  # actions per episode; null takes the task's own limit
    group_size: Count = 1  # consecutive environments that begin in the same state
    learning_rate: Positive = 3e-4
    final_learning_rate: NotNegative | None = None  # reached linearly at the end; null keeps it constant
    micro_batch: Count = 65536  # samples per forward; changes memory, never the result
    max_grad_norm: Positive = 0.5
    device: Literal["auto", "cpu", "cuda"] = "auto"  # of the policy
    evaluate: Natural = 100  # fresh episodes after training; 0 leaves it out
    film: Natural = 4  # episodes in the final video; 0 leaves it out
    checkpoint_every: Count = 25  # iterations
    keep_checkpoints: Count = 3
    wandb: str | None = None  # a Weights & Biases project; null sends nothing anywhere
    run_dir: str | None = None  # null: runs/EXPERIMENT/seedS-TIME

    def __post_init__(self) -> None:
        if self.policy.values != self.algorithm.values:
            raise ValueError(
                f"algorithm.values={self.algorithm.values} and policy.values={self.policy.values} differ: set both to "
                f"decision or both to action"
            )
        if self.simulator.num_envs % self.group_size:
            raise ValueError(
                f"group_size={self.group_size} does not divide simulator.num_envs={self.simulator.num_envs}"
            )

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps in one rollout when no episode ends inside a chunk."""
        return self.rollout * self.simulator.num_envs * self.policy.chunk

    @property
    def iterations(self) -> int:
        return -(-self.total_steps // self.steps_per_iteration)

    @property
    def torch_device(self) -> str:
        return ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device


class Loop:
    """loop.iterate() until loop.finished; loop.state() and loop.load() continue it elsewhere, bit for bit."""

    def __init__(self, t: Training) -> None:
        self.training, self.iteration, self.env_steps, self.wall_s = t, 0, 0, 0.0
        self.recent: deque[Outcome] = deque(maxlen=RECENT)
        torch.backends.cudnn.allow_tf32 = False  # acting and learning must round alike
        self.sampler: Stage[Collector] = LocalStage(collector_recipe(t))
        try:
            self.spec = self.sampler.call(Collector.spec).result()
            self.learner: Stage[Learner] = LocalStage(self._learner_recipe())
        except BaseException:
            self.sampler.close()
            raise

    @property
    def finished(self) -> bool:
        return self.iteration >= self.training.iterations

    def iterate(self) -> tuple[Metrics, list[Episode]]:
        """Collect a rollout, learn from it, and say what came of it."""
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
        self._count(trajectory, episodes, ended - began)
        return metrics | self._outcome(trajectory, episodes, seconds), episodes

    def state(self) -> tuple[dict[str, Mapping[str, Tensor]], dict[str, Any]]:
        """Tensors by file, and facts, of a checkpoint that continues from here."""
        learner = self.learner.call(Learner.state).result()
        weights = {name.removeprefix("policy/"): x for name, x in learner.items() if name.startswith("policy/")}
        rest = {name: x for name, x in learner.items() if not name.startswith("policy/")}
        tensors: dict[str, Mapping[str, Tensor]] = {
            "weights": weights,
            "learner": rest,
            "sampler": self.sampler.call(Collector.state).result(),
        }
        return tensors, {
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            "wall_s": self.wall_s,
            "spec": spec_facts(self.spec),
            "recent": list(self.recent),
        }

    def load(self, checkpoint: Checkpoint) -> bool:
        """Continue from a checkpoint; whether the running episodes came out exactly as they were."""
        if spec_facts(self.spec) != checkpoint.facts["spec"]:
            raise CheckpointError(
                f"the checkpoint {checkpoint.folder} was made with another simulator: it says "
                f"{checkpoint.facts['spec']} and this one offers {spec_facts(self.spec)}; nothing was continued."
            )
        weights = {f"policy/{name}": x for name, x in checkpoint.tensors["weights"].items()}
        self.learner.call(Learner.load, {**checkpoint.tensors["learner"], **weights}).result()
        try:
            exact = self.sampler.call(Collector.resume, checkpoint.tensors["sampler"]).result()
        except (KeyError, RuntimeError):
            raise CheckpointError(
                f"the checkpoint {checkpoint.folder} was saved with another number of processes or on another kind of "
                f"device; nothing was continued. `embodied evaluate` can still use it."
            ) from None
        facts = checkpoint.facts
        self.iteration, self.env_steps, self.wall_s = facts["iteration"], facts["env_steps"], facts["wall_s"]
        self.recent.extend((once, at_end) for once, at_end in facts["recent"])
        return exact

    def close(self) -> None:
        self.learner.close()
        self.sampler.close()

    def _learner_recipe(self) -> LearnerRecipe:
        t = self.training
        return LearnerRecipe(
            algorithm=t.algorithm,
            policy=t.policy,
            spec=self.spec,
            learning_rate=t.learning_rate,
            final_learning_rate=t.final_learning_rate,
            updates=t.iterations,
            micro_batch=t.micro_batch,
            max_grad_norm=t.max_grad_norm,
            device=t.torch_device,
            seed=t.seed,
        )

    def _count(self, trajectory: Trajectory, episodes: list[Episode], seconds: float) -> None:
        self.iteration += 1
        self.env_steps += int(trajectory.valid.sum())
        self.wall_s += seconds
        self.recent.extend((e.success_once, e.success_at_end) for e in episodes if not e.lost)

    def _outcome(self, trajectory: Trajectory, episodes: list[Episode], seconds: Metrics) -> Metrics:
        """What the rollout was worth and what it cost; success is over the last episodes, not only this rollout's."""
        whole = [episode for episode in episodes if not episode.lost]
        numbers: Metrics = {"episodes": float(len(whole)), "lost_episodes": float(len(episodes) - len(whole))}
        if self.recent:
            numbers["success_once"] = sum(once for once, _ in self.recent) / len(self.recent)
            numbers["success_at_end"] = sum(at_end for _, at_end in self.recent) / len(self.recent)
        if whole:
            numbers["return"] = sum(episode.reward for episode in whole) / len(whole)
            numbers["episode_steps"] = sum(episode.steps for episode in whole) / len(whole)
        numbers["steps_per_s"] = float(trajectory.valid.sum()) / (seconds["collect"] + seconds["update"])
        numbers["wall_s"] = self.wall_s
        return numbers | {f"seconds/{name}": value for name, value in seconds.items()}


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
