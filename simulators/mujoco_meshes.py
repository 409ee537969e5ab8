"""Light meshes for pictures of a MuJoCo model: the same shapes from a third of the triangles, or fewer.

On software OpenGL the time of a picture goes into vertices, not pixels: robosuite's Panda has 168,000 triangles, most
of them smaller than a pixel. Here the vertices of a mesh that fall into one cell of a grid become the one next to their
mean (Rossignac and Borrel 1993). A renderer copies the meshes when it is made, so the model is lent to it and then put
back: physics, rays and other renderers never see the light ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

GRID_M = 1.0  # width of the cells for a picture of one pixel: about a pixel of an arm that fills the picture
CELLS = 24  # at least, along the longest side of a mesh: fingers and other small parts keep their shape
SMALL = 400  # triangles that no mesh has to give up

Ints = NDArray[np.integer[Any]]


@contextmanager
def thinned(model: Any, pixels: int) -> Iterator[None]:
    """While it lasts, renderers that are made of `model` for pictures of `pixels` get light meshes."""
    lent = (model.mesh_face, model.mesh_facenormal, model.mesh_facetexcoord, model.mesh_facenum)
    kept = [array.copy() for array in lent]
    try:
        for mesh in range(model.nmesh):
            _thin(model, mesh, GRID_M / pixels)
        yield
    finally:
        for array, old in zip(lent, kept, strict=True):
            array[:] = old


def _thin(model: Any, mesh: int, cell_m: float) -> None:
    face, faces = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    vertex, vertices = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    if faces <= SMALL:
        return
    points = model.mesh_vert[vertex : vertex + vertices].astype(np.float64)  # (V, 3)
    width = min(cell_m, np.ptp(points, axis=0).max() / CELLS)
    rows, corners = clustered(points, model.mesh_face[face : face + faces], width)
    few = slice(face, face + len(rows))
    model.mesh_face[few] = corners
    for ofcorners in (model.mesh_facenormal, model.mesh_facetexcoord):  # each corner keeps its normal and its color
        ofcorners[few] = ofcorners[face + rows]
    model.mesh_facenum[mesh] = len(rows)


def clustered(points: NDArray[np.float64], faces: Ints, width: float) -> tuple[Ints, Ints]:
    """Rows of `faces` (F, 3) that stay, and their corners (R, 3), when points (V, 3) in one cell of `width` become one.

    Of triangles that fall onto each other, the largest stays: its normals are those of the surface, not of a bevel.
    """
    corners = _representatives(points, width)[faces]  # (F, 3)
    a, b, c = corners.T
    rows = np.flatnonzero((a != b) & (b != c) & (a != c))
    first = corners[rows].argmin(axis=1)[:, None]
    turned = np.take_along_axis(corners[rows], (first + np.arange(3)) % 3, axis=1)  # smallest corner first, same side
    edge = points[faces[rows, 1:]] - points[faces[rows, :1]]  # (R, 2, 3)
    area = np.linalg.norm(np.cross(edge[:, 0], edge[:, 1]), axis=1)
    order = np.lexsort((-area, *turned.T))
    _, largest = np.unique(turned[order], axis=0, return_index=True)
    rows = np.sort(rows[order[largest]])
    return rows, corners[rows]


def _representatives(points: NDArray[np.float64], width: float) -> Ints:
    """(V,) for each of `points` (V, 3) the one that stands for its cell: that next to the mean of the cell."""
    cells = np.floor((points - points.min(axis=0)) / width).astype(np.int64)
    cell = np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1)  # (V,)
    sums = np.stack([np.bincount(cell, weights=axis) for axis in points.T], axis=1)  # (cells, 3)
    mean = sums / np.bincount(cell)[:, None]
    order = np.lexsort((np.square(points - mean[cell]).sum(axis=1), cell))
    nearest = order[np.unique(cell[order], return_index=True)[1]]  # (cells,)
    return nearest[cell]
