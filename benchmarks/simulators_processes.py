"""`SubprocessEnv` against a bare `for` loop over the same environments in the same number of processes.

    python -m benchmarks.simulators_processes [pairs=7] [only=state]

ManiSkill's PickCube, two processes of four environments, the same random actions on both sides, everything observed
after every step, resets at the time limit. The bare loops run free, each in its process, and send nothing. Windows
alternate, so ratios are of neighbors in time. Also: the same in the interpreter of another environment, where
`embodied setup robosuite15` built one, and one round trip without physics.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.report import Spread, Target, alternate, finish, ratios, table
from embodied.environment import prepare
from embodied.environments import python_of
from embodied.errors import PackageError
from embodied.interfaces import Env, EnvRecipe
from embodied.runtime.child import Child
from embodied.runtime.wire import Wire
from embodied.types import Start
from simulators.maniskill import ManiSkillRecipe
from simulators.reach import ReachRecipe
from simulators.subprocess_env import SubprocessEnv

PROCESSES, ENVS = 2, 8


class Stepped:
    """Steps an environment with random actions; each environment is reset at its time limit or when it ends."""

    def __init__(self, env: Env, first: int = 0) -> None:
        self.env, self.num = env, env.spec.num_envs
        self.limit, self.count = env.spec.max_steps or 100, 0
        self.generator = torch.Generator().manual_seed(first)
        env.reset(torch.ones(self.num, dtype=torch.bool), Start.seeded([first + n for n in range(self.num)]))
        self.steps = torch.zeros(self.num, dtype=torch.int64)  # (N,) in the running episode

    def seconds(self, decisions: int) -> float:
        began = time.perf_counter()
        for _ in range(decisions):
            action = torch.rand(self.num, 1, self.env.spec.action_dim, generator=self.generator) * 2 - 1
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


def bare(wire: Wire, recipe: EnvRecipe, first: int) -> None:
    """A child: step a window of so many decisions on request, say how long it took."""
    loop = Stepped(recipe.build(), first)
    wire.tell(True)
    try:
        while True:
            wire.tell(loop.seconds(wire.hear()))
    except EOFError:
        return


class Bare:
    """As many processes as shards, each with a bare loop."""

    def __init__(self, shards: list[ManiSkillRecipe], python: Path | None = None) -> None:
        self.shards = shards
        self.children = [Child(f"bare-{n}", bare, shard, 100 * n, python=python) for n, shard in enumerate(shards)]
        for child in self.children:
            child.launch()
        for child in self.children:
            assert child.hear(300.0), child.last_words()

    def rate(self, decisions: int) -> float:
        """Environment steps per second, all processes together."""
        for child in self.children:
            child.tell(decisions)
        seconds = [child.hear(600.0) for child in self.children]
        return sum(shard.num_envs * decisions / s for shard, s in zip(self.shards, seconds, strict=True))

    def close(self) -> None:
        for child in self.children:
            child.close()


def compare(name: str, recipe: ManiSkillRecipe, *, decisions: int, pairs: int, least: float) -> Target:
    shards = recipe.shards()
    env = SubprocessEnv(shards)
    ours, theirs = Stepped(env), Bare(shards)

    def rate() -> float:
        return ENVS * decisions / ours.seconds(decisions)

    alternate(1, rate, lambda: theirs.rate(decisions))  # warm up
    a, b = alternate(pairs, rate, lambda: theirs.rate(decisions))
    ratio = ratios(a, b)
    table(
        f"{name}: {recipe.task}, {PROCESSES} processes x {ENVS // PROCESSES} environments, random actions",
        ("", "environment steps/s"),
        [("SubprocessEnv", str(Spread.of(a))), ("bare loops, which wait for nobody", str(Spread.of(b))),
         ("ratio of pairs", str(ratio))],
    )  # fmt: skip
    env.close()
    theirs.close()
    return Target(f"SubprocessEnv / bare loops, {name}", ratio.median, "ratio", least)


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
        targets.append(compare("state", state, decisions=250, pairs=pairs, least=0.95))
    if only in (None, "image"):
        targets.append(compare("image, 128 px", image, decisions=50, pairs=pairs, least=0.97))
    return targets


def main() -> None:
    prepare()
    torch.set_num_threads(1)
    words = dict(word.split("=") for word in sys.argv[1:])
    finish("simulators_processes", measure(int(words.get("pairs", 7)), words.get("only")))


if __name__ == "__main__":
    main()
