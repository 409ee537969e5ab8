"""robosuite: what the contract suite does not ask. Skipped, by name, without it. Runs with 1.4 and with 1.5."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from embodied.errors import ConfigError, PackageError
from simulators.robosuite import RobosuiteRecipe, Single
from simulators.robosuite_make import SAID, Control, _config, is_new, tasks

pytestmark = pytest.mark.simulators
LIFT = RobosuiteRecipe(num_envs=1, processes=0)
NEW_TASKS = {"ToolHang", "TwoArmTransport"}  # of 1.5


@pytest.fixture(scope="module", autouse=True)
def suite() -> Any:
    try:
        Single(LIFT).close()
    except PackageError as error:
        pytest.skip(f"robosuite is not on this machine: {error}")
    import robosuite

    return robosuite


@pytest.fixture
def build() -> Iterator[Any]:
    made: list[Single] = []

    def single(recipe: RobosuiteRecipe = LIFT, **fields: Any) -> Single:
        made.append(Single(replace(recipe, **fields)))
        made[-1].reset(0, -1, 7)
        return made[-1]

    yield single
    for one in made:
        one.close()


def actions(scene: Single, count: int) -> Any:
    return np.random.default_rng(0).uniform(-1, 1, (count, scene.spec.action_dim)).astype(np.float32)


def similarity(first: Any, second: Any) -> float:
    """Mean SSIM over windows of 7 x 7 pixels (Wang et al. 2004)."""
    a, b = (torch.from_numpy(np.array(x)).permute(2, 0, 1).double() for x in (first, second))  # (3, H, W)

    def blurred(x: torch.Tensor) -> torch.Tensor:
        return avg_pool2d(x, 7, stride=1)

    mean_a, mean_b = blurred(a), blurred(b)
    var_a, var_b = blurred(a * a) - mean_a**2, blurred(b * b) - mean_b**2
    both = blurred(a * b) - mean_a * mean_b
    c, d = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    alike = (2 * mean_a * mean_b + c) * (2 * both + d) / ((mean_a**2 + mean_b**2 + c) * (var_a + var_b + d))
    return float(alike.mean())


@pytest.mark.parametrize("task", SAID)
def test_every_task_follows_from_its_seed_and_continues_from_its_state(task, build, suite):
    if task in NEW_TASKS and not is_new(suite):
        pytest.skip(f"{task} is in robosuite 1.5")
    used, fresh = build(task=task), build(task=task)
    chunk = actions(used, 9)
    for action in chunk:
        used.step(action)
    used.reset(0, -1, 3)
    fresh.reset(0, -1, 3)
    assert np.array_equal(used.observe()["state"], fresh.observe()["state"])
    assert [used.step(action) for action in chunk[:4]] == [fresh.step(action) for action in chunk[:4]]
    state, expected = used.get_state(), [used.step(action) for action in chunk[4:]]
    fresh.reset(0, -1, 5)
    assert not np.array_equal(used.observe()["state"], fresh.observe()["state"])
    fresh.set_state(state)
    assert [fresh.step(action) for action in chunk[4:]] == expected
    assert np.array_equal(used.observe()["state"], fresh.observe()["state"])


def test_all_tasks_that_robosuite_ships_have_an_instruction(suite):
    assert set(tasks()) == set(SAID) - (set() if is_new(suite) else NEW_TASKS)


@pytest.mark.parametrize("task", ["Lift", "Wipe", "PickPlaceCan", "TwoArmLift"])
def test_a_step_is_robosuites_own_to_the_last_bit(task, build):
    ours, own = build(task=task), build(task=task)
    for action in actions(ours, 10):
        reward, _, _ = ours.step(action)
        ours.observe()
        _, expected, _, _ = own.env.step(own.middle + action * own.sign * own.half)
        own.env.done = False
        assert reward == expected
        assert np.array_equal(ours.data.qpos, own.data.qpos)
        assert np.array_equal(ours.data.qvel, own.data.qvel)


def test_state_is_what_robosuite_observes_of_the_same_moment(build):
    scene = build(task="NutAssemblySquare")
    for action in actions(scene, 3):
        scene.step(action)
    ours = scene.observe()["state"]
    for _ in range(2):
        own = scene.env._get_observations(force_update=True)
    assert np.array_equal(ours, np.concatenate([own["object-state"], own["robot0_proprio-state"]]).astype(np.float32))


@pytest.mark.parametrize("task", ["Lift", "TwoArmLift"])
def test_the_state_after_a_reset_knows_nothing_of_the_episode_before(task, build):
    fresh, used = build(task=task), build(task=task)
    for action in actions(used, 5):
        used.step(action)
    for scene in (fresh, used):
        scene.reset(0, -1, 9)
    np.testing.assert_array_equal(fresh.get_state(), used.get_state())


@pytest.mark.parametrize("controller", ["OSC_POSITION", "JOINT_POSITION", "JOINT_TORQUE", None])
def test_what_a_controller_remembers_is_saved(controller, build):
    first, second = build(controller=controller), build(controller=controller)
    chunk = actions(first, 6)
    for action in chunk[:3]:
        first.step(action)
    second.set_state(first.get_state())
    for action in chunk[3:]:
        assert first.step(action) == second.step(action)
    assert np.array_equal(first.data.qpos, second.data.qpos)


def test_a_controller_is_changed_by_fields_or_read_from_a_file(build, tmp_path):
    stretched = build(controller_fields={"impedance_mode": "variable"})
    assert stretched.spec.action_dim == 19  # 6 damping ratios, 6 stiffnesses, 6 moves, the gripper
    assert stretched.middle[6] == 150  # stiffness between 0 and 300
    config = _config(Control("OSC_POSITION", {}), "Panda")
    assert config is not None
    part = config.get("body_parts", {"right": config})["right"]
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**part, "kp": 75}))
    scene = build(controller=str(path))
    robot = scene.env.robots[0]
    arm = robot.part_controllers["right"] if hasattr(robot, "part_controllers") else robot.controller
    assert scene.spec.action_dim == 4
    assert arm.kp.tolist() == [75.0] * 6


@pytest.mark.parametrize("camera", ["agentview", "robot0_eye_in_hand"])
def test_faithful_pictures_are_robosuites_own_and_fast_ones_are_like_them(camera, build, suite):
    pictures = {}
    for render in ("faithful", "fast"):
        scene = build(obs="rgb", render=render, cameras=(camera,))
        for action in actions(scene, 5):
            scene.step(action)
        pictures[render] = scene.observe()[f"rgb/{camera}"]
    scene = build()
    for action in actions(scene, 5):
        scene.step(action)
    scene.observe()
    binding = suite.utils.binding_utils
    context = binding.MjRenderContextOffscreen(scene.env.sim, device_id=-1)
    context.vopt.geomgroup[0] = 0
    own = scene.env.sim.render(camera_name=camera, width=128, height=128)[::-1]
    assert np.array_equal(pictures["faithful"], own)
    assert similarity(pictures["fast"], own) > 0.95
    assert not np.array_equal(pictures["fast"], own)


def test_depth_and_segmentation_show_no_invisible_helpers(build):
    scene = build(obs="rgbd", segmentation=True)
    obs = scene.observe()
    depth, shown = obs["depth/agentview"], obs["segmentation/agentview"]
    assert (depth.shape, depth.dtype) == ((128, 128, 1), np.float32)
    assert (shown.shape, shown.dtype) == ((128, 128, 1), np.int32)
    names = {scene.model.geom(index).name for index in np.unique(shown)}
    assert {"cube_g0_vis", "table_visual", "floor"} <= names  # and no -1: something is seen everywhere
    cube = scene.model.geom("cube_g0_vis").id
    distance = np.linalg.norm(scene.data.geom_xpos[cube] - scene.data.cam_xpos[scene.model.camera("agentview").id])
    assert depth[shown == cube].mean() == pytest.approx(distance, abs=0.04)  # m, to its near side


def test_with_pictures_the_state_is_what_the_robot_knows_of_itself(build):
    known = build(obs="rgb", image_size=32).observe()["state"]
    assert np.array_equal(known, build().observe()["state"][-len(known) :])


def test_sizes_are_drawn_anew_where_asked_for(build):
    scene = build(redraw_sizes=True)
    sizes = {}
    for seed in (1, 2, 1):
        scene.reset(0, -1, seed)
        size = scene.model.geom("cube_g0").size.copy()
        assert np.array_equal(sizes.setdefault(seed, size), size)
    assert not np.array_equal(sizes[1], sizes[2])
    state = scene.get_state()
    scene.reset(0, -1, 2)
    scene.set_state(state)
    assert np.array_equal(scene.model.geom("cube_g0").size, sizes[1])


def test_an_episode_can_go_on_after_success(build):
    scene = build(terminate_on_success=False)
    scene.data.joint("cube_joint0").qpos[2] = 1.0
    scene.data.joint("cube_joint0").qvel[:] = 0
    _, terminated, success = scene.step(np.zeros(7, np.float32))
    assert (terminated, success) == (False, True)


@pytest.mark.parametrize("controller", ["OSC_POSE", "OSC_POSITION"])
@pytest.mark.parametrize(("task", "longest"), [("Lift", 60), ("Stack", 150)])
def test_a_script_solves_its_task(task, longest, controller):
    scene: Any = RobosuiteRecipe(task=task, controller=controller).demonstrator()
    assert scene.correctable == tuple(range(scene.spec.action_dim - 1))  # all but the gripper
    for seed in range(3):
        scene.reset(0, -1, seed)
        played: list[tuple[float, bool, bool]] = []

        def act(action: Any, played: Any = played) -> None:
            assert (action.dtype, action.shape) == (np.float32, (scene.spec.action_dim,))
            assert np.abs(action).max() <= 1
            played.append(scene.step(action))
            assert len(played) <= longest

        scene.demonstrate(act)
        assert played[-1][1:] == (True, True)
        assert not any(success for _, _, success in played[:-1])
    scene.close()


def test_a_task_without_a_script_names_those_that_have_one():
    with pytest.raises(ConfigError, match=r"robosuite's Door .*no script.*Lift and Stack with Panda"):
        replace(LIFT, task="Door").demonstrator()
    with pytest.raises(ConfigError, match="controller=OSC_POSE and changed impedance_mode"):
        replace(LIFT, controller_fields={"impedance_mode": "variable"}).demonstrator()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"task": "Lft"}, "no task `Lft`; nothing was built. Nearest: Lift"),
        ({"robots": ("Pnda",)}, "no robot `Pnda`; nothing was built. Nearest: Panda"),
        ({"controller": "OSC_POS"}, "no controller `OSC_POS`; .* Nearest: OSC_POSE"),
        ({"controller": "there/is/none.json"}, "controller=there/is/none.json .*cannot be read"),
        ({"controller_fields": {"kpp": 3}}, "OSC_POSE of robosuite has no field `kpp`; .* Nearest: kp"),
        ({"controller": None, "controller_fields": {"kp": 3}}, "without a controller"),
        ({"cameras": ("agentveiw",)}, "Lift has no camera `agentveiw`; .* Nearest: agentview"),
        ({"kwargs": {"wheels": 4}}, "refuses Lift .*wheels"),
    ],
)
def test_what_robosuite_has_not_is_refused_in_one_sentence(fields, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Single(replace(LIFT, **fields))


@pytest.mark.parametrize("gripper", ["opens", "closes"])
def test_plus_one_opens_the_fingers_or_closes_them_as_robosuite_has_it(build, gripper):
    scene = build(replace(LIFT, gripper=gripper))
    action = np.zeros(7, dtype=np.float32)
    widths = []
    for command in (1.0, -1.0):
        action[-1] = command
        for _ in range(20):
            scene.step(action)
        fingers = [scene.env.sim.data.get_joint_qpos(f"gripper0_finger_joint{side}") for side in (1, 2)]
        widths.append(abs(fingers[0] - fingers[1]))
    wider_at_plus_one = widths[0] > widths[1] + 0.03
    assert wider_at_plus_one == (gripper == "opens")
    assert widths[1] > widths[0] + 0.03 or gripper == "opens"


def test_each_arm_of_two_has_its_gripper_turned(build):
    sign = build(replace(LIFT, task="TwoArmLift", robots=("Panda", "Panda"))).sign
    assert sign.tolist() == [1, 1, 1, 1, 1, 1, -1] * 2
