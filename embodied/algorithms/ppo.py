"""Proximal Policy Optimization (Schulman et al. 2017) over action chunks, as RLinf-VLA uses it.

One iteration: advantages from the rollout, then `epochs` passes of clipped policy and value updates. Values and ratios
are counted per decision, action or token; how samples become a step (micro-batches, ranks) is `learner/optimize.py`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from embodied.algorithms.returns import episode_share, fold, gae, per_decision, spread, units
from embodied.config import Count, Fraction, NotNegative, Positive, recipe
from embodied.data.rollouts import Rollouts
from embodied.distributed import whiten
from embodied.errors import RatioError
from embodied.interfaces import Granularity, Optimize, Policy
from embodied.types import Batch, Metrics, Spec, Trajectory, tree_map


@recipe
class PPO:
    gamma: Fraction = 0.99  # discount per unit of `values`
    lam: Fraction = 0.95  # GAE trace decay
    values: Granularity = "decision"  # what gets an advantage: a decision or an action
    ratio: Literal["decision", "action", "token"] = "action"  # what gets a likelihood ratio; not coarser than `values`
    clip_low: Fraction = 0.2  # the ratio is trusted from 1 - clip_low ...
    clip_high: NotNegative = 0.2  # ... to 1 + clip_high; larger than clip_low is "clip-higher"
    dual_clip: Positive | None = None  # bounds the loss of bad actions at this ratio; 3 is usual
    value_clip: Positive | None = None  # largest trusted change of a value
    huber: Positive = 10.0  # value error beyond which the loss is linear
    value_weight: NotNegative = 0.5
    entropy_weight: NotNegative = 0.0
    bootstrap: Literal["standard", "always"] = "standard"  # always: a terminated episode is valued as if it went on
    weigh: Literal["unit", "episode"] = "unit"  # every unit, or every episode, weighs the same
    epochs: Count = 4
    minibatches: Count = 4  # per epoch
    target_kl: Positive | None = None  # in nats; above it the remaining epochs are skipped

    def __post_init__(self) -> None:
        if self.values == "action" and self.ratio == "decision":
            raise ValueError("ratio=decision cannot use values=action: set ratio to action or token")

    def storage(self, spec: Spec, chunk: int) -> Rollouts:  # noqa: ARG002  (a rollout brings its shapes)
        return Rollouts()

    def update(self, policy: Policy, storage: Rollouts, optimize: Optimize, generator: torch.Generator) -> Metrics:
        rollout = storage.take()
        batch = self.prepare(rollout)
        fresh = bool((rollout.version == optimize.version).all())
        totals: Metrics = {}
        steps, parts = 0, min(self.minibatches, len(batch))
        for _ in range(self.epochs):
            kl = 0.0
            for index in torch.randperm(len(batch), generator=generator).tensor_split(parts):
                minibatch = batch[index.to(batch.advantage.device)]
                if steps == 0 and fresh:
                    self.check_ratio(policy, minibatch)
                metrics = optimize("policy", lambda b: self.loss(policy, b), minibatch)
                totals = {name: totals.get(name, 0.0) + value for name, value in metrics.items()}
                kl += metrics["kl"] / parts
                steps += 1
            if self.target_kl is not None and kl > self.target_kl:
                break
        policy.track(rollout.obs)
        explained = 1 - (batch.value_target - batch.value).var() / batch.value_target.var().clamp(min=1e-8)
        return {name: value / steps for name, value in totals.items()} | {
            "updates": float(steps),
            "explained_variance": explained.item(),
        }

    @torch.no_grad()
    def prepare(self, r: Trajectory) -> Batch:
        """Advantages, value targets and weights of a rollout, flattened to (B, ...), B = T * N."""
        u = units(r, self.values)
        advantage = gae(u, gamma=self.gamma, lam=self.lam, through_termination=self.bootstrap == "always")  # (S, N)
        counted = r.valid & ~r.human  # (T, N, K): a person's choice is not a sample of the policy
        if self.ratio == "decision":
            counted = (r.valid.any(dim=2) & ~(r.valid & r.human).any(dim=2))[..., None]  # (T, N, 1)
        weight = episode_share(counted, r.episode) if self.weigh == "episode" else counted.float()  # (T, N, W)
        steps = len(r.reward)
        batch = Batch(
            obs=r.obs,
            action=r.action,
            log_prob=r.log_prob,
            advantage=per_decision(whiten(advantage, u.valid), steps),
            value=r.value,
            value_target=per_decision(advantage + u.value, steps),
            sample_weight=weight,
            extras=r.extras,
        )
        return tree_map(lambda x: x.flatten(0, 1), batch)

    def loss(self, policy: Policy, b: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Clipped surrogate, clipped value error and entropy, weighted by `sample_weight`."""
        now = policy.evaluate(b.obs, b.action, b.extras)
        log_ratio = self.fold(now.log_prob - b.log_prob, b)  # (B, R), R = 1, K or U
        num_units = log_ratio.shape[1]
        ratio = log_ratio.exp()
        clipped = ratio.clamp(1 - self.clip_low, 1 + self.clip_high)
        advantage = spread(b.advantage, num_units)  # (B, R)
        policy_loss = torch.max(-advantage * ratio, -advantage * clipped)  # (B, R)
        if self.dual_clip is not None:
            policy_loss = torch.where(advantage < 0, policy_loss.min(-self.dual_clip * advantage), policy_loss)
        entropy = self.fold(now.entropy, b)  # (B, R)

        weight = spread(b.sample_weight, num_units) * (b.sample_weight.shape[1] / num_units)  # (B, R)
        value_weight = b.sample_weight if now.value.shape[1] > 1 else b.sample_weight.sum(dim=1, keepdim=True)  # (B, V)
        metrics = {
            "policy_loss": (weight * policy_loss).sum(),
            "value_loss": (value_weight * self.value_loss(now.value, b)).sum(),
            "entropy": (weight * entropy).sum(),
            "kl": (weight * (ratio - 1 - log_ratio)).sum(),  # k3 estimator, never negative
            "clip_fraction": (weight * (ratio != clipped)).sum(),
        }
        total = metrics["policy_loss"] + self.value_weight * metrics["value_loss"]
        return total - self.entropy_weight * metrics["entropy"], metrics

    def value_loss(self, value: Tensor, b: Batch) -> Tensor:
        """Huber error (B, V), the larger of the plain and the clipped one."""
        loss = huber_loss(value, b.value_target, reduction="none", delta=self.huber)
        if self.value_clip is None:
            return loss
        clipped = b.value + (value - b.value).clamp(-self.value_clip, self.value_clip)  # (B, V)
        return torch.max(loss, huber_loss(clipped, b.value_target, reduction="none", delta=self.huber))

    def fold(self, x: Tensor, b: Batch) -> Tensor:
        """(B, U) to the units of `ratio`: (B, 1), (B, K) or (B, U)."""
        return fold(x, {"decision": 1, "action": b.action.shape[1], "token": x.shape[1]}[self.ratio])

    @torch.no_grad()
    def check_ratio(self, policy: Policy, b: Batch) -> None:
        """Fresh actions must have ratio 1: otherwise `act` and `evaluate` disagree, and every gradient is wrong."""
        now = policy.evaluate(b.obs, b.action, b.extras).log_prob
        counted = spread(b.sample_weight, now.shape[1]) > 0  # (B, U)
        error = (self.fold(torch.where(counted, now - b.log_prob, 0.0), b).exp() - 1).abs()
        exact = next(policy.parameters()).dtype != torch.bfloat16
        worst, limit = (error.max().item(), 1e-5) if exact else (error[counted.any(dim=1)].median().item(), 1e-3)
        if not worst < limit:
            raise RatioError(
                f"the policy scored actions it had just taken with |ratio - 1| = {worst:.1e} (limit {limit:.0e}); the "
                f"update was not made. `act` and `evaluate` of {type(policy).__name__} must be the same density: look "
                f"for dropout, a different temperature, or statistics that changed between acting and learning."
            )
