"""What happens when environment processes die: the run goes on, and what was lost counts for nothing."""

import os
import signal

import pytest
import torch

from embodied.config import recipe
from embodied.errors import ConfigError, EnvProcessError
from embodied.sampler.sampler import Sampler
from embodied.sampler.starts import Starts
from embodied.types import Start
from simulators.subprocess_env import Patience, SubprocessEnv, split
from tests.counting import CountingRecipe
from tests.made import Says

EVERYONE = torch.ones(2, dtype=torch.bool)
FIRST = torch.tensor([True, False])
START = Start.seeded([1, 2])
STEADY = CountingRecipe(num_envs=1)
CHUNK = torch.zeros(2, 3, 1)


@recipe
class UnbuildableRecipe:
    num_envs: int = 1

    def build(self):
        raise ConfigError("there is no such table; nothing was built.")


@pytest.fixture
def processes():
    """Starts environments over shards, and ends them."""
    started = []

    def start(*shards, **patience):
        started.append(SubprocessEnv(list(shards), Patience(**patience)))
        started[-1].reset(EVERYONE, START)
        return started[-1]

    yield start
    for env in started:
        env.close()


def check_the_first_was_lost_and_comes_back(env):
    """Environment 0 lost the chunk that was just sent; environment 1 knows nothing of it."""
    assert env.deaths == 1
    assert env.observe()["state"][:, 0].tolist()[1] == 3.0
    env.reset(FIRST, START)
    assert env.observe()["state"][:, 0].tolist() == [0.0, 3.0]
    assert env.step(CHUNK).valid.all()
    assert env.observe()["state"][:, 0].tolist() == [3.0, 6.0]
    assert env.deaths == 1


def test_a_killed_process_costs_its_own_episodes_and_no_others(processes):
    env = processes(STEADY, STEADY)
    os.kill(env.workers[0].process.pid, signal.SIGKILL)
    step = env.step(CHUNK)
    assert step.valid.tolist() == [[False] * 3, [True] * 3]
    assert step.reward.tolist() == [[0.0] * 3, [1.0] * 3]
    check_the_first_was_lost_and_comes_back(env)


@pytest.mark.parametrize("how", ["exit", "raise", "sleep"])
def test_a_process_that_ends_raises_or_is_silent_inside_a_chunk_is_rebuilt(processes, tmp_path, how):
    breaking = CountingRecipe(num_envs=1, breaks=how, breaks_at=2, once=str(tmp_path / "broken"))
    env = processes(breaking, STEADY, step_s=2.0)
    step = env.step(CHUNK)
    assert step.valid.tolist() == [[False] * 3, [True] * 3]  # the first action went well, and does not count either
    assert not step.terminated.any()
    check_the_first_was_lost_and_comes_back(env)


def test_a_process_that_always_dies_ends_the_run_with_its_last_words(processes):
    env = processes(CountingRecipe(num_envs=1, breaks="raise"), STEADY, max_deaths_in_a_row=1)
    env.step(CHUNK)
    env.reset(FIRST, START)  # a finished reset is not a finished step
    with pytest.raises(EnvProcessError, match=r"process 0 died 2 times .*RuntimeError: the gripper melted"):
        env.step(CHUNK)


def test_a_lost_episode_is_cut_reset_and_recorded_by_the_sampler(tmp_path):
    breaking = CountingRecipe(num_envs=1, breaks="exit", breaks_at=2, once=str(tmp_path / "broken"))
    sampler = Sampler(SubprocessEnv([breaking, STEADY]), Says([[0.5]], value=1.0), Starts(seed=0))
    r = sampler.collect(4)
    sampler.close()
    assert r.valid[:, :, 0].tolist() == [[True, True], [False, True], [True, True], [True, True]]
    assert r.truncated.tolist() == [[False, False], [True, False], [False, False], [False, False]]
    assert r.obs["state"][:, 0, 0].tolist() == [0.0, 1.0, 0.0, 1.0]
    (episode,) = sampler.episodes()
    assert episode.lost
    assert episode.env == 0


def test_an_environment_that_cannot_be_built_says_why_in_the_parent():
    with pytest.raises(ConfigError, match="no such table"):
        SubprocessEnv([STEADY, UnbuildableRecipe()])


def test_no_process_outlives_its_environment(processes):
    env = processes(STEADY, STEADY)
    children = [worker.process for worker in env.workers]
    env.close()
    assert not any(child.is_alive() for child in children)


def test_slices_are_as_even_as_they_can_be():
    assert split(10, 4) == [3, 3, 2, 2]
    assert split(2, 8) == [1, 1]
