"""Run folders made by hand: what `embodied train` leaves behind, with numbers that a test chooses."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from embodied.metrics.logger import COLUMNS

SECONDS = {"collect": 0.5, "update": 0.3, "act": 0.1, "step": 0.2, "observe": 0.05, "reset": 0.05}


def write_run(
    folder: Path,
    *,
    seed: int = 0,
    rate: float = 0.8,
    points: int = 20,
    planned: int | None = None,
    tasks: Sequence[str] = ("push",),
    episodes: int = 40,
    how: str = "finished",
    purpose: str = "test",
    evaluated: bool = True,
    command: str = "embodied train experiment=made",
    **settings: Any,
) -> Path:
    """A run of `points` iterations of 1,000 steps and 1 s each, whose success grows to `rate`, as that of each task."""
    folder.mkdir(parents=True)
    total = 1000 * (planned or points)
    config = {
        "_target_": "embodied.train.Training", "simulator": {"_target_": "made.Simulator", "num_envs": 4},
        "algorithm": {"_target_": "made.PPO", "gamma": 0.9}, "seed": seed, "total_steps": total, "purpose": purpose,
    }  # fmt: skip
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config | settings))
    facts = {
        "command": f"{command} seed={seed}", "embodied": "0.1.0", "git": "0123456789ab", "python": "3.11.7",
        "packages": {"torch": "2.13.0"}, "machine": {"cpu": "made", "cores": 2, "memory_gb": 8.0, "gpus": []},
    }  # fmt: skip
    (folder / "facts.json").write_text(json.dumps(facts))
    growth = rate * (1 - np.exp(-4 * np.arange(1, points + 1) / points))
    rows = [
        {"env_steps": 1000 * i, "wall_s": float(i), "success_once": float(growth[i - 1]), "optimizer_steps": 24.0 * i}
        | {"cpu_s": 2.0 * i, "device_s": 2.0 * i, "loss": 0.1}
        | {f"seconds/{name}": value for name, value in SECONDS.items()}
        for i in range(1, points + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if how != "killed":
        (folder / "end.json").write_text(json.dumps({"how": how, "why": None}))
    if evaluated:
        write_evaluation(folder / "evaluation" / "final", rate=rate, tasks=tasks, episodes=episodes, seed=seed)
    return folder


def write_evaluation(folder: Path, *, rate: float, tasks: Sequence[str], episodes: int, seed: int) -> None:
    """`episodes` of each task, on the same starts whatever the seed of the run."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng((seed, round(1e6 * rate)))
    with (folder / "episodes-seed0.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for task in range(len(tasks)):
            for index in range(episodes):
                solved = bool(generator.random() < rate)
                writer.writerow({
                    "index": index, "env": 0, "task": task, "initial_state": -1, "seed": 1000 + index, "steps": 30,
                    "reward": float(solved), "success_once": solved, "success_at_end": solved,
                    "first_success_step": 12 if solved else "", "terminated": solved, "lost": False,
                })  # fmt: skip
    named = [{"index": index, "task": task} for index, task in enumerate(tasks)]
    (folder / "summary.json").write_text(json.dumps({"seconds": 3.0, "control_hz": 10.0, "tasks": named}))


def write_video(path: Path, frames: int = 8) -> Path:
    import imageio.v2 as imageio

    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.zeros((64, 64, 3), dtype=np.uint8)
    picture[16:48, 16:48] = (60, 200, 90)
    with imageio.get_writer(path, fps=8, codec="libx264", macro_block_size=1) as writer:
        for _ in range(frames):
            writer.append_data(picture)  # pyright: ignore[reportAttributeAccessIssue]  (missing in its stubs)
    return path
