"""Collecting with the policy in the loop against the same simulator processes stepped with random actions.

    python benchmarks/sampler.py [pairs=5]

The bare processes run free: two of them, four environments each, stepping and observing, resetting at the time limit,
no policy, no barrier between them. Windows alternate, so ratios are of neighbours in time.
"""

from __future__ import annotations

import sys
import time
from multiprocessing.connection import Connection

import torch
import torch.multiprocessing as mp

from benchmarks.report import Spread, Target, alternate, finish, ratios, table
from embodied.algorithms.ppo import PPO
from embodied.environment import prepare
from embodied.interfaces import EnvRecipe, PolicyRecipe
from embodied.train import Training, collector_recipe
from embodied.types import Start
from policies.mlp import MLPRecipe
from policies.vision import VisionRecipe
from simulators.maniskill import ManiSkillRecipe

PROCESSES, ENVS = 2, 8


def bare(connection: Connection, recipe: EnvRecipe) -> None:
    """A child: step a window of so many decisions on request, say how long it took."""
    torch.set_num_threads(1)
    env = recipe.build()
    num, size = env.spec.num_envs, env.spec.action_dim
    limit = max(limit or 100 for limit in env.spec.limits)
    generator = torch.Generator().manual_seed(0)
    everyone, count = torch.ones(num, dtype=torch.bool), 0
    env.reset(everyone, Start.seeded(list(range(num))))
    connection.send(True)
    while (decisions := connection.recv()) is not None:
        began = time.perf_counter()
        for _ in range(decisions):
            step = env.step(torch.rand(num, 1, size, generator=generator) * 2 - 1)
            env.observe()
            count += 1
            ended = step.terminated.any(dim=1) | (count % limit == 0)
            if ended.any():
                env.reset(ended, Start.seeded([count] * num))
                env.observe()  # the first look at a new episode, which no policy can do without
        connection.send(time.perf_counter() - began)


class Bare:
    def __init__(self, recipe: ManiSkillRecipe) -> None:
        from dataclasses import replace

        context = mp.get_context("spawn")
        share = replace(recipe, num_envs=ENVS // PROCESSES, processes=0)
        self.pipes = [context.Pipe() for _ in range(PROCESSES)]
        self.children = [context.Process(target=bare, args=(theirs, share), daemon=True) for _, theirs in self.pipes]
        for child in self.children:
            child.start()
        for ours, _ in self.pipes:
            ours.recv()

    def rate(self, decisions: int) -> float:
        """Environment steps per second, both processes together."""
        for ours, _ in self.pipes:
            ours.send(decisions)
        return sum(ENVS // PROCESSES * decisions / ours.recv() for ours, _ in self.pipes)

    def close(self) -> None:
        for ours, _ in self.pipes:
            ours.send(None)
        for child in self.children:
            child.join()


def compare(name: str, recipe: ManiSkillRecipe, policy: PolicyRecipe, *, decisions: int, pairs: int) -> Target:
    sampler = collector_recipe(Training(simulator=recipe, policy=policy, algorithm=PPO())).build()
    processes = Bare(recipe)

    def collect() -> float:
        began = time.perf_counter()
        valid = sampler.collect(decisions).valid
        return float(valid.sum()) / (time.perf_counter() - began)

    alternate(1, collect, lambda: processes.rate(decisions))  # warm up
    sampler.timing()
    ours, theirs = alternate(pairs, collect, lambda: processes.rate(decisions))
    ratio = ratios(ours, theirs)
    seconds = sampler.timing()
    shares = "  ".join(f"{part} {100 * value / sum(seconds.values()):.0f}%" for part, value in seconds.items())
    table(
        f"{name}: PushCube, {PROCESSES} processes x {ENVS // PROCESSES} environments",
        ("", "environment steps/s"),
        [("policy in the loop", str(Spread.of(ours))), ("bare processes, random actions", str(Spread.of(theirs))),
         ("ratio of pairs", str(ratio)), ("where collecting spends its time", shares)],
    )  # fmt: skip
    sampler.close()
    processes.close()
    return Target(f"sampler / bare processes, {name}", ratio.median, "ratio", 0.85)


def main() -> None:
    prepare()
    torch.set_num_threads(1)
    pairs = int(next((word.removeprefix("pairs=") for word in sys.argv[1:] if word.startswith("pairs=")), 5))
    state = ManiSkillRecipe(task="PushCube-v1", num_envs=ENVS, processes=PROCESSES, backend="cpu")
    image = ManiSkillRecipe(
        task="PushCube-v1", num_envs=ENVS, processes=PROCESSES, backend="cpu", obs="rgb", image_size=64
    )
    targets = [
        compare("state", state, MLPRecipe(), decisions=500, pairs=pairs),
        compare("image, 64 px, small CNN", image, VisionRecipe(), decisions=50, pairs=pairs),
    ]
    finish("sampler", targets)


if __name__ == "__main__":
    main()
