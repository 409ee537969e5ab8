"""`SubprocessEnv` against a bare `for` loop over the same environments in the same number of processes.

    python -m benchmarks.simulators_processes [pairs=7] [only=state]

ManiSkill's PickCube, two processes of four environments, the same random actions on both sides, everything observed
after every step, resets at the time limit. The bare loops run free, each in its process, and send nothing. The same
loops, which wait awake for each other after every step, are the limit of whatever hands out one batch of observations:
nobody sleeps, nothing is sent, and no policy runs between two steps. Windows alternate, so ratios are of neighbors in
time. Also: the same in the interpreter of another environment, where `embodied setup robosuite15` built one, and one
round trip without physics.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.report import Spread, Target, alternate, finish, ratios, table
from embodied.environment import prepare
from embodied.environments import python_of
from embodied.errors import PackageError
from embodied.interfaces import Env, EnvRecipe
from embodied.runtime.child import Child
from embodied.runtime.memory import Memory
from embodied.runtime.wire import Wire
from embodied.types import Start
from simulators.maniskill import ManiSkillRecipe
from simulators.reach import ReachRecipe
from simulators.subprocess_env import SubprocessEnv

PROCESSES, ENVS = 2, 8
LEAST_OF_LIMIT = 0.95  # of the rate of loops that only wait for each other


class Stepped:
    """Steps an environment with random actions; each environment is reset at its time limit or when it ends."""

    def __init__(self, env: Env, first: int = 0) -> None:
        self.env, self.num = env, env.spec.num_envs
        self.limit, self.count = max(limit or 100 for limit in env.spec.limits), 0
        self.generator = torch.Generator().manual_seed(first)
        env.reset(torch.ones(self.num, dtype=torch.bool), Start.seeded([first + n for n in range(self.num)]))
        self.steps = torch.zeros(self.num, dtype=torch.int64)  # (N,) in the running episode

    def seconds(self, decisions: int, barrier: Callable[[], None] = lambda: None) -> float:
        began = time.perf_counter()
        actions = torch.rand(decisions, self.num, 1, self.env.spec.action_dim, generator=self.generator) * 2 - 1
        for action in actions:
            barrier()
            step = self.env.step(action)
            self.env.observe()
            self.steps += 1
            ended = step.terminated.any(dim=1) | (self.steps >= self.limit)
            if ended.any():
                self.count += 1
                self.env.reset(ended, Start.seeded([1000 * self.count + n for n in range(self.num)]))
                self.env.observe()  # the first look at a new episode, which no policy can do without
                self.steps[ended] = 0
        return time.perf_counter() - began


class Barrier:
    """Processes that wait awake for each other: each counts its steps in memory that all see."""

    def __init__(self, memory: Memory, mine: int) -> None:
        self.counts, self.mine = memoryview(memory.map).cast("q"), mine

    def __call__(self) -> None:
        self.counts[self.mine] += 1
        while min(self.counts[:PROCESSES]) < self.counts[self.mine]:
            os.sched_yield()


def bare(wire: Wire, recipe: EnvRecipe, first: int, memory: Memory, mine: int) -> None:
    """A child: step a window of so many decisions on request, say how long it took."""
    loop, barrier = Stepped(recipe.build(), first), Barrier(memory, mine)
    wire.tell(True)
    try:
        while True:
            decisions, together = wire.hear()
            wire.tell(loop.seconds(decisions, barrier) if together else loop.seconds(decisions))
    except EOFError:
        return


class Bare:
    """As many processes as shards, each with a bare loop."""

    def __init__(self, shards: Sequence[EnvRecipe], python: Path | None = None) -> None:
        self.shards = shards
        memory = Memory(8 * len(shards))
        self.children = [
            Child(f"bare-{n}", bare, shard, 100 * n, memory, n, python=python) for n, shard in enumerate(shards)
        ]
        for child in self.children:
            child.launch()
        for child in self.children:
            assert child.hear(300.0), child.last_words()

    def rate(self, decisions: int, together: bool = False) -> float:
        """Environment steps per second, all processes together."""
        for child in self.children:
            child.tell((decisions, together))
        seconds = [child.hear(600.0) for child in self.children]
        return sum(shard.num_envs * decisions / s for shard, s in zip(self.shards, seconds, strict=True))

    def close(self) -> None:
        for child in self.children:
            child.close()


def compare(name: str, recipe: ManiSkillRecipe, *, decisions: int, pairs: int, least: float) -> list[Target]:
    shards = recipe.shards()
    env = SubprocessEnv(shards)
    ours, theirs = Stepped(env), Bare(shards)

    def rate() -> float:
        return ENVS * decisions / ours.seconds(decisions)

    rates = [rate, lambda: theirs.rate(decisions), lambda: theirs.rate(decisions, together=True)]
    alternate(1, *rates)  # warm up
    a, b, c = alternate(pairs, *rates)
    ratio, of_limit = ratios(a, b), ratios(a, c)
    table(
        f"{name}: {recipe.task}, {PROCESSES} processes x {ENVS // PROCESSES} environments, random actions",
        ("", "environment steps/s", "SubprocessEnv / these"),
        [("SubprocessEnv", str(Spread.of(a)), ""), ("bare loops, which wait for nobody", str(Spread.of(b)), str(ratio)),
         ("bare loops in step with each other", str(Spread.of(c)), str(of_limit))],
    )  # fmt: skip
    env.close()
    theirs.close()
    return [
        Target(f"SubprocessEnv / bare loops, {name}", ratio.median, "ratio", least),
        Target(f"SubprocessEnv / bare loops in step, {name}", of_limit.median, "ratio", LEAST_OF_LIMIT),
    ]


def round_trip(pairs: int) -> None:
    """A step that costs next to nothing: what the protocol itself takes, here and in another interpreter."""
    try:
        other = python_of("robosuite15")
    except PackageError:
        other = None
    recipe = ReachRecipe(num_envs=1)
    envs = [SubprocessEnv([recipe, recipe], python=python) for python in (None, other)]
    loops = [Stepped(env) for env in envs]
    here, there = alternate(pairs, *[lambda loop=loop: 1e6 * loop.seconds(500) / 500 for loop in loops])
    where = "another environment" if other else "this environment again (no other is built)"
    table(
        "a step of `reach` in two processes",
        ("workers in", "microseconds"),
        [("this environment", str(Spread.of(here))), (where, str(Spread.of(there))),
         ("ratio of pairs", str(ratios(there, here)))],
    )  # fmt: skip
    for env in envs:
        env.close()


def measure(pairs: int, only: str | None = None) -> list[Target]:
    state = ManiSkillRecipe(task="PickCube-v1", num_envs=ENVS, processes=PROCESSES, backend="cpu")
    image = replace(state, obs="rgb", image_size=128)
    targets: list[Target] = []
    if only in (None, "trip"):
        round_trip(pairs)
    if only in (None, "state"):
        targets.extend(compare("state", state, decisions=250, pairs=pairs, least=0.95))
    if only in (None, "image"):
        targets.extend(compare("image, 128 px", image, decisions=50, pairs=pairs, least=0.97))
    return targets


def main() -> None:
    prepare()
    torch.set_num_threads(1)
    words = dict(word.split("=") for word in sys.argv[1:])
    finish("simulators_processes", measure(int(words.get("pairs", 7)), words.get("only")))


if __name__ == "__main__":
    main()
