"""What every storage must do, and what on-policy storage must do. A new one is added to STORAGES."""

import pytest
import torch

from embodied.data.rollouts import Rollouts
from embodied.errors import StageError
from tests.made import trajectory

STORAGES = {"rollouts": Rollouts}


@pytest.fixture(params=STORAGES)
def make(request):
    return STORAGES[request.param]


def test_what_is_saved_between_iterations_is_what_is_restored(make):
    storage, other = make(), make()
    state = storage.state()
    other.load(state)
    assert other.state().keys() == state.keys()
    assert all(torch.equal(other.state()[name], x) for name, x in state.items())


def test_a_storage_takes_trajectories(make):
    assert make().add(trajectory(2, 1)) is None


def test_a_rollout_is_used_once():
    storage, rollout = Rollouts(), trajectory(2, 1)
    storage.add(rollout)
    assert storage.take() is rollout
    with pytest.raises(StageError, match="wants one rollout and has 0"):
        storage.take()


def test_two_rollouts_at_once_are_refused():
    storage = Rollouts()
    storage.add(trajectory(2, 1))
    storage.add(trajectory(2, 1))
    with pytest.raises(StageError, match=r"Call Learner\.ingest exactly once"):
        storage.take()


def test_a_restored_storage_is_as_empty_as_the_saved_one():
    storage = Rollouts()
    storage.add(trajectory(2, 1))
    storage.load(storage.state())
    with pytest.raises(StageError, match="has 0"):
        storage.take()
