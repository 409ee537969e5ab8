"""What every Env must do. A new one is added to ENVS, and to ENDINGS if it can be driven to its end."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from embodied.errors import PackageError
from embodied.types import Start
from simulators.gymnasium import GymnasiumRecipe
from simulators.libero import LiberoRecipe
from simulators.maniskill import ManiSkillRecipe
from simulators.reach import ReachRecipe
from simulators.robosuite import RobosuiteRecipe
from simulators.subprocess_env import SubprocessEnv
from simulators.tabletop import TabletopRecipe
from tests.counting import CountingRecipe
from tests.libero_archive import meshes

REACH = ReachRecipe(num_envs=3)
PENDULUM = GymnasiumRecipe(task="Pendulum-v1", num_envs=3, processes=0)
BALANCE = GymnasiumRecipe(task="InvertedPendulum-v5", num_envs=3, processes=0)
PUSH = ManiSkillRecipe(task="PushCube-v1", num_envs=3, processes=0, backend="cpu")
TABLE = TabletopRecipe(tasks=("reach",), num_envs=3, processes=0)
TABLE_PICTURES = replace(TABLE, tasks=("push",), obs="rgbd", segmentation=True, cameras=("wrist",), image_size=48)
BOWL = LiberoRecipe(tasks=(0,), num_envs=3, processes=0, cameras=("agent",), image_size=32, assets=meshes())
LIFT = RobosuiteRecipe(num_envs=3, processes=0)
LIFT_PICTURES = replace(LIFT, obs="rgbd", segmentation=True, cameras=("robot0_eye_in_hand",), image_size=48)
EVERYONE = torch.ones(3, dtype=torch.bool)
MIDDLE = torch.tensor([False, True, False])


def in_processes():
    return SubprocessEnv([replace(REACH, num_envs=n) for n in (2, 1)])


ENVS = {
    "reach": REACH.build,
    "reach in pictures": replace(REACH, obs="rgb").build,
    "reach in processes": in_processes,
    "pendulum": PENDULUM.build,
    "pendulum in processes": replace(PENDULUM, processes=2).build,
    "inverted pendulum": BALANCE.build,
    "tabletop": TABLE.build,
    "tabletop poses": replace(TABLE, tasks=("push",), control="pose").build,
    "tabletop pictures": TABLE_PICTURES.build,
    "ManiSkill": pytest.param(PUSH.build, marks=pytest.mark.simulators),
    "LIBERO": pytest.param(BOWL.build, marks=pytest.mark.simulators),
    "robosuite": pytest.param(LIFT.build, marks=pytest.mark.simulators),
    "robosuite pictures": pytest.param(LIFT_PICTURES.build, marks=pytest.mark.simulators),
}


def to_the_goal(obs):
    return (obs["state"][:, 2:] - obs["state"][:, :2]) * 10


def over(obs):
    return torch.ones(len(obs["state"]), 1)


def to_the_ball(obs):
    """Tool to goal, which its state ends with, in steps of 2.5 cm; the gripper as it is."""
    away = obs["state"][:, -3:] / 0.025
    return torch.cat([away, torch.ones(len(away), 1)], dim=1)


ENDINGS = {"reach": to_the_goal, "reach in processes": to_the_goal, "inverted pendulum": over, "tabletop": to_the_ball}


def listed():
    for name, make in ENVS.items():
        yield (
            pytest.param((name, make), id=name)
            if callable(make)
            else pytest.param((name, *make.values), id=name, marks=make.marks)
        )


@pytest.fixture(scope="module", params=listed())
def built(request):
    name, make = request.param
    try:
        env = make()
    except PackageError as error:
        pytest.skip(f"{name} is not on this machine: {error}")
    assert not env.step(actions(env)).valid.any()  # nothing moves before the first reset
    yield name, env
    env.close()


@pytest.fixture
def env(built):
    return begun(built[1])


def begun(env: Any, seeds=(1, 2, 3), initial_state=(-1, -1, -1), mask=EVERYONE) -> Any:
    start = Start.seeded(list(seeds))
    env.reset(mask, replace(start, initial_state=torch.tensor(initial_state)))
    return env


def actions(env, chunk=2, seed=0):
    """(N, K, A) anywhere in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(env.spec.num_envs, chunk, env.spec.action_dim, generator=generator) * 2 - 1


def seen(env):
    """A copy of the present observation."""
    return {name: x.clone() for name, x in env.observe().items()}


def same(first, second):
    """(N,) where two observations are equal in every entry."""
    return torch.stack([(first[name] == second[name]).reshape(3, -1).all(dim=1) for name in first]).all(dim=0)


def test_observations_match_the_spec(env):
    obs = env.observe()
    assert obs.keys() == env.spec.obs.keys()
    for name, array in env.spec.obs.items():
        assert (tuple(obs[name].shape), obs[name].dtype) == ((3, *array.shape), array.dtype), name


def test_a_step_has_one_entry_for_each_action_of_the_chunk(env):
    step = env.step(actions(env, chunk=4))
    assert step.reward.shape == step.valid.shape == (3, 4)
    assert step.action.shape == (3, 4, env.spec.action_dim)
    assert (step.reward.dtype, step.action.dtype) == (torch.float32, torch.float32)
    for flag in (step.valid, step.terminated, step.success, step.human):
        assert (flag.shape, flag.dtype) == ((3, 4), torch.bool)
    assert not step.human.any()


def test_observing_twice_shows_the_same(env):
    assert same(seen(env), seen(env)).all()


def test_actions_are_clipped_and_the_executed_one_is_reported(env):
    wild = actions(env) * 9
    torch.testing.assert_close(env.step(wild).action, wild.clamp(-1, 1))
    clipped = seen(env)
    begun(env).step(wild.clamp(-1, 1))
    assert same(seen(env), clipped).all()


def test_an_action_changes_what_is_observed(env):
    before = seen(env)
    env.step(actions(env, chunk=4))
    assert not same(seen(env), before).any()


def test_a_chunk_of_k_actions_is_k_single_steps(env):
    chunk = actions(env, chunk=3)
    whole, after = env.step(chunk), seen(env)
    begun(env)
    single = [env.step(chunk[:, k : k + 1]) for k in range(3)]
    for name in ("reward", "valid", "terminated", "success", "action"):
        torch.testing.assert_close(torch.cat([getattr(s, name) for s in single], dim=1), getattr(whole, name))
    assert same(seen(env), after).all()


def test_seed_and_actions_decide_everything(env):
    runs = []
    for _ in range(2):
        steps = [begun(env).step(actions(env, seed=0)), env.step(actions(env, seed=1))]
        runs.append((torch.cat([step.reward for step in steps], dim=1), seen(env)))
    assert torch.equal(runs[0][0], runs[1][0])
    assert same(runs[0][1], runs[1][1]).all()


def test_a_reset_touches_only_the_masked_environments(env):
    env.step(actions(env))
    before = seen(env)
    begun(env, seeds=(7, 8, 9), mask=MIDDLE)
    assert same(seen(env), before).tolist() == [True, False, True]
    second = env.step(actions(env, seed=1))
    begun(env).step(actions(env))
    undisturbed = env.step(actions(env, seed=1))
    assert torch.equal(second.reward[~MIDDLE], undisturbed.reward[~MIDDLE])


def test_the_same_seed_begins_in_the_same_state_whichever_environment_it_is(env):
    obs = seen(begun(env, seeds=(5, 6, 5)))
    assert all(torch.equal(x[0], x[2]) for x in obs.values())
    assert any(not torch.equal(x[0], x[1]) for x in obs.values())


def test_the_same_initial_state_begins_in_the_same_state_whatever_the_seed(env):
    obs = seen(begun(env, seeds=(5, 6, 7), initial_state=(4, 4, 4)))
    assert all(torch.equal(x[0], x[1]) and torch.equal(x[0], x[2]) for x in obs.values())
    assert same(seen(begun(env, seeds=(8, 9, 1), initial_state=(4, 4, 4))), obs).all()


def test_a_restored_state_goes_on_as_the_saved_one_did(env):
    env.step(actions(env))
    state, obs = env.get_state(), seen(env)
    assert (state.shape[0], state.dtype) == (3, torch.float64)
    expected, after = env.step(actions(env, seed=1)), seen(env)
    begun(env, seeds=(7, 8, 9))
    env.set_state(EVERYONE, state)
    torch.testing.assert_close(seen(env), obs)
    found = env.step(actions(env, seed=1))
    torch.testing.assert_close(found.reward, expected.reward)
    assert torch.equal(found.valid, expected.valid)
    torch.testing.assert_close(seen(env), after)


def test_only_the_masked_states_are_restored(env):
    state = env.get_state()
    env.step(actions(env, chunk=4))
    moved = seen(env)
    env.set_state(MIDDLE, state)
    assert same(seen(env), moved).tolist() == [True, False, True]


def test_what_rests_does_not_move_until_it_is_reset(env):
    env.step(actions(env, chunk=3))
    before = seen(env)
    env.rest(MIDDLE)
    step = env.step(actions(env, seed=1))
    assert step.valid.any(dim=1).tolist() == [True, False, True]
    assert not (step.valid | step.terminated | step.success)[1].any()
    assert step.reward[1].abs().sum() == 0
    assert same(seen(env), before).tolist() == [False, True, False]
    begun(env, mask=MIDDLE)
    again = env.step(actions(env, chunk=3))
    begun(env)
    alone = env.step(actions(env, chunk=3))
    assert again.valid[1, 0]
    assert torch.equal(again.reward[1], alone.reward[1])


@pytest.fixture(scope="module", params=ENDINGS)
def ending(request):
    """An environment, and the chunk that drives it towards its end from where it is."""
    env = ENVS[request.param]()
    yield env, lambda: ENDINGS[request.param](env.observe())[:, None].expand(-1, 3, -1)
    env.close()


def test_the_ending_action_is_the_last_valid_one(ending):
    env, chunk = ending
    begun(env)
    ends = 0
    for _ in range(20):
        step = env.step(chunk())
        for n in step.terminated.any(dim=1).nonzero()[:, 0].tolist():
            ends += 1
            end = int(step.terminated[n].nonzero()[0])
            assert step.valid[n].tolist() == [k <= end for k in range(3)]
            assert step.terminated[n].sum() == 1
    assert ends == 3


def test_nothing_moves_after_the_end_and_later_actions_are_not_valid(ending):
    env, chunk = ending
    begun(env)
    for _ in range(20):
        env.step(chunk())
    final = seen(env)
    late = env.step(actions(env))
    assert not (late.valid | late.terminated | late.success).any()
    assert late.reward.abs().sum() == 0
    assert same(seen(env), final).all()
    begun(env, mask=MIDDLE)
    assert env.step(actions(env, chunk=1)).valid[:, 0].tolist() == [False, True, False]


def test_a_step_renders_nothing_and_an_observation_is_rendered_once():
    env = begun(CountingRecipe(num_envs=3).build())
    env.step(torch.zeros(3, 5, 1))
    assert [single.observed for single in env.envs] == [0, 0, 0]
    env.observe()
    env.observe()
    assert [single.observed for single in env.envs] == [1, 1, 1]
    begun(env, mask=MIDDLE).observe()
    assert [single.observed for single in env.envs] == [1, 2, 1]


@pytest.mark.parametrize("recipe", [REACH, replace(REACH, obs="rgb"), BALANCE], ids=["reach", "pictures", "balance"])
def test_a_filmed_environment_shows_people_what_happens(recipe):
    env = begun(recipe.filmed(3).build())
    picture = env.picture()
    assert picture.shape[0] == 3
    assert picture.shape[1] >= 256
    assert (picture.shape[3], picture.dtype) == (3, torch.uint8)
    assert picture.float().std() > 1
    env.close()
