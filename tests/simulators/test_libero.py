"""LIBERO: what the contract suite does not ask. Skipped, by name, without it, its meshes, or a way to draw."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embodied.errors import ConfigError, PackageError
from embodied.types import Start
from simulators.libero import LiberoRecipe, axis_angle
from simulators.libero_assets import VARIABLE
from simulators.libero_package import import_libero
from simulators.libero_suites import choose
from tests.filmed import film
from tests.libero_archive import meshes

pytestmark = pytest.mark.simulators
BOWL = LiberoRecipe(suite="spatial", tasks=(0,), num_envs=1, processes=0, obs="state", assets=meshes())
ONE = torch.tensor([True])


@pytest.fixture(scope="module", autouse=True)
def _there():
    try:
        replace(BOWL, obs="rgb", image_size=32).build().close()
    except PackageError as error:
        pytest.skip(f"LIBERO is not on this machine: {error}")


def built(r: LiberoRecipe) -> Any:
    return r.build()


def begin(env: Any, initial_state=0, task=0, seed=0) -> Any:
    start = Start(*(torch.full((env.spec.num_envs,), x) for x in (task, initial_state, seed)))
    env.reset(torch.ones(env.spec.num_envs, dtype=torch.bool), start)
    return env


def seen(env):
    return {name: x.clone() for name, x in env.observe().items()}


@pytest.fixture(scope="module")
def theirs():
    """LIBERO's own environment, as its evaluation scripts make it."""
    assert BOWL.assets
    envs = import_libero(Path(BOWL.assets))
    (task,) = choose("spatial", (0,))
    env = envs.OffScreenRenderEnv(bddl_file_name=str(task.bddl), camera_heights=128, camera_widths=128)
    env.seed(0)
    yield env, task.initial_states()
    env.close()


@pytest.fixture
def ours(theirs):
    """The same task in LIBERO's own conventions, at stored state 3, and what LIBERO sees there.

    LIBERO leaves the places of fixtures to chance, so those are copied. Its renderer, when it is thrown away, deletes
    what lies in any other's context: it is reset before ours is made.
    """
    env, stored = theirs
    env.reset()
    obs = env.set_init_state(stored[3])
    made = begin(
        replace(BOWL, obs="rgb", settle_steps=0, gripper="closes", rotated=False, render="faithful").build(), 3
    )
    model, other = made.envs[0].scene.model, env.env.sim.model._model
    model.body_pos[:], model.body_quat[:] = other.body_pos, other.body_quat
    made.stale[:] = True
    yield made, obs
    made.close()


def test_faithful_pictures_and_proprioception_are_libero_s_to_the_last_bit(ours):
    env, raw = ours
    obs = env.observe()
    assert np.array_equal(obs["rgb/agent"][0], raw["agentview_image"])
    assert np.array_equal(obs["rgb/wrist"][0], raw["robot0_eye_in_hand_image"])
    hand = axis_angle(raw["robot0_eef_quat"][[3, 0, 1, 2]])  # it gives xyzw
    state = np.concatenate([raw["robot0_eef_pos"], hand, raw["robot0_gripper_qpos"]]).astype(np.float32)
    assert np.array_equal(obs["state"][0], state)


def test_physics_and_success_are_libero_s_to_the_last_bit(ours, theirs):
    env, (single,) = theirs[0], ours[0].envs
    generator = np.random.default_rng(0)
    for k in range(24):  # down to the bowls, with both hands: contacts make any difference grow
        action = np.array([0.2, 0.4, -0.6, 0, 0, 0, 0]) + np.append(generator.uniform(-0.5, 0.5, 6), (-1) ** (k // 8))
        action = action.clip(-1, 1).astype(np.float32)
        _, reward, done, _ = env.step(action.astype(np.float64))
        step = ours[0].step(torch.from_numpy(action)[None, None])
        assert np.array_equal(single.scene.data.qpos, env.env.sim.data.qpos)
        assert np.array_equal(single.scene.data.qvel, env.env.sim.data.qvel)
        assert (float(step.reward), bool(step.success)) == (reward, done)
        if k % 7 == 0:
            ours[0].observe()  # must not disturb


def test_pictures_are_turned_as_published_policies_turn_them():
    raw, turned = (begin(replace(BOWL, obs="rgb", rotated=rotated).build()) for rotated in (False, True))
    for camera in ("rgb/agent", "rgb/wrist"):
        assert torch.equal(turned.observe()[camera], raw.observe()[camera].flip(1, 2))
    raw.close()
    turned.close()


def test_fast_pictures_are_close_to_faithful_ones():
    similarity = pytest.importorskip("skimage.metrics").structural_similarity
    pictures = []
    for render in ("fast", "faithful"):
        env = built(replace(BOWL, obs="rgb", render=render))
        pictures.append(seen(begin(env)))
        env.close()
    for camera in ("rgb/agent", "rgb/wrist"):
        fast, faithful = (picture[camera][0].numpy() for picture in pictures)
        assert similarity(fast, faithful, channel_axis=2) >= 0.9
        assert not np.array_equal(fast, faithful)


def test_depth_is_in_meters_and_segments_are_geoms():
    env = begin(replace(BOWL, obs="rgbd", segmentation=True, image_size=64).build())
    obs = env.observe()
    assert 0.5 < obs["depth/agent"].median() < 2.0  # m; the camera stands 1 m before the table's middle
    assert obs["depth/wrist"].min() > 0.01
    segments = obs["segmentation/agent"].unique()
    assert 8 < len(segments) < env.envs[0].scene.model.ngeom
    assert segments.max() < env.envs[0].scene.model.ngeom
    env.close()


def test_the_gripper_opens_with_plus_one_unless_it_is_asked_to_close():
    for convention, open_is in (("opens", 1.0), ("closes", -1.0)):
        env = begin(replace(BOWL, gripper=convention).build())
        width = []
        for action in (-open_is, open_is):
            env.step(torch.tensor([0, 0, 0, 0, 0, 0, action]).expand(1, 12, 7))
            fingers = env.observe()["state"][0, 6:8]
            width.append(float(fingers[0] - fingers[1]))
        assert width[0] < 0.005
        assert width[1] > 0.07  # m
        env.close()


def test_objects_are_in_the_state_where_the_physics_has_them():
    env = begin(built(BOWL))
    scene = env.envs[0].scene
    state = env.observe()["state"][0].double().numpy()
    bowl = scene.data.body("akita_black_bowl_1_main")
    np.testing.assert_allclose(state[8:11], bowl.xpos, atol=1e-6)
    np.testing.assert_allclose(state[11:15], bowl.xquat, atol=1e-6)
    assert len(state) == 8 + 5 * 7 + 4  # five objects; three drawers and a knob
    env.close()


def test_an_initial_state_that_is_not_stored_is_one_sentence():
    env = built(BOWL)
    with pytest.raises(ConfigError, match=r"initial state 50 of .*50 are stored.*Count from 0 to 49"):
        begin(env, initial_state=50)
    env.close()


def test_seeds_reach_all_stored_states_whether_even_or_odd():
    env = built(BOWL)
    stored = env.envs[0].scene.stored[:, 10:13]  # where the first object is, before it settles
    drawn = set()
    quick = built(replace(BOWL, settle_steps=0))
    for seed in range(0, 40, 2):
        begin(quick, initial_state=-1, seed=seed)
        place = quick.envs[0].scene.data.qpos[9:12]
        drawn.add(int(np.abs(stored - place).sum(axis=1).argmin()) % 2)
    assert drawn == {0, 1}
    env.close()
    quick.close()


def test_sampled_starts_place_the_objects_anew_and_repeat_with_their_seed():
    env = built(replace(BOWL, starts="sampled"))
    assert env.spec.initial_states is None
    states = [seen(begin(env, initial_state=-1, seed=seed))["state"] for seed in (1, 2, 1)]
    assert torch.equal(states[0], states[2])
    assert (states[0][:, 8:10] - states[1][:, 8:10]).abs().max() > 0.001  # m
    env.close()


def test_environments_of_several_tasks_share_scenes_and_do_not_disturb_each_other():
    """Three episodes in two scenes, with turns at every action, against each of them alone."""
    r = replace(BOWL, tasks=(0, 8), num_envs=3, obs="rgb", image_size=32, keep=1)
    actions = torch.rand(3, 4, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    start = Start(torch.tensor([0, 1, 0]), torch.tensor([4, 5, 6]), torch.tensor([0, 0, 0]))
    together = r.build()
    assert together.spec.initial_states == (50, 50)
    together.reset(torch.ones(3, dtype=torch.bool), start)
    for k in range(4):
        together.step(actions[:, k : k + 1])
        together.observe()
    expected = seen(together)
    assert expected["task"].tolist() == [0, 1, 0]
    together.close()
    alone = built(replace(r, num_envs=1))
    for n in range(3):
        alone.reset(ONE, Start(start.task[n : n + 1], start.initial_state[n : n + 1], start.seed[n : n + 1]))
        alone.step(actions[n : n + 1])
        for name, value in seen(alone).items():
            assert torch.equal(value[0], expected[name][n]), name
    assert len(alone.envs[0].scenes.built) == 1  # as `keep` says
    alone.close()


def test_a_state_can_be_set_in_an_environment_that_plays_another_task():
    env = begin(replace(BOWL, suite="10", tasks=(3, 8)).build(), task=1)  # of different sizes
    action = torch.full((1, 3, 7), 0.3)
    env.step(action)
    saved, obs = env.get_state(), seen(env)
    expected = (env.step(action), seen(env))[1]
    begin(env, task=0)
    env.set_state(ONE, saved)
    assert torch.equal(seen(env)["state"], obs["state"])
    env.step(action)
    assert torch.equal(seen(env)["state"], expected["state"])
    env.close()


def test_time_limits_are_those_of_publications():
    limits = {suite: replace(BOWL, suite=suite).build() for suite in ("spatial", "object", "goal", "10", "90")}
    assert [env.spec.max_steps for env in limits.values()] == [220, 280, 300, 520, 400]
    for env in limits.values():
        env.close()
    several = replace(BOWL, suite="130", tasks=(0, 30)).build()  # the first of spatial and the first of 10
    assert several.spec.max_steps == (220, 520)
    several.close()


def test_a_stove_that_is_turned_on_is_seen_only_where_it_is_on():
    r = replace(BOWL, suite="goal", tasks=("turn on the stove",), num_envs=2, obs="rgb", image_size=64)
    env = begin(r.build())
    scene = env.envs[0].scene
    names = [scene.model.joint(index).name for index in range(scene.model.njnt)]
    knob = scene.model.joint(next(name for name in names if name.startswith("flat_stove")))
    scene.data.qpos[knob.qposadr[0]] = 1.0
    step = env.step(torch.zeros(2, 1, 7))
    assert step.success[:, 0].tolist() == [True, False]
    pictures = env.observe()["rgb/agent"].float()
    assert (pictures[0] - pictures[1]).abs().max() > 30
    env.close()


def test_forty_resets_and_two_thousand_steps_leak_nothing():
    psutil = pytest.importorskip("psutil")
    env = built(replace(BOWL, obs="rgb", image_size=32))
    memory = []
    for episode in range(42):
        begin(env, initial_state=episode)
        for _ in range(6):
            env.step(torch.zeros(1, 8, 7))
            env.observe()
        memory.append(psutil.Process().memory_info().rss)
    assert memory[-1] - memory[1] < 50 * 2**20
    env.close()


def test_an_expert_puts_a_can_into_the_basket_and_its_actions_repeat_it():
    r = replace(BOWL, suite="object", tasks=("pick up the alphabet soup and place it in the basket",))
    expert: Any = r.demonstrator()
    assert expert.correctable == tuple(range(expert.spec.action_dim - 1))  # all but the gripper
    expert.reset(0, 2, 0)
    actions: list[Any] = []
    success = False

    def act(action):
        nonlocal success
        assert np.abs(action).max() <= 1
        assert not success
        actions.append(action)
        _, _, success = expert.step(action)
        if success:
            raise StopAsyncIteration  # as a recorder ends an episode

    with pytest.raises(StopAsyncIteration):
        expert.demonstrate(act)
    assert 40 < len(actions) < 280
    expert.close()
    env = begin(r.build(), initial_state=2)
    step = env.step(torch.from_numpy(np.stack(actions))[None])
    assert bool(step.success[0, len(actions) - 1])
    env.close()


def test_an_expert_refuses_what_it_cannot_do_and_names_what_it_can():
    with pytest.raises(ConfigError, match=r"open_the_middle_drawer.*it can do 7 tasks: .*put_the_bowl_on_the_plate"):
        replace(BOWL, suite="goal", tasks=("open the middle drawer of the cabinet",)).demonstrator()


def test_people_see_a_video(tmp_path):
    path = film(BOWL, 1, tmp_path / "video.mp4")
    assert path.stat().st_size > 3000


def ran(code, **surroundings):
    """A fresh process without a terminal."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={name: x for name, x in os.environ.items() if name != "LIBERO_CONFIG_PATH"} | surroundings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


BUILD = "from simulators.libero import LiberoRecipe; r = LiberoRecipe(tasks=(0,), num_envs=1, processes=0, obs='state')"


@pytest.mark.parametrize("home", ["empty", "/proc/nobody"])  # the second cannot be made, not even by root
def test_nothing_is_asked_and_nothing_is_written_at_home(tmp_path, home):
    folder = tmp_path / home  # an absolute second part replaces the first
    if home == "empty":
        folder.mkdir()
    done = ran(f"{BUILD}; r.build().close(); print('built')", HOME=str(folder), **{VARIABLE: str(BOWL.assets)})
    assert (done.stdout, done.returncode) == ("built\n", 0), done.stderr
    assert done.stderr == ""
    assert not folder.exists() or not any(folder.rglob("*"))


def test_missing_meshes_are_one_sentence_also_from_a_worker(tmp_path):
    nowhere = {VARIABLE: str(tmp_path / "nowhere")}
    done = ran(f"{BUILD}; r.build()", **nowhere)
    assert "PackageError: LIBERO needs its meshes, and there is no folder" in done.stderr
    assert "embodied setup libero" in done.stderr
    with pytest.raises(PackageError, match="LIBERO needs its meshes"):
        replace(BOWL, processes=1, assets=str(tmp_path / "nowhere")).build()
