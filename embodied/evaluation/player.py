"""Environments and a copy of the policy, playing the episodes they are given. It owns clocks and endings.

    player.begin({n: job})              in free environments
    for n, episode in player.decide():  one decision in all that run; these have ended, and rest

An environment whose episode is over is not stepped again until another begins in it: a chunk is cut at the nearest time
limit, and what is over rests. What an episode meets does not depend on those beside it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import InstanceOf
from torch import Tensor

from embodied.config import Count, recipe
from embodied.errors import ConfigError, NonFiniteError
from embodied.evaluation.jobs import Job
from embodied.interfaces import Env, EnvRecipe, Policy, PolicyRecipe
from embodied.learner.learner import load_policy
from embodied.noise import EpisodeNoise
from embodied.sampler.recorder import Running
from embodied.sampler.starts import to_start
from embodied.types import Array, Episode, Obs, Spec, Step, Weights

NEVER = 2**62  # actions


@dataclass(frozen=True, slots=True)
class Played:
    """What came of one call."""

    ended: list[tuple[int, Episode]]  # environment and episode
    steps: int  # actions, over all environments


@recipe
class PlayerRecipe:
    env: EnvRecipe
    policy: PolicyRecipe
    trained: InstanceOf[Spec] | None = None  # what the policy was trained with; None: environments like these
    max_steps: Count | None = None  # actions per episode; None takes each task's own limit
    explore: bool = False
    device: str = "cpu"  # of the policy

    def build(self) -> Player:
        env = self.env.build()
        try:
            if self.trained is not None:
                check_fits(self.trained, env.spec)
            policy = self.policy.build(self.trained or env.spec).to(self.device)
        except BaseException:
            env.close()
            raise
        return Player(env, policy, max_steps=self.max_steps, explore=self.explore)


class Player:
    def __init__(self, env: Env, policy: Policy, *, max_steps: int | None = None, explore: bool = False) -> None:
        self.env, self.policy, self.explore = env, policy.eval(), explore
        self.device = next((p.device for p in policy.parameters()), torch.device("cpu"))  # where the policy acts
        self.limits = [max_steps or limit or NEVER for limit in env.spec.limits]  # of each task
        num = env.spec.num_envs
        self.jobs: list[Job | None] = [None] * num
        self.starts = [(0, -1, 0)] * num  # task, initial state and seed of the last episode in each
        self.records = [Running() for _ in range(num)]
        self.left = [0] * num  # actions until the time limit
        self.generators = [torch.Generator(self.device) for _ in range(num)]
        self.steps = 0  # actions since the last answer

    def spec(self) -> Spec:
        return self.env.spec

    def load(self, weights: Weights) -> None:
        load_policy(self.policy, weights.state)

    @property
    def running(self) -> list[int]:
        return [n for n, job in enumerate(self.jobs) if job is not None]

    def play(self, jobs: Mapping[int, Job], for_s: float) -> Played:
        """Begin `jobs` in the environments that they are given for, and go on until one is free, at most `for_s`."""
        deadline = time.monotonic() + for_s
        self.begin(jobs)
        ended: list[tuple[int, Episode]] = []
        while self.running and not ended and time.monotonic() < deadline:
            ended = self.decide()
        steps, self.steps = self.steps, 0
        return Played(ended, steps)

    @torch.no_grad()
    def begin(self, jobs: Mapping[int, Job]) -> None:
        if not jobs:
            return
        for n, job in jobs.items():
            self.jobs[n], self.starts[n], self.records[n] = job, job.start, Running()
            self.left[n], self.generators[n] = self.limits[job.task], job.generator(self.device)
        self.env.reset(self._mask(list(jobs)), to_start(self.starts))

    @torch.no_grad()
    def decide(self) -> list[tuple[int, Episode]]:
        """One decision wherever an episode runs; those that ended."""
        running = self.running
        noise = EpisodeNoise([self.generators[n] for n in running])
        decision = self.policy.act(self._observe(running), explore=self.explore, noise=noise)
        chosen = decision.action.to(self.env.spec.device)  # (running, K, A)
        _check_finite(chosen.sum().item(), "the policy's action")
        if len(running) == len(self.jobs):
            return self._execute(chosen)
        action = chosen.new_zeros(len(self.jobs), *chosen.shape[1:])  # (N, K, A)
        action[running] = chosen
        return self._execute(action)

    def close(self) -> None:
        self.env.close()

    def _observe(self, running: list[int]) -> Obs:
        obs = self.env.observe()
        if len(running) < len(self.jobs):
            obs = {name: x[running] for name, x in obs.items()}
        return {name: x.to(self.device) for name, x in obs.items()}

    def _execute(self, action: Tensor) -> list[tuple[int, Episode]]:
        """The chunk (N, K, A), cut wherever an episode reaches its time limit."""
        ended: list[tuple[int, Episode]] = []
        at, chunk = 0, action.shape[1]
        while at < chunk and (running := self.running):
            until = at + min(chunk - at, *(self.left[n] for n in running))
            ended += self._tally(self.env.step(action[:, at:until]), running)
            at = until
        return ended

    def _tally(self, step: Step, running: list[int]) -> list[tuple[int, Episode]]:
        """Count what `running` did; those that it ended rest."""
        reward, success = step.reward.tolist(), step.success.tolist()  # (N, k), in which torch is slower than Python
        valid, terminated = step.valid.tolist(), step.terminated.tolist()
        ended: list[tuple[int, Episode]] = []
        for n in running:
            counted = [k for k, is_valid in enumerate(valid[n]) if is_valid]
            for k in counted:
                self.records[n].add(reward[n][k], success=success[n][k])
            _check_finite(self.records[n].reward, "the reward from the simulator")
            count = len(counted)
            self.left[n] -= count
            self.steps += count
            over = any(terminated[n])
            if over or not count or self.left[n] <= 0:
                ended.append((n, self._record(n, terminated=over, lost=not count)))
                self.jobs[n] = None
        if ended:
            self.env.rest(self._mask([n for n, _ in ended]))
        return ended

    def _record(self, n: int, *, terminated: bool, lost: bool) -> Episode:
        job, record = self.jobs[n], self.records[n]
        assert job is not None
        return Episode(
            index=job.index,
            env=n,
            task=job.task,
            initial_state=job.initial_state,
            seed=job.start_seed,
            steps=record.steps,
            reward=record.reward,
            success_once=record.success_once,
            success_at_end=record.success_at_end,
            first_success_step=record.first_success,
            terminated=terminated,
            lost=lost,
        )

    def _mask(self, envs: Sequence[int]) -> Tensor:
        """(N,) true in `envs`."""
        mask = np.zeros(len(self.jobs), dtype=bool)
        mask[list(envs)] = True
        return torch.from_numpy(mask).to(self.env.spec.device)


def check_fits(trained: Spec, found: Spec) -> None:
    """ConfigError where a policy that was trained with `trained` cannot act in `found`."""
    for name, array in trained.obs.items():
        if found.obs.get(name) != array:
            have = f"shows {name} {_told(found.obs[name])}" if name in found.obs else f"shows {', '.join(found.obs)}"
            raise ConfigError(
                f"the policy was trained to see {name} {_told(array)}, and this simulator {have}; nothing was "
                f"evaluated. Set its observations, cameras and image_size as they were in training."
            )
    if trained.action_dim != found.action_dim:
        raise ConfigError(
            f"the policy has actions of {trained.action_dim} numbers, and this simulator takes {found.action_dim}; "
            f"nothing was evaluated. Set its robot and control as they were in training."
        )
    if "task" in trained.obs and len(trained.tasks) != len(found.tasks):
        raise ConfigError(
            f"the policy knows {len(trained.tasks)} tasks by their index, and this simulator has {len(found.tasks)}; "
            f"nothing was evaluated. Leave the simulator's tasks as in training, and choose with tasks=[...]."
        )


def _told(array: Array) -> str:
    return "x".join(map(str, array.shape)) + f" {str(array.dtype).removeprefix('torch.')}"


def _check_finite(x: float, what: str) -> None:
    if not math.isfinite(x):
        raise NonFiniteError(
            f"{what} is NaN or infinite; the evaluation stops here and keeps what is whole. Look at the checkpoint, or "
            f"lower the simulator's time step."
        )
