"""Randomized robosuite and LIBERO: the same promises as of the tabletop, on models that are not ours."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embodied.errors import PackageError
from simulators.libero import LiberoRecipe
from simulators.randomize import Randomize
from simulators.robosuite import RobosuiteRecipe
from tests.libero_archive import meshes

pytestmark = pytest.mark.simulators


def libero(randomize):
    return LiberoRecipe(
        suite="spatial", tasks=(0,), image_size=48, randomize=randomize, settle_steps=2, assets=meshes()
    )


def robosuite(randomize):
    return RobosuiteRecipe(task="Stack", obs="rgb", image_size=48, randomize=randomize)


CASES = {"robosuite": robosuite, "libero": libero}


@pytest.fixture(scope="module", params=CASES)
def make(request):
    def made(name: Any) -> Any:
        recipe = replace(CASES[request.param](Randomize(set=name)), num_envs=1, processes=0)
        try:
            return recipe.build().envs[0]
        except PackageError as error:
            pytest.skip(f"{request.param} is not on this machine: {error}")

    return made


def played(scene, steps=3):
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 7)).astype(np.float32)
    rewards = [scene.step(action)[0] for action in actions]
    return rewards, {name: np.array(x) for name, x in scene.observe().items()}


def same(first, second):
    return first[0] == second[0] and all(np.array_equal(first[1][name], second[1][name]) for name in first[1])


def test_a_randomized_episode_follows_from_its_seed_and_continues_from_its_state(make):
    scene = make("ood_all")
    runs = []
    for seed in (1, 2, 1):
        scene.reset(0, 0, seed)
        runs.append(played(scene))
    assert same(runs[0], runs[2])
    assert not same(runs[0], runs[1])
    state = scene.get_state()
    expected = played(scene)
    scene.reset(0, 0, 9)
    scene.set_state(state)
    assert same(played(scene), expected)
    scene.close()


def test_what_belongs_to_the_task_keeps_its_color(make):
    scene = make("ood_texture")
    variation = getattr(scene, "variation", None) or scene.scene.variation
    roles, model = variation.roles, variation.model
    assert {"table_legs"} <= {model.material(m).name.removesuffix("_metal") for m in roles.stage_materials}
    assert roles.textures
    assert roles.free
    assert not set(roles.free) - set(roles.things)
    scene.close()
