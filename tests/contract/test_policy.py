"""What every Policy must do. A new one is added to RECIPES and nothing else."""

import copy
import itertools
from dataclasses import replace

import pytest
import torch

from embodied.noise import EnvNoise
from embodied.types import Array, Spec
from policies.mlp import MLPRecipe
from policies.vision import VisionRecipe
from tests.made import drawn

B, A = 5, 2
SPEC = Spec(
    obs={
        "state": Array((4,)),
        "rgb/top": Array((32, 40, 3), torch.uint8),
        "depth/top": Array((32, 40, 1)),
        "rgb/wrist.left": Array((48, 48, 3), torch.uint8),
    },
    action_dim=A,
    num_envs=B,
    control_hz=10.0,
)
RECIPES = {
    "mlp": MLPRecipe(hidden=(16,)),
    "cnn": VisionRecipe(hidden=(16,), width=4, features=16),
    "cnn with two encoders": VisionRecipe(hidden=(16,), width=4, features=16, separate_critic=True),
    "resnet18": VisionRecipe(encoder="resnet18", hidden=(16,), width=4, features=16),
}
CASES = list(itertools.product(RECIPES, [1, 3], ["decision", "action"]))


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-K{case[1]}-{case[2]}")
def recipe(request):
    name, chunk, values = request.param
    return replace(RECIPES[name], chunk=chunk, values=values)


@pytest.fixture
def policy(recipe):
    """With weights that tell observations apart, and statistics of some, and of actions."""
    torch.manual_seed(0)
    policy = recipe.build(SPEC)
    torch.nn.init.normal_(policy.actor[-1].weight, std=0.1)
    policy.track(observed(seed=8))
    policy.calibrate(torch.rand(9, A) * 0.2 - 0.6)
    return policy


def observed(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: drawn(array, B, generator) for name, array in SPEC.obs.items()}


def noise(seed=0):
    return EnvNoise(seed, total=1)


def test_a_decision_has_the_shapes_of_its_recipe(policy, recipe):
    decision = policy.act(observed(), explore=True, noise=noise())
    assert decision.action.shape == (B, recipe.chunk, A)
    assert decision.log_prob.shape == (B, recipe.chunk * A)
    value = policy.value(observed()) if decision.value is None else decision.value
    assert value.shape == (B, recipe.chunk if recipe.values == "action" else 1)
    for x in (decision.action, decision.log_prob, value.detach()):
        assert x.dtype == torch.float32
        assert not x.requires_grad


def test_an_evaluation_agrees_with_the_decision_it_scores(policy):
    obs = observed()
    decision = policy.act(obs, explore=True, noise=noise())
    found = policy.evaluate(obs, decision.action, decision.extras)
    assert found.entropy.shape == found.log_prob.shape
    torch.testing.assert_close(found.log_prob, decision.log_prob, atol=2e-6, rtol=0.0)
    torch.testing.assert_close(found.value, policy.value(obs), atol=2e-6, rtol=0.0)
    if decision.value is not None:
        torch.testing.assert_close(policy.value(obs), decision.value, atol=2e-6, rtol=0.0)


def test_scores_do_not_depend_on_the_rest_of_the_batch(policy):
    obs = observed()
    decision = policy.act(obs, explore=True, noise=noise())
    second = {name: x[2:3] for name, x in obs.items()}
    found = policy.evaluate(second, decision.action[2:3], {})
    torch.testing.assert_close(found.log_prob, decision.log_prob[2:3], atol=1e-5, rtol=0.0)


def test_an_action_does_not_depend_on_how_many_environments_act_beside(policy):
    obs = observed()
    one = {k: x[:1] for k, x in obs.items()}
    together, alone = (policy.act(seen, explore=False) for seen in (obs, one))
    for name in ("action", "log_prob"):
        torch.testing.assert_close(getattr(alone, name), getattr(together, name)[:1], atol=1e-6, rtol=0.0)
    torch.testing.assert_close(policy.value(one), policy.value(obs)[:1], atol=1e-6, rtol=0.0)


def test_without_exploration_the_action_is_the_likeliest(policy):
    obs = observed()
    first, second = (policy.act(obs, explore=False, noise=noise(seed)) for seed in (0, 1))
    assert torch.equal(first.action, second.action)
    explored = policy.evaluate(obs, policy.act(obs, explore=True, noise=noise()).action, {})
    assert (policy.evaluate(obs, first.action, {}).log_prob >= explored.log_prob).all()


def test_the_generator_is_the_only_source_of_noise(policy):
    obs = observed()
    first, second, other = (policy.act(obs, explore=True, noise=noise(seed)).action for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert (first != other).any()


def test_every_parameter_is_reached_by_the_gradient(policy):
    found = policy.evaluate(observed(), torch.zeros(B, policy.chunk, A), {})
    (found.log_prob.sum() + found.value.square().sum()).backward()
    without = [name for name, p in policy.named_parameters() if p.grad is None]
    assert without == []


def test_every_observation_reaches_action_and_value(policy):
    obs = observed()
    for key in obs if hasattr(policy, "encoder") else ["state"]:
        changed = obs | {key: observed(seed=1)[key]}
        assert (policy.act(changed, explore=False).action != policy.act(obs, explore=False).action).any(), key
        assert (policy.value(changed) != policy.value(obs)).any(), key


def test_statistics_change_the_policy_only_when_they_are_tracked(policy):
    obs = observed()
    first = policy.act(obs, explore=False).action
    assert torch.equal(policy.act(obs, explore=False).action, first)
    policy.track({name: x[None] for name, x in observed(seed=5).items()})  # any leading dimensions
    assert (policy.act(obs, explore=False).action != first).any()


def test_a_loaded_policy_is_the_saved_one(policy, recipe):
    torch.manual_seed(1)
    other = recipe.build(SPEC)
    other.load_state_dict(copy.deepcopy(policy.state_dict()))
    mine, theirs = (p.act(observed(), explore=True, noise=noise()) for p in (policy, other))
    for name in ("action", "log_prob"):
        assert torch.equal(getattr(mine, name), getattr(theirs, name)), name
    assert torch.equal(policy.value(observed()), other.value(observed()))


def test_observations_are_not_modified(policy):
    obs = observed()
    policy.act(obs, explore=True)
    policy.track(obs)
    assert all(torch.equal(x, observed()[name]) for name, x in obs.items())
