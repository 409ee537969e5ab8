"""Behavior cloning (Pomerleau 1989) of action chunks: a policy learns to say what was demonstrated.

What a policy's imitation loss is, it says itself (`Policy.imitate`): a squared error, a likelihood of tokens, an error
of denoising. Nothing is collected; episodes are played only to see what has been learned. Logged in each iteration:

    bc_loss           mean imitation loss of the chunks learned from
    validation_loss   the same on episodes that are never learned from, without augmentation
    action_error      mean |likeliest action - demonstrated action| there, in units of an action's range [-1, 1]
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from embodied.config import Count, Fraction, Natural, NotNegative, recipe
from embodied.data.augment import jittered, offsets, shifted
from embodied.data.demonstrations import Demonstrations, open_demonstrations
from embodied.errors import ConfigError
from embodied.interfaces import Optimize, Policy
from embodied.types import Chunks, Metrics, Spec, tree_map

VALIDATED = 2048  # chunks, at most


@recipe
class BC:
    dataset: str | None = None  # folder of demonstrations that `embodied collect` made or `embodied data` converted
    episodes: Count | None = None  # learn from the first so many, as many of each task; null: from all
    only_successes: bool = True  # leave out episodes in which the task was not solved, where the dataset says so
    updates: Count = 10_000  # gradient steps in the whole run
    updates_per_iteration: Count = 250  # gradient steps between two rows of the log
    evaluate_every: Natural = 4  # iterations between evaluations by fresh episodes; 0 leaves them to the end
    evaluate_episodes: Count = 20  # of each of those
    batch: Count = 256  # chunks in a gradient step
    validation: Fraction = 0.1  # of the episodes are only looked at
    split_seed: Natural = 0  # which those are; not the run's seed, so that losses of several seeds compare
    shift: Natural = 4  # pixels by which pictures are moved at random while learning
    jitter: NotNegative = 0.1  # standard deviation of their random brightness and contrast

    def __post_init__(self) -> None:
        if self.updates % self.updates_per_iteration:
            raise ValueError(
                f"updates={self.updates} is not a multiple of updates_per_iteration={self.updates_per_iteration}; "
                f"change one of them"
            )

    @property
    def values(self) -> None:
        """Of observations: none is asked for."""

    def storage(self, spec: Spec, chunk: int) -> Demonstrations:
        if self.dataset is None:
            raise ConfigError(
                "behavior cloning learns from demonstrations and algorithm.dataset names none; nothing was started. "
                "Make some with `embodied collect`, then give algorithm.dataset=FOLDER."
            )
        return open_demonstrations(
            Path(self.dataset),
            spec,
            chunk=chunk,
            validation=self.validation,
            episodes=self.episodes,
            seed=self.split_seed,
            only_successes=self.only_successes,
        )

    def update(
        self, policy: Policy, storage: Demonstrations, optimize: Optimize, generator: torch.Generator
    ) -> Metrics:
        if optimize.version == 0:
            storage.describe(policy)
        steps = self.updates_per_iteration
        totals: Metrics = {}
        for _ in range(steps):
            batch = _beside(policy, self.augmented(storage.sample(self.batch, generator), generator))
            metrics = optimize("policy", lambda b: self.loss(policy, b), batch)
            totals = {name: totals.get(name, 0.0) + value for name, value in metrics.items()}
        means = {name: value / steps for name, value in totals.items()}
        return means | self.validate(policy, storage)

    def augmented(self, b: Chunks, generator: torch.Generator) -> Chunks:
        """`b` with every camera moved, its color and depth alike, and its color lit differently."""
        obs, moves = dict(b.obs), dict[str, Tensor]()
        for name, x in b.obs.items():
            _, _, camera = name.partition("/")
            if not camera:
                continue
            if camera not in moves:
                moves[camera] = offsets(len(x), self.shift, generator)
            moved = shifted(x, moves[camera])
            obs[name] = jittered(moved, self.jitter, generator) if x.dtype == torch.uint8 else moved
        return Chunks(obs, b.action, b.sample_weight)

    def loss(self, policy: Policy, b: Chunks) -> tuple[Tensor, dict[str, Tensor]]:
        loss = (b.sample_weight * policy.imitate(b.obs, b.action)).sum()
        return loss, {"bc_loss": loss}

    @torch.no_grad()
    def validate(self, policy: Policy, storage: Demonstrations) -> Metrics:
        """What the policy makes of the episodes it never learns from; nothing if there are none."""
        if len(storage.validation) == 0:
            return {}
        every = storage.held_out(VALIDATED)
        loss, error, weight = 0.0, 0.0, float(every.sample_weight.sum())
        for start in range(0, len(every), self.batch):
            b = _beside(policy, every[start : start + self.batch])
            loss += float((b.sample_weight * policy.imitate(b.obs, b.action)).sum())
            away = (policy.act(b.obs, explore=False).action - b.action).abs().mean(dim=2)  # (B, K)
            error += float((b.sample_weight * away).sum())
        return {"validation_loss": loss / weight, "action_error": error / weight}


def _beside(policy: Policy, b: Chunks) -> Chunks:
    """`b` where the policy is."""
    device = next(policy.parameters()).device
    return tree_map(lambda x: x.to(device), b)
