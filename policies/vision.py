"""A Gaussian actor-critic over camera pictures and vectors that emits K actions at once.

Actor and critic share one encoder by default, so that acting encodes every picture once; both losses train it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from embodied.config import Count, Positive, recipe
from embodied.data.normalize import ActionNorm, RunningNorm
from embodied.interfaces import Granularity, Policy
from embodied.noise import Noise
from embodied.types import Decision, Evaluation, Obs, Spec
from policies.parts.encoders import Encoder, Trunk
from policies.parts.gaussian import decide, imitation, score
from policies.parts.heads import mlp, steady
from policies.parts.tasks import num_tasks, task_code, with_task


@recipe
class VisionRecipe:
    encoder: Trunk = "cnn"  # cnn for 64 pixels or so; resnet18 for larger pictures
    width: Count = 32  # channels of the first convolution; the published resnet18 has 64
    features: Count = 128  # entries that describe one camera's picture
    separate_critic: bool = False  # an encoder of its own for the critic, at twice the cost
    hidden: tuple[Count, ...] = (256, 256)
    activation: Literal["tanh", "relu", "elu", "silu"] = "tanh"
    chunk: Count = 1  # K, actions per decision
    values: Granularity = "decision"  # one value per decision or per action
    initial_std: Positive = 0.6  # of each action entry, in units of its range [-1, 1]
    normalize: bool = True  # the vector `state`, by statistics that travel with the weights
    smallest_std: Positive = 1e-4  # of its entries: what varies less is not blown up

    def build(self, spec: Spec) -> Vision:
        return Vision(self, spec)


class Vision(Policy):
    """A state-independent standard deviation per action entry. U = K * A."""

    def __init__(self, r: VisionRecipe, spec: Spec) -> None:
        super().__init__()
        self.chunk, self.tasks = r.chunk, num_tasks(spec)
        size = r.chunk * spec.action_dim
        self.sees_state = "state" in spec.obs
        self.norm = None
        if r.normalize and self.sees_state:
            self.norm = RunningNorm(spec.obs["state"].shape[0], smallest_std=r.smallest_std)
        self.actions = ActionNorm(spec.action_dim, r.chunk)
        encoders = [
            Encoder(spec.obs, trunk=r.encoder, width=r.width, features=r.features, beside=self.tasks)
            for _ in range(1 + r.separate_critic)
        ]
        self.encoder = encoders[0]
        self.critic_encoder = encoders[1] if r.separate_critic else None
        self.actor = mlp((self.encoder.size, *r.hidden, size), activation=r.activation, last_gain=0.01)
        values = r.chunk if r.values == "action" else 1
        self.critic = mlp((self.encoder.size, *r.hidden, values), activation=r.activation)
        self.log_std = nn.Parameter(torch.full((size,), r.initial_std).log())

    @torch.no_grad()
    def act(self, obs: Obs, *, explore: bool, noise: Noise | None = None) -> Decision:
        mean, value = self._forward(obs)
        log_std = self.actions.log_std(self.log_std)
        return decide(mean, log_std, value, chunk=self.chunk, explore=explore, noise=noise)

    def evaluate(self, obs: Obs, action: Tensor, extras: Mapping[str, Tensor]) -> Evaluation:  # noqa: ARG002
        mean, value = self._forward(obs)
        return score(action, mean, self.actions.log_std(self.log_std), value)

    def imitate(self, obs: Obs, action: Tensor) -> Tensor:
        mean = self.actor(self.encoder(obs, self._state(obs)))  # (B, U)
        return imitation(self.actions.inverse(action.flatten(1)), mean, self.log_std, chunk=self.chunk)

    def value(self, obs: Obs) -> Tensor:
        encoder = self.encoder if self.critic_encoder is None else self.critic_encoder
        return steady(self.critic, encoder(obs, self._state(obs)))

    def track(self, obs: Obs) -> None:
        if self.norm is not None:
            self.norm.track(obs["state"])

    def calibrate(self, action: Tensor) -> None:
        self.actions.fit(action)

    def _forward(self, obs: Obs) -> tuple[Tensor, Tensor]:
        """Mean (B, U) and value (B, V)."""
        state = self._state(obs)  # (B, D)
        x = self.encoder(obs, state)  # (B, F)
        seen = x if self.critic_encoder is None else self.critic_encoder(obs, state)  # (B, F)
        return self.actions(steady(self.actor, x)), steady(self.critic, seen)

    def _state(self, obs: Obs) -> Tensor | None:
        """What is known beside the pictures (B, D), if anything."""
        if not self.sees_state:
            return task_code(obs, self.tasks) if self.tasks else None
        state = obs["state"] if self.norm is None else self.norm(obs["state"])
        return with_task(state, obs, self.tasks)
