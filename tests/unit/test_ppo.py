import dataclasses
import math

import pytest
import torch
from pydantic import ValidationError

from embodied.algorithms.ppo import PPO
from embodied.data.rollouts import Rollouts
from embodied.errors import RatioError
from embodied.learner.optimize import Optimizer
from policies.mlp import MLP, MLPRecipe
from tests.made import Says, batch, played, trajectory, vectors


def one(number):
    return torch.tensor([[number]])


def loss_and_gradients(algorithm, policy, rollout):
    policy.zero_grad()
    b = algorithm.prepare(rollout)
    b = dataclasses.replace(b, sample_weight=b.sample_weight / b.sample_weight.sum())
    loss, _ = algorithm.loss(policy, b)
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in policy.parameters()])


def learned(algorithm, *, learning_rate=0.05, version=0):
    """Metrics of one update of a small policy on a rollout it made itself."""
    spec = vectors()
    policy = MLPRecipe(hidden=(8,)).build(spec)
    sgd = torch.optim.SGD(policy.parameters(), lr=learning_rate)
    optimize = Optimizer({"policy": policy}, {"policy": sgd}, 1000, 1e9, version=version)
    storage = Rollouts()
    storage.add(played(policy, spec, steps=8, chunk=1))
    return algorithm.update(policy, storage, optimize, torch.Generator().manual_seed(0))


def test_the_clipped_value_error_is_golden_g9():
    algorithm = PPO(value_clip=0.2)
    assert algorithm.value_loss(one(0.9), batch(value=one(0.2), value_target=one(1.0))).item() == pytest.approx(0.18)


def test_without_a_clip_the_value_error_is_half_the_square_and_then_linear():
    assert PPO().value_loss(one(0.9), batch(value_target=one(1.0))).item() == pytest.approx(0.005)
    assert PPO(huber=2.0).value_loss(one(0.0), batch(value_target=one(10.0))).item() == pytest.approx(2 * (10 - 1))


def test_the_dual_clip_is_golden_g9():
    bad = batch(advantage=one(-2.0))
    far = Says([[0.0]], log_prob=math.log(5.0), value=0.0)  # ratio 5
    plain, _ = PPO(clip_high=0.28).loss(far, bad)
    dual, metrics = PPO(clip_high=0.28, dual_clip=3.0).loss(far, bad)
    assert (plain.item(), dual.item()) == (pytest.approx(10.0, abs=1e-5), pytest.approx(6.0, abs=1e-5))
    assert metrics["clip_fraction"].item() == 1.0


@pytest.mark.parametrize(("advantage", "ratio", "loss"), [(1.0, 2.0, -1.28), (1.0, 0.5, -0.5), (-1.0, 0.5, 0.8)])
def test_the_ratio_is_clipped_on_the_side_where_it_would_gain(advantage, ratio, loss):
    policy = Says([[0.0]], log_prob=math.log(ratio), value=0.0)
    found, _ = PPO(clip_low=0.2, clip_high=0.28).loss(policy, batch(advantage=one(advantage)))
    assert found.item() == pytest.approx(loss, abs=1e-6)


def test_kl_is_the_estimator_that_is_never_negative():
    _, metrics = PPO().loss(Says([[0.0]], log_prob=math.log(2.0), value=0.0), batch())
    assert metrics["kl"].item() == pytest.approx(2.0 - 1.0 - math.log(2.0))


def test_entropy_is_rewarded_with_its_weight():
    policy = MLPRecipe(hidden=(4,), initial_std=1.0).build(vectors(1, 1, 1))
    zero = batch(value_target=policy.value({"state": one(0.0)}).detach(), log_prob=one(0.0))
    with_entropy, metrics = PPO(entropy_weight=0.1).loss(policy, zero)
    assert metrics["entropy"].item() == pytest.approx(0.5 + 0.5 * math.log(2 * math.pi))
    without, _ = PPO().loss(policy, zero)
    assert (with_entropy - without).item() == pytest.approx(-0.1 * metrics["entropy"].item(), abs=1e-6)


def test_with_one_action_of_one_entry_every_granularity_is_the_same():
    spec = vectors(action_dim=1)
    policy = MLPRecipe(hidden=(8,)).build(spec)
    rollout = played(policy, spec, steps=6, chunk=1)
    by_decision = loss_and_gradients(PPO(values="decision", ratio="decision"), policy, rollout)
    for algorithm in (PPO(values="action", ratio="action"), PPO(values="action", ratio="token"), PPO()):
        for found, expected in zip(loss_and_gradients(algorithm, policy, rollout), by_decision, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("ratio", ["decision", "action", "token"])
def test_at_ratio_one_the_policy_loss_is_minus_the_mean_advantage_at_every_granularity(ratio):
    spec = vectors()
    policy = MLPRecipe(hidden=(8,), chunk=3).build(spec)
    algorithm = PPO(ratio=ratio)
    b = algorithm.prepare(played(policy, spec, steps=5, chunk=3))
    b = dataclasses.replace(b, sample_weight=b.sample_weight / b.sample_weight.sum())
    _, metrics = algorithm.loss(policy, b)
    assert metrics["policy_loss"].item() == pytest.approx(-b.advantage.mean().item(), abs=1e-5)
    assert metrics["clip_fraction"].item() == 0.0


def test_ratios_coarser_than_values_are_refused():
    with pytest.raises(ValidationError, match="set ratio to action or token"):
        PPO(values="action", ratio="decision")


def test_fresh_actions_of_an_honest_policy_pass_the_ratio_check():
    assert learned(PPO())["updates"] == 16


class Forgetful(MLP):
    """Scores with a tenth of its mean forgotten: what dropout does to a policy."""

    def evaluate(self, obs, action, extras):
        return super().evaluate({"state": obs["state"] * 0.9}, action, extras)


def forgetful(spec):
    policy = Forgetful(MLPRecipe(hidden=(8,)), spec)
    with torch.no_grad():
        for parameter in policy.actor.parameters():
            parameter += 0.3  # its first weights hardly look at the observation
    return policy


def test_a_policy_that_scores_its_fresh_actions_differently_is_refused():
    spec = vectors()
    policy = forgetful(spec)
    b = PPO().prepare(played(policy, spec, steps=4, chunk=1))
    with pytest.raises(RatioError, match="Forgetful must be the same density"):
        PPO().check_ratio(policy, b)


def test_actions_of_a_person_have_no_weight():
    human = torch.tensor([[[False, True]], [[False, False]]])
    r = trajectory(2, 1, chunk=2, human=human)
    assert PPO(ratio="action").prepare(r).sample_weight.tolist() == [[1.0, 0.0], [1.0, 1.0]]
    assert PPO(ratio="decision").prepare(r).sample_weight.tolist() == [[0.0], [1.0]]


def test_actions_after_the_end_have_no_weight():
    valid = torch.tensor([[[True, False]], [[True, True]]])
    terminated = torch.tensor([[[True, False]], [[False, False]]])
    r = trajectory(2, 1, chunk=2, valid=valid, terminated=terminated)
    assert PPO(ratio="action").prepare(r).sample_weight.tolist() == [[1.0, 0.0], [1.0, 1.0]]
    assert PPO(ratio="decision").prepare(r).sample_weight.tolist() == [[1.0], [1.0]]


def test_weighing_by_episode_gives_a_short_one_as_much_as_a_long_one():
    r = trajectory(3, 1, episode=torch.tensor([[0], [0], [1]]))
    assert PPO(weigh="episode").prepare(r).sample_weight.flatten().tolist() == [0.5, 0.5, 1.0]


def test_what_happened_in_a_lost_decision_does_not_reach_the_gradient():
    spec = vectors(num_envs=2)
    policy = MLPRecipe(hidden=(8,)).build(spec)
    valid = torch.ones(4, 2, 1, dtype=torch.bool)
    valid[2, 1] = False
    truncated = ~valid[..., 0]
    lost = played(policy, spec, steps=4, chunk=1, valid=valid, truncated=truncated)
    strange = lost.reward.clone(), lost.next_value.clone(), lost.action.clone()
    for x in strange:
        x[2, 1] = 77.0
    other = dataclasses.replace(lost, reward=strange[0], next_value=strange[1], action=strange[2])
    for algorithm in (PPO(), PPO(ratio="decision"), PPO(values="action")):
        loss, gradient = loss_and_gradients(algorithm, policy, lost)
        other_loss, other_gradient = loss_and_gradients(algorithm, policy, other)
        assert torch.equal(loss, other_loss)
        assert torch.equal(gradient, other_gradient)


def test_an_update_walks_every_minibatch_of_every_epoch():
    assert learned(PPO(epochs=3, minibatches=2))["updates"] == 6


def test_target_kl_skips_the_epochs_after_the_one_that_exceeded_it():
    assert learned(PPO(epochs=10, minibatches=1))["updates"] == 10
    # the first epoch begins at ratio 1, so its kl is 0
    assert learned(PPO(epochs=10, minibatches=1, target_kl=1e-7))["updates"] == 2


def test_stale_rollouts_are_not_held_to_ratio_one():
    spec = vectors()
    policy = forgetful(spec)
    storage = Rollouts()
    storage.add(played(policy, spec, steps=4, chunk=1))  # version 0
    sgd = torch.optim.SGD(policy.parameters(), lr=0.0)
    optimize = Optimizer({"policy": policy}, {"policy": sgd}, 1000, 1e9, version=1)
    assert PPO(epochs=1).update(policy, storage, optimize, torch.Generator())["kl"] > 0.0


def test_an_update_depends_on_its_generator_alone():
    torch.manual_seed(1)
    spec = vectors()
    policy = MLPRecipe(hidden=(8,)).build(spec)
    state, results = {k: v.clone() for k, v in policy.state_dict().items()}, []
    for _ in range(2):
        policy.load_state_dict(state)
        storage = Rollouts()
        storage.add(played(policy, spec, steps=8, chunk=1))
        sgd = torch.optim.SGD(policy.parameters(), lr=0.1)
        optimize = Optimizer({"policy": policy}, {"policy": sgd}, 1000, 1e9)
        PPO().update(policy, storage, optimize, torch.Generator().manual_seed(3))
        results.append({k: v.clone() for k, v in policy.state_dict().items()})
        torch.rand(5)  # the global generator moves on
    assert all(torch.equal(results[0][k], results[1][k]) for k in state)


def test_statistics_move_after_the_update():
    spec = vectors()
    policy = MLPRecipe(hidden=(8,)).build(spec)
    storage, rollout = Rollouts(), played(policy, spec, steps=8, chunk=1)
    storage.add(rollout)
    sgd = torch.optim.SGD(policy.parameters(), lr=0.0)
    PPO().update(policy, storage, Optimizer({"policy": policy}, {"policy": sgd}, 99, 1.0), torch.Generator())
    assert policy.norm is not None
    torch.testing.assert_close(policy.norm.mean, rollout.obs["state"].flatten(0, 1).double().mean(dim=0))
