from typing import Any

import mujoco
import numpy as np
import pytest

from simulators.mujoco_meshes import SMALL, clustered, thinned

compiled: Any = mujoco
SCENE = """
<mujoco>
  <asset><mesh name="ball" builtin="sphere" params="4" scale="0.1 0.1 0.1"/></asset>
  <worldbody><body><freejoint/><geom type="mesh" mesh="ball"/></body></worldbody>
</mujoco>
"""


@pytest.fixture
def model():
    return compiled.MjModel.from_xml_string(SCENE)


def triangles(model):
    """(F, 3, 3) m, as a renderer copies them."""
    return model.mesh_vert[model.mesh_face[: model.mesh_facenum[0]]]


def test_points_of_one_cell_become_one_and_flat_triangles_go():
    points = np.array([[0.0, 0, 0], [0.1, 0, 0], [1, 0, 0], [0, 1, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3], [1, 2, 3]])
    rows, corners = clustered(points, faces, 0.5)
    assert rows.tolist() == [1]  # the first is a line now; of the other two, now alike, the larger stays
    assert corners.shape == (1, 3)
    assert corners[0, 1:].tolist() == [2, 3]


def test_the_two_sides_of_a_sheet_both_stay():
    points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    rows, _ = clustered(points, np.array([[0, 1, 2], [2, 1, 0], [1, 2, 0]]), 0.5)
    assert len(rows) == 2  # the third is the first, turned


def test_a_thinned_mesh_has_the_shape_of_the_whole_one(model):
    whole = triangles(model)
    with thinned(model, pixels=64):
        light = triangles(model)
        assert SMALL < len(light) < 0.8 * len(whole)
        assert np.linalg.norm(light, axis=2) == pytest.approx(0.1, abs=1e-6)  # corners are points of the ball
        edges = light[:, 1:] - light[:, :1]
        outwards = (np.cross(edges[:, 0], edges[:, 1]) * light.mean(axis=1)).sum(axis=1)
        assert (outwards > 0).mean() > 0.99  # hardly a triangle shows its back
        area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1).sum() / 2
        assert area == pytest.approx(4 * np.pi * 0.1**2, rel=0.05)  # nor is there a hole


def test_the_model_stays_as_it_was_even_after_an_error(model):
    before = [array.copy() for array in (model.mesh_face, model.mesh_facenormal, model.mesh_facenum)]

    def fail() -> None:
        with thinned(model, pixels=64):
            raise RuntimeError("no renderer")

    with pytest.raises(RuntimeError, match="no renderer"):
        fail()
    for array, old in zip((model.mesh_face, model.mesh_facenormal, model.mesh_facenum), before, strict=True):
        assert np.array_equal(array, old)


def test_larger_pictures_get_more_triangles(model):
    counts = []
    for pixels in (32, 128, 4000):
        with thinned(model, pixels):
            counts.append(len(triangles(model)))
    assert counts[0] <= counts[1] < counts[2] == len(triangles(model))
