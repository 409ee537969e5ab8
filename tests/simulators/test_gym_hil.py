"""gym-hil's Panda through the Gymnasium adapter: MuJoCo pictures of a task that is not ours. Skipped without it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from embodied.errors import ConfigError, PackageError
from embodied.types import Start
from simulators.gymnasium import GymnasiumRecipe

pytestmark = pytest.mark.simulators
PICK = GymnasiumRecipe(
    task="gym_hil/PandaPickCubeBase-v0", num_envs=1, processes=0, kwargs={"image_obs": True, "reward_type": "dense"}
)
ACTIONS = (torch.rand(1, 4, 7, generator=torch.Generator().manual_seed(0)) - 0.5) * 0.1


@pytest.fixture(scope="module", autouse=True)
def _there():
    pytest.importorskip("gym_hil", reason="gym-hil is not on this machine")
    try:
        PICK.build().close()
    except PackageError as error:
        pytest.skip(f"gym-hil cannot draw on this machine: {error}")


def begun(recipe: GymnasiumRecipe, seed: int = 0) -> Any:
    env = recipe.build()
    env.reset(torch.ones(1, dtype=torch.bool), Start.seeded([seed]))
    return env


def seen(env: Any) -> dict[str, torch.Tensor]:
    return {name: x.clone() for name, x in env.observe().items()}


def generator_state() -> list[int]:
    state: Any = np.random.get_state()
    return state[1].tolist()


def test_nested_observations_and_its_word_for_success_are_understood():
    env = begun(PICK)
    shapes = {name: tuple(array.shape) for name, array in env.spec.obs.items()}
    assert shapes == {"state": (18,), "rgb/front": (128, 128, 3), "rgb/wrist": (128, 128, 3)}
    single = env.envs[0]
    single.inner.data.joint("block").qpos[2] = 0.5  # in the air
    assert env.step(torch.zeros(1, 1, 7)).success.tolist() == [[False]]  # the fingers are not around it
    single.inner._is_success = lambda: True
    assert env.step(torch.zeros(1, 1, 7)).success.tolist() == [[True]]
    env.close()


def test_fast_pictures_differ_in_light_and_nothing_else_does():
    observed = {}
    for render in ("faithful", "fast"):
        env = begun(replace(PICK, render=render))
        step = env.step(ACTIONS)
        observed[render] = (step.reward, seen(env))
        env.close()
    (reward, faithful), (same_reward, fast) = observed["faithful"], observed["fast"]
    assert torch.equal(reward, same_reward)
    assert torch.equal(faithful["state"], fast["state"])
    for camera in ("rgb/front", "rgb/wrist"):
        assert not torch.equal(faithful[camera], fast[camera])
        assert 0.5 < np.corrcoef(faithful[camera].flatten(), fast[camera].flatten())[0, 1] < 1  # the same scene


def test_postponed_pictures_are_drawn_once_and_come_out_the_same():
    eager, lazy = begun(PICK), begun(replace(PICK, postpone_pictures=True))
    for env in (eager, lazy):
        env.step(ACTIONS)
    assert len(lazy.envs[0].postponed.pending) == 2  # of the last action; those before were never drawn
    expected, found = seen(eager), seen(lazy)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert lazy.envs[0].postponed.pending == []
    for env in (eager, lazy):
        env.close()


def test_a_restored_state_goes_on_nearly_as_the_saved_one_did():
    """Nearly: its controller reads positions that MuJoCo computed a substep before, and these are computed anew."""
    env, everyone = begun(PICK), torch.ones(1, dtype=torch.bool)
    env.step(ACTIONS)
    state, now = env.get_state(), seen(env)
    expected, after = env.step(ACTIONS).reward, seen(env)["state"]
    env.reset(everyone, Start.seeded([5]))
    env.set_state(everyone, state)
    torch.testing.assert_close(seen(env)["state"], now["state"], rtol=0, atol=1e-2)
    torch.testing.assert_close(env.step(ACTIONS).reward, expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(seen(env)["state"], after, rtol=0, atol=1e-2)
    env.close()


def test_places_that_it_draws_from_numpys_global_generator_follow_from_the_seed():
    recipe = replace(PICK, kwargs={"random_block_position": True})
    env, np_state = recipe.build(), generator_state()
    places = []
    for seed in (1, 2, 1):
        env.reset(torch.ones(1, dtype=torch.bool), Start.seeded([seed]))
        places.append(seen(env)["state"])
    assert torch.equal(places[0], places[2])
    assert not torch.equal(places[0], places[1])
    assert generator_state() == np_state
    env.close()


def test_people_see_its_cameras_side_by_side():
    env = begun(PICK.filmed(1))
    assert env.picture().shape == (1, 128, 256, 3)
    env.close()


def test_a_misspelled_task_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="Nearest: gym_hil/PandaPickCube"):
        replace(PICK, task="gym_hil/PandaPickCub-v0").build()
