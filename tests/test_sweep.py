"""Whole sweeps, as a user starts them, of runs of a second on the point mass: failures, Ctrl-C, SIGKILL, a search."""

import json
import shlex
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from embodied.errors import ConfigError
from embodied.learner import checkpoint as checkpoints
from embodied.run_folder import held, state_of
from embodied.sweeping.command import main
from embodied.train import TUNING_SEEDS

SMALL = [
    "experiment=reach_ppo", "simulator.num_envs=4", "rollout=8", "total_steps=256", "evaluate=4", "film=0",
    "policy.hidden=[8]", "checkpoint_every=1",
]  # fmt: skip
ENDLESS = [*SMALL, "total_steps=100000000", "checkpoint_every=10"]


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "embodied.cli", "train", "-m", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def sweep(*words):
    process = start(*words)
    told, _ = process.communicate()
    return process.returncode, told


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def weights(run):
    return load_file(checkpoints.latest(run) / "weights.safetensors")


def test_a_run_that_fails_is_named_and_the_others_are_as_if_started_alone(tmp_path):
    folder = tmp_path / "a sweep"
    status, told = sweep(*SMALL, "learning_rate=1e-3,1e30", "jobs=2", f"sweep_dir={folder}")
    good, bad = folder / "learning_rate-0.001" / "seed0", folder / "learning_rate-1e+30" / "seed0"
    assert status == 1
    assert (state_of(good), state_of(bad)) == ("finished", "failed")
    why = json.loads((bad / "end.json").read_text())["why"]
    assert why.startswith("NonFiniteError: ")
    assert f"failed: {bad}: {why.removeprefix('NonFiniteError: ')}" in told
    assert "1 of 1" in told
    assert "0 of 1" in told
    assert f"continue with: embodied train -m resume={folder}" in told

    command = shlex.split(json.loads((good / "facts.json").read_text())["command"])
    words = [word for word in command[1:] if not word.startswith("run_dir=")]
    alone = [sys.executable, "-m", "embodied.cli", *words, f"run_dir={tmp_path / 'alone'}"]
    subprocess.run(alone, check=True, capture_output=True)
    mine, theirs = weights(good), weights(tmp_path / "alone")
    assert all(torch.equal(mine[name], theirs[name]) for name in mine | theirs)


def test_ctrl_c_stops_the_runs_after_their_iterations_and_starts_no_more(tmp_path):
    folder = tmp_path / "sweep"
    process = start(*ENDLESS, "seed=range(3)", "jobs=2", f"sweep_dir={folder}")
    wait_for(lambda: all(checkpoints.all_in(folder / f"seed{i}")[1:] for i in (0, 1)), process)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopping the runs" in told
    assert [state_of(folder / f"seed{i}") for i in (0, 1)] == ["stopped", "stopped"]
    assert not (folder / "seed2").exists()
    assert f"continue with: embodied train -m resume={folder}" in told


def test_a_sweep_that_is_killed_takes_its_runs_along_and_the_same_command_finishes_them(tmp_path):
    folder = tmp_path / "sweep"
    words = [*SMALL, "total_steps=6400", "seed=range(2)", f"sweep_dir={folder}"]
    process = start(*words)
    first = folder / "seed0"
    wait_for(lambda: checkpoints.all_in(first)[1:], process)
    process.kill()
    process.communicate()
    while held(first):
        time.sleep(0.01)
    assert state_of(first) == "killed"
    status, told = sweep(*words, "jobs=2")
    assert status == 0, told
    assert [state_of(folder / f"seed{i}") for i in (0, 1)] == ["finished", "finished"]
    assert len(json.loads((first / "facts.json").read_text())["continued"]) == 1
    before = [path.stat().st_mtime_ns for path in folder.glob("seed*/end.json")]
    assert main([f"resume={folder}"]) == 0
    assert [path.stat().st_mtime_ns for path in folder.glob("seed*/end.json")] == before

    with pytest.raises(ConfigError, match="holds another sweep, experiment=reach_ppo"):
        main([*SMALL, "seed=range(3)", f"sweep_dir={folder}"])


def test_a_search_scores_settings_by_tuning_seeds_continues_and_names_the_command_for_new_seeds(tmp_path):
    optuna = pytest.importorskip("optuna", reason="the extra `optuna` is not installed")
    folder = tmp_path / "sweep"
    words = [*SMALL, "learning_rate=tag(log,interval(1e-4,1e-2))", "algorithm.epochs=1,2", "seed=range(2)"]
    words += ["hydra/sweeper=optuna", "trials=2", "objective=return", "jobs=2", f"sweep_dir={folder}"]
    process = start(*words)
    wait_for(lambda: list((folder / "trial000").glob("*/end.json")), process)
    process.kill()
    process.communicate()
    status, told = sweep(f"resume={folder}")
    assert status == 0, told

    backend = optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    study = optuna.load_study(study_name="sweep", storage=optuna.storages.JournalStorage(backend))
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 2
    seeds = [TUNING_SEEDS, TUNING_SEEDS + 1]
    for trial in study.trials:
        runs = [folder / f"trial{trial.number:03d}" / f"seed{seed}" for seed in seeds]
        told_of = [json.loads((run / "evaluation" / "final" / "summary.json").read_text()) for run in runs]
        assert trial.value == pytest.approx(sum(one["return"] for one in told_of) / 2)
    best = json.loads((folder / "incumbent.json").read_text())
    assert best["return"] == max(trial.value for trial in study.trials)
    assert best["command"].endswith("'seed=range(10)'")
    assert "purpose" not in best["command"]
    assert best["command"] in told
    space = json.loads((folder / "sweep.json").read_text())
    assert (space["settings"]["trials"], space["seeds"], space["runs"]) == (2, seeds, 4)
    assert space["space"]["learning_rate"] == {"low": 1e-4, "high": 1e-2, "log": True, "whole": False}
