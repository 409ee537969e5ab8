"""The Gaussian head: from the mean of a chunk to a decision and back to its density. U = K * A, nothing is squashed."""

from __future__ import annotations

from torch import Tensor

from embodied.noise import Noise
from embodied.types import Decision, Evaluation
from policies.parts.distributions import gaussian_entropy, gaussian_log_prob, sample_gaussian


def decide(
    mean: Tensor, log_std: Tensor, value: Tensor | None, *, chunk: int, explore: bool, noise: Noise | None
) -> Decision:
    """Draw from N(mean (N, U), exp(log_std (U,))), or take the mean; `value` (N, V) goes along."""
    action = sample_gaussian(mean, log_std, noise) if explore else mean  # (N, U)
    log_prob = gaussian_log_prob(action, mean, log_std)  # (N, U)
    return Decision(action=action.unflatten(1, (chunk, -1)), log_prob=log_prob, value=value)


def score(action: Tensor, mean: Tensor, log_std: Tensor, value: Tensor) -> Evaluation:
    """The density of `action` (B, K, A) under N(mean (B, U), exp(log_std (U,)))."""
    log_prob = gaussian_log_prob(action.flatten(1), mean, log_std)  # (B, U)
    return Evaluation(log_prob=log_prob, entropy=gaussian_entropy(log_std).expand_as(log_prob), value=value)


def imitation(target: Tensor, mean: Tensor, log_std: Tensor, *, chunk: int, finest: float = 0.02) -> Tensor:
    """Loss (B, K) of demonstrated actions `target` (B, U), in units of their own spread, under `mean` (B, U).

    The squared error trains the mean alone: as a likelihood it would be weighed by a spread that shrinks while it
    learns, and a run would depend on how fast. `log_std` (U,) learns the spread of what is left (not below `finest`)
    by its likelihood, and adds nothing to the number: so actions can be sampled, and RL begins with the
    demonstrator's own exploration. Its share of the gradient is small, or clipping would slow the mean down.
    """
    error = (target - mean).square()  # (B, U)
    spread = 0.5 * (error.detach() + finest**2) * (-2 * log_std).exp() + log_std  # (B, U)
    return (error + 0.01 * (spread - spread.detach())).unflatten(1, (chunk, -1)).mean(dim=2)
