"""Randomized scenes: what changes, by how much, that it never drifts, and that the sets do not overlap."""

from typing import Any

import numpy as np
import pytest

from embodied.compose import compose_recipe
from embodied.environment import prepare
from simulators.patterns import FAMILIES, PIXELS, draw
from simulators.randomize import AXES, OOD, SETS, TRAIN, Randomize
from simulators.tabletop import Lens, Tabletop, TabletopRecipe
from simulators.variation import CHANGED, Variation, _pixels, moved, turned

prepare()
mujoco: Any = pytest.importorskip("mujoco")
SEEDS = range(8)
ROOM = """
<mujoco>
<asset>
  <texture name="wood" type="2d" builtin="checker" rgb1=".6 .5 .4" rgb2=".5 .4 .3" width="96" height="80"/>
  <texture name="paint" type="cube" builtin="flat" rgb1=".8 .8 .8" width="64" height="64"/>
  <texture name="toy" type="cube" builtin="flat" rgb1=".8 .1 .1" width="64" height="64"/>
  <material name="table" texture="wood"/><material name="wall" texture="paint"/><material name="toy" texture="toy"/>
  <material name="steel" rgba=".9 .9 .9 1"/><material name="door" rgba=".3 .2 .8 1"/>
</asset>
<worldbody>
  <light name="lamp" pos="0 0 2" dir="0 0 -1" diffuse=".6 .6 .6"/>
  <light name="spare" pos="1 0 2" dir="-.3 0 -1" active="false"/>
  <camera name="front" pos="1 0 .8" xyaxes="0 1 0 -.6 0 .8" fovy="50"/>
  <camera name="people" pos="1 1 1" xyaxes="-1 1 0 -.5 -.5 1"/>
  <geom name="table" type="box" size=".6 .6 .02" pos="0 0 -.02" material="table"/>
  <geom name="wall" type="box" size=".02 1 1" pos="-.7 0 1" material="wall"/>
  <geom name="bare" type="box" size=".05 .05 .3" pos="-.5 .5 .3" rgba=".2 .6 .2 1"/>
  <body name="arm" pos="-.5 0 0"><joint name="shoulder" axis="0 0 1" damping="1" frictionloss=".1"/>
    <geom name="arm" type="capsule" fromto="0 0 .1 .2 0 .1" size=".03" material="steel"/></body>
  <body name="cube" pos=".1 0 .03"><freejoint/><geom name="cube" type="box" size=".03 .03 .03" material="toy"/></body>
  <body name="base" pos=".1 .14 .03"><freejoint/><geom name="base" type="box" size=".04 .04 .03"/></body>
  <body name="top" pos=".1 .14 .08"><freejoint/><geom name="top" type="box" size=".02 .02 .02"/></body>
  <body name="goal" mocap="true"><geom name="goal" type="sphere" size=".02" contype="0" conaffinity="0"/></body>
  <body name="stove" pos=".4 .4 .05"><geom name="stove" type="box" size=".05 .05 .05" material="door"/></body>
  <body name="cabinet" pos="-.3 -.4 .1"><geom name="shell" type="box" size=".1 .1 .1" rgba="1 1 0 1"/>
    <body name="drawer" pos=".12 0 0"><joint name="slide" type="slide" axis="1 0 0" damping="2"/>
      <geom name="drawer" type="box" size=".02 .08 .04"/></body></body>
</worldbody>
<actuator><position name="motor" joint="shoulder" kp="20" kv="2"/></actuator>
</mujoco>"""


@pytest.fixture
def room():
    model = mujoco.MjModel.from_xml_string(ROOM)
    return model, mujoco.MjData(model)


def fields_of(model):
    headlight = model.vis.headlight
    looks = {"tex_data": model.tex_data, "ambient": headlight.ambient, "diffuse": headlight.diffuse}
    return {name: x.copy() for name, x in ({name: getattr(model, name) for name in CHANGED} | looks).items()}


def varied(room, seed=3, **named):
    """Fields and positions after the changes of `seed`, and the variation."""
    model, data = room
    mujoco.mj_resetData(model, data)
    variation = Variation(model, Randomize(**named), things=("stove", "cabinet"), still=("people",))
    variation.apply(seed, data)
    found = fields_of(model), data.qpos.copy()
    variation.restore()
    return *found, variation


def changed(before, after):
    return {name for name in before if not np.array_equal(before[name], after[name])}


def test_nothing_changes_where_nothing_is_asked_for(room):
    model, data = room
    before = fields_of(model)
    variation = Variation(model, Randomize())
    variation.apply(5, data)
    assert changed(before, fields_of(model)) == set()
    assert len(variation.save()) == 0
    assert Randomize().is_off
    assert not Randomize(friction=(0.1, 0.2)).is_off
    assert Randomize(set="train", **dict.fromkeys(AXES, (0, 0)), patterns="none").is_off


def test_tables_and_walls_are_stage_and_what_moves_is_a_thing(room):
    model, _ = room
    roles = Variation(model, Randomize(), things=("stove",)).roles
    assert [model.body(b).name for b in roles.things] == ["cube", "base", "top", "goal", "stove", "drawer"]
    assert [model.body(b).name for b in roles.free] == ["cube", "base", "top"]
    assert [model.material(m).name for m in roles.stage_materials] == ["table", "wall"]
    assert [model.geom(int(g)).name for g in roles.stage_geoms] == ["bare", "shell"]
    assert [model.texture(t).name for t in roles.textures] == ["wood", "paint"]


def test_a_seed_says_everything_and_randomizing_twice_does_not_drift(room):
    first, positions, variation = varied(room, set="ood_all")
    model, data = room
    for seed in SEEDS:
        variation.apply(seed, data)
    mujoco.mj_resetData(model, data)
    variation.apply(3, data)
    assert changed(first, fields_of(model)) == set()
    np.testing.assert_array_equal(data.qpos, positions)
    variation.apply(4, data)
    assert changed(first, fields_of(model)) >= set(first) - {"light_active"}


def test_restoring_gives_the_model_back_bit_for_bit(room):
    model, data = room
    before = fields_of(model)
    variation = Variation(model, Randomize(set="ood_all"))
    for seed in SEEDS:
        variation.apply(seed, data)
    variation.restore()
    assert changed(before, fields_of(model)) == set()


def test_colors_of_things_that_an_instruction_names_keep_their_hue(room):
    model, _ = room
    before = fields_of(model)
    after, *_ = varied(room, set="ood_texture")
    assert changed(before, after) >= {"mat_rgba", "geom_rgba", "tex_data"}
    toy, stage = model.material("toy").id, model.material("table").id
    ratio = after["mat_rgba"][toy, :3] / before["mat_rgba"][toy, :3]
    assert np.ptp(ratio) < 1e-6
    assert 1.2 - 1e-6 <= 1 / ratio[0] <= 1.4 + 1e-6  # white cannot become brighter
    assert 0.25 - 1e-6 <= np.linalg.norm(after["mat_rgba"][stage] - before["mat_rgba"][stage]) <= 0.6 + 1e-6
    for name in ("cube", "stove", "drawer"):
        assert np.array_equal(after["geom_rgba"][model.geom(name).id], before["geom_rgba"][model.geom(name).id])


def test_only_textures_of_the_stage_are_painted(room):
    model, _ = room
    toy = model.texture("toy").id
    after, *_ = varied(room, set="ood_texture")
    first, last = model.tex_adr[toy], model.tex_adr[toy] + 3 * model.tex_height[toy] * model.tex_width[toy]
    np.testing.assert_array_equal(after["tex_data"][first:last], model.tex_data[first:last])
    assert (after["tex_data"] != model.tex_data).any()


def test_a_factor_is_within_its_range_up_or_down(room):
    model, _ = room
    ratios = set()
    for seed in range(20):
        after, *_ = varied(room, seed, friction=(0.4, 1.0))
        ratio = after["geom_friction"][:, 0] / model.geom_friction[:, 0]
        assert np.ptp(ratio) < 1e-9
        assert 1.4 <= max(ratio[0], 1 / ratio[0]) <= 2
        ratios.add(ratio[0] > 1)
    assert ratios == {True, False}


def test_a_heavier_thing_falls_the_same_and_is_harder_to_push(room):
    after, _, variation = varied(room, mass=(1.0, 1.0))
    model = room[0]
    for name in ("cube", "drawer"):
        body = model.body(name).id
        ratio = after["body_mass"][body] / model.body_mass[body]
        assert ratio == pytest.approx(2) or ratio == pytest.approx(0.5)
        np.testing.assert_allclose(after["body_inertia"][body] / model.body_inertia[body], ratio)
        np.testing.assert_allclose(after["body_invweight0"][body] * ratio, model.body_invweight0[body])
    assert after["body_mass"][model.body("arm").id] == model.body_mass[model.body("arm").id]
    assert after["body_subtreemass"][0] == pytest.approx(after["body_mass"].sum())
    assert variation.seed == -1


def test_cameras_for_people_stay(room):
    model, _ = room
    after, *_ = varied(room, set="ood_camera")
    front, people = model.camera("front").id, model.camera("people").id
    assert np.array_equal(after["cam_pos"][people], model.cam_pos[people])
    assert 0.03 <= np.linalg.norm(after["cam_pos"][front] - model.cam_pos[front]) <= 0.06
    aligned = abs(after["cam_quat"][front] @ model.cam_quat[front])
    assert 0.04 <= 2 * np.arccos(aligned) <= 0.08
    assert np.linalg.norm(after["cam_quat"][front]) == pytest.approx(1)


def test_lamps_are_switched_turned_and_dimmed(room):
    model, _ = room
    after, *_ = varied(room, set="ood_light")
    assert after["light_active"].tolist() == [1, 1]  # the last lamp is never switched off
    for lamp in range(2):
        cosine = after["light_dir"][lamp] @ model.light_dir[lamp] / np.linalg.norm(model.light_dir[lamp]) ** 2
        assert 0.45 - 1e-6 <= np.arccos(cosine) <= 0.9 + 1e-6
    ratio = after["ambient"] / model.vis.headlight.ambient
    assert 1.35 - 1e-6 <= max(ratio[0], 1 / ratio[0]) <= 1.8 + 1e-6


def test_things_move_and_stay_clear_of_each_other_and_on_what_carries_them(room):
    model, data = room
    distances = []
    for seed in range(40):
        _, positions, _ = varied(room, seed, object_shift=(0.03, 0.06), object_turn=(0.4, 0.8))
        data.qpos[:] = positions
        mujoco.mj_forward(model, data)
        cube, base, top = (data.body(name).xpos for name in ("cube", "base", "top"))
        assert np.linalg.norm(top[:2] - base[:2]) < 1e-6  # one on the other moves with it
        assert np.linalg.norm(cube[:2] - base[:2]) > 0.03 + 0.04 + 0.01
        assert [cube[2], base[2], top[2]] == [0.03, 0.03, 0.08]
        np.testing.assert_allclose(data.body("top").xquat, data.body("base").xquat)  # and turns with it
        distances.append(np.linalg.norm(cube[:2] - (0.1, 0)))
    assert np.mean([0.03 <= distance <= 0.06 for distance in distances]) == 1


def test_a_late_command_arrives_actions_later_and_a_saved_queue_goes_on(room):
    model, data = room
    r = Randomize(delay=(2, 2))
    variation, other = (Variation(model, r, idle=(0.0, 1.0)) for _ in range(2))
    variation.apply(1, data)
    sent = [np.array([n, n], dtype=np.float32) for n in range(1, 6)]
    assert [variation.late(action).tolist() for action in sent[:3]] == [[0, 1], [0, 1], [1, 1]]
    other.load(variation.save())
    assert [other.late(action).tolist() for action in sent[3:]] == [[2, 2], [3, 3]]
    variation.apply(2, data)
    assert variation.late(sent[0]).tolist() == [0, 1]  # a new episode does not know the old one's commands


def test_an_out_of_distribution_set_begins_beyond_the_end_of_training():
    for beyond in OOD.values():
        for axis, (low, _) in beyond.items():
            assert low > TRAIN.get(axis, (0, 0))[1], axis
    assert not set(FAMILIES["train"]) & set(FAMILIES["held_out"])


@pytest.mark.parametrize("name", OOD)
def test_an_out_of_distribution_set_changes_its_own_axis_only(room, name):
    inside, where, _ = varied(room, set="train")
    beyond, there, _ = varied(room, set=name)
    differs = changed(inside, beyond) | ({"qpos"} if not np.array_equal(where, there) else set())
    own = {
        "ood_texture": {"mat_rgba", "geom_rgba", "tex_data"},
        "ood_light": {"light_diffuse", "light_dir", "light_pos", "light_active", "ambient", "diffuse"},
        "ood_camera": {"cam_pos", "cam_quat", "cam_fovy"},
        "ood_pose": {"qpos"},
        "ood_dynamics": {name for name in CHANGED if name.startswith(("geom_friction", "body", "dof", "actuator"))},
    }
    assert differs == own[name]


def test_large_textures_are_painted_small():
    spec = mujoco.MjSpec.from_string(ROOM)
    for texture, size in zip(spec.textures, (900, 300, 64), strict=True):
        texture.width, texture.height = size, size
    large = spec.compile()
    plain = _pixels(large, 0).reshape(-1, 3).mean(axis=0)
    Variation(large, Randomize(set="train"))
    assert (large.tex_width.tolist(), large.tex_height.tolist()) == ([225, 150, 64], [225, 900, 384])
    np.testing.assert_allclose(_pixels(large, 0).reshape(-1, 3).mean(axis=0), plain, atol=1)


@pytest.mark.parametrize("family", ["train", "held_out"])
@pytest.mark.parametrize("shape", [(80, 96, 3), (384, 64, 3), (32, 32, 4)])
def test_a_pattern_fits_any_texture_and_keeps_its_mean_color(family, shape):
    own = np.full(shape, 100, dtype=np.uint8)
    for seed in SEEDS:
        drawn = draw(own, family, np.random.default_rng(seed))
        assert (drawn.shape, drawn.dtype) == (shape, np.uint8)
        assert 60 <= drawn[..., :3].mean() <= 110
        if shape[0] == 6 * shape[1]:
            assert all(np.array_equal(drawn[:64], drawn[face * 64 : face * 64 + 64]) for face in range(6))
    assert PIXELS == 64


def test_a_moved_color_is_at_its_distance_and_still_a_color():
    generator = np.random.default_rng(0)
    for color in ((0, 0, 0), (1, 1, 1), (0.5, 0.2, 0.9)):
        for distance in (0.0, 0.15, 0.6):
            found = moved(np.array(color), distance, generator)
            assert np.linalg.norm(found - color) == pytest.approx(distance)
            assert found.min() >= 0
            assert found.max() <= 1
    assert np.linalg.norm(turned(np.array([0.0, 0, -2]), 0.3, generator)) == pytest.approx(2)


def test_a_range_with_its_ends_swapped_is_refused_and_a_field_replaces_that_of_the_set():
    with pytest.raises(ValueError, match=r"friction=\[0\.5, 0\.1\] is empty"):
        Randomize(friction=(0.5, 0.1))
    r = Randomize(set="train", friction=(0.5, 0.6))
    assert (r.amount("friction"), r.amount("mass")) == ((0.5, 0.6), SETS["train"]["mass"])
    words = ["simulator=tabletop", "simulator.randomize.set=ood_texture", "simulator.randomize.light=[0,0.1]"]
    run = compose_recipe("train", words)
    assert run.simulator.randomize == Randomize(set="ood_texture", light=(0.0, 0.1))


def tabletop(name: Any = "ood_all", lens=None):
    r = TabletopRecipe(tasks=("push", "stack"), obs="rgb", image_size=48, processes=0, randomize=Randomize(set=name))
    return Tabletop(r, lens)


def played(scene, steps=6):
    """Pictures, states and rewards under actions that are always the same."""
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 4)).astype(np.float32)
    rewards = [scene.step(action)[0] for action in actions]
    return rewards, {name: np.array(x) for name, x in scene.observe().items()}


def same(first, second):
    return first[0] == second[0] and all(np.array_equal(first[1][name], second[1][name]) for name in first[1])


def test_a_randomized_scene_follows_from_its_seed_and_scenes_do_not_mix():
    lens = Lens(tabletop().r)
    one, other = tabletop(lens=lens), tabletop(lens=lens)  # one renderer draws both
    runs = []
    for seed in (1, 2, 1):
        one.reset(1, -1, seed)
        other.reset(1, -1, seed + 10)
        other.observe()
        runs.append(played(one))
    assert same(runs[0], runs[2])
    assert not same(runs[0], runs[1])
    one.reset(0, 5, 1)
    other.reset(0, 5, 2)  # the same initial state in another light
    assert not np.array_equal(one.observe()["rgb/front"], other.observe()["rgb/front"])
    lens.close()


def test_a_restored_randomized_scene_goes_on_as_the_saved_one_did():
    one, other = tabletop(), tabletop()
    one.reset(1, -1, 1)
    played(one, 2)
    state = one.get_state()
    expected = played(one)
    other.reset(0, -1, 7)
    other.set_state(state)
    assert same(played(other), expected)
    one.set_state(state)
    assert same(played(one), expected)
    one.close()
    other.close()
