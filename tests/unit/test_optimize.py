"""Splitting a minibatch over micro-batches must not change the step that is taken."""

import dataclasses

import pytest
import torch
from torch import nn

from embodied.algorithms.ppo import PPO
from embodied.errors import NonFiniteError
from embodied.learner.optimize import Optimizer
from policies.mlp import MLPRecipe
from tests.made import batch, played, vectors

T, N, K = 8, 6, 2


def make(**algorithm):
    torch.manual_seed(0)
    spec = vectors(num_envs=N)
    policy = MLPRecipe(hidden=(8,), chunk=K).build(spec)
    valid = torch.rand(T, N, K) < 0.8
    return policy, PPO(**algorithm).prepare(played(policy, spec, T, K, valid=valid))


def parameters_after_one_step(policy, minibatch, micro_batch, max_grad_norm=1e9):
    sgd = torch.optim.SGD(policy.parameters(), lr=0.1)
    optimize = Optimizer({"policy": policy}, {"policy": sgd}, micro_batch, max_grad_norm)
    metrics = optimize("policy", lambda b: PPO().loss(policy, b), minibatch)
    return torch.cat([p.detach().flatten() for p in policy.parameters()]), metrics


@pytest.mark.parametrize("weigh", ["unit", "episode"])
@pytest.mark.parametrize("micro_batch", [1, 5, 48])
def test_micro_batches_do_not_change_the_step(micro_batch, weigh):
    whole, expected = parameters_after_one_step(*make(weigh=weigh), micro_batch=10_000)
    split, found = parameters_after_one_step(*make(weigh=weigh), micro_batch=micro_batch)
    torch.testing.assert_close(split, whole)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_the_scale_of_the_weights_does_not_matter():
    policy, minibatch = make()
    thousandfold = dataclasses.replace(minibatch, sample_weight=1000 * minibatch.sample_weight)
    expected, _ = parameters_after_one_step(*make(), micro_batch=100)
    found, _ = parameters_after_one_step(policy, thousandfold, micro_batch=100)
    torch.testing.assert_close(found, expected)


def test_the_first_step_starts_at_ratio_one():
    _, metrics = parameters_after_one_step(*make(), micro_batch=10_000)
    assert metrics["kl"] < 1e-6
    assert metrics["clip_fraction"] == 0


def test_a_long_gradient_is_shortened_and_its_length_before_is_reported():
    weight = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(weight.weight)
    sgd = torch.optim.SGD(weight.parameters(), lr=1.0)
    optimize = Optimizer({"line": weight}, {"line": sgd}, 10, max_grad_norm=0.5)
    metrics = optimize("line", lambda b: ((b.sample_weight * 3 * weight.weight).sum(), {}), batch())
    assert metrics["grad_norm"] == pytest.approx(3.0)
    assert weight.weight.item() == pytest.approx(-0.5, abs=1e-5)


def test_a_parameter_without_a_gradient_is_left_alone():
    used, unused = nn.Linear(1, 1, bias=False), nn.Linear(1, 1)
    both, before = nn.ModuleList([used, unused]), unused.weight.clone()
    adam = torch.optim.Adam(both.parameters(), lr=1.0)
    optimize = Optimizer({"both": both}, {"both": adam}, 10, 1.0)
    optimize("both", lambda b: ((b.sample_weight * used.weight).sum(), {}), batch())
    assert torch.equal(unused.weight, before)


def test_a_loss_that_is_not_finite_makes_no_step():
    policy, minibatch = make()
    before = [p.detach().clone() for p in policy.parameters()]
    minibatch.advantage[3] = float("nan")
    with pytest.raises(NonFiniteError, match="the loss and the grad_norm of `policy` is not finite"):
        parameters_after_one_step(policy, minibatch, micro_batch=100)
    assert all(torch.equal(p, old) for p, old in zip(policy.parameters(), before, strict=True))
