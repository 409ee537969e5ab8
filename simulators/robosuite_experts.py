"""Scripts that solve robosuite's Lift and Stack from what the physics knows, one action at a time.

They remember nothing: where the gripper and the cubes are says what to do next, so a script goes on from any state,
takes a cube up again, and can correct a policy. A step of the controller moves the tool by about what is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.errors import ConfigError

Vector = NDArray[np.floating[Any]]
Expert = Callable[[Any], NDArray[np.float32]]

OPEN, CLOSE = -1.0, 1.0
DOWN = np.array([0.0, 0.0, -1.0])
HOVER_M = 0.08  # above a cube, before and after it is held
NEAR_M = 0.012  # of the tool to a cube's middle: close
OVER_M = 0.006  # beside the vertical through a goal: come down
PLACED_M = 0.008  # above where a cube would rest: let go
TURNED_M = 0.05  # a rad that the fingers have to turn counts like this way beside the cube
CROWDED_M = 0.12  # between the middles of two cubes: fingers that open towards the other one would land on it
ASIDE_M = 0.012  # the tool keeps away from it where it cannot turn
FIELDS = {"kp", "damping_ratio", "output_max", "output_min"}  # of a controller that a script may drive


def expert_of(task: str, robots: Sequence[str], controller: str | None, controller_fields: Mapping[str, Any]) -> Expert:
    """The script for `task`, or the sentence that says for what there is one."""
    known = {"Lift": lift, "Stack": stack}
    strange = sorted(set(controller_fields) - FIELDS)
    fits = tuple(robots) == ("Panda",) and controller in ("OSC_POSE", "OSC_POSITION") and not strange
    if task in known and fits:
        return known[task]
    changed = f" and changed {', '.join(strange)}" if strange else ""
    raise ConfigError(
        f"demonstrations of robosuite's {task} with {'+'.join(robots)} and controller={controller}{changed} were asked "
        f"for, and there is no script for that; none was made. There are for {' and '.join(known)} with Panda and "
        f"controller=OSC_POSE or OSC_POSITION."
    )


def lift(env: Any) -> NDArray[np.float32]:
    """The next action (A,)."""
    hand = _Hand(env)
    if hand.holds(env.cube):
        return hand.move(hand.position + _up(HOVER_M), CLOSE)
    return hand.fetch(env.cube_body_id)


def stack(env: Any) -> NDArray[np.float32]:
    """The next action (A,)."""
    hand = _Hand(env)
    positions = env.sim.data.body_xpos
    upper, lower = positions[env.cubeA_body_id], positions[env.cubeB_body_id]
    rest = lower + _up(env.cubeA.size[2] + env.cubeB.size[2])  # where the upper cube belongs
    way = rest - upper
    beside, above = np.linalg.norm(way[:2]), -way[2]
    if not hand.holds(env.cubeA):
        stands = beside < env.cubeB.size[0] and abs(above) < PLACED_M
        return (
            hand.move(hand.position + _up(HOVER_M), OPEN)
            if stands
            else hand.fetch(env.cubeA_body_id, env.cubeB_body_id)
        )
    if beside < OVER_M and above < PLACED_M:
        return hand.move(hand.position, OPEN)
    if beside > 3 * OVER_M and above < HOVER_M / 2:  # clear of the lower cube first
        return hand.move(hand.position + _up(HOVER_M), CLOSE)
    height = 0.0 if beside < OVER_M else HOVER_M / 2
    return hand.move(hand.position + way + _up(height), CLOSE)


class _Hand:
    """The tool of the first robot, its fingers and its controller."""

    def __init__(self, env: Any) -> None:
        self.env, self.robot = env, env.robots[0]
        is_composed = hasattr(self.robot, "part_controllers")  # 1.5
        self.controller = self.robot.part_controllers["right"] if is_composed else self.robot.controller
        gripper = self.robot.gripper["right"] if is_composed else self.robot.gripper
        site = self.robot.eef_site_id["right"] if is_composed else self.robot.eef_site_id
        data = env.sim.data
        self.position: Vector = np.array(data.site_xpos[site])
        self.axes = np.array(data.site_xmat[site]).reshape(3, 3)
        left, right = (
            np.array(data.get_geom_xpos(gripper.important_geoms[side][0]))
            for side in ("left_fingerpad", "right_fingerpad")
        )
        self.across = left - right  # from one finger to the other

    def holds(self, thing: Any) -> bool:
        return bool(self.env._check_grasp(gripper=self.robot.gripper, object_geoms=thing))

    def fetch(self, body: int, beside: int | None = None) -> NDArray[np.float32]:
        """Come down over a cube with open fingers, and close them around it; they keep clear of the cube `beside`."""
        data = self.env.sim.data
        goal, sides = np.array(data.body_xpos[body]), np.array(data.body_xmat[body]).reshape(3, 3)[:2, :2].T
        spare = np.array(data.body_xpos[beside]) - goal if beside is not None else _up(1.0)
        along = self.across[:2] / np.linalg.norm(self.across[:2])
        if np.linalg.norm(spare[:2]) < CROWDED_M:
            if self.controller.use_ori:
                sides = sides[[np.abs(sides @ spare[:2]).argmin()]]
            else:
                goal[:2] -= ASIDE_M * np.sign(along @ spare[:2]) * along
        turn = min((_angle(along, way) for side in sides for way in (side, -side)), key=abs)
        way = goal - self.position
        if np.linalg.norm(way) < NEAR_M:
            return self.move(goal, CLOSE, turn)
        off = np.linalg.norm(way[:2]) + (TURNED_M * abs(turn) if self.controller.use_ori else 0)
        return self.move(goal + _up(np.clip(4 * (off - OVER_M), 0, HOVER_M)), OPEN, turn)  # a funnel over the cube

    def move(self, goal: Vector, fingers: float, turn: float = 0.0) -> NDArray[np.float32]:
        """Towards `goal`, pointing down, while the fingers `turn` about the vertical, rad."""
        parts = [goal - self.position]
        if self.controller.use_ori:
            parts.append(np.cross(self.axes[:, 2], DOWN) + _up(turn))
        asked = np.concatenate(parts) / self.controller.output_max
        return np.append(asked, fingers).clip(-1, 1).astype(np.float32)


def _angle(start: Vector, end: Vector) -> float:
    """Rad from one direction in the plane to another."""
    return float(np.arctan2(start[0] * end[1] - start[1] * end[0], start @ end))


def _up(much: float | np.floating[Any]) -> Vector:
    """(3,) along or about the vertical."""
    return np.array([0.0, 0.0, much])
