"""Behavior cloning: which chunks are learned from, what their loss is, and what a step depends on."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from embodied.algorithms.bc import BC
from embodied.data.demonstrations import Demonstrations, split
from embodied.errors import DatasetError
from embodied.interfaces import Policy
from embodied.learner.optimize import Optimizer
from embodied.types import Array, Chunks, Spec
from policies.mlp import MLPRecipe
from policies.parts.gaussian import imitation
from policies.vision import VisionRecipe
from tests.made import Says, drawn

PICTURES = Spec({"rgb/top": Array((32, 32, 3), torch.uint8)}, action_dim=2, num_envs=1, control_hz=10.0)
VECTORS = Spec({"state": Array((3,))}, action_dim=2, num_envs=1, control_hz=10.0)


def demonstrations(spec=VECTORS, lengths=(5, 3, 4), held_out=(1,), chunk=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = sum(lengths)
    frames = {name: drawn(array, rows, generator).numpy() for name, array in spec.obs.items()}
    action = torch.rand(rows, spec.action_dim, generator=generator) * 2 - 1
    mask = torch.zeros(len(lengths), dtype=torch.bool)
    mask[list(held_out)] = True
    return Demonstrations(frames, np.arange(rows), action, torch.tensor(lengths), mask, chunk=chunk)


def state_of(d):
    return torch.from_numpy(d.frames["state"])


def pictures_of(d):
    return torch.from_numpy(d.frames["rgb/top"])


def made(spec=VECTORS, chunk=2):
    torch.manual_seed(0)
    if spec is PICTURES:
        return VisionRecipe(width=4, features=8, hidden=(8,), chunk=chunk).build(spec)
    return MLPRecipe(hidden=(8,), chunk=chunk).build(spec)


def optimizer(policy, *, learning_rate=0.05, version=0):
    sgd = torch.optim.SGD(policy.parameters(), lr=learning_rate)
    return Optimizer({"policy": policy}, {"policy": sgd}, 1000, 1e9, version=version)


def updated(algorithm, spec=VECTORS, *, seed=0, chunk=2, **kwargs):
    """Metrics, and the parameters after one update."""
    policy = made(spec, chunk)
    generator = torch.Generator().manual_seed(seed)
    metrics = algorithm.update(policy, demonstrations(spec, chunk=chunk), optimizer(policy, **kwargs), generator)
    return metrics, policy


def test_a_chunk_repeats_the_last_action_of_its_episode_and_gives_it_no_weight():
    d = demonstrations(lengths=(3, 2), held_out=(), chunk=3)
    found = d.chunks(torch.tensor([0, 1, 2, 3]))
    a = d.action
    torch.testing.assert_close(found.action[0], a[:3])
    torch.testing.assert_close(found.action[1], torch.stack([a[1], a[2], a[2]]))
    torch.testing.assert_close(found.action[2], torch.stack([a[2], a[2], a[2]]))
    torch.testing.assert_close(found.action[3], torch.stack([a[3], a[4], a[4]]))
    assert found.sample_weight.tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0]]
    assert torch.equal(found.obs["state"], state_of(d)[:4])


def test_a_chunk_longer_than_every_episode_is_mostly_padding():
    d = demonstrations(lengths=(2, 1), held_out=(), chunk=5)
    assert d.chunks(torch.arange(3)).sample_weight.sum(dim=1).tolist() == [2, 1, 1]


@pytest.mark.parametrize("spec", [VECTORS, PICTURES], ids=["mlp", "vision"])
def test_the_loss_does_not_change_with_what_stands_in_padded_slots(spec):
    policy, d = made(spec, chunk=4), demonstrations(spec, chunk=4)
    d.describe(policy)
    b = d.chunks(torch.arange(12))
    b = dataclasses.replace(b, sample_weight=b.sample_weight / b.sample_weight.sum())
    assert (b.sample_weight == 0).any()
    strange = torch.where(b.sample_weight[..., None] == 0, torch.full_like(b.action, 77.0), b.action)
    found = []
    for chunks in (b, dataclasses.replace(b, action=strange)):
        policy.zero_grad()
        loss, _ = BC().loss(policy, chunks)
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in policy.parameters() if p.grad is not None)])
    assert all(torch.equal(x, y) for x, y in zip(*found, strict=True))


def test_frames_may_lie_anywhere():
    frames = {"state": np.arange(10, dtype=np.float32)[:, None]}
    where = np.array([4, 5, 0, 1, 2])
    d = Demonstrations(
        frames, where, torch.zeros(5, 1), torch.tensor([2, 3]), torch.zeros(2, dtype=torch.bool), chunk=2
    )
    assert d.chunks(torch.arange(5)).obs["state"].flatten().tolist() == [4, 5, 0, 1, 2]


def test_every_start_of_the_episodes_to_learn_from_is_drawn_and_none_of_the_others():
    d = demonstrations(lengths=(5, 3, 4), held_out=(1,))
    chunks = d.sample(500, torch.Generator().manual_seed(0))
    seen = {tuple(row) for row in chunks.obs["state"].tolist()}
    assert seen == {tuple(row) for row in state_of(d)[[0, 1, 2, 3, 4, 8, 9, 10, 11]].tolist()}
    assert torch.equal(d.held_out(99).obs["state"], state_of(d)[5:8])
    assert len(d.held_out(2)) == 2


def test_episodes_are_held_out_by_share_and_seed():
    first = split(range(20), 0.1, seed=0, name="data")
    assert first.sum() == 2
    assert torch.equal(first, split(range(20), 0.1, seed=0, name="data"))
    assert any(not torch.equal(first, split(range(20), 0.1, seed=seed, name="data")) for seed in (1, 2))
    assert split(range(3), 0.1, seed=0, name="data").sum() == 1
    assert split(range(3), 0.0, seed=0, name="data").sum() == 0


def test_holding_out_every_episode_is_refused():
    with pytest.raises(DatasetError, match=r"data has 1 usable episodes.*set algorithm\.validation=0"):
        split(range(1), 0.1, seed=0, name="data")


def test_the_loss_of_a_gaussian_is_its_squared_error_in_units_of_the_demonstrations():
    target, mean = torch.tensor([[1.0, 0.0, 2.0, 4.0]]), torch.tensor([[0.0, 0.0, 0.0, 2.0]])
    found = imitation(target, mean, torch.zeros(4), chunk=2)
    assert found.tolist() == [[0.5, 4.0]]


def test_the_spread_learns_what_the_mean_leaves_over_and_does_not_move_it():
    error = torch.randn(10_000, 1, generator=torch.Generator().manual_seed(0)) * 0.3
    mean, log_std = torch.zeros(1, 1, requires_grad=True), torch.zeros(1, requires_grad=True)
    adam = torch.optim.Adam([log_std], lr=0.05)
    for _ in range(200):
        adam.zero_grad()
        imitation(error, mean.expand_as(error), log_std, chunk=1).mean().backward()
        adam.step()
    assert log_std.exp().item() == pytest.approx(0.3, rel=0.05)
    loss = imitation(error, mean.expand_as(error), log_std, chunk=1).mean()
    (gradient,) = torch.autograd.grad(loss, [mean])
    assert gradient.item() == pytest.approx(-2 * error.mean().item(), abs=1e-6)


def test_a_policy_that_says_nothing_else_imitates_by_likelihood():
    policy = Says([[0.0], [0.0]], log_prob=-3.0)
    loss = Policy.imitate(policy, {"state": torch.zeros(5, 1)}, torch.zeros(5, 2, 1))
    assert loss.tolist() == [[3.0, 3.0]] * 5


def test_before_the_first_step_a_policy_measures_the_episodes_to_learn_from_exactly():
    policy, d = made(), demonstrations(lengths=(5000, 3, 4), held_out=(1,))
    BC(updates_per_iteration=1).update(policy, d, optimizer(policy, learning_rate=0.0), torch.Generator())
    learned = torch.cat([state_of(d)[:5000], state_of(d)[5003:]]).double()
    assert policy.norm is not None
    torch.testing.assert_close(policy.norm.mean, learned.mean(dim=0))
    torch.testing.assert_close(policy.norm.variance, learned.var(dim=0, correction=0))
    action = torch.cat([d.action[:5000], d.action[5003:]])
    torch.testing.assert_close(policy.actions.mean, action.mean(dim=0))
    torch.testing.assert_close(policy.actions.std, action.std(dim=0, correction=0))


def test_a_policy_is_measured_once():
    _, policy = updated(BC(updates_per_iteration=1), version=1)
    assert policy.norm is not None
    assert policy.norm.count.item() == 0
    assert policy.actions.std.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("spec", [VECTORS, PICTURES], ids=["mlp", "vision"])
def test_an_update_depends_on_its_generator_alone(spec):
    algorithm = BC(updates=3, updates_per_iteration=3, batch=4)
    (first, a), (second, b), (other, c) = (updated(algorithm, spec, seed=seed) for seed in (0, 0, 1))
    assert first == second
    assert first["bc_loss"] != other["bc_loss"]
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q)
    assert any(not torch.equal(p, q) for p, q in zip(a.parameters(), c.parameters(), strict=True))


def test_the_logged_loss_is_the_mean_over_the_steps_of_an_iteration():
    metrics, policy = updated(BC(updates_per_iteration=4, batch=9), learning_rate=0.0)
    assert metrics["bc_loss"] == metrics["loss"]
    b = demonstrations().chunks(demonstrations().learned)
    every = (b.sample_weight * policy.imitate(b.obs, b.action)).sum() / b.sample_weight.sum()
    assert metrics["bc_loss"] == pytest.approx(every.item(), rel=0.3)  # of draws with repetition


def test_validation_is_the_weighted_mean_over_held_out_chunks_in_any_portions():
    policy, d = made(), demonstrations(lengths=(5, 3, 4), held_out=(1, 2))
    d.describe(policy)
    b = d.chunks(torch.arange(5, 12))
    weight = b.sample_weight / b.sample_weight.sum()
    loss = (weight * policy.imitate(b.obs, b.action)).sum().item()
    error = (weight * (policy.act(b.obs, explore=False).action - b.action).abs().mean(dim=2)).sum().item()
    for batch in (1, 4, 100):
        found = BC(batch=batch).validate(policy, d)
        assert found == {"validation_loss": pytest.approx(loss), "action_error": pytest.approx(error)}


def test_without_held_out_episodes_nothing_is_said_about_them():
    assert BC().validate(made(), demonstrations(held_out=())) == {}


def test_only_pictures_are_augmented_and_only_while_learning():
    spec = Spec({**PICTURES.obs, **VECTORS.obs}, action_dim=2, num_envs=1, control_hz=10.0)
    d = demonstrations(spec)
    chunks = d.chunks(torch.arange(5))
    found = BC().augmented(chunks, torch.Generator().manual_seed(0))
    assert (found.obs["rgb/top"] != chunks.obs["rgb/top"]).any()
    assert torch.equal(found.obs["state"], chunks.obs["state"])
    assert torch.equal(chunks.obs["rgb/top"], pictures_of(d)[:5])
    assert torch.equal(d.held_out(5).obs["rgb/top"], pictures_of(d)[5:8])


def test_the_critic_is_left_alone():
    algorithm = BC(updates_per_iteration=2, batch=4)
    fresh, (_, policy) = made(), updated(algorithm)
    assert all(torch.equal(p, q) for p, q in zip(fresh.critic.parameters(), policy.critic.parameters(), strict=True))
    assert any(not torch.equal(p, q) for p, q in zip(fresh.actor.parameters(), policy.actor.parameters(), strict=True))


def test_chunks_are_cut_like_a_batch():
    b = demonstrations().chunks(torch.arange(6))
    part = b[2:5]
    assert isinstance(part, Chunks)
    assert len(part) == 3
    assert torch.equal(part.action, b.action[2:5])


def test_overfitting_one_batch_reaches_almost_nothing():
    torch.manual_seed(0)
    policy, d = MLPRecipe(hidden=(64, 64), chunk=2).build(VECTORS), demonstrations(held_out=())
    adam = torch.optim.Adam(policy.parameters(), lr=3e-3)
    optimize = Optimizer({"policy": policy}, {"policy": adam}, 1000, 1.0)
    algorithm = BC(updates_per_iteration=500, batch=32)
    assert algorithm.update(policy, d, optimize, torch.Generator().manual_seed(0))["bc_loss"] < 1.0
    optimize.version = 1
    assert algorithm.update(policy, d, optimize, torch.Generator().manual_seed(1))["bc_loss"] < 1e-3
    assert math.isfinite(policy.log_std.sum().item())


def test_a_number_of_gradient_steps_that_no_iteration_ends_on_is_refused():
    with pytest.raises(ValidationError, match="updates=20 is not a multiple of updates_per_iteration=250"):
        BC(updates=20)
