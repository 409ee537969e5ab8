"""The episode log: what is written comes back bit for bit, and damage costs one episode."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embodied.data.dataset import examined, open_dataset
from embodied.data.episode_log import EpisodeLog, LogWriter
from embodied.data.recording import Damage, Label, Recording
from embodied.data.records import STEP, Record, frame, scan
from embodied.errors import DatasetError
from tests.recordings import FACTS, SPEC, assert_same, episode, whole_in


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


def test_a_log_from_before_each_task_had_its_limit_goes_on(tmp_path):
    before, now = (replace(FACTS, spec=replace(SPEC, max_steps=limits)) for limits in (80, (50, 80)))
    for facts in (before, now, now):
        with LogWriter(tmp_path, facts) as log:
            log.write(episode(2))
    assert len(EpisodeLog(tmp_path)) == 3
    for limits in ((50, 60), (80, None)):
        with pytest.raises(DatasetError, match=r"another spec.max_steps \(80, here \["):
            LogWriter(tmp_path, replace(FACTS, spec=replace(SPEC, max_steps=limits)))


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
    killed, whole = dataset.entries  # of task 0 and 1
    assert (whole.name, whole.steps) == ("0:0", 2)
    assert (killed.name, killed.steps >= 21) == ("0:1", True)
    last = dataset.recording(0)
    assert not last.complete
    assert last.reward.tolist() == list(range(len(last)))
    assert dataset.label(0).seed == 5


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


def spoil_end(folder, junk, part="0"):
    with (folder / "log" / f"{part}.log").open("ab") as file:
        file.write(junk)


@pytest.mark.parametrize("junk", [bytes(4096), b"garbage" * 50, b"\xabEMB" * 100])
@pytest.mark.parametrize("complete", [True, False])
def test_what_a_power_cut_appends_costs_no_episode_before_or_after_it(tmp_path, caplog, junk, complete):
    before, after = [episode(3), episode(50, seed=1, complete=complete)], [episode(3, seed=2), episode(2, seed=3)]
    write(tmp_path, *before)
    if not complete:
        os.truncate(tmp_path / "log" / "0.log", records(tmp_path)[-1].start)  # nobody said that it ended
    whole = (tmp_path / "log" / "0.log").stat().st_size
    spoil_end(tmp_path, junk)
    assert [len(found) for found in whole_in(EpisodeLog(tmp_path))] == [3, 50]
    assert f"bytes {whole} to {whole + len(junk)}" in caplog.text
    write(tmp_path, *after)
    dataset = EpisodeLog(tmp_path)
    assert not dataset.damaged
    for index, recording in enumerate(before + after):
        assert_same(dataset.recording(index), recording)


def test_junk_that_was_written_behind_costs_no_whole_episode(tmp_path):
    write(tmp_path, episode(3))
    write(tmp_path, episode(2, seed=1), part="1")
    second = (tmp_path / "log" / "1.log").read_bytes()
    with (tmp_path / "log" / "0.log").open("ab") as file:  # as a writer did that did not cut it off
        file.write(bytes(100))
        for item in records(tmp_path, "1"):
            file.write(frame(item.kind, 1, item.step, second[item.payload : item.end]))
    (tmp_path / "log" / "1.log").unlink()
    dataset = EpisodeLog(tmp_path)
    assert not dataset.damaged
    assert_same(dataset.recording(1), episode(2, seed=1))


def test_a_part_without_any_record_is_named_and_the_others_are_read(tmp_path):
    write(tmp_path, episode(3))
    (tmp_path / "log" / "1.log").write_bytes(b"garbage" * 50)
    (tmp_path / "log" / "2.log").write_bytes(b"")
    dataset = EpisodeLog(tmp_path)
    assert [damage.episode for damage in dataset.damaged] == ["1:0"]
    assert "bytes 0 to 350" in dataset.damaged[0].reason
    assert_same(dataset.recording(0), episode(3))


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_payloads_that_a_power_cut_left_unwritten_stay_cut_off_when_the_next_writer_goes_on(tmp_path, lost):
    write(tmp_path, episode(4))
    path, data = tmp_path / "log" / "0.log", bytearray((tmp_path / "log" / "0.log").read_bytes())
    for record in records(tmp_path)[-lost:]:
        data[record.payload : record.end] = bytes(record.length)
    path.write_bytes(data)
    assert EpisodeLog(tmp_path).lengths.tolist() == [5 - lost]
    write(tmp_path, episode(2, seed=1))
    dataset = EpisodeLog(tmp_path)
    assert dataset.lengths.tolist() == [5 - lost, 2]
    np.testing.assert_array_equal(dataset.recording(0).action, episode(4).action[: 5 - lost])
    assert_same(dataset.recording(1), episode(2, seed=1))


def test_the_order_of_episodes_does_not_depend_on_who_wrote_which(tmp_path):
    labels = [Label(task, state, seed) for task in (1, 0) for state in (3, 2) for seed in (9, 4)]
    every = [episode(2, seed, label=label) for seed, label in enumerate(labels)]
    write(tmp_path / "one", *every)
    write(tmp_path / "two", *every[1::2], part="0")
    write(tmp_path / "two", *reversed(every[::2]), part="1")
    one, two = EpisodeLog(tmp_path / "one"), EpisodeLog(tmp_path / "two")
    assert [one.label(index) for index in range(8)] == list(reversed(labels))
    for index in range(8):
        assert_same(one.recording(index), two.recording(index))


def changed_facts(folder, was, now):
    path = folder / "dataset.json"
    path.write_text(path.read_text().replace(was, now))
    return folder


def test_records_that_do_not_fit_the_facts_are_named(tmp_path):
    write(tmp_path, episode(3))
    changed_facts(tmp_path, '"action_dim": 2', '"action_dim": 7')
    damage: Any = next(found for _, found in examined(EpisodeLog(tmp_path)))
    assert "episode 0:0 does not decode" in damage.reason
    changed_facts(tmp_path, '"action_dim": 7', '"action_dim": 2')
    path = tmp_path / "dataset.json"
    facts = json.loads(path.read_text())
    del facts["spec"]["obs"]["depth/agent"]
    path.write_text(json.dumps(facts))
    damage: Any = next(found for _, found in examined(EpisodeLog(tmp_path)))
    assert "bytes of observations where the dataset's spec makes it" in damage.reason


@pytest.mark.parametrize("dtype", ["load", "nothing", "bfloat16"])
def test_facts_with_a_type_that_is_none_are_one_sentence(tmp_path, dtype):
    write(tmp_path, episode(1))
    with pytest.raises(DatasetError, match="does not describe a dataset"):
        open_dataset(changed_facts(tmp_path, '"uint8"', f'"{dtype}"'))


def test_a_folder_that_is_no_log_names_the_converter(tmp_path):
    with pytest.raises(DatasetError, match=r"is no episode log: it has no dataset.json; .*embodied data convert"):
        EpisodeLog(tmp_path)


def test_a_log_of_a_later_version_and_a_folder_of_something_else_are_refused(tmp_path):
    write(tmp_path / "d", episode(1))
    path = tmp_path / "d" / "dataset.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 3'))
    with pytest.raises(DatasetError, match="version 3, and this version reads"):
        open_dataset(tmp_path / "d")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note.txt").write_text("mine")
    with pytest.raises(DatasetError, match="holds other files"):
        LogWriter(tmp_path / "other", FACTS)
