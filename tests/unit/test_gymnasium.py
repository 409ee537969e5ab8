import os
import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodied.errors import ConfigError
from embodied.types import Start
from simulators.gymnasium import GymnasiumRecipe


class Toy(gymnasium.Env):
    """Two vectors and a camera; ends after three steps by its own clock."""

    metadata = {"render_modes": [], "render_fps": 8}  # noqa: RUF012  (gymnasium reads it from the class)
    action_space = spaces.Box(np.array([0.0, -2.0]), np.array([4.0, 2.0]), dtype=np.float64)
    observation_space = spaces.Dict(
        {
            "velocity": spaces.Box(-np.inf, np.inf, (1,)),
            "eye": spaces.Box(0, 255, (40, 48, 3), np.uint8),
            "angle": spaces.Box(-1.0, 1.0, (2,), np.float64),
        }
    )

    def __init__(self, speed=1.0):
        self.speed = speed

    def reset(self, *, seed=None, options=None):  # noqa: ARG002
        super().reset(seed=seed)
        self.count, self.action = 0, np.zeros(2)
        return self._look(), {}

    def step(self, action):
        self.count, self.action = self.count + 1, action
        return self._look(), 1.5, False, self.count == 3, {"is_success": self.count == 2}

    def _look(self):
        eye = np.full((40, 48, 3), self.count, dtype=np.uint8)
        return {"velocity": np.array([self.speed]), "eye": eye, "angle": self.action}


class Endless(Toy):
    action_space = spaces.Box(-np.inf, np.inf, (2,))


class Text(Toy):
    observation_space = spaces.Dict({"angle": spaces.Box(-1.0, 1.0, (2,)), "words": spaces.Text(5)})


class Untimed(Toy):
    metadata = {"render_modes": []}  # noqa: RUF012


@pytest.fixture(autouse=True)
def toys():
    for cls in (Toy, Endless, Text, Untimed):
        gymnasium.register(f"test/{cls.__name__}-v0", entry_point=f"{__name__}:{cls.__name__}", max_episode_steps=9)
    yield
    for cls in (Toy, Endless, Text, Untimed):
        del gymnasium.registry[f"test/{cls.__name__}-v0"]


def begun(task="test/Toy-v0", **options) -> Any:
    env = GymnasiumRecipe(task=task, num_envs=1, processes=0, **options).build()
    env.reset(torch.ones(1, dtype=torch.bool), Start.seeded([0]))
    return env


def test_vectors_lie_side_by_side_in_the_order_of_their_names_and_pictures_keep_theirs():
    env = begun(kwargs={"speed": 7.0})
    env.step(torch.tensor([[[-1.0, 1.0]]]))
    obs = env.observe()
    assert obs["state"].tolist() == [[0.0, 2.0, 7.0]]  # the angle, which is the action, then the velocity
    assert obs["rgb/eye"].shape == (1, 40, 48, 3)
    assert obs["rgb/eye"].unique().tolist() == [1]


@pytest.mark.parametrize(("action", "executed"), [((-1.0, -1.0), (0.0, -2.0)), ((0.0, 0.5), (2.0, 1.0))])
def test_actions_are_stretched_to_the_box(action, executed):
    env = begun()
    env.step(torch.tensor([[action]]))
    assert env.observe()["state"][0, :2].tolist() == pytest.approx(list(executed))


def test_the_time_limit_is_the_samplers_and_the_rate_is_read():
    spec = begun().spec
    assert (spec.max_steps, spec.control_hz, spec.tasks) == (9, 8.0, ("test/Toy-v0",))
    assert begun(control_hz=3.0).spec.control_hz == 3.0


def test_an_environment_that_truncates_by_itself_is_terminated():
    assert begun().step(torch.zeros(1, 4, 2)).terminated.tolist() == [[False, False, True, False]]


def test_success_is_what_the_environment_says():
    assert begun().step(torch.zeros(1, 3, 2)).success.tolist() == [[False, True, False]]


def test_success_can_be_a_return_instead():
    step = begun(success_return=3.0).step(torch.zeros(1, 3, 2))
    assert step.success.tolist() == [[False, True, True]]  # 1.5, 3.0, 4.5
    env = begun("Pendulum-v1", success_return=-1e-9)
    assert not env.step(torch.ones(1, 5, 1)).success.any()


def test_a_restored_state_remembers_the_return():
    env = begun("Pendulum-v1", success_return=-1000.0)
    env.step(torch.ones(1, 3, 1))
    state, gained = env.get_state(), env.envs[0].gained
    assert gained < 0
    env.step(torch.ones(1, 3, 1))
    assert env.envs[0].gained < gained
    env.set_state(torch.tensor([True]), state)
    assert env.envs[0].gained == pytest.approx(gained)


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ("Pendulum-v9", "no task `Pendulum-v9`.* Nearest: .*Pendulum-v1"),
        ("CartPole-v1", r"actions of CartPole-v1 are Discrete\(2\) and a box"),
        ("test/Endless-v0", "no finite bounds"),
        ("test/Text-v0", "observes `words`, Text"),
        ("test/Untimed-v0", "Set control_hz"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(task, sentence):
    with pytest.raises(ConfigError, match=sentence):
        begun(task)


def test_a_misspelled_argument_is_refused():
    with pytest.raises(ConfigError, match=r"refuses test/Toy-v0 with \{'sped': 1.0\}"):
        begun(kwargs={"sped": 1.0})


def test_a_simulator_without_a_state_says_so():
    with pytest.raises(ConfigError, match="the physics of test/Toy-v0 was asked for"):
        begun().get_state()


def test_a_picture_needs_a_camera():
    with pytest.raises(ConfigError, match="it has no camera"):
        begun("InvertedPendulum-v5").picture()


def test_graphics_that_mujoco_cannot_use_are_one_sentence():
    code = "from simulators.gymnasium import GymnasiumRecipe as G; G(task='Hopper-v5', num_envs=1, processes=0).build()"
    surroundings = os.environ | {"MUJOCO_GL": "nonsense"}
    done = subprocess.run([sys.executable, "-c", code], env=surroundings, capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("embodied.errors.PackageError: Hopper-v5 cannot be built on this machine")
    assert "make setup" in last
