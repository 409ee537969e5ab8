"""ManiSkill's GPU backend with the policy in the loop against its own stepping rate, where SAPIEN has GPU physics.

    python benchmarks/gpu.py [num_envs=1024] [pairs=5]

Without CUDA or without SAPIEN's GPU physics library the numbers are reported as not measured.
"""

from __future__ import annotations

import sys
import time

import torch

from benchmarks.report import Spread, Target, alternate, finish, ratios, table
from embodied.environment import prepare
from embodied.learner.learner import seeded_policy
from embodied.sampler.sampler import Sampler
from embodied.sampler.starts import Starts
from policies.mlp import MLPRecipe
from simulators.maniskill import Batch, ManiSkillRecipe, physics_library

NAME = "ManiSkill GPU, policy in the loop / its own stepping"
DECISIONS = 100


def measure(num_envs: int, pairs: int) -> Target:
    env = ManiSkillRecipe(task="PushCube-v1", num_envs=num_envs, backend="gpu").build()
    assert isinstance(env, Batch)
    policy = seeded_policy(MLPRecipe(), env.spec, 0).to(env.spec.device)
    sampler = Sampler(env, policy, Starts(seed=0))

    def collect() -> float:
        began = time.perf_counter()
        valid = sampler.collect(DECISIONS).valid.sum().item()  # waits for the GPU
        return valid / (time.perf_counter() - began)

    def own() -> float:
        gym_env = env.scene.gym_env
        gym_env.reset(seed=0)
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(DECISIONS):
            gym_env.step(torch.rand(num_envs, env.spec.action_dim, device=env.spec.device) * 2 - 1)
        torch.cuda.synchronize()
        return num_envs * DECISIONS / (time.perf_counter() - began)

    alternate(1, collect, own)  # warm up
    ours, theirs = alternate(pairs, collect, own)
    ratio = ratios(ours, theirs)
    table(
        f"PushCube on the GPU, {num_envs} environments",
        ("", "environment steps/s"),
        [("policy in the loop", str(Spread.of(ours))), ("ManiSkill's own step, random actions", str(Spread.of(theirs))),
         ("ratio of pairs", str(ratio))],
    )  # fmt: skip
    return Target(NAME, ratio.median, "ratio", 0.85)


def main() -> None:
    prepare()
    words = dict(word.split("=") for word in sys.argv[1:])
    if not (torch.cuda.is_available() and physics_library().is_file()):
        finish("gpu", [Target(NAME, None, "ratio", 0.85, note="no CUDA device, or no SAPIEN GPU physics, here")])
        return
    finish("gpu", [measure(int(words.get("num_envs", 1024)), int(words.get("pairs", 5)))])


if __name__ == "__main__":
    main()
