"""Whole imitation runs, as a user starts them: the same folder, resume, Ctrl-C and evaluation as any other run."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from embodied.compose import compose_recipe
from embodied.errors import ConfigError
from embodied.imitate import JudgeRecipe
from embodied.learner import checkpoint as checkpoints
from embodied.metrics.axis import GRADIENT_STEPS
from embodied.metrics.curve import success_curve
from policies.mlp import MLPRecipe
from simulators.reach import ReachRecipe
from tests.counting import CountingRecipe
from tests.demonstrated import reached

SMALL = [
    "algorithm=bc", "simulator=reach", "simulator.num_envs=4", "policy.hidden=[32]", "policy.chunk=2",
    "algorithm.updates=60", "algorithm.updates_per_iteration=10", "algorithm.batch=16", "algorithm.evaluate_every=2",
    "algorithm.evaluate_episodes=6", "learning_rate=0.01", "checkpoint_every=2", "keep_checkpoints=50", "evaluate=7",
    "film=0",
]  # fmt: skip


def embodied(*words):
    return subprocess.run([sys.executable, "-m", "embodied.cli", *words], capture_output=True, text=True)


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "embodied.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def rows(folder):
    """The logged metrics without clocks."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    clocks = ("seconds/", "wall_s", "cpu_s", "device_s", "updates_per_s")
    return [{key: value for key, value in row.items() if not key.startswith(clocks)} for row in found]


def assert_same_run(folder, other):
    assert rows(folder) == rows(other)
    assert (folder / "episodes.csv").read_text() == (other / "episodes.csv").read_text()
    mine, theirs = (load_file(checkpoints.latest(path) / "weights.safetensors") for path in (folder, other))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine | theirs)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMBODIED_CACHE", str(folder / "cache"))
        yield [*SMALL, f"algorithm.dataset={reached(folder / 'reach', ReachRecipe(), 12)}"]


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = embodied("train", *settings, f"run_dir={folder}")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_run_leaves_the_same_files_as_any_other_and_counts_gradient_steps(whole):
    folder, told = whole
    for name in ("config.yaml", "facts.json", "metrics.jsonl", "episodes.csv", "curve.png", "tensorboard"):
        assert (folder / name).exists(), name
    found = rows(folder)
    assert [row["gradient_steps"] for row in found] == [10, 20, 30, 40, 50, 60]
    assert all({"bc_loss", "validation_loss", "action_error"} <= row.keys() for row in found)
    assert found[-1]["bc_loss"] < 0.5 * found[0]["bc_loss"]
    assert ["success_once" in row for row in found] == [False, True] * 3
    assert "60 gradient steps" in told
    assert "of 6" in told
    assert json.loads((folder / "evaluation" / "final" / "summary.json").read_text())["success_once"]["episodes"] == 7


def test_every_evaluation_plays_episodes_of_its_own(whole):
    lines = (whole[0] / "episodes.csv").read_text().splitlines()
    header = lines[0].split(",")
    table = [dict(zip(header, line.split(","), strict=True)) for line in lines[1:]]
    assert [row["gradient_steps"] for row in table] == ["20"] * 6 + ["40"] * 6 + ["60"] * 6
    assert len({row["index"] for row in table}) == len({row["seed"] for row in table}) == 18
    axis, steps, success, low, high = success_curve(whole[0])
    assert axis is GRADIENT_STEPS
    assert steps.tolist() == [20, 40, 60]
    for step, rate in zip(steps, success, strict=True):
        hits = [row["success_once"] == "True" for row in table if row["gradient_steps"] == str(step)]
        assert rate == sum(hits) / 6
    assert (low <= success).all()
    assert (success <= high).all()


def test_a_run_killed_at_any_moment_continues_bit_for_bit(whole, settings, tmp_path):
    folder = tmp_path / "run"
    for words in ([*settings, f"run_dir={folder}"], [f"resume={folder}"]):
        process = start("train", *words)
        seen = len(checkpoints.all_in(folder))
        while process.poll() is None and len(checkpoints.all_in(folder)) <= seen + 1:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    done = embodied("train", f"resume={folder}")
    assert done.returncode == 0, done.stderr
    assert "gradient steps" in done.stdout
    assert_same_run(folder, whole[0])


def test_ctrl_c_writes_a_checkpoint_and_can_be_continued(whole, settings, tmp_path):
    folder = tmp_path / "run"
    process = start("train", *settings, f"run_dir={folder}", "checkpoint_every=1000")
    while not (folder / "metrics.jsonl").exists() or not (folder / "metrics.jsonl").read_text():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    told = process.communicate()[0]
    assert process.returncode == 130, told
    assert f"continue with: embodied train resume={folder}" in told
    assert embodied("train", f"resume={folder}").returncode == 0
    assert_same_run(folder, whole[0])


def test_a_run_does_not_continue_on_other_data(whole, settings, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    data = next(word for word in settings if word.startswith("algorithm.dataset=")).partition("=")[2]
    other = reached(tmp_path / "other", ReachRecipe(), 5)
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace(data, str(other)))
    done = embodied("train", f"resume={folder}")
    assert done.returncode == 1
    assert "learned from 12 episodes" in done.stderr
    assert "now holds 5" in done.stderr


def test_evaluate_takes_an_imitated_policy(whole, tmp_path):
    done = embodied("evaluate", str(whole[0]), "episodes=5", "film=0", f"out={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["success_once"]["episodes"] == 5


def test_data_of_another_simulator_are_one_sentence_and_leave_no_folder_behind(settings, tmp_path):
    kept = [word for word in settings if not word.startswith("simulator=")]
    done = embodied("train", *kept, "simulator=gymnasium", f"run_dir={tmp_path / 'run'}")
    assert done.returncode == 1
    assert "has actions of 2 entries and the simulator takes 1" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("word", ["total_steps=500", "rollout=3", "group_size=2"])
def test_a_setting_about_collecting_is_refused(word):
    with pytest.raises(ConfigError, match=r"is about collecting, and BC collects nothing: set algorithm\.updates"):
        compose_recipe("train", ["algorithm=bc", word])


def test_a_task_without_an_end_is_refused_before_anything_is_learned():
    endless = CountingRecipe(num_envs=1)
    with pytest.raises(ConfigError, match="no time limit of its own"):
        JudgeRecipe(simulator=endless, policy=MLPRecipe(), episodes=1).build()
