"""The tabletop's arm, tasks, experts and pictures."""

import itertools
from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from embodied.config import from_dict
from embodied.errors import ConfigError
from embodied.types import Start
from simulators import tabletop_arm
from simulators.mujoco_camera import Camera
from simulators.tabletop import Tabletop, TabletopRecipe
from simulators.tabletop_experts import expert_action
from simulators.tabletop_tasks import KINDS
from simulators.tabletop_things import PEG

TASKS = tuple(KINDS)
TORQUE, SPEED = np.array(tabletop_arm.TORQUE_NM), np.array(tabletop_arm.SPEED_RAD_S)
ONE = TabletopRecipe(processes=0, num_envs=1)


def scene(*tasks, seed=1, **fields) -> Any:
    made = Tabletop(replace(ONE, tasks=tasks or ("reach",), **fields))
    made.reset(0, -1, seed)
    return made


def act(made, *action, times=1):
    for _ in range(times):
        made.step(np.array(action, dtype=np.float32))


def solve(made):
    """(rewards, actions) of the expert until success or the time limit."""
    rewards, actions = [], []
    for _ in range(KINDS[made.task].max_steps):
        actions.append(expert_action(made))
        reward, _, success = made.step(actions[-1])
        rewards.append(reward)
        if success:
            break
    return np.array(rewards), np.array(actions)


def test_the_stretched_arm_ends_where_the_links_of_the_data_sheet_add_up_to():
    made = scene()
    made.data.qpos[:7] = 0
    made.world.mujoco.mj_kinematics(made.model, made.data)
    height = 0.333 + 0.316 + 0.384 - 0.107 - 0.1034  # up to the wrist, then down to the flange and the finger tips
    assert made.world.tool == pytest.approx([0.088, 0, height])
    assert made.world.position("link4") == pytest.approx([0.0825, 0, 0.333 + 0.316])


def test_the_arm_has_the_limits_and_the_weight_of_a_panda():
    model = scene().model
    for index, torque in enumerate(TORQUE, start=1):
        assert model.jnt_actfrcrange[model.joint(f"joint{index}").id] == pytest.approx([-torque, torque])
    assert model.joint("joint4").range == pytest.approx([-3.0718, -0.0698])
    assert sum(model.body(f"link{index}").mass[0] for index in range(1, 8)) == pytest.approx(16.06, abs=0.01)


def test_everything_has_a_name_and_its_color_in_a_material():
    for task in TASKS:
        model = scene(task).model
        assert all(model.geom(index).name for index in range(model.ngeom))
        assert (model.geom_matid >= 0).all()
        assert model.nmesh == model.ntex == 0
        assert all(model.light(index).name for index in range(model.nlight))


def test_without_an_action_the_arm_stays_where_it_is():
    made = scene()
    start = made.world.tool.copy()
    act(made, 0, 0, 0, 1, times=40)
    assert made.world.tool == pytest.approx(start, abs=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_action_moves_the_tool_by_its_scale_along_one_axis(axis):
    made = scene()
    act(made, 0, 0, 0, 1, times=20)
    start = made.world.tool.copy()
    action = np.zeros(4)
    action[axis] = 1
    act(made, *action, times=3)
    act(made, 0, 0, 0, 1, times=20)
    moved = np.zeros(3)
    moved[axis] = 0.075
    assert made.world.tool - start == pytest.approx(moved, abs=1e-3)


def test_a_turn_moves_the_orientation_and_not_the_tool():
    made = scene(control="pose")
    start = made.world.tool.copy()
    act(made, 0, 0, 0, 0, 0, 1, 1, times=5)
    act(made, 0, 0, 0, 0, 0, 0, 1, times=20)
    rotation = made.proprioception()[17:20]
    assert rotation == pytest.approx([0, 0, 0.35], abs=0.01)
    assert made.world.tool == pytest.approx(start, abs=2e-3)


def test_the_gripper_closes_and_opens():
    made = scene()
    assert made.world.width == pytest.approx(0.08, abs=1e-3)
    act(made, 0, 0, 0, -1, times=15)
    assert made.world.width == pytest.approx(0, abs=1e-3)
    act(made, 0, 0, 0, 1, times=15)
    assert made.world.width == pytest.approx(0.08, abs=2e-3)


@pytest.mark.parametrize("control", ["position", "pose"])
def test_no_joint_is_faster_or_stronger_than_a_panda_s(control):
    made, generator = scene(control=control, terminate_on_success=False), np.random.default_rng(0)
    for _ in range(40):
        action = np.sign(generator.uniform(-1, 1, made.spec.action_dim)).astype(np.float32)
        action[2] = np.sign(0.25 - made.world.tool[2])  # free of the table, which a tilted hand would strike
        for _ in range(generator.integers(1, 10)):
            made.step(action)
            assert (np.abs(made.world.arm.speeds) < SPEED).all()
            assert (np.abs(made.data.qfrc_actuator[:7]) <= TORQUE + 1e-9).all()
            assert np.linalg.norm(made.proprioception()[17:20]) < 1.5  # never upside down


def test_a_blocked_arm_does_not_wind_up():
    made = scene("drawer")
    above = made.play.cabinet + np.array([0.1, 0, 0.15])
    for _ in range(30):
        act(made, *((above - made.world.arm.target) / 0.025).clip(-1, 1), -1)
    act(made, 0, 0, -1, -1, times=30)
    assert made.world.tool[2] > 0.08  # on top of the cabinet
    assert np.linalg.norm(made.world.arm.lead()) <= 0.061


@pytest.mark.parametrize(("task", "control"), list(itertools.product(TASKS, ["position", "pose"])))
def test_the_expert_solves_its_task_in_time_and_within_the_range_of_actions(task, control):
    made = scene(task, control=control)
    for seed in range(5):
        made.reset(0, -1, seed)
        rewards, actions = solve(made)
        assert made.play.judge()[1], f"seed {seed}"
        assert np.abs(actions).max() <= 1
        assert rewards[-1] == 1.0
        assert ((rewards[:-1] >= 0) & (rewards[:-1] < 1)).all()


@pytest.mark.parametrize("task", [task for task in TASKS if task != "insert"])  # nobody lifts a peg that fell over
def test_the_expert_goes_on_from_wherever_an_episode_was_taken(task):
    made, generator = scene(task), np.random.default_rng(3)
    for _ in range(4):
        act(made, *generator.uniform(-1, 1, 4), times=4)
    solve(made)
    assert made.play.judge()[1]


@pytest.mark.parametrize("task", TASKS)
def test_the_expert_remembers_nothing(task):
    made, other = scene(task), scene(task, seed=9)
    for _ in range(12):
        made.step(expert_action(made))
    other.set_state(made.get_state())
    assert np.array_equal(expert_action(other), expert_action(made))


def over(_):
    raise InterruptedError


def test_a_demonstration_ends_with_success_and_passes_on_what_act_raises():
    made = ONE.demonstrator()
    made.reset(0, -1, 4)
    made.demonstrate(lambda action: made.step(action) and None)
    assert made.play.judge()[1]
    made.reset(0, -1, 4)
    with pytest.raises(InterruptedError):
        made.demonstrate(over)


@pytest.mark.parametrize("index", range(len(TASKS)))
def test_a_restored_scene_goes_on_bit_for_bit_whatever_it_played_before(index):
    made, other = scene(*TASKS), scene(*TASKS, seed=7)
    made.reset(index, -1, 2)
    for _ in range(15):
        made.step(expert_action(made))
    other.reset((index + 1) % len(TASKS), -1, 5)
    other.set_state(made.get_state())
    assert other.task == made.task
    for _ in range(10):
        assert np.array_equal(other.observe()["state"], made.observe()["state"])
        action = expert_action(made)
        assert made.step(action) == other.step(action)
    assert np.array_equal(other.get_state(), made.get_state())


def test_a_reset_to_another_task_compiles_nothing():
    made = scene("push", "drawer")
    models = [made.worlds[index][0].model for index in (0, 1)]
    for index in (1, 0, 1):
        made.reset(index, -1, 0)
        assert made.model is models[index]
    assert made.spec.tasks == ("push the blue cube onto the red target", "open the drawer")
    assert made.spec.max_steps == (50, 80)


def test_states_of_several_tasks_have_one_length():
    vector = replace(ONE, tasks=TASKS, num_envs=6).build()
    start = torch.arange(6)
    vector.reset(torch.ones(6, dtype=torch.bool), Start(task=start, initial_state=start, seed=start))
    obs = vector.observe()
    assert obs["state"].shape == (6, 44)  # 24 of the arm, 20 of `stack`
    assert obs["task"].tolist() == [0, 1, 2, 3, 4, 5]
    assert obs["state"][0, 30:].abs().sum() == 0  # `reach` tells 6 numbers
    vector.close()


def test_a_sparse_reward_and_an_episode_that_goes_on_after_success():
    made = scene("reach", reward="sparse", terminate_on_success=False)
    for _ in range(30):
        reward, terminated, success = made.step(expert_action(made))
        assert reward == float(success)
        assert not terminated
    assert success


@pytest.mark.parametrize(
    ("tasks", "sentence"),
    [
        (("pusch",), "no task `pusch`. Nearest: push. There are 6: reach"),
        ((), "no task was named"),
        (("push", "push"), "named twice"),
    ],
)
def test_wrong_tasks_are_one_sentence(tasks, sentence):
    with pytest.raises((ValidationError, ValueError, ConfigError), match=sentence):
        TabletopRecipe(tasks=tasks)


@pytest.fixture(scope="module")
def seen():
    """A scene with every camera and kind of picture."""
    made = scene("push", obs="rgbd", segmentation=True, cameras=("front", "side", "top", "wrist"), image_size=64)
    yield made
    made.close()


def test_every_camera_gives_color_depth_and_segmentation(seen):
    obs = seen.observe()
    for camera in ("front", "side", "top", "wrist"):
        assert (obs[f"rgb/{camera}"].shape, obs[f"rgb/{camera}"].dtype) == ((64, 64, 3), np.uint8)
        assert obs[f"rgb/{camera}"].std() > 5
    assert obs["depth/top"][60, 2, 0] == pytest.approx(1.2, abs=0.01)  # the camera hangs 1.2 m above the table
    assert obs["segmentation/top"][60, 2, 0] == seen.world.geom("table")


@pytest.mark.parametrize("render", ["fast", "faithful"])
def test_a_camera_larger_than_the_model_allows_draws_and_leaves_the_model_as_it_was(seen, render):
    allowed = seen.model.vis.global_.offheight, seen.model.vis.global_.offwidth
    camera = Camera(seen.model, allowed[0] + 20, allowed[1] + 10, render=render)
    assert camera.rgb(seen.data, "front").std(axis=(1, 2)).min() > 0  # every row shows something, the last ones too
    camera.close()
    assert (seen.model.vis.global_.offheight, seen.model.vis.global_.offwidth) == allowed


@pytest.mark.parametrize("camera", ["front", "side", "top"])
def test_the_goal_is_in_the_picture_wherever_it_is(seen, camera):
    for seed in range(20):
        seen.reset(0, -1, seed)
        names = [seen.model.geom(index).name for index in np.unique(seen.observe()[f"segmentation/{camera}"])]
        assert {"goal_0", "cube"} <= set(names)


def test_pictures_of_all_tasks_come_from_one_context():
    made = scene(*TASKS, obs="rgb", image_size=64)
    pictures = []
    for index in range(len(TASKS)):
        made.reset(index, 0, 0)
        pictures.append(made.observe()["rgb/front"])
    made.close()
    for first, second in itertools.combinations(pictures, 2):
        assert np.abs(first.astype(int) - second).max() > 50
    again = scene("drawer", obs="rgb", image_size=64)
    again.reset(0, 0, 0)
    assert np.array_equal(again.observe()["rgb/front"], pictures[-1])
    again.close()


@pytest.mark.parametrize("tilt", [np.pi / 3, np.pi / 2])
def test_a_peg_that_lies_over_the_hole_is_not_inserted(tilt):
    made = scene("insert")
    play = made.play
    play.start[:3] = (*play.block[:2], PEG[1])
    for quaternion, is_in in (((1, 0, 0, 0), True), ((np.cos(tilt / 2), np.sin(tilt / 2), 0, 0), False)):
        play.start[3:] = quaternion
        vars(mujoco)["mj_forward"](made.model, made.data)
        assert play.judge()[1] == is_in


def test_settings_that_would_show_nothing_are_refused():
    with pytest.raises(ConfigError, match="needs a camera"):
        from_dict({"_target_": "simulators.tabletop.TabletopRecipe", "obs": "rgb", "cameras": []})
    with pytest.raises(ConfigError, match="goes with pictures"):
        from_dict({"_target_": "simulators.tabletop.TabletopRecipe", "segmentation": True})
