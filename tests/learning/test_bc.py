"""The smallest task must be imitated from vectors, and from pictures. Measured on one core: 2 s and 8 s."""

import pytest

from embodied.algorithms.bc import BC
from embodied.imitate import JudgeRecipe
from embodied.learner.learner import LearnerRecipe
from policies.mlp import MLPRecipe
from policies.vision import VisionRecipe
from simulators.reach import ReachRecipe
from tests.demonstrated import reached

pytestmark = pytest.mark.learning

SIMPLE = ReachRecipe(num_envs=64)
SEEN = ReachRecipe(num_envs=64, obs="rgb", tolerance=0.25, max_steps=20)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBODIED_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("env", "policy", "demonstrations", "batch", "iterations"),
    [
        (SIMPLE, MLPRecipe(hidden=(64, 64), chunk=1), 30, 128, 10),
        (SIMPLE, MLPRecipe(hidden=(64, 64), chunk=4), 30, 128, 10),
        (SEEN, VisionRecipe(width=8, features=32, hidden=(64,), chunk=2), 100, 64, 16),
    ],
    ids=["state", "chunks", "pictures"],
)
def test_imitation_solves_reach(tmp_path, env, policy, demonstrations, batch, iterations):
    folder = reached(tmp_path / "reach", env, demonstrations)
    algorithm = BC(dataset=str(folder), updates_per_iteration=50, batch=batch)
    judge = JudgeRecipe(simulator=env, policy=policy, episodes=64).build()
    learner = LearnerRecipe(
        algorithm=algorithm, policy=policy, spec=judge.spec(), learning_rate=2e-3, final_learning_rate=0.0,
        updates=iterations,
    ).build()  # fmt: skip
    before = sum(e.success_once for e in judge.play(learner.weights(), 0)) / 64
    metrics = [learner.update() for _ in range(iterations)]
    after = sum(e.success_once for e in judge.play(learner.weights(), 1)) / 64
    assert before < 0.5
    assert after > 0.95
    assert metrics[-1]["validation_loss"] < 0.3 * metrics[0]["validation_loss"]
