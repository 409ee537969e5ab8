"""How policies take demonstrations in: the measure of actions that travels with the weights, and the running task."""

from dataclasses import replace

import pytest
import torch

from embodied.data.normalize import ActionNorm
from embodied.types import Array, Spec
from policies.mlp import MLPRecipe
from policies.vision import VisionRecipe
from tests.made import drawn

SPEC = Spec({"state": Array((3,))}, action_dim=2, num_envs=4, control_hz=10.0)
SEEN = Spec({"rgb/top": Array((32, 32, 3), torch.uint8)}, action_dim=2, num_envs=4, control_hz=10.0)
SEVERAL = ("push", "pick", "stack")
POLICIES = {
    "mlp": (MLPRecipe(hidden=(8,)), SPEC),
    "vision": (VisionRecipe(hidden=(8,), width=4, features=8), SEEN),
    "vision with state": (VisionRecipe(hidden=(8,), width=4, features=8), replace(SEEN, obs={**SEEN.obs, **SPEC.obs})),
}


def with_tasks(spec):
    return replace(spec, obs={**spec.obs, "task": Array((), torch.int64)}, tasks=SEVERAL)


def observed(spec, count=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: drawn(array, count, generator) for name, array in spec.obs.items() if name != "task"}


def test_actions_are_what_the_policy_says_until_some_were_demonstrated():
    norm, x = ActionNorm(2, chunk=3), torch.randn(5, 6)
    assert torch.equal(norm(x), x)
    assert torch.equal(norm.inverse(x), x)
    assert torch.equal(norm.log_std(x[0]), x[0])


def test_what_was_demonstrated_has_zero_mean_and_unit_deviation():
    norm = ActionNorm(2, chunk=2)
    norm.fit(torch.tensor([[0.1, -1.0], [0.3, 1.0]]))
    said = norm.inverse(torch.tensor([[0.1, -1.0, 0.3, 1.0]]))
    torch.testing.assert_close(said, torch.tensor([[-1.0, -1.0, 1.0, 1.0]]))
    torch.testing.assert_close(norm(said), torch.tensor([[0.1, -1.0, 0.3, 1.0]]))
    torch.testing.assert_close(norm.log_std(torch.zeros(4)).exp(), torch.tensor([0.1, 1.0, 0.1, 1.0]))


def test_an_entry_that_never_moves_is_met_exactly_and_its_noise_not_blown_up():
    norm = ActionNorm(1, chunk=1)
    norm.fit(torch.full((100, 1), 0.7) + 1e-7 * torch.randn(100, 1))
    assert norm(torch.zeros(1, 1)).item() == pytest.approx(0.7)
    assert norm.inverse(torch.tensor([[0.7001]])).item() == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("name", POLICIES)
def test_the_measure_travels_with_the_weights(name):
    recipe, spec = POLICIES[name]
    policy, other = recipe.build(spec), recipe.build(spec)
    policy.calibrate(torch.rand(50, 2) * 0.1 + 0.5)
    other.load_state_dict(policy.state_dict())
    for a, b in zip(*(p.act(observed(spec), explore=False).action for p in (policy, other)), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(other.actions.log_scale, policy.actions.log_scale)


@pytest.mark.parametrize("name", POLICIES)
def test_an_untrained_policy_acts_near_the_middle_of_what_was_demonstrated(name):
    recipe, spec = POLICIES[name]
    policy = recipe.build(spec)
    demonstrated = torch.rand(500, 2) * 0.1 + torch.tensor([0.5, -0.8])
    policy.calibrate(demonstrated)
    action = policy.act(observed(spec), explore=False).action[:, 0]
    torch.testing.assert_close(action, demonstrated.mean(dim=0).expand_as(action), atol=0.02, rtol=0.0)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("chunk", [1, 3])
def test_every_weight_of_the_actor_is_reached_by_imitation_and_none_of_the_critic(name, chunk):
    recipe, spec = POLICIES[name]
    policy = replace(recipe, chunk=chunk).build(spec)
    loss = policy.imitate(observed(spec), torch.rand(4, chunk, 2))
    assert loss.shape == (4, chunk)
    loss.sum().backward()
    without = {name.split(".")[0] for name, p in policy.named_parameters() if p.grad is None}
    assert without == {"critic"}


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_of_several_tasks_sees_which_one_is_running(name):
    recipe, spec = POLICIES[name]
    policy = recipe.build(with_tasks(spec))
    torch.nn.init.normal_(policy.actor[-1].weight)
    obs = observed(spec)
    found = [policy.act(obs | {"task": torch.full((4,), task)}, explore=False).action for task in range(3)]
    values = [policy.value(obs | {"task": torch.full((4,), task)}) for task in range(3)]
    for several in (found, values):
        assert (several[0] != several[1]).any()
        assert (several[1] != several[2]).any()


@pytest.mark.parametrize("name", POLICIES)
def test_a_mixed_batch_is_the_tasks_one_by_one(name):
    recipe, spec = POLICIES[name]
    policy = recipe.build(with_tasks(spec))
    torch.nn.init.normal_(policy.actor[-1].weight)
    obs = observed(spec) | {"task": torch.tensor([2, 0, 1, 1])}
    together = policy.act(obs, explore=False)
    for row in range(4):
        alone = policy.act({key: x[row : row + 1] for key, x in obs.items()}, explore=False)
        torch.testing.assert_close(alone.action, together.action[row : row + 1], atol=1e-5, rtol=0.0)
    evaluated = policy.evaluate(obs, together.action, {})
    torch.testing.assert_close(evaluated.log_prob, together.log_prob, atol=1e-5, rtol=0.0)


def test_statistics_of_observations_leave_the_task_alone():
    policy = MLPRecipe(hidden=(8,)).build(with_tasks(SPEC))
    policy.track(observed(SPEC) | {"task": torch.tensor([2, 2, 2, 2])})
    assert policy.norm is not None
    assert policy.norm.mean.shape == (3,)
