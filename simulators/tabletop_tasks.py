"""What there is to do on the table: instruction, things, starts, reward and success of every task.

A dense reward is at most 1, and 1 exactly where the task is solved; its other values say how far one has come and are
the same whoever solves it how. Lengths in m, in the frame of the robot's base. The scripted solutions are in
`tabletop_experts.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simulators.tabletop_arm import OPEN_WIDTH_M
from simulators.tabletop_things import CUBE, HANDLE_M, HOLE, PEG, TIP, ball, block, cabinet, cube, disc, peg
from simulators.tabletop_world import World

Vector = NDArray[np.float64]


class Task(Protocol):
    """One task in one world, from which it reads everything: nothing is remembered here."""

    def begin(self, generator: np.random.Generator) -> None:
        """Place the things and the goal."""
        ...

    def judge(self) -> tuple[float, bool]:
        """Dense reward and success of the present state."""
        ...

    def features(self) -> Vector:
        """What a policy with `obs: state` is told beyond the arm."""
        ...


@dataclass(frozen=True)
class Kind:
    """All that is known of a task before a world exists."""

    instruction: str
    max_steps: int
    bodies: str  # MJCF
    play: Callable[[World], Task]
    materials: Mapping[str, str] = field(default_factory=dict)


def near(distance: float) -> float:
    """1 at the place, 0.24 at 20 cm."""
    return float(1 - np.tanh(5 * distance))


def gap(first: Vector, second: Vector) -> float:
    return float(np.linalg.norm(first - second))


def above(place: Vector, height: float) -> Vector:
    return place + np.array([0.0, 0.0, height])


def upright(quaternion: Vector) -> Vector:
    """The same rotation with w >= 0: two quaternions say the same, and a policy should see one of them."""
    return quaternion if quaternion[0] >= 0 else -quaternion


def lean(quaternion: Vector) -> float:
    """rad between a thing's own z axis, up or down, and the vertical."""
    return float(np.arccos(min(1.0, abs(1 - 2 * (quaternion[1] ** 2 + quaternion[2] ** 2)))))


class Reach:
    RADIUS = 0.02

    def __init__(self, world: World) -> None:
        self.world, self.goal = world, world.mocap("goal")

    def begin(self, generator: np.random.Generator) -> None:
        self.goal[:] = generator.uniform((0.4, -0.25, 0.05), (0.7, 0.25, 0.35))

    def judge(self) -> tuple[float, bool]:
        distance = gap(self.world.tool, self.goal)
        success = distance < self.RADIUS
        return (1.0 if success else 0.8 * near(distance)), success

    def features(self) -> Vector:
        return np.concatenate([self.goal, self.goal - self.world.tool])


class Push:
    """The cube's center must come within the disc, which lies some 18 cm farther from the robot."""

    RADIUS = 0.08

    def __init__(self, world: World) -> None:
        self.world, self.goal = world, world.mocap("goal")
        self.start, _ = world.joint("cube")
        self.cube, self.quaternion = world.position("cube"), world.orientation("cube")

    def begin(self, generator: np.random.Generator) -> None:
        x, y = generator.uniform((0.46, -0.12), (0.58, 0.12))
        self.start[:] = (x, y, CUBE, 1, 0, 0, 0)
        self.goal[:] = (x + 0.18, y + generator.uniform(-0.03, 0.03), 0)

    def behind(self) -> tuple[Vector, Vector]:
        """(3,) where the tool pushes from, and (3,) the direction in which."""
        way = self.goal - self.cube
        way[2] = 0
        way /= max(float(np.linalg.norm(way)), 1e-6)
        return self.cube - (CUBE + TIP) * way, way

    def judge(self) -> tuple[float, bool]:
        distance = gap(self.cube[:2], self.goal[:2])
        if distance < self.RADIUS and abs(self.cube[2] - CUBE) < 0.005:
            return 1.0, True
        return 0.3 * near(gap(self.world.tool, self.behind()[0])) + 0.5 * near(distance), False

    def features(self) -> Vector:
        tool = self.world.tool
        return np.concatenate(
            [self.cube, upright(self.quaternion), self.goal[:2], self.cube - tool, (self.goal - self.cube)[:2]]
        )


class Pick:
    """The cube's center must come within the green ball, slowly."""

    RADIUS, SLOW_M_S = 0.025, 0.1

    def __init__(self, world: World) -> None:
        self.world, self.goal = world, world.mocap("goal")
        self.start, self.velocity = world.joint("cube")
        self.cube, self.quaternion, self.geom = world.position("cube"), world.orientation("cube"), world.geom("cube")

    def begin(self, generator: np.random.Generator) -> None:
        x, y = generator.uniform((0.44, -0.15), (0.62, 0.15))
        self.start[:] = (x, y, CUBE, *turned(generator.uniform(-0.3, 0.3)))
        self.goal[:] = generator.uniform((0.44, -0.15, 0.1), (0.62, 0.15, 0.28))

    def judge(self) -> tuple[float, bool]:
        distance = gap(self.cube, self.goal)
        if distance < self.RADIUS and np.linalg.norm(self.velocity[:3]) < self.SLOW_M_S:
            return 1.0, True
        reward = near(gap(self.world.tool, self.cube))
        if self.world.held(self.geom):
            reward += 1 + 2 * near(distance)
        return reward / 5, False

    def features(self) -> Vector:
        tool = self.world.tool
        return np.concatenate([self.cube, upright(self.quaternion), self.goal, self.cube - tool, self.goal - self.cube])


class Stack:
    """The red cube must lie on the green one, at rest and let go."""

    OFFSET_M, SLOW_M_S = 0.02, 0.02

    def __init__(self, world: World) -> None:
        self.world = world
        self.start, self.velocity = world.joint("cube")
        self.base_start, _ = world.joint("base")
        self.cube, self.quaternion, self.geom = world.position("cube"), world.orientation("cube"), world.geom("cube")
        self.base, self.base_quaternion = world.position("base"), world.orientation("base")

    def begin(self, generator: np.random.Generator) -> None:
        first, second = apart(generator, (0.44, -0.15), (0.62, 0.15), 0.1)
        self.start[:] = (*first, CUBE, *turned(generator.uniform(-0.3, 0.3)))
        self.base_start[:] = (*second, CUBE, *turned(generator.uniform(-0.3, 0.3)))

    def goal(self) -> Vector:
        return above(self.base, 2 * CUBE)

    def placed(self) -> bool:
        away = self.cube - self.goal()
        return bool(np.linalg.norm(away[:2]) < self.OFFSET_M and abs(away[2]) < 0.005)

    def judge(self) -> tuple[float, bool]:
        world = self.world
        slowness = near(float(np.linalg.norm(self.velocity[:3])))
        if self.placed():
            if not world.touched(self.geom) and np.linalg.norm(self.velocity[:3]) < self.SLOW_M_S:
                return 1.0, True
            return (6 + 0.5 * world.width / OPEN_WIDTH_M + 0.5 * slowness) / 8, False
        if world.held(self.geom):
            return (4 + near(gap(self.cube, self.goal()))) / 8, False
        return 2 * near(gap(world.tool, self.cube)) / 8, False

    def features(self) -> Vector:
        cube, base = self.cube, self.base
        quaternions = upright(self.quaternion), upright(self.base_quaternion)
        return np.concatenate([cube, quaternions[0], base, quaternions[1], cube - self.world.tool, self.goal() - cube])


class Insert:
    """The upright peg must stand in the hole of the block, its foot on the table."""

    def __init__(self, world: World) -> None:
        self.world, self.block = world, world.mocap("block")
        self.start, _ = world.joint("peg")
        self.peg, self.quaternion, self.geom = world.position("peg"), world.orientation("peg"), world.geom("peg")

    def begin(self, generator: np.random.Generator) -> None:
        first, second = apart(generator, (0.42, -0.18), (0.6, 0.18), 0.14)
        self.start[:] = (*first, PEG[1], *turned(generator.uniform(-0.1, 0.1)))
        self.block[:] = (*second, 0)

    def grip(self) -> Vector:
        """(3,) where the fingers hold the peg: its upper third."""
        return above(self.peg, 0.4 * PEG[1])

    def judge(self) -> tuple[float, bool]:
        away = self.peg - self.block  # the peg's center stands at its half length when it is in
        aside, above = float(np.linalg.norm(away[:2])), float(abs(away[2] - PEG[1]))
        if aside < 2 * (HOLE - PEG[0]) and above < 0.005 and lean(self.quaternion) < 0.1:
            return 1.0, True
        if self.world.held(self.geom):
            over = near(aside)
            return (3 + 2 * over + 2 * over * near(above) * (aside < 0.02)) / 8, False
        return 2 * near(gap(self.world.tool, self.grip())) / 8, False

    def features(self) -> Vector:
        tool = self.world.tool
        away = above(self.block, PEG[1]) - self.peg
        return np.concatenate([self.peg, upright(self.quaternion), self.block[:2], self.grip() - tool, away])


class Drawer:
    """The drawer must come out by 12 of its 18 cm."""

    OPEN_M = 0.12

    def __init__(self, world: World) -> None:
        self.world, self.cabinet = world, world.mocap("cabinet")
        self.slide, self.speed = world.joint("drawer")
        self.front = world.position("drawer")

    def begin(self, generator: np.random.Generator) -> None:
        self.cabinet[:] = (*generator.uniform((0.6, -0.12), (0.68, 0.12)), 0)

    def hook(self) -> Vector:
        """(3,) where the closed fingers pull: between handle and front."""
        return above(self.front, HANDLE_M) - np.array([0.022, 0, 0])

    def judge(self) -> tuple[float, bool]:
        opening = float(self.slide[0])
        if opening > self.OPEN_M:
            return 1.0, True
        return 0.3 * near(gap(self.world.tool, self.hook())) + 0.6 * max(opening, 0.0) / self.OPEN_M, False

    def features(self) -> Vector:
        hook = self.hook()
        return np.concatenate([hook, self.slide, self.speed, self.cabinet[:2], hook - self.world.tool])


def turned(angle: float) -> tuple[float, float, float, float]:
    """Quaternion of a turn around z."""
    return float(np.cos(angle / 2)), 0.0, 0.0, float(np.sin(angle / 2))


def apart(
    generator: np.random.Generator, low: tuple[float, float], high: tuple[float, float], distance: float
) -> tuple[Vector, Vector]:
    """Two places in a rectangle, at least `distance` from each other."""
    while True:
        first, second = generator.uniform(low, high, (2, 2))
        if gap(first, second) >= distance:
            return first, second


KINDS: Mapping[str, Kind] = {
    "reach": Kind(
        instruction="move the gripper to the green ball",
        max_steps=40,
        bodies=ball(Reach.RADIUS),
        materials={"ball": "0.1 0.75 0.2 1"},
        play=Reach,
    ),
    "push": Kind(
        instruction="push the blue cube onto the red target",
        max_steps=50,
        bodies=disc("goal", Push.RADIUS) + cube("cube", "cube"),
        materials={"cube": "0.08 0.2 0.8 1"},
        play=Push,
    ),
    "pick": Kind(
        instruction="pick up the red cube and hold it at the green ball",
        max_steps=80,
        bodies=cube("cube", "cube") + ball(Pick.RADIUS),
        materials={"cube": "0.8 0.1 0.08 1", "ball": "0.1 0.75 0.2 0.6"},
        play=Pick,
    ),
    "stack": Kind(
        instruction="stack the red cube on the green cube",
        max_steps=100,
        bodies=cube("cube", "cube") + cube("base", "base"),
        materials={"cube": "0.8 0.1 0.08 1", "base": "0.1 0.6 0.2 1"},
        play=Stack,
    ),
    "insert": Kind(
        instruction="insert the yellow peg into the hole of the block",
        max_steps=120,
        bodies=block() + peg(),
        materials={"peg": "0.95 0.75 0.1 1", "block": "0.35 0.25 0.6 1", "hole": "0.05 0.05 0.05 1"},
        play=Insert,
    ),
    "drawer": Kind(
        instruction="open the drawer",
        max_steps=80,
        bodies=cabinet(),
        materials={"cabinet": "0.3 0.4 0.5 1", "drawer": "0.85 0.82 0.75 1", "handle": "0.15 0.15 0.17 1"},
        play=Drawer,
    ),
}
