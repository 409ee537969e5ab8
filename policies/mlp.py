"""A Gaussian actor-critic over vector observations that emits K actions at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from embodied.config import Count, Positive, recipe
from embodied.data.normalize import ActionNorm, RunningNorm
from embodied.errors import ConfigError
from embodied.interfaces import Granularity, Policy
from embodied.noise import Noise
from embodied.types import Decision, Evaluation, Obs, Spec
from policies.parts.gaussian import decide, imitation, score
from policies.parts.heads import mlp, steady
from policies.parts.tasks import num_tasks, with_task


@recipe
class MLPRecipe:
    hidden: tuple[Count, ...] = (256, 256, 256)
    activation: Literal["tanh", "relu", "elu", "silu"] = "tanh"
    chunk: Count = 1  # K, actions per decision
    values: Granularity = "decision"  # one value per decision or per action
    initial_std: Positive = 0.6  # of each action entry, in units of its range [-1, 1]
    normalize: bool = True  # observations, by statistics that travel with the weights
    smallest_std: Positive = 1e-4  # of an observation: what varies less is not blown up

    def build(self, spec: Spec) -> MLP:
        return MLP(self, spec)


class MLP(Policy):
    """Separate actor and critic; a state-independent standard deviation per action entry. U = K * A."""

    def __init__(self, r: MLPRecipe, spec: Spec) -> None:
        super().__init__()
        if "state" not in spec.obs:
            raise ConfigError(
                f"policies.mlp needs an observation `state` and this simulator offers {sorted(spec.obs)}; nothing was "
                f"built. Use policy=vision, or a simulator with vector observations."
            )
        (obs_dim,) = spec.obs["state"].shape
        self.chunk, self.tasks = r.chunk, num_tasks(spec)
        size = r.chunk * spec.action_dim
        self.norm = RunningNorm(obs_dim, smallest_std=r.smallest_std) if r.normalize else None
        self.actions = ActionNorm(spec.action_dim, r.chunk)
        obs_dim += self.tasks
        self.actor = mlp((obs_dim, *r.hidden, size), activation=r.activation, last_gain=0.01)
        self.critic = mlp((obs_dim, *r.hidden, r.chunk if r.values == "action" else 1), activation=r.activation)
        self.log_std = nn.Parameter(torch.full((size,), r.initial_std).log())

    @torch.no_grad()
    def act(self, obs: Obs, *, explore: bool, noise: Noise | None = None) -> Decision:
        x = self._features(obs)
        return decide(
            self.actions(steady(self.actor, x)),
            self.actions.log_std(self.log_std),
            None,
            chunk=self.chunk,
            explore=explore,
            noise=noise,
        )

    def evaluate(self, obs: Obs, action: Tensor, extras: Mapping[str, Tensor]) -> Evaluation:  # noqa: ARG002
        x = self._features(obs)
        return score(action, self.actions(self.actor(x)), self.actions.log_std(self.log_std), self.critic(x))

    def imitate(self, obs: Obs, action: Tensor) -> Tensor:
        mean = self.actor(self._features(obs))  # (B, U)
        return imitation(self.actions.inverse(action.flatten(1)), mean, self.log_std, chunk=self.chunk)

    def value(self, obs: Obs) -> Tensor:
        return steady(self.critic, self._features(obs))

    def track(self, obs: Obs) -> None:
        if self.norm is not None:
            self.norm.track(obs["state"])

    def calibrate(self, action: Tensor) -> None:
        self.actions.fit(action)

    def _features(self, obs: Obs) -> Tensor:
        state = obs["state"] if self.norm is None else self.norm(obs["state"])  # (B, D)
        return with_task(state, obs, self.tasks)
