import math

import pytest
import torch
from torch.distributions import Independent, Normal

from embodied.noise import EnvNoise
from policies.parts.distributions import (
    gaussian_entropy,
    gaussian_log_prob,
    sample_gaussian,
    tanh_gaussian_log_prob,
)


def test_the_squashed_gaussian_has_the_golden_density_g8():
    mean, log_std, noise = torch.tensor(0.3), torch.tensor(-0.7), torch.tensor(0.8)
    u = mean + log_std.exp() * noise
    assert u.item() == pytest.approx(0.697268, abs=1e-5)
    assert u.tanh().item() == pytest.approx(0.602631, abs=1e-5)
    assert tanh_gaussian_log_prob(u, mean, log_std).item() == pytest.approx(-0.087695, abs=1e-5)
    assert (0.05 * u.tanh()).item() == pytest.approx(0.0301315, abs=1e-6)
    assert tanh_gaussian_log_prob(u, mean, log_std, scale=0.05).item() == pytest.approx(2.908037, abs=1e-5)


def test_the_squashed_density_stays_finite_far_out():
    far = torch.tensor([-40.0, 40.0])
    assert torch.isfinite(tanh_gaussian_log_prob(far, torch.zeros(2), torch.zeros(2))).all()


def test_the_gaussian_agrees_with_torch():
    mean, log_std = torch.randn(5, 3), torch.randn(3)
    theirs = Normal(mean, log_std.exp())
    action = theirs.sample()
    torch.testing.assert_close(gaussian_log_prob(action, mean, log_std), theirs.log_prob(action))
    torch.testing.assert_close(gaussian_entropy(log_std).expand(5, 3), theirs.entropy())
    together = Independent(theirs, 1).log_prob(action)  # (5,)
    torch.testing.assert_close(gaussian_log_prob(action, mean, log_std).sum(dim=1), together)


def test_the_density_at_the_mean_of_a_unit_gaussian_is_minus_half_log_tau():
    assert gaussian_log_prob(*torch.zeros(3, 1)).item() == pytest.approx(-0.5 * math.log(2 * math.pi))


def test_samples_depend_on_the_generator_alone():
    mean, log_std = torch.zeros(4, 2), torch.zeros(2)
    first, second = (sample_gaussian(mean, log_std, EnvNoise(7, total=4)) for _ in range(2))
    assert torch.equal(first, second)


def test_samples_have_the_asked_spread():
    drawn = sample_gaussian(torch.full((20_000, 1), 3.0), torch.tensor([0.5]).log(), EnvNoise(0, total=1))
    assert drawn.mean().item() == pytest.approx(3.0, abs=0.02)
    assert drawn.std().item() == pytest.approx(0.5, abs=0.02)
