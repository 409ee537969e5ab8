"""PPO on ManiSkill PushCube against Stable-Baselines3 over SubprocVecEnv and a plain loop over AsyncVectorEnv.

    python benchmarks/ppo_peers.py [rounds=7] [seeds=3]

Equal task, number of environments, network, observation normalization, rollout, epochs, minibatches, learning rate,
discounts and weight of the value loss (theirs multiplies a whole squared error, ours half of one). Speed: all three
are alive, and take turns at one iteration (collect and learn); ratios are of the same round. Learning: one after the
other, wall time until 90 % of the last 100 training episodes succeeded, and only the time spent iterating counts.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import gymnasium
import torch

from benchmarks.peers.plain_loop import PlainLoop
from benchmarks.report import CONSOLE, Spread, Target, alternate, finish, ratios, table
from embodied.algorithms.ppo import PPO
from embodied.environment import prepare
from embodied.train import Loop, Training
from policies.mlp import MLPRecipe
from simulators.maniskill import ManiSkillRecipe

TASK, CONTROL, LIMIT = "PushCube-v1", "pd_joint_delta_pos", 50


@dataclass(frozen=True, slots=True)
class Settings:
    seed: int = 0
    num_envs: int = 8
    hidden: tuple[int, ...] = (256, 256, 256)
    initial_std: float = 0.6
    rollout: int = 256  # decisions per environment: 2,048 steps
    epochs: int = 8
    minibatch: int = 256
    learning_rate: float = 3e-4
    gamma: float = 0.8
    lam: float = 0.9
    clip: float = 0.2
    max_grad_norm: float = 0.5


class Runner(Protocol):
    @property
    def steps(self) -> int: ...
    @property
    def outcomes(self) -> list[bool]: ...
    def iterate(self) -> None: ...
    def close(self) -> None: ...


class Ours:
    def __init__(self, s: Settings) -> None:
        training = Training(
            simulator=ManiSkillRecipe(
                task=TASK, num_envs=s.num_envs, processes=2, backend="cpu", terminate_on_success=False, control=CONTROL
            ),
            policy=MLPRecipe(hidden=s.hidden, initial_std=s.initial_std),
            algorithm=PPO(
                gamma=s.gamma, lam=s.lam, epochs=s.epochs, minibatches=s.rollout * s.num_envs // s.minibatch,
                clip_low=s.clip, clip_high=s.clip,
            ),
            rollout=s.rollout,
            total_steps=10_000_000,
            learning_rate=s.learning_rate,
            max_grad_norm=s.max_grad_norm,
            seed=s.seed,
        )  # fmt: skip
        self.loop, self.outcomes = Loop(training), list[bool]()

    @property
    def steps(self) -> int:
        return self.loop.env_steps

    def iterate(self) -> None:
        _, episodes = self.loop.iterate()
        self.outcomes += [episode.success_once for episode in episodes]

    def close(self) -> None:
        self.loop.close()


class SB3:
    """Stable-Baselines3's PPO; its callback stops `learn` after one rollout and its updates."""

    def __init__(self, s: Settings) -> None:
        import stable_baselines3
        from stable_baselines3.common.vec_env import SubprocVecEnv, VecNormalize

        processes = SubprocVecEnv([partial(make, index) for index in range(s.num_envs)], start_method="spawn")
        self.env = VecNormalize(processes, norm_reward=False)
        network = {
            "net_arch": list(s.hidden), "activation_fn": torch.nn.Tanh, "log_std_init": math.log(s.initial_std),
        }  # fmt: skip
        self.peer = stable_baselines3.PPO(
            "MlpPolicy", self.env, n_steps=s.rollout, batch_size=s.minibatch, n_epochs=s.epochs, gamma=s.gamma,
            gae_lambda=s.lam, learning_rate=s.learning_rate, clip_range=s.clip, max_grad_norm=s.max_grad_norm,
            vf_coef=0.25, policy_kwargs=network, seed=s.seed, device="cpu",
        )  # fmt: skip
        self.outcomes, self.size = _Outcomes().build(), s.rollout * s.num_envs

    @property
    def steps(self) -> int:
        return self.peer.num_timesteps

    def iterate(self) -> None:
        self.peer.learn(self.size, reset_num_timesteps=False, callback=self.outcomes.callback)

    def close(self) -> None:
        self.env.close()


class _Outcomes(list[bool]):
    """Whether each finished episode succeeded at any step, gathered by a callback."""

    callback: Any

    def build(self) -> _Outcomes:
        from stable_baselines3.common.callbacks import BaseCallback

        found, solved = self, dict[int, bool]()

        class Gather(BaseCallback):
            def _on_step(self) -> bool:
                for index, (info, done) in enumerate(zip(self.locals["infos"], self.locals["dones"], strict=True)):
                    solved[index] = solved.get(index, False) or bool(info.get("success", False))
                    if done:
                        found.append(solved.pop(index))
                return True

        self.callback = Gather()
        return self


def make(index: int) -> gymnasium.Env[Any, Any]:
    """One ManiSkill environment as its own documentation wraps it for a CPU; an episode always lasts LIMIT actions."""
    prepare()
    torch.set_num_threads(1)
    import mani_skill.envs  # noqa: F401  (registers the tasks)
    from mani_skill.utils.wrappers.gymnasium import CPUGymWrapper

    env = gymnasium.make(
        TASK, obs_mode="state", control_mode=CONTROL, sim_backend="physx_cpu", render_backend="none",
        reward_mode="normalized_dense", max_episode_steps=LIMIT,
    )  # fmt: skip
    env = CPUGymWrapper(env, ignore_terminations=True)
    env.reset(seed=index)
    return env


def plain(s: Settings) -> PlainLoop:
    return PlainLoop([partial(make, index) for index in range(s.num_envs)], s)


PEERS: dict[str, Callable[[Settings], Runner]] = {"ours": Ours, "SB3": SB3, "plain loop": plain}


def speed(rounds: int) -> dict[str, list[float]]:
    """Environment steps per second of each, by round."""
    runners = {name: build(Settings()) for name, build in PEERS.items()}

    def measure(runner: Runner) -> float:
        began, before = time.perf_counter(), runner.steps
        runner.iterate()
        return (runner.steps - before) / (time.perf_counter() - began)

    for runner in runners.values():
        measure(runner)
    columns = alternate(rounds, *(partial(measure, runner) for runner in runners.values()))
    for runner in runners.values():
        runner.close()
    return dict(zip(runners, columns, strict=True))


def seconds_to(rate: float, build: Callable[[Settings], Runner], seed: int, limit_s: float = 300.0) -> float:
    """Wall time of iterating until `rate` of the last 100 training episodes succeeded; infinite past `limit_s`."""
    runner, spent = build(Settings(seed=seed)), 0.0
    while spent < limit_s:
        began = time.perf_counter()
        runner.iterate()
        spent += time.perf_counter() - began
        last = runner.outcomes[-100:]
        if len(last) == 100 and sum(last) >= 100 * rate:
            break
    runner.close()
    found = f"after {spent:.0f} s, {runner.steps:,} steps" if spent < limit_s else f"not within {limit_s:.0f} s"
    CONSOLE.print(f"{type(runner).__name__}, seed {seed}: {100 * rate:.0f} % of the last 100 episodes {found}")
    return spent if spent < limit_s else math.inf


def _note(ratio: float | None) -> str:
    if ratio is None:
        return "ours did not get there"
    return "the peer did not get there within 300 s" if ratio == math.inf else ""


def main() -> None:
    prepare()
    torch.set_num_threads(1)
    words = dict(word.split("=") for word in sys.argv[1:])
    found = speed(int(words.get("rounds", 7)))
    table(
        "PushCube, 8 environments, equal settings: collecting and learning",
        ("", "environment steps/s", "ours / theirs"),
        [(name, str(Spread.of(rates)), str(ratios(found["ours"], rates))) for name, rates in found.items()],
    )
    seeds = range(int(words.get("seeds", 3)))
    learned = {name: [seconds_to(0.9, build, seed) for seed in seeds] for name, build in PEERS.items()}
    table(
        "seconds until 90 % of the last 100 training episodes succeeded",
        ("", "median [range] over seeds"),
        [(name, str(Spread.of(values))) for name, values in learned.items()],
    )
    ours = statistics.median(learned["ours"])
    times = {name: statistics.median(values) / ours if ours < math.inf else None for name, values in learned.items()}
    finish(
        "ppo_peers",
        [
            Target(f"end-to-end steps/s, ours / {name}", ratios(found["ours"], found[name]).median, "ratio", 1.5)
            for name in ("SB3", "plain loop")
        ]
        + [
            Target(f"time to 90 % success, {name} / ours", times[name], "ratio", 1.0, note=_note(times[name]))
            for name in ("SB3", "plain loop")
        ],
    )


if __name__ == "__main__":
    main()
