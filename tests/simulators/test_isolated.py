"""robosuite 1.5 in an environment of its own beside 1.4 in ours: one run, one task set."""

import json

import pytest
import torch

from embodied.algorithms.ppo import PPO
from embodied.environments import python_of
from embodied.errors import PackageError
from embodied.launch import run
from embodied.train import Training
from embodied.types import Start
from policies.mlp import MLPRecipe
from simulators.isolated import IsolatedRecipe
from simulators.mixed import MixedRecipe
from simulators.robosuite import RobosuiteRecipe

pytestmark = pytest.mark.simulators
OLD = RobosuiteRecipe(num_envs=1, processes=1, horizon=6)
NEW = IsolatedRecipe(simulator=OLD, environment="robosuite15")


@pytest.fixture(scope="module", autouse=True)
def _built():
    pytest.importorskip("robosuite")
    try:
        python_of("robosuite15")
    except PackageError as error:
        pytest.skip(str(error))


def test_lift_of_robosuite_15_steps_like_any_simulator():
    env = NEW.build()
    everyone = torch.ones(1, dtype=torch.bool)
    seen = []
    for _ in range(2):
        env.reset(everyone, Start.seeded([3]))
        step = env.step(torch.full((1, 4, 7), 0.3))
        assert step.valid.all()
        seen.append((step.reward.clone(), env.observe()["state"].clone()))
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][1], seen[1][1])
    assert env.spec.tasks == ("lift the cube",)
    env.close()


def test_the_script_solves_lift_over_there():
    scene = NEW.demonstrator()
    outcomes = []
    scene.reset(0, -1, 1)
    scene.demonstrate(lambda action: outcomes.append(scene.step(action)[2]))
    scene.close()
    assert outcomes[-1]


def test_both_versions_train_in_one_run(tmp_path):
    training = Training(
        simulator=MixedRecipe(parts=(OLD, NEW)),
        policy=MLPRecipe(hidden=(8,)),
        algorithm=PPO(epochs=1, minibatches=1),
        rollout=8,
        total_steps=32,
        evaluate=2,
        film=2,
        device="cpu",
    )
    assert run(training, tmp_path / "run", None) == 0
    summary = json.loads((tmp_path / "run" / "evaluation" / "final" / "summary.json").read_text())
    assert [row["task"] for row in summary["tasks"]] == ["lift the cube", "lift the cube"]
    table = (tmp_path / "run" / "episodes.csv").read_text()
    assert len(table.splitlines()) > 2
    assert (tmp_path / "run" / "video.mp4").is_file()
