"""The sampler: steps environments with the current policy and returns trajectories. It owns resets and time limits.

for each of T decisions:
    obs -> policy.act -> env.step (a chunk, one round trip) -> where an episode ended: keep its last frame, reset
    env.observe: one rendering for each decision
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from pydantic import InstanceOf
from torch import Tensor

from embodied.config import Count, Natural, recipe
from embodied.interfaces import Env, EnvRecipe, Plan, Policy, PolicyRecipe
from embodied.noise import EnvNoise, mix
from embodied.sampler.assemble import Ending, Row, assemble, check_finite
from embodied.sampler.recorder import Recorder
from embodied.sampler.starts import Draw, Starts, to_start
from embodied.types import Decision, Episode, Metrics, Obs, Spec, Step, Trajectory, Weights, tree_map

NOISE_ROLE = 1  # of the seeds under one seed of the run; see `mix`
NEVER = 2**62  # actions


@recipe
class SamplerRecipe:
    env: EnvRecipe
    policy: PolicyRecipe
    starts: InstanceOf[Starts]
    max_steps: Count | None = None  # actions per episode; None takes each task's own limit
    explore: bool = True
    seed: Natural = 0
    device: str = "cpu"  # of the policy
    first: Natural = 0  # of this sampler's environments among all of the run
    total: Count | None = None  # environments of the run; None: only these
    counts: tuple[int, ...] | None = None  # episodes that each environment has begun before, less one
    deaths: Natural = 0  # of the process before this one: its noise is not repeated

    def build(self) -> Sampler:
        env = self.env.build()
        try:
            policy = self.policy.build(env.spec).to(self.device)
        except BaseException:
            env.close()
            raise
        return Sampler(
            env,
            policy,
            self.starts,
            max_steps=self.max_steps,
            explore=self.explore,
            seed=mix(self.seed, self.deaths) if self.deaths else self.seed,
            first=self.first,
            total=self.total,
            counts=self.counts,
        )


class Sampler:
    """sampler.load(weights); trajectory = sampler.collect(T); records = sampler.episodes()"""

    def __init__(
        self,
        env: Env,
        policy: Policy,
        starts: Starts,
        *,
        max_steps: int | None = None,
        explore: bool = True,
        seed: int = 0,
        first: int = 0,
        total: int | None = None,
        counts: Sequence[int] | None = None,
    ) -> None:
        self.env, self.policy, self.starts, self.explore, self.version = env, policy, starts, explore, 0
        self.device = next((p.device for p in policy.parameters()), torch.device("cpu"))  # where the policy acts
        num, device = env.spec.num_envs, env.spec.device
        limits = [max_steps or limit or NEVER for limit in env.spec.limits]
        self.limits = torch.tensor(limits, device=device)  # (tasks,) actions in an episode of each
        self.first, self.total = first, total or num
        if starts.plan is None and self.total == num:  # among others it waits for `assign`
            self.assign(Draw.over(env.spec, starts.group_size))
        self.noise = EnvNoise(mix(seed, NOISE_ROLE), total=self.total, first=first, device=self.device)
        self.counts = list(counts or [-1] * num)  # episodes begun in each environment, less one
        self.drawn = [(0, -1, 0)] * num  # task, initial state and seed of the running episodes
        self.steps = torch.zeros(num, dtype=torch.int64, device=device)  # (N,) actions in the running episode
        self.decisions = torch.zeros(num, dtype=torch.int64, device=device)  # (N,) in the running episode
        self.history: list[Tensor] = []  # chunks (N, K, A) since the oldest running episode began
        self.labels: dict[str, Tensor] = {}  # of the running episodes, each (N,)
        self.limit = torch.zeros_like(self.steps)  # (N,) actions that the running episodes may take
        self.recorder = Recorder(num)
        self.finished: list[Episode] = []
        self.seconds: Metrics = dict.fromkeys(("act", "step", "reset", "observe"), 0.0)

    def spec(self) -> Spec:
        return self.env.spec

    def load(self, weights: Weights) -> None:
        """Act with `weights` from the next decision on."""
        self.policy.load_state_dict(dict(weights.state))
        self.version = weights.version

    def assign(self, plan: Plan) -> None:
        """Choose tasks by `plan` from the next episode on."""
        self.starts = replace(self.starts, plan=plan)

    def begun(self) -> Tensor:
        """(N,) episodes that each environment has begun, less one."""
        return torch.tensor(self.counts)

    def collect(self, decisions: int) -> Trajectory:
        """T = `decisions` chunks from each of the N environments."""
        trajectory = self._play(decisions)
        self.finished += self.recorder.take(trajectory)
        return trajectory

    def harvest(self, decisions: int) -> tuple[Trajectory, Metrics]:
        """A rollout and its timing at once, for a `Farm`, which keeps the records of episodes itself."""
        return self._play(decisions), self.timing()

    @torch.no_grad()
    def _play(self, decisions: int) -> Trajectory:
        everyone = torch.ones_like(self.steps, dtype=torch.bool)
        self._begin()
        frames = {
            name: torch.empty((decisions, *x.shape), dtype=x.dtype, device=x.device)
            for name, x in self.env.observe().items()
        }
        rows: list[Row] = []
        endings: list[Ending] = []
        ended = ~everyone
        for t in range(decisions):
            obs = self._observe(frames, t)
            decision = self._act(obs)
            step = self._step(decision.action)
            terminated, truncated = self._clock(step)
            rows.append(Row(decision, step, truncated, self.labels))
            ended = terminated | truncated
            if ended.any():
                endings.append(Ending.of(t, ended, self.env.observe()))
                self._reset(ended)
        endings.append(Ending.of(decisions - 1, everyone & ~ended, self.env.observe()))
        trajectory = assemble(frames, rows, endings, self._value, self.version)
        check_finite(trajectory)
        return trajectory

    def episodes(self) -> list[Episode]:
        """Records of the episodes that ended since the last call."""
        finished, self.finished = self.finished, []
        return finished

    def timing(self) -> Metrics:
        """Seconds spent in each part since the last call."""
        seconds, self.seconds = self.seconds, dict.fromkeys(self.seconds, 0.0)
        return seconds

    def state(self) -> dict[str, Tensor]:
        """What repeats the running episodes: their starts, the chunks played since, and the state of the noise."""
        self._begin()
        return {
            "noise": self.noise.state(),
            "counts": torch.tensor(self.counts),
            "drawn": torch.tensor(self.drawn),
            "steps": self.steps.clone(),
            "decisions": self.decisions.clone(),
            "history": torch.stack(self.history) if self.history else torch.zeros(0),
            "running": self.recorder.state(),
        } | {f"obs/{name}": x.clone() for name, x in self.env.observe().items()}

    @torch.no_grad()
    def resume(self, state: Mapping[str, Tensor]) -> bool:
        """Begin the saved episodes again and play their chunks; whether every observation came out the same.

        Any simulator whose episodes follow from seed and actions continues exactly, whether or not it can save states.
        """
        self.noise.load(state["noise"])
        state = {name: x if name == "noise" else x.to(self.env.spec.device) for name, x in state.items()}
        self.counts, self.drawn = state["counts"].tolist(), [(a, b, c) for a, b, c in state["drawn"].tolist()]
        self.steps, self.decisions = state["steps"].clone(), state["decisions"].clone()
        self.recorder.load(state["running"])
        self.history = list(state["history"])
        depth = len(self.history)
        for d in range(depth + 1):  # an episode of c decisions begins c before the end
            begins = self.decisions == depth - d
            if begins.any():
                self.env.reset(begins, to_start(self.drawn))
            if d < depth:
                self.env.step(self.history[d])
        self._label()
        return all(bool(torch.equal(x, state[f"obs/{name}"])) for name, x in self.env.observe().items())

    def close(self) -> None:
        self.env.close()

    def _begin(self) -> None:
        """The first episodes begin when they are needed: a sampler that is resumed never plays them."""
        if not self.labels:
            self._reset(torch.ones_like(self.steps, dtype=torch.bool))

    def _observe(self, frames: dict[str, Tensor], t: int) -> Obs:
        began = time.perf_counter()
        obs = {name: frame[t] for name, frame in frames.items()}
        for name, x in self.env.observe().items():
            obs[name].copy_(x)
        self.seconds["observe"] += time.perf_counter() - began
        return obs

    def _act(self, obs: Obs) -> Decision:
        began = time.perf_counter()
        decision = self.policy.act(self._here(obs), explore=self.explore, noise=self.noise)
        decision = tree_map(lambda x: x.to(self.env.spec.device), decision)
        self.seconds["act"] += time.perf_counter() - began
        return decision

    def _step(self, action: Tensor) -> Step:
        """Execute; what a chunk does beyond the time limit does not count."""
        began = time.perf_counter()
        step = self.env.step(action)
        if action.shape[1] > 1:
            left = (self.limit - self.steps).clamp(min=1)  # one that was resumed under a shorter limit ends here
            step = _within(step, left)
        self.history.append(action)
        self.seconds["step"] += time.perf_counter() - began
        return step

    def _clock(self, step: Step) -> tuple[Tensor, Tensor]:
        """Move the clocks: which episodes terminated, and which were cut by the time limit or lost; each (N,)."""
        self.steps += step.valid.sum(dim=1)
        self.decisions += 1
        terminated, lost = step.terminated.any(dim=1), ~step.valid.any(dim=1)
        return terminated, ((self.steps >= self.limit) | lost) & ~terminated

    def _value(self, obs: Obs) -> Tensor:
        """(F, V) of many frames at once."""
        return self.policy.value(self._here(obs)).to(self.env.spec.device)

    def _here(self, obs: Obs) -> Obs:
        return {name: x.to(self.device) for name, x in obs.items()}

    def _reset(self, mask: Tensor) -> None:
        began = time.perf_counter()
        envs = mask.nonzero()[:, 0].tolist()
        for n in envs:
            self.counts[n] += 1
        drawn = self.starts([self.first + n for n in envs], [self.counts[n] for n in envs], self.total)
        for n, row in zip(envs, drawn, strict=True):
            self.drawn[n] = row
        self.env.reset(mask, to_start(self.drawn))
        self.steps[mask], self.decisions[mask] = 0, 0
        self.history = self.history[len(self.history) - int(self.decisions.max()) :]
        self._label()
        self.seconds["reset"] += time.perf_counter() - began

    def _label(self) -> None:
        device = self.env.spec.device
        task, initial_state, seed = torch.tensor(self.drawn, device=device).T
        episode = torch.tensor(
            [count * self.total + self.first + n for n, count in enumerate(self.counts)], device=device
        )
        self.labels = {"task": task, "initial_state": initial_state, "seed": seed, "episode": episode}
        self.limit = self.limits[task]


def _within(step: Step, left: Tensor) -> Step:
    """`step` without what came after the `left` (N,) actions that an episode still had."""
    within = torch.arange(step.valid.shape[1], device=left.device) < left[:, None]  # (N, K)
    flags = {name: getattr(step, name) & within for name in ("valid", "terminated", "success", "human")}
    return replace(step, reward=step.reward * within, **flags)
