"""What steps, chunks, resets and processes cost.

    python benchmarks/simulators.py [pairs=5] [only=libero,processes]

libero      a chunk of 8 actions with one observation against observing every action; resets to the next stored state
            with and without settling; memory after 40 resets and 2,000 steps
processes   `benchmarks/simulators_processes.py`: our subprocess protocol against a bare loop in as many processes
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import simulators_processes
from benchmarks.report import Spread, Target, alternate, finish, ratios, table
from embodied.environment import prepare
from embodied.interfaces import Env
from embodied.types import Start

CHUNK, RESETS, STEPS = 8, 40, 2000


def moved(env: Env, actions: int, chunk: int, generator: torch.Generator) -> None:
    for _ in range(actions // chunk):
        env.step(torch.rand(1, chunk, env.spec.action_dim, generator=generator) * 0.6 - 0.3)
        env.observe()


def reset_to(env: Env, initial_state: int) -> float:
    """Seconds, without the picture."""
    state = torch.tensor([initial_state])
    began = time.perf_counter()
    env.reset(torch.ones(1, dtype=torch.bool), Start(torch.zeros_like(state), state, torch.zeros_like(state)))
    return time.perf_counter() - began


def resident_mib() -> float:
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def libero(pairs: int) -> list[Target]:
    from simulators.libero import LiberoRecipe

    recipe = LiberoRecipe(suite="spatial", tasks=(0,), num_envs=1, processes=0)
    env, bare = recipe.build(), replace(recipe, settle_steps=0).build()
    generator = torch.Generator().manual_seed(0)

    def rate(chunk: int) -> Callable[[], float]:
        def measure() -> float:
            reset_to(env, 0)
            env.observe()
            began = time.perf_counter()
            moved(env, 2 * CHUNK, chunk, generator)
            return 2 * CHUNK / (time.perf_counter() - began)

        return measure

    for one in (env, bare):
        reset_to(one, 0)
        one.observe()
    chunks, singles = alternate(pairs, rate(CHUNK), rate(1))
    settled, plain = alternate(3 * pairs, stored(env), stored(bare))
    bare.close()
    for index in range(5):
        reset_to(env, index)
        moved(env, 40, 1, generator)
    before = resident_mib()
    for index in range(RESETS):
        reset_to(env, index)
        moved(env, STEPS // RESETS, 1, generator)
    leaked = resident_mib() - before
    env.close()
    ratio = ratios(chunks, singles)
    table(
        "LIBERO spatial, two cameras of 128 px, one core",
        ("", "median [range]"),
        [
            (f"chunks of {CHUNK} with one observation, steps/s", str(Spread.of(chunks))),
            ("an observation for every action, steps/s", str(Spread.of(singles))),
            ("ratio of pairs", str(ratio)),
            ("reset to a stored state, s", str(Spread.of(plain))),
            ("the same with its 10 settle steps, s", str(Spread.of(settled))),
            (f"memory after {RESETS} resets and {STEPS:,} steps, MiB more", f"{leaked:.1f}"),
        ],
    )
    return [
        Target(f"LIBERO, chunk of {CHUNK} / observing every action", ratio.median, "ratio", 3.0),
        Target("LIBERO reset without settle steps", statistics.median(plain), "s", 0.10, "most"),
        Target("LIBERO reset with settle steps", statistics.median(settled), "s", 0.35, "most"),
        Target(f"LIBERO, {RESETS} resets and {STEPS} steps leak", leaked, "MiB", 50, "most"),
    ]


def stored(env: Env) -> Callable[[], float]:
    """Seconds of a reset to the next stored state, each time."""
    indices = iter(range(1, 1000))
    return lambda: reset_to(env, next(indices) % 50)


def main() -> None:
    prepare()
    torch.set_num_threads(1)
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    pairs, only = int(words.get("pairs", 5)), words.get("only", "libero,processes").split(",")
    targets: list[Target] = []
    if "libero" in only:
        targets += libero(pairs)
    if "processes" in only:
        targets += simulators_processes.measure(pairs)
    finish("simulators", targets)


if __name__ == "__main__":
    main()
