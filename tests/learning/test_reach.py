"""The smallest task must be solved from vectors, and from pictures. Measured on one core: 3 s, 3 s, 3 s and 18 s."""

import pytest

from embodied.algorithms.ppo import PPO
from embodied.learner.learner import Learner, LearnerRecipe
from embodied.sampler.sampler import Sampler, SamplerRecipe
from embodied.sampler.starts import Starts
from policies.mlp import MLPRecipe
from policies.vision import VisionRecipe
from simulators.reach import ReachRecipe

pytestmark = pytest.mark.learning

SIMPLE = ReachRecipe(num_envs=64)
SEEN = ReachRecipe(num_envs=64, obs="rgb", tolerance=0.25, max_steps=20)
EYES = VisionRecipe(width=8, features=32, hidden=(64,))


def sampler(env, policy, *, role="train"):
    starts = Starts(seed=0, role=role)
    return SamplerRecipe(env=env, policy=policy, starts=starts, explore=role == "train").build()


def success(learner: Learner, env, policy):
    """Share of new starts that are solved without exploration: the first episode of each environment."""
    judge: Sampler = sampler(env, policy, role="evaluate")
    judge.load(learner.weights())
    judge.collect(env.max_steps)
    first = [episode for episode in judge.episodes() if episode.index < env.num_envs]
    assert len(first) == env.num_envs
    return sum(episode.success_once for episode in first) / len(first)


def learned(env, policy, algorithm, *, decisions, iterations, learning_rate):
    """Success before and after learning."""
    acting = sampler(env, policy)
    learner = LearnerRecipe(algorithm=algorithm, policy=policy, spec=acting.spec(), learning_rate=learning_rate).build()
    before = success(learner, env, policy)
    for _ in range(iterations):
        acting.load(learner.weights())
        learner.ingest(acting.collect(decisions))
        learner.update()
    return before, success(learner, env, policy)


@pytest.mark.parametrize(
    ("chunk", "values", "gamma"), [(1, "decision", 0.95), (2, "decision", 0.9), (2, "action", 0.95)]
)
def test_ppo_solves_reach_with_chunks_of_any_size(chunk, values, gamma):
    policy = MLPRecipe(hidden=(64, 64), chunk=chunk, values=values)
    algorithm = PPO(gamma=gamma, values=values)
    _, after = learned(SIMPLE, policy, algorithm, decisions=32 // chunk, iterations=30, learning_rate=2e-3)
    assert after >= 0.95


def test_ppo_learns_to_reach_from_pictures():
    before, after = learned(SEEN, EYES, PPO(gamma=0.95), decisions=16, iterations=40, learning_rate=1e-3)
    assert before <= 0.3
    assert after >= 0.8
