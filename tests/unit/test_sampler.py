"""The loop between environment and policy: clocks, resets, endings, and what a trajectory keeps."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from embodied.errors import NonFiniteError
from embodied.sampler.sampler import Sampler, SamplerRecipe
from embodied.sampler.starts import Starts
from embodied.types import Weights
from policies.mlp import MLPRecipe
from simulators.reach import ReachRecipe
from tests.counting import CountingRecipe
from tests.evaluated import played
from tests.made import Says

ONE = [[0.5]]  # a chunk of one action
THREE = [[0.1], [0.2], [0.3]]


def sampler(env=None, action=ONE, *, starts=None, **options) -> Any:
    env = env or CountingRecipe(num_envs=2)
    return Sampler(env.build(), Says(action), starts or Starts(seed=0), **options)


def learner_like(*, seed=0, num_envs=4, max_steps=None, starts=None):
    """A real sampler over reach, with chunks of two; the first weights are always the same."""
    torch.manual_seed(0)
    return SamplerRecipe(
        env=ReachRecipe(num_envs=num_envs, max_steps=7),
        policy=MLPRecipe(hidden=(8,), chunk=2),
        starts=starts or Starts(seed=3),
        max_steps=max_steps,
        seed=seed,
    ).build()


def test_nothing_after_a_termination_inside_a_chunk_counts():
    r = sampler(CountingRecipe(num_envs=2, length=1), THREE).collect(2)
    assert r.reward[:, 0].tolist() == [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    assert r.valid[:, 0].tolist() == [[True, False, False], [True, False, False]]
    assert r.terminated[:, 0].tolist() == [[True, False, False], [True, False, False]]
    assert not r.truncated.any()


def test_chosen_and_executed_actions_are_both_kept():
    r = sampler(action=[[9.0]]).collect(1)
    assert (r.action.unique().item(), r.executed.unique().item()) == (9.0, 1.0)


def test_the_time_limit_truncates_at_the_end_of_a_chunk_and_starts_a_new_episode():
    r = sampler(action=THREE, max_steps=4).collect(4)
    assert r.truncated[:, 0].tolist() == [False, True, False, True]  # after 6 actions, the first chunk border past 4
    assert r.obs["state"][:, 0, 0].tolist() == [0.0, 3.0, 0.0, 3.0]
    assert r.next_obs["state"][:, 0, 0].tolist() == [3.0, 6.0, 3.0, 6.0]  # the ending is seen before the reset
    assert r.episode.tolist() == [[0, 1], [0, 1], [2, 3], [2, 3]]


def test_the_tasks_own_time_limit_is_taken_unless_another_is_asked_for():
    env = CountingRecipe(num_envs=1, max_steps=2)
    assert sampler(env).collect(4).truncated[:, 0].tolist() == [False, True, False, True]
    assert sampler(env, max_steps=3).collect(4).truncated[:, 0].tolist() == [False, False, True, False]


def lengths(s, decisions):
    """(task, actions) of every episode that ends, and whether both tasks ran side by side."""
    r = s.collect(decisions)
    together = bool((r.task[:, 0] != r.task[:, 1]).any())
    return {(e.task, e.steps) for e in s.episodes() if not e.terminated}, together


def test_tasks_of_one_batch_are_each_cut_at_their_own_time_limit():
    two = CountingRecipe(num_envs=2, max_steps=(2, 5))
    assert lengths(sampler(two), 12) == ({(0, 2), (1, 5)}, True)
    assert lengths(sampler(two, THREE), 12) == ({(0, 2), (1, 5)}, True)  # inside a chunk, too
    assert lengths(sampler(two, max_steps=3), 12) == ({(0, 3), (1, 3)}, True)


def test_a_task_without_a_time_limit_goes_on_beside_one_that_has_it():
    env = CountingRecipe(num_envs=2, max_steps=(2, 5)).build()
    env.spec = replace(env.spec, max_steps=(2, None), playable=((0,), (1,)))
    r = Sampler(env, Says(ONE), Starts(seed=0)).collect(7)
    assert r.truncated.sum(dim=0).tolist() == [3, 0]


@pytest.mark.parametrize("num_envs", [1, 2, 5])
def test_an_evaluation_keeps_the_time_limit_of_each_task(num_envs):
    env = CountingRecipe(num_envs=num_envs, max_steps=(2, 5)).build()
    found = played(env, Says(THREE), episodes=6)
    assert [(e.task, e.steps) for e in found] == [(0, 2), (1, 5)] * 3
    assert {e.steps for e in played(env, Says(THREE), episodes=6, max_steps=4)} == {4}


def test_an_episode_that_ends_at_its_time_limit_is_terminated_and_not_truncated():
    r = sampler(CountingRecipe(num_envs=1, length=2, max_steps=2)).collect(2)
    assert r.terminated[:, 0, 0].tolist() == [False, True]
    assert not r.truncated.any()


def test_every_frame_is_kept_once():
    r = sampler(max_steps=2).collect(3)  # 2 environments: one ending each at t = 1, one each at the end
    assert len(r.frames["state"]) == 3 * 2 + 2 + 2
    assert r.next_frame[0].tolist() == [2, 3]  # inside an episode, the next decision's
    assert r.next_frame[1].tolist() == [6, 7]
    assert r.next_frame[2].tolist() == [8, 9]


def test_next_value_is_that_of_the_last_observation_of_an_episode_and_of_the_rollout():
    r = sampler(max_steps=2).collect(3)  # the value is the sum of (count, last action 0.5)
    assert r.next_value[:, 0].tolist() == [0.0, 2.5, 1.5]
    assert r.value[:, 0, 0].tolist() == [0.0, 1.5, 0.0]


def test_a_rollout_continues_where_the_last_one_stopped():
    s = sampler(max_steps=5)
    assert s.collect(3).obs["state"][:, 0, 0].tolist() == [0.0, 1.0, 2.0]
    second = s.collect(3)
    assert second.obs["state"][:, 0, 0].tolist() == [3.0, 4.0, 0.0]
    assert second.episode[:, 0].tolist() == [0, 0, 2]


def test_records_say_how_each_episode_went():
    s = sampler(CountingRecipe(num_envs=1, length=3), THREE[:2], starts=Starts(seed=0))
    s.collect(2)
    (episode,) = s.episodes()
    assert (episode.steps, episode.reward, episode.first_success_step) == (3, 3.0, 3)
    assert episode.terminated
    assert episode.seed == Starts(seed=0)([0], [0], 1)[0][2]
    assert s.episodes() == []


def test_loaded_weights_are_stamped_on_what_they_chose():
    s = sampler()
    s.load(Weights(version=7, state=s.policy.state_dict()))
    assert s.collect(2).version.unique().tolist() == [7]


def test_the_same_seed_collects_the_same_trajectory():
    first, second, other = (learner_like(seed=seed).collect(6) for seed in (0, 0, 1))
    assert first.action.shape == (6, 4, 2, 2)
    torch.testing.assert_close(first.frames, second.frames)
    assert (first.action != other.action).any()


def test_without_exploration_the_seed_of_the_noise_does_not_matter():
    torch.manual_seed(0)
    policy = MLPRecipe(hidden=(8,)).build(ReachRecipe().build().spec)
    runs = [
        Sampler(ReachRecipe().build(), policy, Starts(seed=0), explore=False, seed=seed).collect(3) for seed in (0, 1)
    ]
    assert torch.equal(runs[0].action, runs[1].action)


def test_a_resumed_sampler_collects_what_the_first_would_have():
    first = learner_like()
    first.collect(5)  # 7 actions per episode, chunks of 2: mid-episode, with different lengths after successes
    first.episodes()
    second = learner_like(seed=99)
    second.load(Weights(0, first.policy.state_dict()))
    assert second.resume(first.state())
    expected, found = first.collect(6), second.collect(6)
    torch.testing.assert_close(found.frames, expected.frames)
    for name in ("action", "reward", "episode", "truncated", "terminated", "next_frame"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert second.episodes() == first.episodes()


def test_a_resumed_sampler_cuts_running_episodes_of_several_tasks_where_the_first_would_have():
    first, second = (sampler(CountingRecipe(num_envs=3, max_steps=(4, 7)), THREE) for _ in range(2))
    first.collect(4)
    assert second.resume(first.state())
    expected, found = first.collect(9), second.collect(9)
    for name in ("task", "episode", "truncated", "valid", "reward"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert second.episodes()[-3:] == first.episodes()[-3:]


@pytest.mark.parametrize("action", [ONE, THREE])
def test_an_episode_resumed_beyond_a_shorter_limit_is_cut_and_not_lost(action):
    env = CountingRecipe(num_envs=1, max_steps=4)
    first, second = sampler(env, action, max_steps=50), sampler(env, action)
    first.collect(9)
    assert second.resume(first.state())
    r = second.collect(1)
    (episode,) = second.episodes()
    assert bool(r.truncated[0, 0])
    assert (episode.steps, episode.lost) == (9 * len(action) + 1, False)


def test_a_resume_that_does_not_repeat_says_so():
    first, second = learner_like(), learner_like()
    first.collect(1)
    state = first.state()
    assert not second.resume(state | {"obs/state": state["obs/state"] + 1})


def test_an_exploding_simulator_is_stopped_before_the_learner_with_its_place():
    s = sampler(CountingRecipe(num_envs=2, breaks="nan", breaks_at=3))
    with pytest.raises(NonFiniteError, match="the reward from the simulator is NaN or infinite at decision 2"):
        s.collect(4)


def test_time_is_accounted_for_and_then_forgotten():
    s = sampler()
    s.collect(2)
    assert {name for name, seconds in s.timing().items() if seconds > 0} == {"act", "step", "reset", "observe"}
    assert set(s.timing().values()) == {0.0}


def test_each_decision_is_rendered_once():
    s = sampler(action=THREE)
    s.collect(4)
    assert [env.observed for env in s.env.envs] == [5, 5]  # four decisions and what followed


def test_what_a_chunk_does_beyond_the_time_limit_does_not_count():
    r = sampler(CountingRecipe(num_envs=1, length=6, max_steps=5), THREE).collect(2)  # chunks of three, a limit of five
    assert r.valid[:, 0].tolist() == [[True, True, True], [True, True, False]]
    assert r.reward[:, 0].tolist() == [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]
    assert not r.success.any()  # the sixth action would have solved it
    assert r.truncated[:, 0].tolist() == [False, True]
