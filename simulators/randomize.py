"""What an episode changes about a MuJoCo scene: looks, lights, cameras, places and dynamics, from its seed alone.

Each axis has a range of amounts, from the least to the most: how far a color moves, a camera shifts, by what factor
friction grows or shrinks; the direction is drawn. Zero is the scene as it is. The ranges of `train` begin at zero,
those of an `ood` set beyond the end of `train`, so no episode of the one can occur in the other. An `ood` set changes
one thing: with the same seed, all other axes come out as in `train`.

How this relates to the out-of-distribution sets of RLinf-VLA (PutOnPlateInScene): its vision axis (unseen tables and
textures) is `ood_texture`, here joined by `ood_light` and `ood_camera`; its execution axis (unseen places) is
`ood_pose`, here joined by `ood_dynamics`. Its semantic axis (unseen objects and instructions) is a choice of tasks,
which is not made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Literal

from embodied.config import Natural, NotNegative, recipe
from simulators.patterns import Family

FARTHEST = 0.86  # in RGB, from gray to a corner of the cube of colors
Range = tuple[NotNegative, NotNegative]
Set = Literal["none", "train", "ood_texture", "ood_light", "ood_camera", "ood_pose", "ood_dynamics", "ood_all"]
Amounts = Mapping[str, tuple[float, float]]

TRAIN: Amounts = {
    "color": (0.0, 0.15),
    "shade": (0.0, 0.1),
    "light": (0.0, 0.2),
    "light_color": (0.0, 0.05),
    "light_turn": (0.0, 0.25),
    "light_shift": (0.0, 0.3),
    "camera_shift": (0.0, 0.015),
    "camera_turn": (0.0, 0.025),
    "camera_zoom": (0.0, 0.02),
    "object_shift": (0.0, 0.02),
    "object_turn": (0.0, 0.25),
    "friction": (0.0, 0.2),
    "mass": (0.0, 0.2),
    "damping": (0.0, 0.2),
    "gain": (0.0, 0.05),
}
OOD: Mapping[str, Amounts] = {
    "ood_texture": {"color": (0.25, 0.6), "shade": (0.2, 0.4)},
    "ood_light": {
        "light": (0.35, 0.8),
        "light_color": (0.12, 0.3),
        "light_turn": (0.45, 0.9),
        "light_shift": (0.5, 1.0),
        "lamps": (1, 1),
    },
    "ood_camera": {"camera_shift": (0.03, 0.06), "camera_turn": (0.04, 0.08), "camera_zoom": (0.05, 0.12)},
    "ood_pose": {"object_shift": (0.03, 0.06), "object_turn": (0.45, 0.75)},
    "ood_dynamics": {
        "friction": (0.3, 0.5),  # more makes objects climb each other where stored states let them overlap
        "mass": (0.5, 1.5),
        "damping": (0.5, 1.5),
        "gain": (0.1, 0.25),
        "delay": (1, 1),
    },
}
SETS: Mapping[str, Amounts] = {
    "none": {},
    "train": TRAIN,
    **{name: {**TRAIN, **beyond} for name, beyond in OOD.items()},
    "ood_all": {**TRAIN, **{axis: amount for beyond in OOD.values() for axis, amount in beyond.items()}},
}
PATTERNS: Mapping[str, Family] = {"none": "none", "ood_texture": "held_out", "ood_all": "held_out"}  # others: train


@recipe
class Randomize:
    """`set` names the ranges; a field that is not null replaces one of them. A ratio x is times or divided by 1 + x."""

    set: Set = "none"  # none, train, ood_texture, ood_light, ood_camera, ood_pose, ood_dynamics, ood_all
    color: Range | None = None  # of table, floor and walls: distance in RGB from their own, each entry in [0, 1]
    patterns: Family | None = None  # on textures of table, floor and walls: train (also their own), held_out
    shade: Range | None = None  # ratio, brightness of everything else
    light: Range | None = None  # ratio, brightness of all lamps
    light_color: Range | None = None  # distance in RGB
    light_turn: Range | None = None  # rad
    light_shift: Range | None = None  # m
    lamps: tuple[Natural, Natural] | None = None  # how many are switched on or off
    camera_shift: Range | None = None  # m
    camera_turn: Range | None = None  # rad
    camera_zoom: Range | None = None  # ratio, of the field of view
    object_shift: Range | None = None  # m, of things that lie free
    object_turn: Range | None = None  # rad, around z
    friction: Range | None = None  # ratio, against sliding, of all contacts
    mass: Range | None = None  # ratio, of things
    damping: Range | None = None  # ratio, of all joints
    gain: Range | None = None  # ratio, of all actuators
    delay: tuple[Natural, Natural] | None = None  # actions that a command comes late

    def __post_init__(self) -> None:
        for name in ("color", "light_color"):
            value = getattr(self, name)
            if value is not None and value[1] > FARTHEST:
                raise ValueError(
                    f"{name}={list(value)} goes beyond {FARTHEST}: no color is farther than that from gray"
                )
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and value[0] > value[1]:
                raise ValueError(f"{field.name}={list(value)} is empty: the least amount comes first")

    def amount(self, axis: str) -> tuple[float, float]:
        own = getattr(self, axis)
        return SETS[self.set].get(axis, (0.0, 0.0)) if own is None else own

    @property
    def family(self) -> Family:
        return PATTERNS.get(self.set, "train") if self.patterns is None else self.patterns

    @property
    def is_off(self) -> bool:
        return self.family == "none" and not any(self.amount(axis)[1] for axis in AXES)


AXES = tuple(field.name for field in fields(Randomize) if field.name not in ("set", "patterns"))
