"""`embodied data`: what people see of datasets, and what it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from embodied.cli import run
from embodied.data.dataset import open_dataset
from embodied.data.episode_log import EpisodeLog, LogWriter
from embodied.data.overview import histogram_lines
from embodied.data.recording import Label
from embodied.data.statistics import count, summarize
from embodied.types import Array
from tests.recordings import FACTS, SPEC, assert_same, episode


def write(folder, *recordings, facts=FACTS):
    with LogWriter(folder, facts) as log:
        for recording in recordings:
            log.write(recording)
    return str(folder)


def spoilt(length, seed):
    recording = episode(length, seed=seed)
    recording.action[1, 0] = np.nan
    return recording


def test_show_says_what_is_in_it_and_names_what_is_left_out(tmp_path, capsys):
    label = Label(0, -1, 3, "planner")
    path = write(tmp_path / "d", episode(5), episode(9, seed=1, label=label), spoilt(4, 2))
    assert run(["data", "show", path, f"out={tmp_path / 'pictures'}"]) == 0
    printed = capsys.readouterr().out
    for said in (
        "2, 14 steps, 0:01", "5 to 9 steps, median 7", "planner 1, script 1", "robot", "panda", "tests",
        "push the cube", "pick the cube", "rgb/agent uint8 8x10x3",
        "episode 0:2 is left out: action is not finite at step 1",
    ):  # fmt: skip
        assert said in printed
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["actions.png", "frames.png"]


def test_a_histogram_is_darkest_where_most_actions_are():
    action = np.array([[-1.0, 0.01], [-1.0, 0.01], [0.98, 0.01], [0.5, 0.9]], dtype=np.float32)
    _, first, second = histogram_lines(action)
    assert first.index("@") == first.index("[") + 1
    assert second.index("@") == second.index("[") + 21
    assert "-1 to +0.98" in first


def test_check_ends_with_status_1_if_an_episode_is_bad(tmp_path, capsys):
    good, bad = write(tmp_path / "good", episode(3)), write(tmp_path / "bad", episode(3), spoilt(4, 1))
    assert run(["data", "check", good]) == 0
    assert "1 episodes are whole, 0 are not" in capsys.readouterr().out
    assert run(["data", "check", good, bad]) == 1
    assert "episode 0:1 is left out: action is not finite at step 1" in capsys.readouterr().out


def test_stats_are_exact_and_written_where_asked(tmp_path, capsys):
    recordings = episode(30), episode(20, seed=1)
    path = write(tmp_path / "d", *recordings)
    assert run(["data", "stats", path, f"out={tmp_path / 'stats.json'}"]) == 0
    assert "state 2" in capsys.readouterr().out
    found = json.loads((tmp_path / "stats.json").read_text())
    states = np.concatenate([r.obs["state"][:-1] for r in recordings]).astype(np.float64)
    np.testing.assert_allclose(found["state"]["mean"], states.mean(axis=0))
    np.testing.assert_allclose(found["state"]["q01"], np.quantile(states, 0.01, axis=0))
    assert found["rgb/agent"]["count"] == [40.0]  # 20 frames of each episode


def test_counted_brightness_gives_the_statistics_of_all_pixels():
    frames = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
    counted, exact = count(frames).summary(), summarize(frames.reshape(-1, 3) / 255.0)
    for name in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(counted[name], exact[name], atol=1e-12)
    for name in ("q01", "q50", "q99"):
        np.testing.assert_allclose(counted[name], exact[name], atol=1 / 255)


def test_convert_goes_to_lerobot_and_back_and_leaves_the_input_alone(tmp_path, capsys):
    pytest.importorskip("pyarrow", exc_type=ImportError)
    pytest.importorskip("av")
    path = write(tmp_path / "d", episode(5), spoilt(4, 1), episode(3, seed=2))
    before = (tmp_path / "d/log/0.log").read_bytes()
    assert run(["data", "convert", path, "to=lerobot"]) == 0
    assert "d-lerobot: 2 episodes, 1 left out" in capsys.readouterr().out
    assert run(["data", "convert", f"{path}-lerobot", "to=log", f"out={tmp_path / 'back'}"]) == 0
    back = open_dataset(tmp_path / "back")
    assert isinstance(back, EpisodeLog)
    assert back.facts == FACTS
    for index, recording in enumerate((episode(5), episode(3, seed=2))):
        found = back.recording(index)
        vectors = {name: x for name, x in recording.obs.items() if not name.startswith("rgb/")}
        assert_same(replace(found, obs={name: found.obs[name] for name in vectors}), replace(recording, obs=vectors))
    assert (tmp_path / "d/log/0.log").read_bytes() == before


def test_merge_unites_the_tasks(tmp_path):
    other = replace(FACTS, spec=replace(SPEC, tasks=("pick the cube", "open the drawer")), origin="else")
    a = write(tmp_path / "a", episode(3, label=Label(task=1)))
    b = write(tmp_path / "b", episode(4, label=Label(task=0)), episode(5, label=Label(task=1)), facts=other)
    assert run(["data", "merge", a, b, f"out={tmp_path / 'all'}"]) == 0
    merged = open_dataset(tmp_path / "all")
    assert merged.facts.spec.tasks == ("push the cube", "pick the cube", "open the drawer")
    assert merged.facts.origin == "tests + else"
    assert [merged.label(index).task for index in range(3)] == [1, 1, 2]
    assert_same(merged.recording(0), episode(3, label=Label(task=1)))


def test_merge_keeps_the_time_limit_of_each_task_and_the_longer_one_of_two(tmp_path):
    def limited(folder, tasks, limits):
        spec = replace(SPEC, tasks=tasks, max_steps=limits)
        return write(tmp_path / folder, episode(3, seed=len(folder), label=Label(0)), facts=replace(FACTS, spec=spec))

    a, b = limited("a", ("push", "pick"), (50, 80)), limited("bb", ("pick", "open", "wait"), (60, 90, None))
    assert run(["data", "merge", a, b, f"out={tmp_path / 'all'}"]) == 0
    spec = open_dataset(tmp_path / "all").facts.spec
    assert (spec.tasks, spec.max_steps) == (("push", "pick", "open", "wait"), (50, 80, 90, None))


def test_merge_gives_the_observed_task_its_new_number(tmp_path):
    def multi(folder, tasks):
        spec = replace(SPEC, obs={**SPEC.obs, "task": Array((), torch.int64)}, tasks=tasks)
        r = episode(3, label=Label(task=1))
        whole = replace(r, obs={**r.obs, "task": np.full(4, 1)})
        return write(folder, whole, facts=replace(FACTS, spec=spec))

    a, b = multi(tmp_path / "a", ("a", "b")), multi(tmp_path / "b", ("b", "c"))
    assert run(["data", "merge", a, b, f"out={tmp_path / 'all'}"]) == 0
    merged = open_dataset(tmp_path / "all")
    for index in range(2):
        recording = merged.recording(index)
        assert recording.label.task == index + 1
        assert recording.obs["task"].tolist() == [index + 1] * 4


def test_an_observed_task_that_there_is_not_is_named(tmp_path, capsys):
    spec = replace(SPEC, obs={**SPEC.obs, "task": Array((), torch.int64)})
    r = episode(3)
    path = write(tmp_path / "d", replace(r, obs={**r.obs, "task": np.full(4, 2)}), facts=replace(FACTS, spec=spec))
    assert run(["data", "check", path]) == 1
    assert "it observes tasks 2 to 2 and the dataset has 2" in capsys.readouterr().out


def test_merge_leaves_out_what_is_there_twice_by_name(tmp_path, capsys):
    longer = episode(4, seed=1, label=Label(1, 7, 1))
    other = replace(episode(3, seed=9), label=Label(1, 7, 0, "script"))  # the same start and other actions
    a = write(tmp_path / "a", episode(3), episode(2, seed=2, label=Label()))
    b = write(tmp_path / "b", longer, episode(3), other, episode(2, seed=2, label=Label()))
    assert run(["data", "merge", a, b, f"out={tmp_path / 'all'}"]) == 0
    said = capsys.readouterr().out
    assert f"episode 0:1 of {b} is left out: it is episode 0:0 of {a} again" in said
    assert f"episode 0:3 of {b} is left out: it is episode 0:1 of {a} again" in said
    assert "4 episodes, 2 left out" in said
    assert sorted(open_dataset(tmp_path / "all").lengths.tolist()) == [2, 3, 3, 4]


def test_pictures_of_datasets_with_one_name_go_to_folders_of_their_own(tmp_path):
    paths = [write(tmp_path / parent / "demo", episode(3)) for parent in ("a", "b")]
    assert run(["data", "show", *paths, f"out={tmp_path / 'x'}"]) == 0
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["a-demo", "b-demo"]


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    path = write(tmp_path / "d", episode(3))
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", "import embodied.cli as c; c.main()", "data", "show", path]
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"robot": "so100"}, "their robots are panda and so100"),
        ({"action_dim": 3}, "their actions have 2 and 3 entries"),
        ({"control_hz": 10.0}, "at 20 and 10 actions/s"),
        ({"obs": {"state": Array((3,))}}, "depth/agent is observed in one of them only"),
        (
            {"obs": dict(SPEC.obs) | {"rgb/agent": Array((4, 4, 3), torch.uint8)}},
            "rgb/agent is uint8 (8, 10, 3) in one",
        ),
    ],
)
def test_datasets_that_do_not_go_together_are_one_sentence(tmp_path, capsys, change, sentence):
    a = write(tmp_path / "a", episode(3))
    b = write(tmp_path / "b", facts=replace(FACTS, spec=replace(SPEC, **change)))
    assert run(["data", "merge", a, b, f"out={tmp_path / 'all'}"]) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["look"], "there is show, check, stats, convert, merge"),
        (["show"], "name a dataset"),
        (["show", "DIR", "ot=x"], "has no setting ot (nearest: out"),
        (["convert", "DIR"], "to=lerobot or to=log"),
        (["convert", "DIR", "to=rlds"], "to=rlds is no format"),
        (["convert", "DIR", "DIR", "to=log"], "convert takes one dataset"),
        (["merge", "DIR", "out=x"], "merge takes two datasets or more"),
        (["merge", "DIR", "DIR"], "out=FOLDER"),
    ],
)
def test_a_misspelled_command_is_one_sentence(tmp_path, capsys, words, sentence):
    path = write(tmp_path / "d", episode(2))
    assert run(["data", *(path if word == "DIR" else word for word in words)]) == 2
    assert sentence in capsys.readouterr().err


def test_an_existing_folder_and_a_dataset_without_a_usable_episode_are_refused(tmp_path, capsys):
    path = write(tmp_path / "d", spoilt(3, 0))
    assert run(["data", "convert", path, "to=log", f"out={tmp_path}"]) == 1
    assert "is already there" in capsys.readouterr().err
    assert run(["data", "convert", path, "to=log", f"out={path}/copy"]) == 1
    assert "which is only read" in capsys.readouterr().err
    assert run(["data", "convert", path, "to=log", f"out={tmp_path / 'x'}"]) == 1
    assert "none of 1 episodes can be used" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d"]


def test_help_helps(capsys):
    assert run(["data", "--help"]) == 0
    assert "embodied data convert" in capsys.readouterr().out
