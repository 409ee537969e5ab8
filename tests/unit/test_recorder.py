"""One record for each episode that ended, whatever rollouts it was spread over."""

import pytest
import torch

from embodied.sampler.recorder import Recorder
from tests.made import trajectory


def flags(*rows):
    return torch.tensor(rows, dtype=torch.bool)[:, None]  # (T, 1, K)


def test_a_success_inside_a_chunk_is_dated_to_its_action():
    r = trajectory(
        2,
        1,
        chunk=3,
        reward=torch.tensor([[[1.0, 2.0, 3.0]], [[4.0, 5.0, 0.0]]]),
        valid=flags([1, 1, 1], [1, 1, 0]),
        terminated=flags([0, 0, 0], [0, 1, 0]),
        success=flags([0, 0, 0], [0, 1, 0]),
        episode=torch.tensor([[8], [8]]),
        seed=torch.tensor([[5], [5]]),
    )
    (episode,) = Recorder(1).take(r)
    assert (episode.index, episode.env, episode.seed, episode.initial_state) == (8, 0, 5, -1)
    assert (episode.steps, episode.reward, episode.first_success_step) == (5, 15.0, 5)
    assert episode.success_once
    assert episode.success_at_end
    assert episode.terminated
    assert not episode.lost


def test_success_once_is_not_success_at_the_end():
    r = trajectory(1, 1, chunk=3, success=flags([0, 1, 0]), truncated=torch.tensor([[True]]))
    (episode,) = Recorder(1).take(r)
    assert (episode.success_once, episode.success_at_end, episode.first_success_step) == (True, False, 2)
    assert not episode.terminated


def test_an_episode_is_carried_across_rollouts():
    recorder = Recorder(1)
    going = trajectory(2, 1, reward=torch.ones(2, 1, 1))
    assert recorder.take(going) == []
    ending = trajectory(2, 1, reward=torch.ones(2, 1, 1), truncated=torch.tensor([[True], [False]]))
    (episode,) = recorder.take(ending)
    assert (episode.steps, episode.reward) == (3, 3.0)
    assert recorder.running[0].steps == 1  # of the next one


def test_a_lost_episode_says_so():
    r = trajectory(1, 1, valid=flags([0]), truncated=torch.tensor([[True]]))
    (episode,) = Recorder(1).take(r)
    assert episode.lost
    assert episode.steps == 0


def test_episodes_come_in_the_order_they_ended():
    truncated = torch.tensor([[False, True], [True, False]])
    r = trajectory(2, 2, truncated=truncated, episode=torch.tensor([[0, 1], [0, 3]]))
    assert [episode.index for episode in Recorder(2).take(r)] == [1, 0]


def test_a_restored_recorder_continues_the_running_episode():
    first = Recorder(2)
    success = torch.zeros(3, 2, 1, dtype=torch.bool)
    success[1, 0] = True
    r = trajectory(3, 2, reward=torch.full((3, 2, 1), 0.5), success=success)
    first.take(r)
    second = Recorder(2)
    second.load(first.state())
    assert second.running == first.running
    assert second.running[0].first_success == 2
    assert second.running[1].reward == pytest.approx(1.5)
