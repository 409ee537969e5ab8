"""Whole sequential comparisons, as a user starts them, of runs of a second on the point mass."""

import json
import signal
import subprocess
import sys
import time

from embodied.comparing.sequential import STATE
from embodied.run_folder import state_of

SMALL = "experiment=reach_ppo simulator.num_envs=4 rollout=8 total_steps=256 policy.hidden=[8] evaluate=8"
SOON = ("seeds=2", "interims=1", "level=0.5", "jobs=2")  # two seeds of each are all it takes to decide, badly
EASY, HARD = f"{SMALL} simulator.tolerance=0.9", f"{SMALL} simulator.tolerance=0.01"


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "embodied.cli", "compare", "--sequential", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_killed_comparison_goes_on_and_ends_with_a_decision(tmp_path):
    words = [f"out={tmp_path}", f"agents.easy={EASY}", f"agents.hard={HARD}", *SOON]
    process = start(*words)
    try:
        while not (tmp_path / STATE).is_file() or not json.loads((tmp_path / STATE).read_text())["scores"]:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    kept = json.loads((tmp_path / STATE).read_text())["scores"]
    process = start(f"out={tmp_path}")
    told, _ = process.communicate()
    assert process.returncode == 0, told
    assert "easy is better than hard" in told
    state = json.loads((tmp_path / STATE).read_text())
    assert [score for score in state["scores"] if score in kept] == kept
    assert state["missing"] == []
    assert all(
        state_of(tmp_path / name / f"seed{seed}") == "finished" for name in ("easy", "hard") for seed in range(2)
    )


def test_a_run_that_fails_is_named_and_the_others_are_kept(tmp_path):
    words = [f"out={tmp_path}", f"agents.good={EASY}", f"agents.bad={EASY} learning_rate=1e30", *SOON]
    process = start(*words)
    told, _ = process.communicate()
    assert process.returncode == 1
    assert f"failed: {tmp_path / 'bad' / 'seed0'}: " in told
    assert "undecided; the scores so far are in" in told
    assert {score["agent"] for score in json.loads((tmp_path / STATE).read_text())["scores"]} == {"good"}
    zeros = "".join(f"bad,{seed},0\n" for seed in range(2))
    (tmp_path / "given.csv").write_text(f"group,seed,score\n{zeros}")
    process = start(f"out={tmp_path}", f"scores={tmp_path / 'given.csv'}")
    told, _ = process.communicate()
    assert process.returncode == 0, told
    assert "good is better than bad" in told
