"""What happens when environment processes die: the run goes on, and what was lost counts for nothing."""

import os
import re
import signal
import socket
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from embodied.config import recipe
from embodied.errors import ConfigError, EnvProcessError
from embodied.runtime.wire import Wire
from embodied.sampler.sampler import Sampler
from embodied.sampler.starts import Starts
from embodied.types import Start
from simulators.subprocess_env import Patience, SubprocessEnv, _serve, split
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


@recipe
class RefusingRecipe:
    num_envs: int = 1

    def build(self):
        env = CountingRecipe(num_envs=1).build()
        reset = env.reset
        env.reset = partial(self.reset, env, reset)
        return env

    def reset(self, env, reset, mask, start):
        if not env.ended.all():
            raise ConfigError("there is no such chair; nothing was reset.")
        reset(mask, start)


@recipe
class DyingResetsRecipe:
    """Counting environments whose process dies in the second reset of its life, the first time that one comes."""

    once: str
    num_envs: int = 2
    how: str = "exit"

    def build(self):
        env: Any = CountingRecipe(num_envs=self.num_envs).build()
        for single in env.envs:
            single.reset = partial(self.reset, single, single.reset)
        return env

    def reset(self, single, reset, *start):
        if single.count > 0 and not Path(self.once).exists():
            Path(self.once).touch()
            os._exit(3) if self.how == "exit" else time.sleep(60)
        reset(*start)


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


def test_a_stopped_process_is_replaced(processes):
    env = processes(STEADY, STEADY, step_s=1.0)
    os.kill(env.workers[0].process.pid, signal.SIGSTOP)
    assert env.step(CHUNK).valid.tolist() == [[False] * 3, [True] * 3]
    check_the_first_was_lost_and_comes_back(env)


def test_two_silent_processes_share_one_deadline(processes, caplog):
    env = processes(STEADY, STEADY, step_s=1.5)
    env.step(CHUNK)
    for worker in env.workers:
        os.kill(worker.process.pid, signal.SIGSTOP)
    assert not env.step(CHUNK).valid.any()
    waited = [float(seconds) for seconds in re.findall(r"stayed silent after (\S+) s of stepping", caplog.text)]
    assert waited == pytest.approx([1.5, 1.5], abs=0.7)


@pytest.mark.parametrize("how", ["exit", "sleep"])
def test_a_process_that_ends_in_a_reset_loses_its_other_episodes_at_once(processes, tmp_path, how):
    env = processes(DyingResetsRecipe(num_envs=2, once=str(tmp_path / "died"), how=how), reset_s=3.0)
    env.step(CHUNK)
    env.reset(FIRST, START)
    assert env.deaths == 1
    assert env.observe()["state"][:, 0].tolist() == [0.0, 3.0]  # what it saw last, not what the new process sees
    assert env.lost.tolist() == [False, True]
    step = env.step(CHUNK)
    assert step.valid.tolist() == [[True] * 3, [False] * 3]
    assert step.reward.tolist() == [[1.0] * 3, [0.0] * 3]
    assert env.observe()["state"][:, 0].tolist() == [3.0, 3.0]
    env.reset(~FIRST, START)
    assert env.observe()["state"][:, 0].tolist() == [3.0, 0.0]
    assert env.step(CHUNK).valid.all()
    assert env.deaths == 1


def test_the_successor_of_the_last_action_before_a_death_is_what_was_seen_then(tmp_path):
    dying = DyingResetsRecipe(num_envs=2, once=str(tmp_path / "died"))
    sampler = Sampler(SubprocessEnv([dying]), Says([[0.5]], value=1.0), Starts(seed=0), max_steps=3)
    sampler.env.reset(EVERYONE, START)
    sampler._begin()
    sampler.steps[0] = 1  # so that environment 0 is cut, and reset, one action before environment 1
    r = sampler.collect(4)
    sampler.close()
    assert r.valid[:, :, 0].tolist() == [[True, True], [True, True], [True, False], [True, True]]
    assert r.next_obs["state"][1, 1, 0] == 2.0
    assert r.obs["state"][2, 1, 0] == 2.0
    assert r.next_obs["state"][2, 1, 0] == 2.0  # of the chunk that did not count
    assert r.obs["state"][3].tolist() == [[1.0, 0.5], [0.0, 0.0]]


def test_a_death_is_told_with_its_process_environments_action_and_time(processes, caplog):
    env = processes(STEADY, CountingRecipe(num_envs=1, breaks="sleep", breaks_at=2), step_s=1.0)
    env.step(CHUNK)
    assert re.search(
        r"process 1 \(environment 1, CountingRecipe\) stayed silent after 1\.\d s of stepping a chunk of 3; its "
        r"episodes are lost",
        caplog.text,
    )
    os.kill(env.workers[0].process.pid, signal.SIGKILL)
    env.step(CHUNK[:, :1])
    assert re.search(r"process 0 \(.*\) was ended by SIGKILL after", caplog.text)


def test_a_sentence_of_a_simulator_is_raised_here_and_its_process_lives_on(processes):
    env = processes(STEADY, RefusingRecipe())
    pid = env.workers[1].process.pid
    with pytest.raises(ConfigError, match="no such chair"):
        env.reset(EVERYONE, START)
    assert (env.deaths, env.workers[1].process.pid) == (0, pid)


def test_a_process_that_always_dies_ends_the_run_with_its_last_words(processes):
    env = processes(CountingRecipe(num_envs=1, breaks="raise"), STEADY, max_deaths_in_a_row=1)
    env.step(CHUNK)
    env.reset(FIRST, START)  # a finished reset is not a finished step
    with pytest.raises(
        EnvProcessError, match=r"RuntimeError: the gripper melted.* It died 2 times without a finished step"
    ):
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
    assert all(child.poll() is not None for child in children)


def test_pictures_and_states_come_from_every_process(processes):
    env = processes(STEADY, STEADY)
    env.step(CHUNK)
    assert env.picture()[:, 0, 0, 0].tolist() == [3, 3]
    state = env.get_state()
    env.step(CHUNK)
    env.set_state(FIRST, state)
    assert env.observe()["state"][:, 0].tolist() == [3.0, 6.0]


def test_slices_are_as_even_as_they_can_be():
    assert split(10, 4) == [3, 3, 2, 2]
    assert split(2, 8) == [1, 1]


def test_a_worker_that_may_not_choose_how_it_is_scheduled_works_all_the_same(monkeypatch):
    asked = []

    def refused(*_):
        asked.append(True)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "SCHED_BATCH", 3, raising=False)
    monkeypatch.setattr(os, "sched_param", lambda priority: priority, raising=False)
    monkeypatch.setattr(os, "sched_setscheduler", refused, raising=False)
    ours, theirs = (Wire(end) for end in socket.socketpair())
    worker = threading.Thread(target=_serve, args=(theirs, STEADY, 0.0), daemon=True)
    worker.start()
    assert ours.hear(10.0).num_envs == 1
    ours.close()
    worker.join(10.0)
    theirs.close()
    assert asked == [True]
    assert not worker.is_alive()
