"""Where a parallel gripper takes hold of an object, from the shapes that it and its neighbors collide with.

What is narrow enough is taken across a narrow side. What is not (bowls, mugs) is taken by its rim. Of all sides, the
one where the open hand keeps clear of the neighbors wins. Lengths in m, in the world; z points up.
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
        if (model.geom_contype[geom] or model.geom_conaffinity[geom]) and _belongs(
            model, model.geom_bodyid[geom], body
        ):
            center, half = model.geom_aabb[geom].reshape(2, 3)
            axes = [np.linspace(-h, h, min(40, int(np.ceil(2 * h / SPACING)) + 1)) for h in half]
            inside = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3) + center
            found.append(inside @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom])
    return np.concatenate(found)


def _belongs(model: Any, body: int, ancestor: int) -> bool:
    while body not in (0, ancestor):
        body = model.body_parentid[body]
    return body == ancestor


@dataclass(frozen=True, slots=True)
class Gripper:
    hand: Points  # (H, 3) points of the open hand from its grip: along the line of the fingers, across it, up
    yaw: float  # rad, at present
    base: Points  # (3,) where the arm stands; it is weak and slow where it is nearly straight


def plan(points: Points, origin: Points, neighbors: Points, gripper: Gripper, move: Points) -> Grasp:
    """The best grasp of an object of `points` (P, 3) that is to `move` (3,) among `neighbors` (Q, 3)."""
    from scipy.spatial import KDTree

    near = neighbors[np.linalg.norm((neighbors - origin)[:, :2], axis=1) < NEIGHBORHOOD]
    tree = KDTree(near) if len(near) else None
    narrowest = _narrowest(points)

    def score(grip: Points, angle: float) -> float:
        along, across = line(angle), line(angle + np.pi / 2)
        hand = grip + gripper.hand @ np.array([[*along, 0], [*across, 0], [0, 0, 1]])  # (H, 3)
        room = min(float(tree.query(hand)[0].min()), ROOM) if tree else ROOM
        turn = 0.005 * abs(wrapped(angle - gripper.yaw))
        stretch = max(float(np.linalg.norm((place - gripper.base)[:2])) for place in (grip, grip + move))
        return room - turn - 0.5 * max(0.0, stretch - REACH) - 0.2 * (width(points, angle) - narrowest)

    grip, angle = max(_candidates(points), key=lambda candidate: score(*candidate))
    return Grasp(grip - origin, angle)


def _candidates(points: Points) -> Iterator[tuple[Points, float]]:
    """Grips and yaws: across the object where it is narrow enough, else by its rim."""
    top, bottom = points[:, 2].max(), points[:, 2].min()
    height = max(top - PINCH_DEPTH, bottom + LOWEST)
    if _narrowest(points) < WIDEST:
        for angle in np.linspace(-np.pi / 2, np.pi / 2, 36, endpoint=False):
            if width(points, angle) < WIDEST:
                lines = np.stack([line(angle), line(angle + np.pi / 2)])  # (2, 2)
                yield np.array([*(lines.T @ _middle(points[:, :2] @ lines.T)), height]), float(angle)
        return
    rim = points[points[:, 2] > top - 0.012][:, :2]
    center = _middle(rim)
    radius = np.median(np.linalg.norm(rim - center, axis=1))
    for angle in np.linspace(-np.pi, np.pi, 72, endpoint=False):
        yield np.array([*(center + radius * line(angle)), top - RIM_DEPTH]), float(angle)


def width(points: Points, angle: float) -> float:
    """Of `points` (P, 3) along a line, seen from above."""
    return float(np.ptp(points[:, :2] @ line(angle)))


def _narrowest(points: Points) -> float:
    return min(width(points, angle) for angle in np.linspace(0, np.pi, 36, endpoint=False))


def line(angle: float) -> Points:
    return np.array([np.cos(angle), np.sin(angle)])


def _middle(values: Points) -> Points:
    return (values.min(axis=0) + values.max(axis=0)) / 2


def wrapped(angle: float) -> float:
    """Into [-pi/2, pi/2): a gripper that is turned around is the same gripper."""
    return float((angle + np.pi / 2) % np.pi - np.pi / 2)
