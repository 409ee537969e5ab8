"""The cache of decoded frames, and walking over a dataset."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest

from embodied.data import cache
from embodied.data.dataset import open_dataset
from embodied.data.episode_log import LogWriter
from embodied.data.frames import cached
from embodied.errors import DatasetError
from tests.recordings import FACTS, episode


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBODIED_CACHE", str(tmp_path / "cache"))


def write(folder, *recordings):
    with LogWriter(folder, FACTS) as log:
        for recording in recordings:
            log.write(recording)
    return open_dataset(folder)


def test_every_frame_is_kept_once_and_points_to_the_one_that_followed(tmp_path):
    recordings = [episode(3), episode(2, seed=1, complete=False), episode(1, seed=2)]
    frames = cached(write(tmp_path / "d", *recordings), progress=False)
    assert len(frames) == 6
    assert frames.frame.tolist() == [0, 1, 2, 4, 5, 6]
    assert frames.next_frame.tolist() == [1, 2, 3, 5, -1, 7]
    assert frames.episode.tolist() == [0, 0, 0, 1, 1, 2]
    assert frames.step.tolist() == [0, 1, 2, 0, 1, 0]
    assert frames.lengths.tolist() == [3, 2, 1]
    assert [label.seed for label in frames.labels] == [0, 1, 2]
    for name in recordings[0].obs:
        np.testing.assert_array_equal(frames.obs[name], np.concatenate([r.obs[name] for r in recordings]))
    for name in ("action", "reward", "terminated", "success", "human"):
        np.testing.assert_array_equal(getattr(frames, name), np.concatenate([getattr(r, name) for r in recordings]))
    batch = frames.gather(frames.next_frame[[1, 0]])
    np.testing.assert_array_equal(batch["rgb/agent"], recordings[0].obs["rgb/agent"][[2, 1]])


def test_a_second_time_nothing_is_decoded_until_the_dataset_changes(tmp_path, monkeypatch):
    dataset = write(tmp_path / "d", episode(3))
    cached(dataset, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(type(dataset), "recording", lambda *_, **__: pytest.fail("it was read again"))
        assert len(cached(dataset, progress=False)) == 3
    assert len(cached(write(tmp_path / "d", episode(2)), progress=False)) == 5
    kept = [path for path in (tmp_path / "cache" / "frames").glob("*/*") if path.is_dir()]
    assert len(kept) == 1


def test_what_an_earlier_version_decoded_is_deleted_and_what_a_later_one_did_is_not(tmp_path, monkeypatch):
    dataset = write(tmp_path / "d", episode(3))
    for version in (2, 4, 3):
        monkeypatch.setattr("embodied.data.frames.VERSION", version)
        cached(dataset, progress=False)
        cached(dataset, pictures=False, progress=False)
    kept = [path.name.split("-")[1:] for path in (tmp_path / "cache" / "frames").glob("*/*") if path.is_dir()]
    assert sorted(kept) == [["all", "3"], ["all", "4"], ["vectors", "3"], ["vectors", "4"]]


def test_without_pictures_only_vectors_are_kept(tmp_path):
    frames = cached(write(tmp_path / "d", episode(3)), pictures=False, progress=False)
    assert list(frames.obs) == ["state"]
    assert len(cached(open_dataset(tmp_path / "d"), progress=False).obs) == 3


def test_an_episode_that_cannot_be_used_is_left_out_by_name(tmp_path, caplog):
    bad = episode(4, seed=1)
    bad.action[2, 1] = np.nan
    dataset = write(tmp_path / "d", episode(3), bad, episode(2, seed=2))
    with caplog.at_level(logging.WARNING):
        frames = cached(dataset, progress=False)
    assert caplog.messages == ["episode 0:1 is left out: action is not finite at step 2"]
    assert frames.names == ("0:0", "0:2")
    assert frames.frame.tolist() == [0, 1, 2, 4, 5]


def test_a_disk_without_room_and_a_dataset_without_episodes_are_one_sentence(tmp_path, monkeypatch):
    dataset = write(tmp_path / "d", episode(3))
    usage = shutil.disk_usage(tmp_path)._replace(free=cache.RESERVE + 100)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DatasetError, match="Set EMBODIED_CACHE to a larger disk"):
        cached(dataset, progress=False)
    monkeypatch.undo()
    monkeypatch.setenv("EMBODIED_CACHE", str(tmp_path / "cache"))
    bad = episode(2)
    bad.obs["state"][0] = np.inf
    with pytest.raises(DatasetError, match="no episode that can be used"):
        cached(write(tmp_path / "bad", bad), progress=False)
    assert not [path for path in (tmp_path / "cache").rglob("*.npy")]
