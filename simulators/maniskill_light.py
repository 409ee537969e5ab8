"""Light meshes for ManiSkill's pictures on a CPU: the same scene from a fifteenth of the triangles.

The software renderer's time goes into vertices, not pixels: the Panda has 137,000 triangles, most of them smaller than
a pixel. Here the vertices of a mesh that fall into one cell become one (Rossignac and Borrel 1993), and the ground's
grid becomes one rectangle. Colors, materials, names and segmentation stay; so do small and textured parts. Nothing is
written to disk, and physics has shapes of its own, which are not touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

COARSEST = 12  # cells along the diagonal of a mesh, at least
PIXELS = 8  # of the picture for each of them: an arm that fills half of it has cells of about four pixels
SMALL = 500  # triangles that a mesh may keep: fingers, cubes, lamps

Env = TypeVar("Env", bound=type)


@dataclass(frozen=True, slots=True)
class Mesh:
    vertices: NDArray[np.float32]  # (V, 3) m
    normals: NDArray[np.float32]  # (V, 3)
    uvs: NDArray[np.float32]  # (V, 2)
    triangles: NDArray[np.uint32]  # (F, 3)


def lightened(env_class: Env, pixels: int) -> Env:
    """A subclass of this ManiSkill task that thins its meshes for pictures of `pixels` whenever it builds its scene.

    The task's own class is not touched.
    """
    cells = max(COARSEST, pixels // PIXELS)

    class Light(env_class):  # type: ignore[misc, valid-type]
        def _load_lighting(self, options: dict[str, Any]) -> None:
            """All is loaded and no renderer has seen it yet. Some tasks build their scene again at every reset."""
            self._thinned = getattr(self, "_thinned", {})
            for scene in self.scene.sub_scenes:
                for entity in scene.entities:
                    _lighten(entity, cells, self._thinned)
            super()._load_lighting(options)

    Light.__name__, Light.__qualname__ = env_class.__name__, env_class.__qualname__
    return Light


def _lighten(entity: Any, cells: int, thinned: dict[Any, Mesh | None]) -> None:
    """Give one body light shapes in place of heavy ones, if it has any."""
    from sapien.render import RenderBodyComponent

    body = entity.find_component_by_type(RenderBodyComponent)
    if body is None:
        return
    light: list[list[Any] | None] = [_light_shapes(shape, cells, thinned) for shape in body.render_shapes]
    if all(shapes is None for shapes in light):
        return
    new = RenderBodyComponent()
    new.name, new.visibility, new.shading_mode = body.name, body.visibility, body.shading_mode
    for shape, shapes in zip(body.render_shapes, light, strict=True):
        for replacement in [shape.clone()] if shapes is None else shapes:
            new.attach(replacement)
    entity.remove_component(body)
    entity.add_component(new)


def _light_shapes(shape: Any, cells: int, thinned: dict[Any, Mesh | None]) -> list[Any] | None:
    """One shape for each part of a mesh, or None where it is light already."""
    from sapien.render import RenderShapeTriangleMesh

    if not isinstance(shape, RenderShapeTriangleMesh) or all(len(part.triangles) <= SMALL for part in shape.parts):
        return None
    shapes: list[Any] = []
    for index, part in enumerate(shape.parts):
        key = (shape.filename, index, *shape.scale) if shape.filename else None
        mesh = thinned[key] if key in thinned else _thin(part, shape.scale, cells)
        if key:
            thinned[key] = mesh
        if mesh is None:
            return None
        new = RenderShapeTriangleMesh(mesh.vertices, mesh.triangles, mesh.normals, mesh.uvs, part.material)
        new.local_pose, new.name, new.front_face = shape.local_pose, shape.name, shape.front_face
        shapes.append(new)
    return shapes


def _thin(part: Any, scale: NDArray[np.float32], cells: int) -> Mesh | None:
    """A light version of one part, or None where there is none that looks like it."""
    mesh = Mesh(
        np.asarray(part.vertices, dtype=np.float32) * scale,
        np.asarray(part.get_vertex_normal(), dtype=np.float32),
        np.asarray(part.get_vertex_uv(), dtype=np.float32),
        np.asarray(part.triangles, dtype=np.uint32),
    )
    if len(mesh.triangles) <= SMALL:
        return mesh
    if part.material.base_color_texture is None:
        return clustered(mesh, float(np.linalg.norm(np.ptp(mesh.vertices, axis=0))) / cells)
    return rectangle(mesh)


def clustered(mesh: Mesh, cell: float) -> Mesh:
    """`mesh` with all vertices of a cell of `cell` m moved to their mean; triangles that collapse are gone.

    Vertices in one place keep a normal for each of six directions, so edges stay edges.
    """
    places, place = np.unique(np.round(mesh.vertices / cell).astype(np.int64), axis=0, return_inverse=True)
    place = place.ravel()  # (V,)
    corners = place[mesh.triangles]  # (F, 3)
    flat = (corners == np.roll(corners, 1, axis=1)).any(axis=1)
    _, first = np.unique(np.sort(corners[~flat], axis=1), axis=0, return_index=True)
    triangles = mesh.triangles[~flat][first]  # (f, 3)
    axis = np.abs(mesh.normals).argmax(axis=1)  # (V,)
    side = 2 * axis + (mesh.normals[np.arange(len(axis)), axis] > 0)
    kept, vertex = np.unique(6 * place + side, return_inverse=True)  # (v,), (V,)
    vertex = vertex.ravel()
    normals = _means(mesh.normals, vertex, len(kept))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    vertices = _means(mesh.vertices, place, len(places))[kept // 6]
    return Mesh(
        vertices.astype(np.float32),
        normals.astype(np.float32),
        np.zeros((len(kept), 2), dtype=np.float32),
        vertex[triangles].astype(np.uint32),
    )


def rectangle(mesh: Mesh) -> Mesh | None:
    """Two triangles for a textured grid that fills a level rectangle, such as the ground; None for anything else."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    position = np.column_stack([mesh.vertices[:, :2], np.ones(len(mesh.vertices))])  # (V, 3)
    texture, *_ = np.linalg.lstsq(position, mesh.uvs, rcond=None)  # (3, 2) the texture is laid evenly on it
    one_by_one = mesh.vertices[mesh.triangles][..., :2]  # (F, 3, 2)
    a, b = one_by_one[:, 1] - one_by_one[:, 0], one_by_one[:, 2] - one_by_one[:, 0]
    area = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / 2
    level = high[2] - low[2] < 1e-6 and (mesh.normals == mesh.normals[0]).all()
    even = np.abs(position @ texture - mesh.uvs).max() < 1e-3
    if not (level and even and np.isclose(area, np.prod((high - low)[:2]), rtol=1e-3)):
        return None
    corners = np.array([[low[0], low[1]], [high[0], low[1]], [high[0], high[1]], [low[0], high[1]]])
    return Mesh(
        np.column_stack([corners, np.full(4, low[2])]).astype(np.float32),
        np.repeat(mesh.normals[:1], 4, axis=0),
        (np.column_stack([corners, np.ones(4)]) @ texture).astype(np.float32),
        np.array([[0, 1, 2], [0, 2, 3]], dtype=np.uint32),
    )


def _means(values: NDArray[np.float32], group: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """(count, 3) mean of the rows of each group."""
    sums = np.stack([np.bincount(group, column, minlength=count) for column in values.T], axis=1)
    return sums / np.maximum(np.bincount(group, minlength=count), 1)[:, None]
