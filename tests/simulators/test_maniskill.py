"""ManiSkill on a CPU: what the contract suite does not ask. Skipped, by name, without it or its Vulkan driver."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from embodied.errors import ConfigError, PackageError
from embodied.learner.learner import seeded_policy
from embodied.sampler.sampler import Sampler
from embodied.sampler.starts import Starts
from embodied.types import Start
from policies.mlp import MLPRecipe
from policies.vision import VisionRecipe
from simulators.maniskill import Batch, ManiSkillRecipe, _Scene
from simulators.maniskill_cpu import grasps_as_published
from tests.filmed import film

pytestmark = pytest.mark.simulators
PUSH = ManiSkillRecipe(task="PushCube-v1", num_envs=2, processes=0, backend="cpu")


@pytest.fixture(scope="module", autouse=True)
def _there():
    try:
        PUSH.build().close()
    except PackageError as error:
        pytest.skip(f"ManiSkill is not on this machine: {error}")


def begin(env: Any) -> Any:
    env.reset(torch.ones(env.spec.num_envs, dtype=torch.bool), Start.seeded(list(range(env.spec.num_envs))))
    return env


def test_pictures_and_depth_have_the_types_and_units_of_the_spec():
    env = begin(replace(PUSH, num_envs=1, obs="rgbd", image_size=64).build())
    obs = env.observe()
    assert obs["rgb/base_camera"].shape == (1, 64, 64, 3)
    assert obs["rgb/base_camera"].float().std() > 5  # a scene, not one color
    depth = obs["depth/base_camera"]
    assert depth.dtype == torch.float32
    assert 0.2 < depth.median() < 2.0  # m; the camera stands 0.7 m from the table's middle
    env.close()


def test_a_vision_policy_acts_on_it_through_processes():
    recipe = replace(PUSH, obs="rgb", image_size=32, processes=2)
    env = recipe.build()
    sampler = Sampler(env, seeded_policy(VisionRecipe(hidden=(16,)), env.spec, 0), Starts(seed=0))
    trajectory = sampler.collect(3)
    assert trajectory.obs["rgb/base_camera"].shape == (3, 2, 32, 32, 3)
    assert trajectory.valid.all()
    sampler.close()


@pytest.mark.parametrize("task", ["PushCube-v1", "PickCube-v1"])
def test_running_episodes_are_continued_bit_for_bit(task):
    def make():
        env = replace(PUSH, task=task).build()
        return Sampler(env, seeded_policy(MLPRecipe(hidden=(16,)), env.spec, 0), Starts(seed=0), seed=0, max_steps=20)

    first = make()
    first.collect(27)
    state = first.state()
    expected = first.collect(15)
    second = make()
    assert second.resume(state)
    found = second.collect(15)
    for name in ("reward", "action", "success", "episode"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=0)
    torch.testing.assert_close(found.obs["state"], expected.obs["state"], rtol=0, atol=0)


def test_the_batched_environment_of_the_gpu_agrees_with_the_single_one():
    """Here with a batch of one on the CPU: the same class runs a thousand on a GPU."""
    batch, single = begin(Batch(_Scene(replace(PUSH, num_envs=1), 1, "cpu"))), begin(replace(PUSH, num_envs=1).build())
    batch.set_state(torch.tensor([True]), single.get_state())
    action = torch.linspace(-1, 1, 3 * 8).view(1, 3, 8)
    a, b = batch.step(action), single.step(action)
    torch.testing.assert_close(a.reward, b.reward)
    assert a.valid.tolist() == b.valid.tolist()
    torch.testing.assert_close(batch.observe()["state"], single.observe()["state"])
    state = batch.get_state()
    batch.step(action)
    batch.set_state(torch.tensor([True]), state)
    torch.testing.assert_close(batch.observe()["state"], single.observe()["state"], rtol=1e-4, atol=1e-4)


def test_an_episode_can_go_on_after_success():
    env = begin(replace(PUSH, num_envs=1, terminate_on_success=False).build())
    scene = env.envs[0].scene.env
    scene.obj.set_pose(scene.goal_region.pose)  # the cube is at its goal
    step = env.step(torch.zeros(1, 2, env.spec.action_dim))
    assert step.success.all()
    assert step.valid.all()
    assert not step.terminated.any()


def test_a_misspelled_task_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no task `PushCub-v1`.*PushCube-v1"):
        replace(PUSH, task="PushCub-v1").build()


def test_a_worker_passes_the_sentence_on():
    with pytest.raises(ConfigError, match=r"no task `PushCub-v1`.*PushCube-v1"):
        replace(PUSH, task="PushCub-v1", processes=2).build()


def test_a_task_whose_assets_are_missing_says_how_to_get_them():
    with pytest.raises((PackageError, ConfigError), match="download_asset PickSingleYCB-v1"):
        replace(PUSH, task="PickSingleYCB-v1", processes=1).build()


def test_a_missing_vulkan_driver_is_one_sentence():
    code = "from simulators.maniskill import ManiSkillRecipe; ManiSkillRecipe(processes=0, backend='cpu').build()"
    surroundings = os.environ | {"VK_ICD_FILENAMES": "/nonexistent.json"}
    done = subprocess.run([sys.executable, "-c", code], env=surroundings, capture_output=True, text=True, check=False)
    assert "PackageError: ManiSkill found no Vulkan driver it can use" in done.stderr
    assert "make setup" in done.stderr


def test_a_video_shows_the_robot(tmp_path):
    path = film(PUSH, 2, tmp_path / "video.mp4")
    assert path.stat().st_size > 3000


def test_the_quick_grasp_check_agrees_with_the_published_one_along_a_grasp():
    scene = _Scene(replace(PUSH, task="PickCube-v1", control="pd_ee_delta_pos", num_envs=1), 1, "cpu")
    cube, agent = scene.env.cube, scene.env.agent
    answers = []
    with torch.inference_mode():
        for t in range(45):
            gap = (cube.pose.p - agent.tcp.pose.p)[0]  # (3,) m
            down = gap[2:] if gap[:2].norm() < 0.01 else torch.zeros(1)
            hand = torch.ones(1) if t < 25 else -torch.ones(1)  # open, then close
            move = torch.cat([gap[:2], down]) * 10 if t < 30 else torch.tensor([0.0, 0.0, 1.0])
            scene.step(torch.cat([move, hand]).clamp(-1, 1)[None])
            answers.append((bool(agent.is_grasping(cube)), bool(grasps_as_published(agent, cube))))
    assert [quick for quick, _ in answers] == [published for _, published in answers]
    assert {quick for quick, _ in answers} == {True, False}


def test_segmentation_counts_the_bodies_that_are_seen():
    env = begin(replace(PUSH, num_envs=1, obs="rgb", segmentation=True, image_size=64).build())
    seen = env.observe()["segmentation/base_camera"]
    assert seen.shape == (1, 64, 64, 1)
    assert seen.dtype == torch.int32
    names = {number: body.name for number, body in env.envs[0].scene.env.segmentation_id_map.items()}
    assert {"cube", "table-workspace", "goal_region"} <= {names.get(int(number)) for number in seen.unique()}
    env.close()


def test_segmentation_without_pictures_is_refused():
    with pytest.raises(ValueError, match="segmentation=true needs pictures"):
        replace(PUSH, segmentation=True)


def test_a_misspelled_robot_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no robot `panda_wristcm`.*panda_wristcam"):
        replace(PUSH, robot="panda_wristcm").build()
