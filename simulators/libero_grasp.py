"""Where a parallel gripper takes hold of an object, from the shapes that it and its neighbors collide with.

What is narrow enough is taken across a narrow side. What is not (bowls, mugs) is taken by its rim. Of all sides, the one
where the open hand keeps clear of the neighbors wins. Lengths in m, in the world; z points up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDEST = 0.072  # between the fingers, which open to 0.08
PINCH_DEPTH = 0.03  # below the top of what is pinched
RIM_DEPTH = 0.018  # below a rim
LOWEST = 0.008  # of the grip above what the object stands on
ROOM = 0.03  # to the neighbors; more is not better
SPACING = 0.02  # between the points that stand for a shape
REACH = 0.65  # of the grip from the arm's base, without stretching
NEIGHBORHOOD = 0.25  # beyond it nothing is in the way
Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grasp:
    offset: Points  # (3,) from the object's origin to the grip
    yaw: float  # rad, of the line on which the fingers close; the same as yaw + pi


def shape_points(model: Any, data: Any, body: int) -> Points:
    """(P, 3) in the boxes around those parts of `body` and its children that collide, in the world."""
    found = [np.zeros((0, 3))]
    for geom in range(model.ngeom):
        if model.geom_contype[geom] and _belongs(model, model.geom_bodyid[geom], body):
            center, half = model.geom_aabb[geom].reshape(2, 3)
            axes = [np.linspace(-h, h, min(40, int(np.ceil(2 * h / SPACING)) + 1)) for h in half]
            inside = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3) + center
            found.append(inside @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom])
    return np.concatenate(found)


def _belongs(model: Any, body: int, ancestor: int) -> bool:
    while body not in (0, ancestor):
        body = model.body_parentid[body]
    return body == ancestor


def _open_hand() -> Points:
    """(H, 3) of Panda's hand from its grip: along the line of the fingers, across it, and up."""
    fingers = [(side * 0.047, across, up) for side in (-1, 1) for across in (-0.01, 0.01) for up in (-0.01, 0.02, 0.05)]
    palm = [(along, across, up) for along in np.linspace(-0.1, 0.1, 9) for across in (-0.03, 0.03) for up in (0.07, 0.1)]
    return np.array(fingers + palm)


HAND = _open_hand()


def plan(points: Points, origin: Points, neighbors: Points, yaw: float, base: Points, move: Points) -> Grasp:
    """The best grasp of an object of `points` (P, 3) that is to `move` (3,), near the gripper's present `yaw`.

    At `base` stands the arm, which is weak and slow where it is nearly straight.
    """
    near = neighbors[np.linalg.norm((neighbors - origin)[:, :2], axis=1) < NEIGHBORHOOD]

    def score(grip: Points, angle: float) -> float:
        turn = 0.005 * abs(wrapped(angle - yaw))
        stretch = max(np.linalg.norm((place - base)[:2]) for place in (grip, grip + move))
        return min(_room(grip, angle, near), ROOM) - turn - 0.5 * max(0.0, float(stretch) - REACH)

    grip, angle = max(_candidates(points), key=lambda candidate: score(*candidate))
    return Grasp(grip - origin, angle)


def _candidates(points: Points) -> Iterator[tuple[Points, float]]:
    """Grips and yaws: across the object where it is narrow enough, else by its rim."""
    top, bottom = points[:, 2].max(), points[:, 2].min()
    height = max(top - PINCH_DEPTH, bottom + LOWEST)
    angles = np.linspace(-np.pi / 2, np.pi / 2, 36, endpoint=False)
    widths = np.array([np.ptp(points[:, :2] @ _line(angle)) for angle in angles])
    for angle in angles[widths < min(WIDEST, widths.min() + 0.006)]:
        lines = np.stack([_line(angle), _line(angle + np.pi / 2)])  # (2, 2)
        yield np.array([*(lines.T @ _middle(points[:, :2] @ lines.T)), height]), float(angle)
    if widths.min() >= WIDEST:
        rim = points[points[:, 2] > top - 0.012][:, :2]
        center = _middle(rim)
        radius = np.median(np.linalg.norm(rim - center, axis=1))
        for angle in np.linspace(-np.pi, np.pi, 72, endpoint=False):
            yield np.array([*(center + radius * _line(angle)), top - RIM_DEPTH]), float(angle)


def _room(grip: Points, angle: float, neighbors: Points) -> float:
    """Between the open hand and the nearest neighbor."""
    along, across = _line(angle), _line(angle + np.pi / 2)
    hand = grip + HAND @ np.array([[*along, 0], [*across, 0], [0, 0, 1]])  # (H, 3)
    return float(np.linalg.norm(hand[:, None] - neighbors, axis=2).min(initial=1.0))


def _line(angle: float) -> Points:
    return np.array([np.cos(angle), np.sin(angle)])


def _middle(values: Points) -> Points:
    return (values.min(axis=0) + values.max(axis=0)) / 2


def wrapped(angle: float) -> float:
    """Into [-pi/2, pi/2): a gripper that is turned around is the same gripper."""
    return float((angle + np.pi / 2) % np.pi - np.pi / 2)
