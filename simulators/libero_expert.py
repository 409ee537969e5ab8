"""A scripted expert for LIBERO's tasks of one object that is put in or on something.

It knows the poses and shapes of everything, plans a grasp, and then acts in closed loop: above, down, close, up, over,
down, open. What it drops it takes again. LIBERO says when the task is solved; `embodied collect` keeps only those.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied.errors import ConfigError
from embodied.types import Spec
from simulators.libero_grasp import Grasp, Gripper, plan, shape_points, wrapped
from simulators.libero_scene import Scene
from simulators.libero_suites import Task, choose

GAIN = 1.5  # of the way that is left, at each action; more overshoots
METERS, RADIANS = 0.05, 0.5  # what a full action asks of robosuite's controller
NEAR_M, NEAR_RAD = 0.008, 0.12  # arrived
CLEAR_M = 0.03  # between what is carried and what it passes over
FALL_M = 0.01  # above its place at which an object is let go
SLIP_M = 0.02  # in the hand, before an object counts as lost
ATTEMPTS = 3  # to take it
OPEN, CLOSED = 1.0, -1.0
UNSOLVED = (  # in names of tasks: from above they cannot be reached, or it never succeeded when it was measured
    "open_the_top_drawer_and_put",
    "ketchup_in_the_top_drawer",
    "under_the_cabinet_shelf",
    "place_it_on_the_cabinet_shelf",
    "front_compartment_of_the_caddy",
    "red_mug_on_the_right_plate",
)
UP = np.array([0.0, 0.0, 0.08])  # m, above a place, from where the hand goes straight down
Vector = NDArray[np.float64]


class LiberoExpert:
    """A demonstrator around one environment."""

    correctable = tuple(range(6))  # all but the gripper

    def __init__(self, single: Any) -> None:
        self.single = single

    @property
    def spec(self) -> Spec:
        return self.single.spec

    def reset(self, task: int, initial_state: int, seed: int) -> None:
        self.single.reset(task, initial_state, seed)

    def step(self, action: NDArray[np.float32]) -> tuple[float, bool, bool]:
        return self.single.step(action)

    def observe(self) -> Mapping[str, NDArray[Any]]:
        return self.single.observe()

    def demonstrate(self, act: Callable[[NDArray[np.float32]], None]) -> None:
        scene = self.single.scene
        scene.look()
        sign = 1.0 if self.single.r.gripper == "opens" else -1.0
        goal = goal_of(scene.task)
        assert goal is not None  # `check_expert` saw to it
        for action in Hand(scene).put(*goal):
            act((action * [1, 1, 1, 1, 1, 1, sign]).astype(np.float32))
            self.single.scene.look()

    def close(self) -> None:
        self.single.close()


def check_expert(suite: str, tasks: list[Task]) -> None:
    """Refuse tasks that it cannot do, before anything is built."""
    unable = [task.name for task in tasks if goal_of(task) is None]
    if unable:
        able = [task.name for task in choose(suite, ()) if goal_of(task)]
        raise ConfigError(
            f"LIBERO's scripted expert was asked for {', '.join(unable[:3])}{' and more' if unable[3:] else ''}, and "
            f"it only puts one object in or on what is open above; nothing was demonstrated. In suite {suite} it can "
            f"do {len(able)} tasks{': ' + ', '.join(able) if able else ''}; name some in simulator.tasks."
        )


def goal_of(task: Task) -> tuple[str, str, str] | None:
    """(in or on, object, place) where that is the whole goal, and one that this expert can reach."""
    if any(part in task.name for part in UNSOLVED):
        return None
    text = task.bddl.read_text()
    goals = re.findall(r"\((\w+) ([\w ]+)\)", text[text.index("(:goal") :])
    if len(goals) != 1 or goals[0][0].lower() not in ("in", "on"):
        return None
    thing, place = goals[0][1].split()
    return goals[0][0].lower(), thing, place


class Hand:
    """Moves the gripper of a scene by actions; each is asked for when the one before has been executed."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.data, self.model = scene, scene.data, scene.model
        hand = self._points(self.model.body("robot0_right_hand").id)  # the fingers are open
        self.hand = (hand - self.place) @ self.turn * [1, 1, -1]  # (H, 3) along, across, up
        self.base = scene.data.body(scene.env.robots[0].robot_model.root_body).xpos.copy()

    @property
    def place(self) -> Vector:
        return self.data.site_xpos[self.scene.hand_site].copy()

    @property
    def turn(self) -> Vector:
        return self.data.site_xmat[self.scene.hand_site].reshape(3, 3)

    def put(self, relation: str, thing: str, target: str) -> Iterator[Vector]:
        """Actions (7,), +1 opens, that put `thing` in or on `target`; what slips is taken again."""
        body = self.scene.env.obj_body_id[thing]
        for _ in range(ATTEMPTS):
            obstacles, origin = self._obstacles(thing), self.data.xpos[body].copy()
            goal = self._goal(relation, target, body)
            gripper = Gripper(self.hand, wrapped(np.arctan2(self.turn[1, 0], self.turn[0, 0])), self.base)
            grasp = plan(self._points(body), origin, obstacles, gripper, goal - origin)
            yield from self._take(body, grasp, obstacles)
            held = yield from self._carry(body, grasp, self._goal(relation, target, body), obstacles)
            yield from self._let_go(body, grasp)
            if held:
                return

    def _take(self, body: int, grasp: Grasp, obstacles: Vector) -> Iterator[Vector]:
        """Above it, down, and close."""

        def grip() -> Vector:
            return self.data.xpos[body] + grasp.offset

        over = _highest(obstacles, self.place, grip(), beside=0.06) + CLEAR_M
        yield from self._go(lambda: _at_height(grip(), max(over, grip()[2] + UP[2])), grasp.yaw, OPEN)
        yield from self._go(lambda: self._through_funnel(grip()), grasp.yaw, OPEN)
        closing = self.place
        yield from self._hold(lambda: closing, grasp.yaw, CLOSED, 10)

    def _carry(self, body: int, grasp: Grasp, goal: Vector, obstacles: Vector) -> Generator[Vector, None, bool]:
        """Up, over, and down to where it is let go; whether it came along."""
        origin = self.data.xpos[body]
        hangs = self.place[2] - self._points(body)[:, 2].min()
        carry = _highest(obstacles, self.place, goal, beside=0.11) + CLEAR_M + hangs
        apart = np.linalg.norm(self.place - origin)

        def lost() -> bool:
            return bool(abs(np.linalg.norm(self.place - origin) - apart) > SLIP_M)

        straight_up = self.place

        def over() -> Vector:
            return _at_height(self.place + goal - origin, carry)

        def down() -> Vector:
            return self._through_funnel(self.place + goal - origin)

        for where in (lambda: _at_height(straight_up, carry), over, down):
            yield from self._go(where, grasp.yaw, CLOSED, stop=lost)
        return not lost()

    def _let_go(self, body: int, grasp: Grasp) -> Iterator[Vector]:
        """Open around the object, set down what hangs on a finger, and away."""
        stay, height = self.place, self.data.xpos[body][2]
        yield from self._hold(lambda: stay, grasp.yaw, OPEN, 10)
        if self.data.xpos[body][2] > height - FALL_M:
            yield from self._go(lambda: stay - UP, grasp.yaw, OPEN, patience=15)
        yield from self._go(lambda: stay + UP, grasp.yaw, OPEN, patience=20)

    def _through_funnel(self, place: Vector) -> Vector:
        """`place`, or above it as long as the hand is beside it: else the fingers come down on the object."""
        aside = np.linalg.norm((place - self.place)[:2])
        return place + UP * min(1.0, 100.0 * max(0.0, float(aside) - NEAR_M))

    def _goal(self, relation: str, target: str, body: int) -> Vector:
        """Where the origin of `body` should be when it is let go."""
        env = self.scene.env
        bottom = self._points(body)[:, 2].min() - self.data.xpos[body][2]
        if target in env.object_sites_dict:
            site = self.data.site(target)
            half = np.abs(site.xmat.reshape(3, 3) @ env.object_sites_dict[target].size)
            return _at_height(site.xpos, site.xpos[2] + half[2] + FALL_M - (0.0 if relation == "in" else bottom))
        points = self._points(env.obj_body_id[target])
        return _at_height(self.data.xpos[env.obj_body_id[target]], points[:, 2].max() + FALL_M - bottom)

    def _points(self, body: int) -> Vector:
        return shape_points(self.model, self.data, body)

    def _obstacles(self, thing: str) -> Vector:
        """(Q, 3) points of everything but `thing`, the robot and what it all stands on."""
        return np.concatenate(
            [self._points(body) for name, body in self.scene.env.obj_body_id.items() if name != thing]
        )

    def _go(
        self,
        where: Callable[[], Vector],
        yaw: float,
        gripper: float,
        *,
        stop: Callable[[], bool] = lambda: False,
        patience: int = 40,
    ) -> Iterator[Vector]:
        """Until there, until `stop`, or until `patience` actions did not lead there."""
        for _ in range(patience):
            way, turn = where() - self.place, _rotation(_facing_down(yaw, self.turn) @ self.turn.T)
            if stop() or (np.linalg.norm(way) < NEAR_M and np.linalg.norm(turn) < NEAR_RAD):
                return
            yield _action(way, turn, gripper)

    def _hold(self, where: Callable[[], Vector], yaw: float, gripper: float, actions: int) -> Iterator[Vector]:
        """Be there while the fingers move."""
        for _ in range(actions):
            yield _action(where() - self.place, _rotation(_facing_down(yaw, self.turn) @ self.turn.T), gripper)


def _action(way: Vector, turn: Vector, gripper: float) -> Vector:
    move = np.concatenate([GAIN * way / METERS, GAIN * turn / RADIANS])
    longest = max(1.0, np.abs(move[:3]).max())
    return np.concatenate([move[:3] / longest, move[3:].clip(-1, 1), [gripper]])


def _facing_down(yaw: float, now: Vector) -> Vector:
    """(3, 3) fingers down and closing along `yaw`; of the two ways, the one nearer to `now`."""
    closing = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    if closing @ now[:, 0] < 0:
        closing = -closing
    down = np.array([0.0, 0.0, -1.0])
    return np.stack([closing, np.cross(down, closing), down], axis=1)


def _rotation(matrix: Vector) -> Vector:
    """(3,) axis times angle."""
    axis = np.array([matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]]) / 2
    sine, cosine = np.linalg.norm(axis), (np.trace(matrix) - 1) / 2
    return axis * (np.arctan2(sine, cosine) / sine) if sine > 1e-9 else np.zeros(3)


def _at_height(place: Vector, height: float) -> Vector:
    return np.array([place[0], place[1], height])


def _highest(points: Vector, start: Vector, end: Vector, beside: float) -> float:
    """Of `points` (Q, 3) within `beside` m of the way from `start` to `end`, seen from above; else the lower end."""
    way = (end - start)[:2]
    share = ((points[:, :2] - start[:2]) @ way / max(float(way @ way), 1e-9)).clip(0, 1)  # (Q,)
    apart = np.linalg.norm(points[:, :2] - start[:2] - share[:, None] * way, axis=1)
    return float(points[apart < beside][:, 2].max(initial=min(start[2], end[2])))
