"""Evaluation: fresh episodes of a trained policy, a table of them, and a success rate with its interval.

embodied evaluate RUN_OR_CHECKPOINT episodes=100 seeds=[0,1] simulator.num_envs=4
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from embodied.compose import keys_of, override
from embodied.config import Count, Natural, from_dict, recipe, to_dict
from embodied.errors import ConfigError
from embodied.interfaces import EnvRecipe, Policy, PolicyRecipe
from embodied.learner import checkpoint as checkpoints
from embodied.learner.learner import load_policy
from embodied.metrics.logger import write_episodes
from embodied.metrics.stats import percent, wilson
from embodied.run_folder import read_config
from embodied.sampler.film import film
from embodied.sampler.sampler import Sampler
from embodied.sampler.starts import Starts
from embodied.types import Episode

CHECK_EVERY = 10  # decisions between two looks at what has finished


@recipe
class EvaluationRecipe:
    simulator: EnvRecipe
    policy: PolicyRecipe
    checkpoint: str  # run folder or checkpoint
    episodes: Count = 100  # for each seed
    seeds: tuple[Natural, ...] = (0,)  # of the initial states; never those of training
    actions: Literal["likeliest", "sampled"] = "likeliest"
    max_steps: Count | None = None  # actions per episode; null takes the task's own limit
    film: Natural = 9  # episodes in the video; 0 leaves it out
    out: str | None = None  # null: RUN/evaluation/TIME


@dataclass(frozen=True, slots=True)
class Result:
    episodes: list[Episode]
    by_seed: dict[int, list[Episode]]
    seconds: float

    def rate(self, what: Literal["success_once", "success_at_end"]) -> tuple[int, int]:
        whole = [e for e in self.episodes if not e.lost]
        return sum(getattr(e, what) for e in whole), len(whole)


def evaluate(e: EvaluationRecipe, policy: Policy, *, progress: Callable[[int], None] = lambda _: None) -> Result:
    """Play `episodes` for each seed. Episode i of a seed begins alike whatever the number of environments."""
    began = time.perf_counter()
    env = e.simulator.build()
    by_seed: dict[int, list[Episode]] = {}
    try:
        if not (e.max_steps or env.spec.max_steps):
            raise ConfigError(
                "this task has no time limit of its own, so an evaluation might never end; nothing was evaluated. Set "
                "max_steps=..."
            )
        for seed in e.seeds:
            done = sum(map(len, by_seed.values()))
            starts = Starts(seed=seed, role="evaluate")
            sampler = Sampler(env, policy, starts, max_steps=e.max_steps, explore=e.actions == "sampled", seed=seed)
            by_seed[seed] = _play(sampler, e.episodes, lambda n, d=done: progress(d + n))
    finally:
        env.close()
    return Result([x for rows in by_seed.values() for x in rows], by_seed, time.perf_counter() - began)


def _play(sampler: Sampler, episodes: int, progress: Callable[[int], None]) -> list[Episode]:
    """The first `episodes` by index, not by time of ending: short ones must not be counted more often."""
    found: dict[int, Episode] = {}
    while len(found) < episodes:
        sampler.collect(CHECK_EVERY)
        found |= {x.index: x for x in sampler.episodes() if x.index < episodes}
        progress(len(found))
    return [found[index] for index in sorted(found)]


def load_evaluation(path: Path, words: list[str]) -> tuple[EvaluationRecipe, Policy]:
    """The evaluation of the checkpoint at `path`, with `key=value` words applied, and its policy."""
    folder = checkpoints.latest(path)
    saved = read_config(folder)
    base = {name: saved[name] for name in ("simulator", "policy", "max_steps")}
    settings = {"episodes": 100, "seeds": [0], "actions": "likeliest", "film": 9, "out": None}
    config = override(base | settings, words, allowed=keys_of(base | settings))
    e: EvaluationRecipe = from_dict(
        {"_target_": "embodied.evaluate.EvaluationRecipe", "checkpoint": str(folder)} | config
    )
    loaded = checkpoints.load(folder)
    policy = e.policy.build(loaded.spec)
    load_policy(policy, loaded.tensors["weights"])
    return e, policy.eval()


def save_result(folder: Path, e: EvaluationRecipe, result: Result) -> None:
    """episodes.csv, one for each seed, and summary.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, rows in result.by_seed.items():
        write_episodes(folder / f"episodes-seed{seed}.csv", rows)
    once, trials = result.rate("success_once")
    at_end, _ = result.rate("success_at_end")
    whole = [x for x in result.episodes if not x.lost]
    summary: dict[str, Any] = {
        "success_once": {"successes": once, "episodes": trials, "interval_95": wilson(once, trials)},
        "success_at_end": {"successes": at_end, "episodes": trials, "interval_95": wilson(at_end, trials)},
        "return": sum(x.reward for x in whole) / max(1, len(whole)),
        "steps": sum(x.steps for x in whole) / max(1, len(whole)),
        "lost_episodes": len(result.episodes) - len(whole),
        "seconds": result.seconds,
        "evaluation": to_dict(e),
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=1))


def print_result(result: Result) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="evaluation (rates with 95 % Wilson intervals; first: step of the first success)")
    for column in ("seed", "success once", "at end", "return", "steps", "first"):
        table.add_column(column, justify="right", no_wrap=True)
    rows = {str(seed): rows for seed, rows in result.by_seed.items()}
    if len(rows) > 1:
        rows["all"] = result.episodes
    for name, episodes in rows.items():
        table.add_row(name, *_cells([x for x in episodes if not x.lost]))
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _cells(rows: list[Episode]) -> list[str]:
    count = max(1, len(rows))
    firsts = [x.first_success_step for x in rows if x.first_success_step is not None]
    return [
        percent(sum(x.success_once for x in rows), len(rows)),
        percent(sum(x.success_at_end for x in rows), len(rows)),
        f"{sum(x.reward for x in rows) / count:.2f}",
        f"{sum(x.steps for x in rows) / count:.1f}",
        f"{sum(firsts) / len(firsts):.1f}" if firsts else "-",
    ]


def make_film(e: EvaluationRecipe, policy: Policy, path: Path) -> Path:
    starts = Starts(seed=e.seeds[0], role="evaluate")
    return film(e.simulator, policy, starts, episodes=e.film, max_steps=e.max_steps, path=path)


USAGE = """embodied evaluate RUN_OR_CHECKPOINT [key=value ...]

RUN_OR_CHECKPOINT is a folder that `embodied train` made, or one of its checkpoints. Settings:
  episodes=100        for each seed
  seeds=[0]           of the initial states; never those of training
  actions=likeliest   or sampled
  film=9              episodes in the video; 0 leaves it out
  out=null            folder of the results; null: RUN/evaluation/TIME
  max_steps, simulator.*, policy.*   as in the run, unless given: simulator.terminate_on_success=false shows who stays
Writes episodes-seedS.csv, summary.json and video.mp4."""


def main(argv: list[str]) -> int:
    from rich.progress import Progress

    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if "=" in argv[0]:
        raise ConfigError("name the run folder or checkpoint first: embodied evaluate RUN episodes=100.")
    path = Path(argv[0])
    if not path.is_dir():
        raise ConfigError(f"there is no folder {path}; nothing was evaluated.")
    e, policy = load_evaluation(path, argv[1:])
    out = (
        Path(e.out)
        if e.out
        else checkpoints.run_of(checkpoints.latest(path)) / "evaluation" / time.strftime("%Y%m%d-%H%M%S")
    )
    with Progress() as bar:
        task = bar.add_task("episodes", total=e.episodes * len(e.seeds))
        result = evaluate(e, policy, progress=lambda done: bar.update(task, completed=done))
    save_result(out, e, result)
    print_result(result)
    print(f"written to {out}")
    if e.film:
        print(f"video: {make_film(e, policy, out / 'video.mp4')}")
    return 0
