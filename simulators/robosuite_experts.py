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
SHUT_M = 0.004  # between closed fingers that hold nothing
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
        return hand.move(hand.position + _up(HOVER_M), OPEN) if stands else hand.fetch(env.cubeA_body_id)
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

    def fetch(self, body: int) -> NDArray[np.float32]:
        """Come down over a cube with open fingers along its sides, and close them around it."""
        goal = np.array(self.env.sim.data.body_xpos[body])
        sides = np.array(self.env.sim.data.body_xmat[body]).reshape(3, 3)
        beside = np.linalg.norm((goal - self.position)[:2])
        if np.linalg.norm(goal - self.position) < NEAR_M:
            return self.move(goal, CLOSE, sides)
        height = float(np.clip(4 * (beside - OVER_M), 0, HOVER_M))  # a funnel over the cube
        return self.move(goal + _up(height), OPEN, sides)

    def move(self, goal: Vector, fingers: float, sides: Vector | None = None) -> NDArray[np.float32]:
        """Towards `goal`, pointing down; the fingers turn to the nearest of a cube's `sides`."""
        parts = [goal - self.position]
        if self.controller.use_ori:
            parts.append(self._turn(sides))
        asked = np.concatenate(parts) / self.controller.output_max
        return np.append(asked, fingers).clip(-1, 1).astype(np.float32)

    def _turn(self, sides: Vector | None) -> Vector:
        """(3,) rad about the axes of the world."""
        tilt = np.cross(self.axes[:, 2], DOWN)
        if sides is None:
            return tilt
        angle = np.arctan2(sides[1, 0], sides[0, 0]) - np.arctan2(self.across[1], self.across[0])
        quarter = np.pi / 2
        return tilt + _up((angle + quarter / 2) % quarter - quarter / 2)


def _up(much: float) -> Vector:
    """(3,) along or about the vertical."""
    return np.array([0.0, 0.0, much])
