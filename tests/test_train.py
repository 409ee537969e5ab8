"""Whole runs, as a user starts them, on the point mass: files, resume after SIGKILL, Ctrl-C, evaluation, errors."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from embodied.learner import checkpoint as checkpoints

SMALL = [
    "experiment=reach_ppo", "simulator.num_envs=8", "rollout=16", "total_steps=5120", "checkpoint_every=4",
    "evaluate=8", "film=0", "policy.hidden=[16]", "keep_checkpoints=50",
]  # fmt: skip


def embodied(*words, **kwargs):
    return subprocess.run([sys.executable, "-m", "embodied.cli", *words], capture_output=True, text=True, **kwargs)


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "embodied.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def train(folder, *words):
    done = embodied("train", *SMALL, f"run_dir={folder}", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def weights(folder, number=None):
    path = checkpoints.latest(folder) if number is None else folder / "checkpoints" / f"{number:06d}"
    return load_file(path / "weights.safetensors")


def numbers(folder, clocks=("seconds/", "wall_s", "cpu_s", "device_s", "steps_per_s")):
    """The logged metrics without clocks."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if not key.startswith(clocks)} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, train(folder)


def test_a_run_leaves_everything_a_reader_needs(whole):
    folder, told = whole
    for name in (
        "config.yaml",
        "facts.json",
        "metrics.jsonl",
        "episodes.csv",
        "curve.png",
        "tensorboard",
        "checkpoints",
        "packages.txt",
    ):
        assert (folder / name).exists(), name
    assert json.loads((folder / "facts.json").read_text())["packages"]["torch"] == torch.__version__
    assert json.loads((folder / "evaluation" / "final" / "summary.json").read_text())["success_once"]["episodes"] == 8
    end = json.loads((folder / "end.json").read_text())
    assert end["how"] == "finished"
    assert end["totals"].items() <= numbers(folder, clocks=())[-1].items()
    assert end["totals"].keys() == {"env_steps", "optimizer_steps", "wall_s", "cpu_s", "device_s"}
    assert "success of the last training episodes" in told
    assert "of 8" in told


def test_the_same_seed_gives_the_same_numbers(whole, tmp_path):
    train(tmp_path / "run")
    assert numbers(tmp_path / "run") == numbers(whole[0])
    torch.testing.assert_close(weights(tmp_path / "run"), weights(whole[0]), rtol=0, atol=0)


def test_micro_batches_change_the_parameters_by_rounding_only(whole, tmp_path):
    train(tmp_path / "run", "micro_batch=7")
    torch.testing.assert_close(weights(tmp_path / "run"), weights(whole[0]), rtol=1e-3, atol=1e-4)


def test_a_run_killed_at_any_moment_continues_bit_for_bit(whole, tmp_path):
    folder = tmp_path / "run"
    for kill in range(3):
        words = [f"resume={folder}"] if kill else [*SMALL, f"run_dir={folder}"]
        process = start("train", *words)
        seen = len(checkpoints.all_in(folder))
        while process.poll() is None and len(checkpoints.all_in(folder)) <= seen:
            time.sleep(0.01)
        time.sleep(0.05 * kill)  # not always right after a checkpoint
        process.send_signal(signal.SIGKILL)
        process.communicate()
    done = embodied("train", f"resume={folder}")
    assert done.returncode == 0, done.stderr
    assert "continuing from" in done.stdout
    assert "did not replay" not in done.stdout
    facts = json.loads((folder / "facts.json").read_text())
    assert [session["command"] for session in facts["continued"]] == [f"embodied train resume={folder}"] * 3
    for counter in ("optimizer_steps", "wall_s", "cpu_s", "device_s"):
        counted = [row[counter] for row in numbers(folder, clocks=())]
        assert counted == sorted(counted)
        assert counted[0] > 0
    assert numbers(folder) == numbers(whole[0])
    assert (folder / "episodes.csv").read_text() == (whole[0] / "episodes.csv").read_text()
    torch.testing.assert_close(weights(folder), weights(whole[0]), rtol=0, atol=0)


def test_a_run_killed_before_its_first_rollout_can_be_continued(whole, tmp_path):
    folder = tmp_path / "run"
    process = start("train", *SMALL, f"run_dir={folder}")
    while process.poll() is None and not checkpoints.all_in(folder):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert embodied("train", f"resume={folder}").returncode == 0
    torch.testing.assert_close(weights(folder), weights(whole[0]), rtol=0, atol=0)


def test_an_earlier_checkpoint_can_be_continued_and_the_later_ones_step_aside(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    done = embodied("train", f"resume={folder / 'checkpoints' / '000008'}")
    assert done.returncode == 0, done.stderr
    assert numbers(folder) == numbers(whole[0])
    torch.testing.assert_close(weights(folder), weights(whole[0]), rtol=0, atol=0)


def test_a_mistake_found_while_building_leaves_no_folder_behind(tmp_path):
    folder = tmp_path / "run"
    done = embodied("train", "simulator=gymnasium", "simulator.task=Pendulumm-v1", f"run_dir={folder}")
    assert done.returncode == 2
    assert "Nearest: Pendulum-v1" in done.stderr
    assert not folder.exists()


def test_a_run_that_is_alive_cannot_be_continued_by_a_second_process(tmp_path):
    folder = tmp_path / "run"
    process = start("train", *SMALL, f"run_dir={folder}", "total_steps=5000000")
    while process.poll() is None and not checkpoints.all_in(folder):
        time.sleep(0.01)
    done = embodied("train", f"resume={folder}")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert "written by a run that is still alive" in done.stderr


def test_ctrl_c_writes_a_checkpoint_and_a_summary_and_can_be_continued(whole, tmp_path):
    folder = tmp_path / "run"
    process = start("train", *SMALL, f"run_dir={folder}", "checkpoint_every=1000")
    while not (folder / "metrics.jsonl").exists() or not (folder / "metrics.jsonl").read_text():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    told = process.communicate()[0]
    assert process.returncode == 130, told
    assert f"continue with: embodied train resume={folder}" in told
    assert embodied("train", f"resume={folder}").returncode == 0
    torch.testing.assert_close(weights(folder), weights(whole[0]), rtol=0, atol=0)


def test_evaluate_writes_a_table_and_repeats_itself_with_any_number_of_environments(whole, tmp_path):
    for num in (3, 5):
        done = embodied(
            "evaluate", str(whole[0]), "episodes=7", "seeds=[0,3]", "film=2", f"out={tmp_path / str(num)}",
            f"simulator.num_envs={num}",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    tables = [
        [
            [cell for index, cell in enumerate(row.split(",")) if index != 1]  # which environment played it
            for row in (tmp_path / num / "episodes-seed3.csv").read_text().splitlines()
        ]
        for num in ("3", "5")
    ]
    assert tables[0] == tables[1]
    assert len(tables[0]) == 8
    assert (tmp_path / "3" / "video.mp4").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "experiment=pick_cub"], "Did you mean `experiment=pick_cube_ppo`"),
        (["train", "algorithm.gama=1"], "Did you mean `algorithm.gamma`"),
        (["train", "resume=nowhere"], "neither a checkpoint nor a run folder"),
        (["train", "resume=nowhere", "seed=2"], "cannot be changed"),
        (["trian"], "there is no such command"),
        (["evaluate", "nowhere"], "there is no folder nowhere"),
        (["evaluate"], None),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(words, told):
    done = embodied(*words)
    if told is None:
        assert done.returncode == 0
        return
    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_folder_that_holds_a_run_is_not_overwritten(whole):
    done = embodied("train", *SMALL, f"run_dir={whole[0]}")
    assert done.returncode == 2
    assert f"resume={whole[0]}" in done.stderr


def test_help_is_quick_and_shows_the_experiments():
    began = time.monotonic()
    done = embodied("--help")
    assert "push_cube_ppo" in done.stdout
    assert time.monotonic() - began < 5  # the target is 1 s; `benchmarks/start.py` measures it


def test_a_damaged_checkpoint_stops_a_resume_and_names_the_earlier_one(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    newest = checkpoints.latest(folder)
    (newest / "weights.safetensors").write_bytes(b"")
    done = embodied("train", f"resume={folder}")
    assert done.returncode == 1
    assert "incomplete or damaged" in done.stderr
    assert checkpoints.all_in(folder)[-2].name in done.stderr
