"""The costliest question that ManiSkill's tasks ask of a Panda on the CPU, answered with fewer calls.

`Panda.is_grasping` takes a quarter of a PickCube step there: two passes over the contacts and some thirty operations on
tensors of one row. This asks for the contacts once, and for directions only where both fingers press. Same rule, same
answer (`tests/simulators/test_maniskill.py` compares them along a grasp).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def quicken(agent: Any) -> None:
    """Give this one agent the quick answer, if it is a Panda; its class is not touched."""
    from mani_skill.agents.robots.panda.panda import Panda

    if isinstance(agent, Panda) and type(agent).is_grasping is Panda.is_grasping:
        agent.is_grasping = lambda object, min_force=0.5, max_angle=85: torch.tensor(
            [_grasps(agent, object, min_force, max_angle)]
        )


def grasps_as_published(agent: Any, object_: Any) -> Tensor:
    """ManiSkill's own answer, for comparison."""
    return type(agent).is_grasping(agent, object_)


def _grasps(agent: Any, object_: Any, min_force: float, max_angle: float) -> bool:
    """Whether each finger presses with `min_force` (N), at most `max_angle` (degrees) off its closing direction."""
    physics = agent.scene.px
    entity = object_._bodies[0].entity
    touching = [c for c in physics.get_contacts() if c.bodies[0].entity == entity or c.bodies[1].entity == entity]
    return bool(touching) and all(
        _presses(finger._bodies[0].entity, sign, touching, physics.timestep, min_force, max_angle)
        for finger, sign in ((agent.finger1_link, 1.0), (agent.finger2_link, -1.0))
    )


def _presses(finger: Any, sign: float, contacts: list[Any], dt: float, min_force: float, max_angle: float) -> bool:
    impulse = np.zeros(3)
    for contact in contacts:
        first, second = contact.bodies[0].entity, contact.bodies[1].entity
        if finger in (first, second):
            total = np.sum([point.impulse for point in contact.points], axis=0)
            impulse += total if first == finger else -total
    force = np.linalg.norm(impulse) / dt  # N
    if force < min_force:
        return False
    direction = sign * finger.pose.to_transformation_matrix()[:3, 1]  # in which the finger opens
    cosine = np.clip(impulse @ direction / (np.linalg.norm(impulse) * np.linalg.norm(direction)), -1, 1)
    return bool(np.rad2deg(np.arccos(cosine)) <= max_angle)
