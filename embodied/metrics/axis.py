"""What the progress of a run is counted in: of its tables, its curves and its bar."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Axis:
    key: str  # of a row in the tables
    name: str  # for people
    rate: str  # metric that says how many there are in a second


ENV_STEPS = Axis("env_steps", "environment steps", "steps_per_s")  # single actions, over all environments
GRADIENT_STEPS = Axis("gradient_steps", "gradient steps", "updates_per_s")  # where nothing is collected
AXES = (ENV_STEPS, GRADIENT_STEPS)
