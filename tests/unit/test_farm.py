"""Samplers in processes of their own give what one sampler gives, and survive the death of one."""

from typing import Any

import pytest
import torch

from embodied.algorithms.ppo import PPO
from embodied.config import recipe
from embodied.errors import ConfigError, EnvProcessError
from embodied.interfaces import Env
from embodied.learner.learner import seeded_policy
from embodied.sampler.farm import Farm
from embodied.train import Loop, Training, collector_recipe
from embodied.types import Weights
from policies.mlp import MLPRecipe
from simulators.gymnasium import GymnasiumRecipe
from simulators.reach import ReachRecipe
from simulators.subprocess_env import split
from tests.counting import CountingRecipe


@recipe
class Shards:
    """`reach` in as many processes as asked; 0 keeps it here."""

    processes: int
    num_envs: int = 5
    max_steps: int = 6
    broken: CountingRecipe | None = None  # a process more, with environments of another kind

    def build(self) -> Env:
        return ReachRecipe(num_envs=self.num_envs, max_steps=self.max_steps).build()

    def shards(self):
        if self.broken is not None:
            return [CountingRecipe(num_envs=self.num_envs - 1, max_steps=self.max_steps), self.broken]
        if self.processes == 0:
            return [self]
        return [ReachRecipe(num_envs=n, max_steps=self.max_steps) for n in split(self.num_envs, self.processes)]


def training(simulator, **named):
    policy = MLPRecipe(hidden=(16,), chunk=2)
    return Training(simulator=simulator, policy=policy, algorithm=PPO(), rollout=8, device="cpu", **named)


def built(simulator, **named) -> Any:
    """With weights that depend on nothing: before the first `load` every sampler has its own."""
    run = training(simulator, **named)
    collector = collector_recipe(run).build()
    collector.load(Weights(0, seeded_policy(run.policy, collector.spec(), 0).state_dict()))
    return collector


def collected(simulator, rollouts=2, **named):
    collector = built(simulator, **named)
    trajectories = [collector.collect(8) for _ in range(rollouts)]
    episodes = collector.episodes()
    collector.close()
    return trajectories, episodes


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("group_size", [1, 5])
def test_the_number_of_processes_changes_nothing(processes, group_size):
    (first, second), episodes = collected(Shards(processes=0), group_size=group_size)
    (a, b), found = collected(Shards(processes=processes), group_size=group_size)
    for whole, joined in ((first, a), (second, b)):
        for name in ("action", "reward", "valid", "truncated", "episode", "seed", "value", "next_value", "log_prob"):
            torch.testing.assert_close(getattr(joined, name), getattr(whole, name), msg=lambda m, n=name: f"{n}: {m}")
        torch.testing.assert_close(joined.obs["state"], whole.obs["state"])
        torch.testing.assert_close(joined.next_obs["state"], whole.next_obs["state"])
    assert [e.index for e in found] == [e.index for e in episodes]


def test_the_parameters_after_training_do_not_depend_on_the_number_of_processes():
    def parameters(processes):
        task = GymnasiumRecipe(task="Pendulum-v1", num_envs=3, processes=processes)
        loop = Loop(training(task))
        for _ in range(3):
            loop.iterate()
        state = loop.state()[0]["weights"]
        loop.close()
        return state

    torch.testing.assert_close(parameters(1), parameters(3), rtol=1e-4, atol=1e-5)


def test_environments_of_one_group_begin_alike_in_different_processes():
    (first, _), _ = collected(Shards(processes=3), group_size=5)
    assert (first.obs["state"][0] == first.obs["state"][0, :1]).all()


def test_a_running_farm_is_continued_exactly():
    one, other = built(Shards(processes=2)), built(Shards(processes=2))
    one.collect(5)
    state = one.state()
    assert other.resume(state)
    a, b = one.collect(5), other.collect(5)
    torch.testing.assert_close(b.action, a.action, rtol=0, atol=0)
    torch.testing.assert_close(b.obs["state"], a.obs["state"], rtol=0, atol=0)
    one.close()
    other.close()


@pytest.mark.parametrize("how", ["exit", "raise"])
def test_a_dead_sampler_is_rebuilt_its_episodes_are_lost_and_the_others_go_on(how, tmp_path):
    dies = CountingRecipe(num_envs=1, max_steps=50, breaks=how, breaks_at=21, once=str(tmp_path / "died"))
    farm = built(Shards(processes=2, broken=dies, num_envs=3, max_steps=50))
    assert isinstance(farm, Farm)
    farm.collect(8)
    second = farm.collect(8)  # 16 of 32 actions are done; the third process dies at the 21st
    assert farm.deaths == 1
    lost = [episode for episode in farm.episodes() if episode.lost]
    assert [(episode.env, episode.steps) for episode in lost] == [(2, 16)]
    assert second.valid.all()
    assert second.episode[0, 2] > second.episode[0, 1]  # a later episode began
    assert second.obs["state"][0, 2, 0] == 0  # from its start
    assert second.obs["state"][0, 0, 0] == 16
    farm.close()


def test_a_sampler_that_always_dies_ends_the_run_with_its_last_words():
    dies = CountingRecipe(num_envs=1, max_steps=50, breaks="exit", breaks_at=2)
    farm = built(Shards(processes=2, broken=dies, num_envs=3))
    with pytest.raises(EnvProcessError, match=r"died 4 times without a finished rollout.*last checkpoint is kept"):
        farm.collect(8)
    farm.close()


def test_an_error_while_building_is_the_sentence_of_the_builder():
    with pytest.raises(ConfigError, match="no task `Pendulumm-v1`"):
        collector_recipe(training(GymnasiumRecipe(task="Pendulumm-v1", num_envs=2, processes=2))).build()


def test_a_death_right_after_a_resume_loses_the_running_episode_and_begins_a_later_one(tmp_path):
    dies = CountingRecipe(num_envs=1, max_steps=50, breaks="exit", breaks_at=21, once=str(tmp_path / "died"))
    one = built(Shards(processes=2, broken=dies, num_envs=3, max_steps=50))
    before = one.collect(8)
    state = one.state()
    one.close()
    two = built(Shards(processes=2, broken=dies, num_envs=3, max_steps=50))
    two.resume(state)
    after = two.collect(8)  # the third environment dies at its 21st action
    lost = [(episode.env, episode.index, episode.steps) for episode in two.episodes() if episode.lost]
    assert lost == [(2, int(before.episode[-1, 2]), 16)]
    assert after.episode[0, 2] > before.episode[-1, 2]
    two.close()


def test_a_process_killed_between_two_rollouts_is_rebuilt_at_the_next_call():
    farm = built(Shards(processes=2))
    farm.collect(4)
    farm.stages[1]._child.process.kill()
    farm.stages[1]._child.process.wait()
    assert set(farm.timing()) == {"act", "step", "reset", "observe"}
    farm.state()
    assert farm.collect(4).valid.any()
    assert farm.deaths == 1
    farm.close()


def test_one_death_of_each_of_many_processes_does_not_end_the_run():
    farm = built(Shards(processes=5))
    farm.collect(2)
    for stage in farm.stages:
        stage._child.process.kill()
        stage._child.process.wait()
    farm.collect(2)
    assert farm.deaths == 5
    farm.close()
