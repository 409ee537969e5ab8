"""Evaluation: fresh episodes of a trained policy, a table of them, and a success rate with its interval.

embodied evaluate RUN_OR_CHECKPOINT episodes=100 seeds=[0,1] simulator.num_envs=4
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from embodied.compose import keys_of, override
from embodied.config import Count, Natural, from_dict, recipe, to_dict
from embodied.errors import ConfigError
from embodied.interfaces import Env, EnvRecipe, Policy, PolicyRecipe
from embodied.learner import checkpoint as checkpoints
from embodied.learner.learner import load_policy
from embodied.metrics.intervals import percent, wilson
from embodied.metrics.logger import write_episodes
from embodied.run_folder import read_config
from embodied.sampler.film import film
from embodied.sampler.sampler import Sampler
from embodied.sampler.starts import Jobs, Starts
from embodied.spec import task_names
from embodied.types import Episode, Spec

CHECK_EVERY = 10  # decisions between two looks at what has finished


@recipe
class EvaluationRecipe:
    simulator: EnvRecipe
    policy: PolicyRecipe
    checkpoint: str  # run folder or checkpoint
    episodes: Count = 100  # for each seed
    seeds: tuple[Natural, ...] = (0,)  # of the initial states; never those of training
    actions: Literal["likeliest", "sampled"] = "likeliest"
    max_steps: Count | None = None  # actions per episode; null takes each task's own limit
    film: Natural = 9  # episodes in the video; 0 leaves it out
    out: str | None = None  # null: RUN/evaluation/TIME


@dataclass(frozen=True, slots=True)
class Result:
    episodes: list[Episode]
    by_seed: dict[int, list[Episode]]
    seconds: float
    tasks: tuple[str, ...] = ("",)

    def by_task(self) -> dict[int, list[Episode]]:
        """Whole episodes of each task that was played."""
        whole = [e for e in self.episodes if not e.lost]
        return {task: [e for e in whole if e.task == task] for task in sorted({e.task for e in whole})}


def evaluate(e: EvaluationRecipe, policy: Policy, *, progress: Callable[[int], None] = lambda _: None) -> Result:
    """Play `episodes` for each seed, as many of each task. Episode i begins alike with any number of environments."""
    began = time.perf_counter()
    env = e.simulator.build()
    by_seed: dict[int, list[Episode]] = {}
    try:
        check_ends(env.spec, e.max_steps)
        for seed in e.seeds:
            done = sum(map(len, by_seed.values()))
            by_seed[seed] = play(
                env,
                policy,
                episodes=e.episodes,
                seed=seed,
                max_steps=e.max_steps,
                explore=e.actions == "sampled",
                progress=lambda n, d=done: progress(d + n),
            )
    finally:
        env.close()
    episodes = [x for rows in by_seed.values() for x in rows]
    return Result(episodes, by_seed, time.perf_counter() - began, env.spec.tasks)


def check_ends(spec: Spec, max_steps: int | None) -> None:
    if not max_steps and None in spec.limits:
        raise ConfigError(
            "this task has no time limit of its own, so an evaluation might never end; nothing was evaluated. Set "
            "max_steps=..."
        )


def play(
    env: Env,
    policy: Policy,
    *,
    episodes: int,
    seed: int,
    max_steps: int | None = None,
    explore: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Episode]:
    """`episodes` that follow from `seed`, under their numbers; others fill the time until all of them are done."""
    plan = Jobs.over(env.spec, episodes)
    jobs = plan.numbers(episodes)  # number of each job by the sampler's index of its episode
    starts = Starts(seed=seed, role="evaluate", plan=plan)
    sampler = Sampler(env, policy, starts, max_steps=max_steps, explore=explore, seed=seed)
    found: dict[int, Episode] = {}
    while len(found) < len(jobs):
        sampler.collect(CHECK_EVERY)
        ended = [x for x in sampler.episodes() if x.index in jobs]
        found |= {jobs[x.index]: replace(x, index=jobs[x.index]) for x in ended}
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
    whole = [x for x in result.episodes if not x.lost]
    summary: dict[str, Any] = _told(whole) | {
        "lost_episodes": len(result.episodes) - len(whole),
        "seconds": result.seconds,
        "evaluation": to_dict(e),
    }
    if len(result.tasks) > 1:
        each = {task: _told(rows) for task, rows in result.by_task().items()}
        for what in ("success_once", "success_at_end"):
            rates = [told[what]["successes"] / told[what]["episodes"] for told in each.values()]
            summary[what]["mean_over_tasks"] = sum(rates) / max(1, len(rates))
        summary["tasks"] = [{"index": task, "task": result.tasks[task]} | told for task, told in each.items()]
        summary["tasks_not_played"] = [task for task in range(len(result.tasks)) if task not in each]
    (folder / "summary.json").write_text(json.dumps(summary, indent=1))


def _told(rows: list[Episode]) -> dict[str, Any]:
    count = len(rows)
    once, at_end = sum(x.success_once for x in rows), sum(x.success_at_end for x in rows)
    return {
        "success_once": {"successes": once, "episodes": count, "interval_95": wilson(once, count)},
        "success_at_end": {"successes": at_end, "episodes": count, "interval_95": wilson(at_end, count)},
        "return": sum(x.reward for x in rows) / max(1, count),
        "steps": sum(x.steps for x in rows) / max(1, count),
    }


def print_result(result: Result) -> None:
    rows = {str(seed): rows for seed, rows in result.by_seed.items()}
    if len(rows) > 1:
        rows["all"] = result.episodes
    _print("evaluation (rates with 95 % Wilson intervals; first: step of the first success)", "seed", rows)
    if len(result.tasks) < 2:
        return
    names, by_task = task_names(result.tasks), result.by_task()
    _print("each task", "task", {names[task]: rows for task, rows in by_task.items()})
    if len(by_task) < len(names):
        print(
            f"{len(names) - len(by_task)} of {len(names)} tasks were not played: episodes is too small for all of them"
        )


def _print(title: str, first: str, rows: dict[str, list[Episode]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for column in (first, "success once", "at end", "return", "steps", "first"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, episodes in rows.items():
        table.add_row(name, *_cells([x for x in episodes if not x.lost]))
    Console(width=None if sys.stdout.isatty() else 140).print(table)


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
