"""ManiSkill's motion planners show its tasks, and what they did can be done again."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from embodied.collecting.expert import EpisodeOver, ExpertRecipe, Tape
from embodied.data.episode_log import EpisodeLog
from embodied.errors import ConfigError, DemonstrationError, PackageError
from embodied.types import Start
from simulators.maniskill import ManiSkillRecipe

pytestmark = [
    pytest.mark.simulators,
    pytest.mark.filterwarnings("ignore:component.pose can be ambiguous:DeprecationWarning"),  # of ManiSkill's planners
]
PICK = ManiSkillRecipe(task="PickCube-v1", num_envs=1, processes=0, backend="cpu", control="pd_joint_pos")


@pytest.fixture(scope="module", autouse=True)
def _there():
    try:
        PICK.build().close()
    except PackageError as error:
        pytest.skip(f"ManiSkill is not on this machine: {error}")


@pytest.mark.parametrize("control", ["pd_joint_pos", "pd_joint_delta_pos", "pd_joint_target_delta_pos"])
def test_a_demonstration_replays_to_success_through_the_environment(tmp_path, control):
    simulator = replace(PICK, control=control)
    expert = ExpertRecipe(simulator=simulator, folder=str(tmp_path), part="0").build()
    assert expert.correctable == ()  # a plan is followed blindly
    attempt = expert.attempt(0, seed=4)
    expert.close()
    assert (attempt.success, attempt.kept, attempt.reason) == (True, True, "")
    recording = EpisodeLog(tmp_path).recording(0)
    assert recording.label.source == "planner"
    assert np.abs(recording.action).max() <= 1
    assert recording.complete
    env = simulator.build()
    env.reset(torch.tensor([True]), Start.seeded([recording.label.seed]))
    torch.testing.assert_close(env.observe()["state"][0].numpy(), recording.obs["state"][0])
    step = env.step(torch.from_numpy(recording.action)[None])
    env.close()
    assert bool(step.success.any())


def test_the_end_of_an_episode_ends_the_planner():
    demonstrator = PICK.demonstrator()
    demonstrator.reset(0, -1, 4)
    tape = Tape(demonstrator, limit=5)
    with pytest.raises(EpisodeOver):
        demonstrator.demonstrate(tape.act)
    assert len(tape) == 5
    demonstrator.close()


def test_a_planner_that_cannot_go_on_says_so():
    demonstrator: Any = replace(PICK, task="PushCube-v1").demonstrator()
    demonstrator.reset(0, -1, 4)
    demonstrator.solve = lambda *_, **__: -1
    with pytest.raises(DemonstrationError, match="found no path"):
        demonstrator.demonstrate(lambda _: None)
    demonstrator.solve = lambda env, **_: env.no_such_body  # the planner's own mistake
    with pytest.raises(DemonstrationError, match="gave up: AttributeError"):
        demonstrator.demonstrate(lambda _: None)
    demonstrator.close()


def test_errors_of_whoever_records_are_not_the_planners():
    demonstrator = replace(PICK, task="PushCube-v1").demonstrator()
    demonstrator.reset(0, -1, 4)

    def act(_):
        raise ValueError("the disk melted")

    with pytest.raises(ValueError, match="the disk melted"):
        demonstrator.demonstrate(act)
    demonstrator.close()


def test_a_task_without_a_planner_names_those_that_have_one():
    with pytest.raises(ConfigError, match=r"no motion planner for PokeCube-v1 with panda.*PickCube-v1"):
        replace(PICK, task="PokeCube-v1").demonstrator()


def test_an_arm_without_a_planner_names_those_that_have_one():
    with pytest.raises(ConfigError, match=r"motion planners for panda, so100, xarm6, and PickCube-v1 has fetch"):
        replace(PICK, robot="fetch", control="pd_joint_delta_pos").demonstrator()


def test_a_controller_of_the_tool_says_what_to_set():
    with pytest.raises(ConfigError, match=r"control=pd_ee_delta_pose.*Set simulator.control to one of pd_joint_pos"):
        replace(PICK, control="pd_ee_delta_pose").demonstrator()


def test_a_controller_without_limits_is_refused():
    with pytest.raises(ConfigError, match=r"have no limits, so .-1, 1. means nothing"):
        replace(PICK, robot="fetch").build()
