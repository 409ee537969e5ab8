"""Light meshes look alike, cost less and change nothing else."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from embodied.errors import PackageError
from embodied.types import Start
from simulators.maniskill import ManiSkillRecipe
from simulators.maniskill_light import Mesh, clustered, rectangle

FAITHFUL = ManiSkillRecipe(task="PickCube-v1", num_envs=1, processes=0, backend="cpu", obs="rgbd", segmentation=True)
FAST = replace(FAITHFUL, render="fast")


@pytest.fixture(scope="module")
def both():
    try:
        envs = FAITHFUL.build(), FAST.build()
    except PackageError as error:
        pytest.skip(f"ManiSkill is not on this machine: {error}")
    yield envs
    for env in envs:
        env.close()


def begin(env: Any, seed: int = 3) -> dict[str, torch.Tensor]:
    env.reset(torch.tensor([True]), Start.seeded([seed]))
    return {name: x[0].clone() for name, x in env.observe().items()}


def triangles(env: Any) -> int:
    from sapien.render import RenderBodyComponent

    bodies = [e.find_component_by_type(RenderBodyComponent) for e in env.envs[0].scene.env.scene.sub_scenes[0].entities]
    shapes = [shape for body in bodies if body for shape in body.render_shapes if hasattr(shape, "parts")]
    return sum(len(part.triangles) for shape in shapes for part in shape.parts)


@pytest.mark.simulators
def test_the_pictures_show_the_same_from_a_tenth_of_the_triangles(both):
    faithful, fast = (begin(env) for env in both)
    assert triangles(both[1]) < triangles(both[0]) / 10
    color = (faithful["rgb/base_camera"].float() - fast["rgb/base_camera"].float()).abs()
    assert color.mean() < 3  # of 255
    assert color.max() > 0  # they are not the same meshes
    distance = (faithful["depth/base_camera"] - fast["depth/base_camera"]).abs()
    assert distance.mean() < 0.01  # m
    agree = faithful["segmentation/base_camera"] == fast["segmentation/base_camera"]
    assert agree.float().mean() > 0.97


@pytest.mark.simulators
def test_physics_is_untouched(both):
    generator = torch.Generator().manual_seed(0)
    actions = torch.rand(1, 50, 8, generator=generator) * 2 - 1
    states = []
    for env in both:
        begin(env, seed=11)
        env.step(actions)
        states.append(env.get_state())
    assert torch.equal(*states)


@pytest.mark.simulators
def test_the_next_environment_of_the_process_is_faithful(both):
    env = replace(FAITHFUL, obs="rgb", segmentation=False, image_size=16).build()
    assert triangles(env) == triangles(both[0])
    env.close()


@pytest.mark.simulators
def test_a_scene_that_is_built_at_every_reset_stays_light(both):  # noqa: ARG001  (skips without ManiSkill)
    env = replace(FAST, task="PegInsertionSide-v1", obs="rgb", segmentation=False, image_size=16).build()
    begin(env, seed=1)
    first = triangles(env)
    begin(env, seed=2)
    assert triangles(env) == first < 20_000
    env.close()


def sphere(rings=60) -> Mesh:
    """Of radius 1."""
    up, around = np.meshgrid(np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, rings), indexing="ij")
    points = np.stack([np.sin(up) * np.cos(around), np.sin(up) * np.sin(around), np.cos(up)], axis=-1).reshape(-1, 3)
    corner = (np.arange(rings - 1)[:, None] * rings + np.arange(rings - 1)).ravel()
    faces = np.concatenate([np.stack([corner, corner + 1, corner + rings], 1),
                            np.stack([corner + 1, corner + rings + 1, corner + rings], 1)])  # fmt: skip
    points = points.astype(np.float32)
    return Mesh(points, points, np.zeros((len(points), 2), dtype=np.float32), faces.astype(np.uint32))


def test_a_clustered_sphere_is_still_a_sphere():
    light = clustered(sphere(), cell=0.3)
    assert len(light.triangles) < 700  # of 6,962
    radius = np.linalg.norm(light.vertices, axis=1)
    assert radius.min() > 0.9
    assert radius.max() < 1.01
    outwards = (light.normals * light.vertices / radius[:, None]).sum(axis=1)
    assert outwards.min() > 0.5
    assert light.triangles.max() < len(light.vertices)


def grid(side=30, bump=0.0) -> Mesh:
    x, y = (axis.ravel().astype(np.float32) for axis in np.meshgrid(np.arange(side), np.arange(side), indexing="ij"))
    height = np.zeros_like(x)
    height[0] = bump
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    faces = np.concatenate([np.stack([corner, corner + side, corner + 1], 1),
                            np.stack([corner + 1, corner + side, corner + side + 1], 1)])  # fmt: skip
    normals = np.tile(np.array([0, 0, 1], dtype=np.float32), (len(x), 1))
    return Mesh(np.stack([x, y, height], 1), normals, np.stack([x / 4, y / 8], 1), faces.astype(np.uint32))


def test_a_level_textured_grid_becomes_one_rectangle_with_the_same_texture():
    light = rectangle(grid())
    assert light is not None
    assert light.vertices.tolist() == [[0, 0, 0], [29, 0, 0], [29, 29, 0], [0, 29, 0]]
    np.testing.assert_allclose(light.uvs, [[0, 0], [7.25, 0], [7.25, 3.625], [0, 3.625]], atol=1e-5)


def test_a_grid_with_a_bump_or_a_hole_stays_as_it_is():
    assert rectangle(grid(bump=0.5)) is None
    whole = grid()
    assert rectangle(replace(whole, triangles=whole.triangles[:-40])) is None
