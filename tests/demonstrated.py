"""Small datasets: the point mass driven straight to its goal, and episodes made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from embodied.data.episode_log import LogWriter
from embodied.data.recording import Facts, Label, Recording
from embodied.types import Array, Spec, Start
from simulators.reach import ReachRecipe

SPEC = Spec(
    obs={"state": Array((3,)), "rgb/top": Array((8, 8, 3), torch.uint8)},
    action_dim=2,
    num_envs=1,
    control_hz=20.0,
    tasks=("push", "pick"),
    robot="panda",
)


def reached(folder: Path, recipe: ReachRecipe, count: int) -> Path:
    """`count` straight ways to the goal, as fast as the mass can move."""
    env = replace(recipe, num_envs=1).build()
    everyone = torch.ones(1, dtype=torch.bool)
    with LogWriter(folder, Facts(env.spec)) as log:
        for seed in range(count):
            env.reset(everyone, Start.seeded([seed]))
            log.begin(Label(seed=seed, source="script"))
            ended = False
            while not ended:
                obs = {name: x[0].numpy() for name, x in env.observe().items()}
                action = ((env.goal - env.position) / 0.1).clamp(-1, 1)  # (1, A)
                step = env.step(action[:, None])
                ended = bool(step.terminated)
                log.step(obs, action[0].numpy(), float(step.reward), terminated=ended, success=bool(step.success))
            log.end({name: x[0].numpy() for name, x in env.observe().items()})
    return folder


def episode(length: int, seed: int = 0, task: int = 0) -> Recording:
    """Random numbers in the form of SPEC; the last action succeeds."""
    generator = np.random.default_rng(seed)
    obs = {
        "state": generator.normal(size=(length + 1, 3)).astype(np.float32),
        "rgb/top": generator.integers(0, 256, (length + 1, 8, 8, 3), dtype=np.uint8),
    }
    action = generator.uniform(-1, 1, (length, 2)).astype(np.float32)
    flags = np.zeros((3, length), dtype=bool)  # terminated, success, human
    flags[1, -1] = True
    return Recording(obs, action, np.zeros(length, dtype=np.float32), *flags, label=Label(task, seed=seed))


def written(folder: Path, recordings: Sequence[Recording], spec: Spec = SPEC) -> Path:
    with LogWriter(folder, Facts(spec)) as log:
        for recording in recordings:
            log.write(recording)
    return folder
