"""The rate of an evaluation against bare loops over the same environments in the same number of processes.

    python -m benchmarks.evaluation [pairs=5] [task=PickCube-v1] [only=mixed]

ManiSkill with state, two processes of four environments. Ours is `Team.play`: a small network acts, episodes are given
out one by one, recorded and added up. The bare loops take random actions of the same spread, observe after every step,
reset at the end of an episode, and run free, each in its process. Episodes of full length, and of lengths drawn from 10
to 50 actions, on both sides. Every step of the simulator is counted where it is made: none may follow the end of an
episode.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.report import Spread, Target, alternate, finish, ratios, table
from benchmarks.simulators_processes import Bare
from embodied.config import Count, Natural, recipe
from embodied.environment import prepare
from embodied.evaluation.jobs import Job, jobs_of
from embodied.evaluation.queue import Queue
from embodied.evaluation.team import Team, players
from embodied.interfaces import Env
from embodied.learner.learner import seeded_policy
from embodied.types import Episode, Weights
from policies.mlp import MLPRecipe
from simulators.maniskill import ManiSkillRecipe
from simulators.subprocess_env import split

PROCESSES, ENVS, FULL, SHORTEST = 2, 8, 50, 10
EPISODES, LEAST = 96, 0.85


@recipe
class CutRecipe:
    """A task whose episodes may end after a number of actions that follows from their seed."""

    simulator: ManiSkillRecipe
    shortest: Count = FULL  # actions; the longest is FULL
    tally: str | None = None  # path of a file to which each environment adds its steps in all when it is closed
    processes: Natural = PROCESSES

    @property
    def num_envs(self) -> int:
        return self.simulator.num_envs

    def build(self) -> Env:
        env: Any = self.simulator.build()
        env.envs = [Cut(single, self) for single in env.envs]
        return env

    def shards(self) -> list[CutRecipe]:
        return [
            replace(self, simulator=replace(self.simulator, num_envs=n)) for n in split(self.num_envs, self.processes)
        ]


class Cut:
    """Single environment that counts, and says that the task failed when its time has come."""

    def __init__(self, single: Any, r: CutRecipe) -> None:
        self.single, self.r, self.total, self.count, self.length = single, r, 0, 0, FULL
        self.spec = single.spec

    def reset(self, task: int, initial_state: int, seed: int) -> None:
        self.single.reset(task, initial_state, seed)
        self.count, self.length = 0, int(np.random.default_rng(seed).integers(self.r.shortest, FULL + 1))

    def step(self, action: NDArray[np.float32]) -> tuple[float, bool, bool]:
        reward, terminated, success = self.single.step(action)
        self.total, self.count = self.total + 1, self.count + 1
        return reward, terminated or (self.count >= self.length and self.r.shortest < FULL), success

    def observe(self) -> dict[str, Tensor]:
        return self.single.observe()

    def close(self) -> None:
        if self.r.tally:
            with Path(self.r.tally).open("a") as file:
                file.write(f"{self.total}\n")
        self.single.close()


class Ours:
    """A team that plays the next episodes of one long evaluation in every window."""

    def __init__(self, simulator: CutRecipe) -> None:
        policy = MLPRecipe(hidden=(64, 64), initial_std=0.58)  # as widely spread as uniform actions
        recipes, in_processes = players(simulator, policy, explore=True)
        self.team = Team(recipes, in_processes=in_processes)
        self.team.load(Weights(0, seeded_policy(policy, self.team.spec, 0).state_dict()))
        self.seed = self.steps = 0

    def rate(self) -> float:
        """Environment steps per second of an evaluation of EPISODES episodes, its tail included."""
        self.seed, steps = self.seed + 1, 0
        queue = Queue(jobs_of(self.team.spec, episodes=EPISODES, seeds=(self.seed,)), num_envs=ENVS)

        def take(_: Job, episode: Episode) -> None:
            nonlocal steps
            steps += episode.steps

        began = time.perf_counter()
        self.team.play(queue, take)
        seconds = time.perf_counter() - began
        self.steps += steps
        return steps / seconds

    def close(self) -> None:
        self.team.close()


def compare(name: str, simulator: CutRecipe, pairs: int) -> list[Target]:
    with tempfile.TemporaryDirectory() as folder:
        tally = Path(folder) / "tally"
        ours, theirs = Ours(replace(simulator, tally=str(tally))), Bare(simulator.shards())
        decisions = EPISODES * (FULL + simulator.shortest) // 2 // ENVS
        a, b = alternate(pairs + 1, ours.rate, lambda: theirs.rate(decisions))
        ours.close()
        theirs.close()
        late = sum(map(int, tally.read_text().split())) - ours.steps
    a, b = a[1:], b[1:]  # the first warms up
    ratio = ratios(a, b)
    table(
        f"{name}: {simulator.simulator.task}, {PROCESSES} processes x {ENVS // PROCESSES} environments, "
        f"{EPISODES} episodes a window",
        ("", "environment steps/s"),
        [("evaluation", str(Spread.of(a))), ("bare loops", str(Spread.of(b))), ("ratio of pairs", str(ratio)),
         ("steps after the end of an episode", f"{late} of {ours.steps}")],
    )  # fmt: skip
    return [
        Target(f"evaluation / bare loops, {name}", ratio.median, "ratio", LEAST),
        Target(f"steps after the end of an episode, {name}", float(late), "steps", 0.0, "most"),
    ]


def main() -> None:
    prepare()
    torch.set_num_threads(1)
    words = dict(word.split("=") for word in sys.argv[1:])
    task, pairs = words.get("task", "PickCube-v1"), int(words.get("pairs", 5))
    bare = ManiSkillRecipe(task=task, num_envs=ENVS, processes=0, backend="cpu")
    targets: list[Target] = []
    for name, shortest in (("full", FULL), ("mixed", SHORTEST)):
        if words.get("only", name) == name:
            targets += compare(f"{name} length", CutRecipe(simulator=bare, shortest=shortest), pairs)
    finish("evaluation", targets)


if __name__ == "__main__":
    main()
