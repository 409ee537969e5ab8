"""A `Spec` as plain values for checkpoints and datasets, several joined to one, and names of tasks for tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
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
        "max_steps": list(spec.max_steps) if isinstance(spec.max_steps, tuple) else spec.max_steps,
        "robot": spec.robot,
        "playable": None if spec.playable is None else [list(row) for row in spec.playable],
        "initial_states": None if spec.initial_states is None else list(spec.initial_states),
    }


def spec_from(facts: Mapping[str, Any]) -> Spec:
    obs = {name: Array(tuple(shape), getattr(torch, dtype)) for name, (shape, dtype) in facts["obs"].items()}
    playable, stored, limits = facts.get("playable"), facts.get("initial_states"), facts["max_steps"]
    return Spec(
        obs=obs,
        action_dim=facts["action_dim"],
        num_envs=facts["num_envs"],
        control_hz=facts["control_hz"],
        tasks=tuple(facts["tasks"]),
        max_steps=tuple(limits) if isinstance(limits, list) else limits,
        robot=facts.get("robot", ""),
        playable=None if playable is None else tuple(tuple(row) for row in playable),
        initial_states=None if stored is None else tuple(stored),
    )


def with_each_limit(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, Any]:
    """`there`, facts of a spec, with the limits of `here` if it says the longest of them alone.

    So did all facts before each task had a limit of its own.
    """
    limits = here["max_steps"]
    said = "max_steps" in there and isinstance(limits, list) and there["max_steps"] == longest(limits)
    return {**there, "max_steps": limits} if said else dict(there)


def differences(there: Mapping[str, Any], here: Mapping[str, Any], path: str = "") -> list[str]:
    """Of the facts of two specs, in words: `control_hz is 20.0 there and 10.0 here`."""
    found: list[str] = []
    for key in dict(there) | dict(here):
        theirs, ours, name = there.get(key), here.get(key), f"{path}{key}"
        if isinstance(theirs, dict) and isinstance(ours, dict):
            found += differences(theirs, ours, f"{name}.")
        elif theirs != ours:
            found.append(f"{name} is {_short(theirs)} there and {_short(ours)} here")
    return found


def _short(value: Any, most: int = 100) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= most else f"{text[:most]}..."


def join_specs(specs: Sequence[Spec]) -> Spec:
    """Of neighboring environments side by side: what differs among them is what each can play."""
    every = tuple(range(len(specs[0].tasks)))
    rows = [row for spec in specs for row in spec.playable or (every,) * spec.num_envs]
    playable = None if all(spec.playable is None for spec in specs) else tuple(rows)
    return replace(specs[0], num_envs=sum(spec.num_envs for spec in specs), playable=playable)


def one_or_each(limits: Iterable[int | None]) -> int | tuple[int | None, ...] | None:
    """Time limits of tasks as `Spec.max_steps` says them: one number where all are equal."""
    limits = tuple(limits)
    return limits[0] if len(set(limits)) == 1 else limits


def longest(limits: Sequence[int | None]) -> int | None:
    """None where one of them is."""
    return None if None in limits else max(limit for limit in limits if limit is not None)


def task_names(tasks: Sequence[str]) -> list[str]:
    """Short names that are keys of metrics: `03_pick_up_the_bowl`, index first, so that they differ and sort."""
    digits = len(str(len(tasks) - 1))
    slugs = [re.sub(r"[^a-z0-9]+", "_", task.lower()).strip("_")[:40].strip("_") for task in tasks]
    return [f"{i:0{digits}}_{slug}".strip("_") for i, slug in enumerate(slugs)]
