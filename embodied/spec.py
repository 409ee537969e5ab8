"""A `Spec` as plain values, for checkpoints and datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from embodied.types import Array, Spec


def spec_facts(spec: Spec) -> dict[str, Any]:
    obs = {name: [list(a.shape), str(a.dtype).removeprefix("torch.")] for name, a in spec.obs.items()}
    return {
        "obs": obs,
        "action_dim": spec.action_dim,
        "num_envs": spec.num_envs,
        "control_hz": spec.control_hz,
        "tasks": list(spec.tasks),
        "max_steps": spec.max_steps,
        "robot": spec.robot,
        "playable": None if spec.playable is None else [list(row) for row in spec.playable],
    }


def spec_from(facts: Mapping[str, Any]) -> Spec:
    obs = {name: Array(tuple(shape), getattr(torch, dtype)) for name, (shape, dtype) in facts["obs"].items()}
    playable = facts.get("playable")
    return Spec(
        obs=obs,
        action_dim=facts["action_dim"],
        num_envs=facts["num_envs"],
        control_hz=facts["control_hz"],
        tasks=tuple(facts["tasks"]),
        max_steps=facts["max_steps"],
        robot=facts.get("robot", ""),
        playable=None if playable is None else tuple(tuple(row) for row in playable),
    )
