"""What goes wrong in a run ends it with a sentence, or is survived and counted; the last good checkpoint stays."""

import json
from dataclasses import replace

import pytest
import torch

from embodied.algorithms.ppo import PPO
from embodied.config import recipe
from embodied.errors import ConfigError, NonFiniteError
from embodied.interfaces import Env
from embodied.launch import run
from embodied.learner import checkpoint as checkpoints
from embodied.train import Training
from policies.mlp import MLPRecipe
from policies.vision import VisionRecipe
from simulators.reach import ReachRecipe
from simulators.subprocess_env import SubprocessEnv
from tests.counting import CountingRecipe


@recipe
class TwoProcesses:
    """The second of two environments breaks once, as `counting` is told to."""

    counting: CountingRecipe
    num_envs: int = 2

    def build(self) -> Env:
        well = CountingRecipe(num_envs=1, max_steps=self.counting.max_steps)
        return SubprocessEnv([well, replace(self.counting, num_envs=1)])


def training(simulator, **named):
    fields = {"rollout": 8, "total_steps": 96, "checkpoint_every": 1, "evaluate": 0, "film": 0, "device": "cpu"}
    policy = MLPRecipe(hidden=(8,), normalize=False)
    return Training(simulator=simulator, policy=policy, algorithm=PPO(epochs=1, minibatches=1), **(fields | named))


def test_a_nan_from_the_simulator_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    explodes = CountingRecipe(num_envs=2, breaks="nan", breaks_at=20)  # in the third rollout of 8
    with pytest.raises(NonFiniteError, match=r"the reward from the simulator is NaN.*last checkpoint is kept"):
        run(training(explodes), tmp_path / "run", None)
    kept = checkpoints.load(checkpoints.latest(tmp_path / "run"))
    assert kept.facts["iteration"] == 2
    assert all(torch.isfinite(x).all() for x in kept.tensors["weights"].values())


def test_a_policy_that_explodes_stops_the_run_before_the_next_update(tmp_path):
    with pytest.raises(NonFiniteError, match=r"the policy's \w+ is NaN or infinite.*nothing was learned"):
        run(training(ReachRecipe(num_envs=2), learning_rate=1e30), tmp_path / "run", None)


def test_a_dead_process_is_rebuilt_counted_and_the_run_goes_on(tmp_path):
    dies = CountingRecipe(breaks="exit", breaks_at=5, once=str(tmp_path / "died"), max_steps=6)
    assert run(training(TwoProcesses(counting=dies)), tmp_path / "run", None) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert sum(row["lost_episodes"] for row in rows) == 1
    assert rows[-1]["env_steps"] == 96 - 1  # one action was never played
    table = (tmp_path / "run" / "episodes.csv").read_text().splitlines()
    assert sum(line.endswith("True") for line in table) == 1


def test_a_policy_that_cannot_see_is_refused_before_training(tmp_path):
    blind = training(ReachRecipe(num_envs=2, obs="state"))
    with pytest.raises(ConfigError, match=r"picture|camera|image"):
        run(replace(blind, policy=VisionRecipe()), tmp_path / "run", None)
