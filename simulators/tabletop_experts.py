"""Scripted solutions of the tabletop's tasks, as feedback: an action for any state, and nothing remembered.

So a policy that imitates them sees the whole reason of every action. Each expert says where the tool's target should
go and how the gripper should be; the nearer it is to a decision, the more gradually it changes. Lengths in m, base
frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.tabletop_tasks import Drawer, Insert, Pick, Push, Reach, Stack, above
from simulators.tabletop_things import CUBE, PEG, TIP

Vector = NDArray[np.float64]
OPEN, CLOSED = 1.0, -1.0
SAFE_M = 0.12  # height at which the empty hand travels


@dataclass(frozen=True)
class Aim:
    place: Vector  # (3,) m, for the tool's target
    gripper: float
    yaw: float = 0.0  # rad, of the hand; without effect where only the position is controlled


def reach(task: Reach) -> Aim:
    return Aim(task.goal.copy(), CLOSED)


def push(task: Push) -> Aim:
    """Around the cube at a safe height, down behind it, then through it towards the goal."""
    tool = task.world.tool
    contact, way = task.behind()
    side = np.array([-way[1], way[0], 0.0])
    offset = tool - contact
    aside, ahead = float(offset @ side), float(offset @ way)
    low = 0.02
    if abs(aside) < 0.02 and ahead < 0.01 and tool[2] < CUBE + 0.02:
        reached = task.goal - (CUBE + TIP) * way
        return Aim(np.array([*(reached - 0.5 * aside * side)[:2], low]), CLOSED)
    before = contact - 0.025 * way
    return Aim(_from_above(tool, np.array([*before[:2], low]), within=0.015), CLOSED)


def pick(task: Pick) -> Aim:
    held = task.world.held(task.geom)
    if held:
        return Aim(task.goal + task.world.tool - task.cube, CLOSED, _yaw(task.quaternion))
    return _grasp(task.world.tool, task.cube, _yaw(task.quaternion))


def stack(task: Stack) -> Aim:
    world, goal = task.world, task.goal()
    if task.placed():
        up = world.tool if world.touched(task.geom) else above(world.tool, 0.1)
        return Aim(up, OPEN, _yaw(task.base_quaternion))
    if world.held(task.geom):
        place = _carried(task.cube, goal, clearance=0.04)
        return Aim(place + world.tool - task.cube, CLOSED, _yaw(task.base_quaternion))
    return _grasp(world.tool, task.cube, _yaw(task.quaternion))


def insert(task: Insert) -> Aim:
    world = task.world
    goal = above(task.block, PEG[1])
    if world.held(task.geom):
        return Aim(_carried(task.peg, goal, clearance=0.055, within=0.003) + world.tool - task.peg, CLOSED)
    return _grasp(world.tool, task.grip(), _yaw(task.quaternion), safe=PEG[1] * 2 + 0.05)


def drawer(task: Drawer) -> Aim:
    """Down between handle and front, then back."""
    tool, hook = task.world.tool, task.hook()
    away = tool - hook
    if abs(away[0]) < 0.025 and abs(away[1]) < 0.03 and away[2] < 0.012:
        return Aim(np.array([tool[0] - 0.05, hook[1], hook[2]]), CLOSED)
    return Aim(_from_above(tool, hook, within=0.01, safe=0.15), CLOSED)


EXPERTS: dict[str, Callable[[Any], Aim]] = {
    "reach": reach,
    "push": push,
    "pick": pick,
    "stack": stack,
    "insert": insert,
    "drawer": drawer,
}


def expert_action(scene: Any) -> NDArray[np.float32]:
    """(A,) in [-1, 1]: the next action of the running task's expert, from the physics alone."""
    aim = EXPERTS[scene.task](scene.play)
    arm, motion = scene.world.arm, scene.motion
    action = np.zeros(scene.spec.action_dim, dtype=np.float32)
    action[:3] = ((aim.place - arm.target) / motion.step_m).clip(-1, 1)
    if len(action) == 7:
        action[3:6] = (arm.to_yaw(aim.yaw) / motion.turn_rad).clip(-1, 1)
    action[-1] = aim.gripper
    return action


def _from_above(tool: Vector, place: Vector, *, within: float, safe: float = SAFE_M) -> Vector:
    """Over to `place` at a safe height, and down inside a cone that is `within` wide at its foot."""
    away = float(np.linalg.norm((tool - place)[:2]))
    height = place[2] + min(max(away - within, 0.0) * 3, max(safe - place[2], 0.0))
    return np.array([*place[:2], height])


def _grasp(tool: Vector, place: Vector, yaw: float, *, safe: float = SAFE_M) -> Aim:
    """From above with open fingers, which close around `place`."""
    around = np.linalg.norm((tool - place)[:2]) < 0.012 and abs(tool[2] - place[2]) < 0.012
    return Aim(_from_above(tool, place, within=0.008, safe=safe), CLOSED if around else OPEN, yaw)


def _carried(thing: Vector, goal: Vector, *, clearance: float, within: float = 0.005) -> Vector:
    """Where a thing in the hand goes next on its way up, over and, the better it is aligned, down to `goal`."""
    away = float(np.linalg.norm((thing - goal)[:2]))
    high = goal[2] + clearance
    lifted = 1.0 if away < 3 * within else float(np.clip((thing[2] - high + 0.04) / 0.03, 0, 1))
    height = goal[2] + clearance * float(np.clip((away - within) / (2 * within), 0, 1))
    return np.array([*(thing + lifted * (goal - thing))[:2], height])


def _yaw(quaternion: Vector) -> float:
    """rad in [-pi/4, pi/4]: how far a cube is turned around z."""
    w, _, _, z = quaternion
    return float((2 * np.arctan2(z, w) + np.pi / 4) % (np.pi / 2) - np.pi / 4)
