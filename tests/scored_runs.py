"""Run folders of which only the final evaluation matters: a test says which episodes succeeded."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from embodied.comparing.values import Group, Run
from embodied.metrics.logger import COLUMNS


def scored_run(
    folder: Path,
    hits: Mapping[str, Sequence[int]],
    *,
    seed: int = 0,
    lost: int = 0,
    checkpoint: str = "000010",
    newest: str = "000010",
    tolerance: float = 0.1,
    first_start: int = 1000,
    how: str | None = "finished",
    **settings: Any,
) -> Path:
    """`hits` holds 1 for each episode of a task that succeeded; `lost` episodes more came to nothing."""
    final = folder / "evaluation" / "final"
    final.mkdir(parents=True)
    simulator = {"_target_": "made.Simulator", "num_envs": 4 + seed, "tolerance": tolerance}
    config = {"simulator": {"_target_": "made.Simulator"}, "algorithm": {"_target_": "made.PPO", "gamma": 0.9}}
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config | {"seed": seed, "run_dir": str(folder)} | settings))
    (folder / "facts.json").write_text(json.dumps({"command": "embodied train experiment=made", "git": "0123"}))
    if how is not None:
        (folder / "end.json").write_text(json.dumps({"how": how}))
    state = folder / "checkpoints" / newest
    state.mkdir(parents=True)
    (state / "manifest.json").write_text("{}")
    (state / "facts.json").write_text(json.dumps({"spec": {"tasks": list(hits)}}))
    with (final / "episodes-seed0.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        rows = [(task, i, hit) for task, own in enumerate(hits.values()) for i, hit in enumerate(own)]
        for task, i, hit in rows + [(0, 500 + i, 0) for i in range(lost)]:
            writer.writerow({
                "index": i, "env": 0, "task": task, "initial_state": -1, "seed": first_start + i, "steps": 30,
                "reward": 2.0 * hit, "success_once": bool(hit), "success_at_end": False,
                "first_success_step": 12 if hit else "", "terminated": bool(hit), "lost": i >= 500,
            })  # fmt: skip
    told: dict[str, Any] = {"evaluation": {"simulator": simulator, "checkpoint": f"/x/checkpoints/{checkpoint}"}}
    if len(hits) > 1:
        told["tasks"] = [{"index": i, "task": task} for i, task in enumerate(hits)]
    (final / "summary.json").write_text(json.dumps(told | {"lost_episodes": lost}))
    return folder


def group(name: str, scores: Sequence[float], *, first_seed: int = 0, **fields: Any) -> Group:
    """One task, a score for each seed."""
    runs = [Run(seed=first_seed + i, scores={"push": x}, **fields) for i, x in enumerate(scores)]
    return Group(name, tuple(runs))
