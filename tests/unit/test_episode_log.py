"""The episode log: what is written comes back bit for bit, and damage costs one episode."""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from embodied.data.dataset import examined, open_dataset
from embodied.data.episode_log import EpisodeLog, LogWriter
from embodied.data.recording import Damage, Label, Recording
from embodied.data.records import STEP, Record, scan
from embodied.errors import DatasetError
from tests.recordings import FACTS, SPEC, assert_same, episode


def write(folder, *recordings, part="0"):
    with LogWriter(folder, FACTS, part=part) as log:
        for recording in recordings:
            log.write(recording)


def records(folder, part="0"):
    with (folder / "log" / f"{part}.log").open("rb") as file:
        return [item for item in scan(file) if isinstance(item, Record)]


def flip(folder, at, part="0"):
    path = folder / "log" / f"{part}.log"
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def test_what_is_written_comes_back_bit_for_bit(tmp_path):
    first, second = episode(5), episode(3, seed=1, complete=False)
    write(tmp_path / "d", first, second)
    dataset = open_dataset(tmp_path / "d")
    assert dataset.facts == FACTS
    assert dataset.lengths.tolist() == [5, 3]
    assert not dataset.damaged
    assert dataset.label(0) == first.label
    assert_same(dataset.recording(0), first)
    assert_same(dataset.recording(1), second)
    assert dataset.recording(0).complete
    assert not dataset.recording(1).complete


def test_without_pictures_only_vectors_are_read(tmp_path):
    write(tmp_path, episode(5))
    vectors = EpisodeLog(tmp_path).recording(0, pictures=False)
    assert list(vectors.obs) == ["state"]
    np.testing.assert_array_equal(vectors.obs["state"], episode(5).obs["state"])


def test_pictures_that_compress_are_stored_smaller(tmp_path):
    write(tmp_path, episode(4))
    flat, noise = 8 * 10 * 4, 8 * 10 * 3
    longest = max(record.length for record in records(tmp_path) if record.kind == STEP)
    assert longest < flat + noise
    assert longest > noise


def test_a_discarded_episode_is_passed_over_and_a_writer_continues_its_part(tmp_path):
    with LogWriter(tmp_path, FACTS) as log:
        log.write(episode(2))
        log.begin(Label())
        first = {name: x[0] for name, x in episode(1).obs.items()}
        log.step(first, np.zeros(2, dtype=np.float32), 0.0, terminated=False, success=False)
        log.discard()
    write(tmp_path, episode(4, seed=4))
    dataset = EpisodeLog(tmp_path)
    assert dataset.lengths.tolist() == [2, 4]
    assert not dataset.damaged
    assert_same(dataset.recording(1), episode(4, seed=4))


def test_several_parts_of_one_folder_are_one_dataset(tmp_path):
    for part in ("0", "1", "10", "2"):
        write(tmp_path, episode(int(part) + 1), part=part)
    assert EpisodeLog(tmp_path).lengths.tolist() == [1, 2, 3, 11]


def test_writers_that_begin_at_the_same_moment_share_one_dataset(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = [pool.submit(write, tmp_path / "d", episode(2, seed=n), part=str(n)) for n in range(8)]
        for future in made:
            future.result()
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["dataset.json", "log"]
    assert EpisodeLog(tmp_path / "d").lengths.tolist() == [2] * 8


def test_a_part_has_one_writer_at_a_time(tmp_path):
    with LogWriter(tmp_path, FACTS), pytest.raises(DatasetError, match="another process"):
        LogWriter(tmp_path, FACTS)
    LogWriter(tmp_path, FACTS).close()


def test_facts_of_another_robot_are_refused_but_another_number_of_environments_is_not(tmp_path):
    write(tmp_path, episode(1))
    with pytest.raises(DatasetError, match=r"another spec.robot \(panda, here so100\)"):
        LogWriter(tmp_path, replace(FACTS, spec=replace(SPEC, robot="so100")))
    LogWriter(tmp_path, replace(FACTS, simulator={"_target_": "simulators.fake.Fake", "num_envs": 8})).close()


def test_a_step_of_another_shape_is_refused_and_nothing_is_written(tmp_path):
    seen = {name: x[0] for name, x in episode(1).obs.items()}
    with LogWriter(tmp_path, FACTS) as log:
        log.begin(Label())
        with pytest.raises(DatasetError, match="wants action"):
            log.step(seen, np.zeros(3, dtype=np.float32), 0.0, terminated=False, success=False)
        with pytest.raises(DatasetError, match="wants the observation state"):
            log.step({"rgb/agent": seen["rgb/agent"]}, np.zeros(2), 0.0, terminated=False, success=False)
    assert [record.kind for record in records(tmp_path)] == [1]


def record_until_killed(folder, ready):
    first = {name: x[0] for name, x in episode(1).obs.items()}
    log = LogWriter(folder, FACTS)
    log.write(episode(2))
    log.begin(Label(seed=5))
    for step in range(1000):
        log.step(first, np.full(2, step / 1000), float(step), terminated=False, success=False)
        if step == 20:
            ready.set()
        time.sleep(0.001)


def test_a_killed_process_loses_at_most_the_step_in_flight(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=record_until_killed, args=(tmp_path, ready))
    process.start()
    assert ready.wait(60)
    process.kill()
    process.join(10)
    dataset = EpisodeLog(tmp_path)
    assert dataset.lengths[0] == 2
    assert dataset.lengths[1] >= 21
    last = dataset.recording(1)
    assert not last.complete
    assert last.reward.tolist() == list(range(len(last)))
    assert dataset.label(1).seed == 5


@pytest.mark.parametrize("lost", [1, 20, 200])
def test_a_torn_last_record_costs_one_step_and_the_next_writer_goes_on(tmp_path, lost):
    write(tmp_path, episode(3), episode(4, seed=1, complete=False))
    end = records(tmp_path)[-1]
    os.truncate(tmp_path / "log" / "0.log", end.start - lost)  # inside the last step record
    dataset = EpisodeLog(tmp_path)
    assert dataset.lengths.tolist() == [3, 3]
    assert not dataset.damaged
    write(tmp_path, episode(2, seed=2))
    dataset = EpisodeLog(tmp_path)
    assert dataset.lengths.tolist() == [3, 3, 2]
    np.testing.assert_array_equal(dataset.recording(1).action, episode(4, seed=1, complete=False).action[:3])
    assert_same(dataset.recording(2), episode(2, seed=2))


@pytest.mark.parametrize("which", range(7))
@pytest.mark.parametrize("part", ["header", "payload"])
def test_a_flipped_bit_costs_its_own_episode_alone(tmp_path, which, part):
    write(tmp_path, *(episode(5, seed=seed) for seed in range(3)))
    record = records(tmp_path)[7 + which]  # of the second episode: begin, five steps, end
    flip(tmp_path, record.start + 9 if part == "header" else record.payload + record.length // 2)
    dataset = EpisodeLog(tmp_path)
    found = [item for _, item in examined(dataset)]
    assert [item.episode for item in found if isinstance(item, Damage)] == ["0:1"]
    usable = [item for item in found if isinstance(item, Recording)]
    assert [recording.label.seed for recording in usable] == [0, 2]
    assert_same(usable[1], episode(5, seed=2))


def test_a_payload_that_a_power_cut_left_unwritten_costs_one_step(tmp_path):
    write(tmp_path, episode(4, complete=False))
    path = tmp_path / "log" / "0.log"
    end = records(tmp_path)[-1]
    step = records(tmp_path)[-2]
    path.write_bytes(path.read_bytes()[: step.payload] + bytes(end.start - step.payload))
    assert EpisodeLog(tmp_path).recording(0).action.tolist() == episode(4, complete=False).action[:3].tolist()


def test_a_log_of_a_later_version_and_a_folder_of_something_else_are_refused(tmp_path):
    write(tmp_path / "d", episode(1))
    path = tmp_path / "d" / "dataset.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(DatasetError, match="version 2, and this version reads"):
        open_dataset(tmp_path / "d")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note.txt").write_text("mine")
    with pytest.raises(DatasetError, match="holds other files"):
        LogWriter(tmp_path / "other", FACTS)
