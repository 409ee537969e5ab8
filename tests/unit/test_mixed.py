"""Several simulators in one run look like one: tasks, observations, starts, processes, training, evaluation, film."""

from dataclasses import replace

import pytest
import torch

from embodied.algorithms.ppo import PPO
from embodied.config import recipe
from embodied.errors import ConfigError
from embodied.evaluate import load_evaluation
from embodied.evaluation.run import evaluate
from embodied.launch import run
from embodied.learner import checkpoint as checkpoints
from embodied.train import Training, collector_recipe
from embodied.types import Array, Spec, Start
from policies.mlp import MLPRecipe
from simulators.gymnasium import GymnasiumRecipe
from simulators.mixed import MixedRecipe, Part, PartRecipe, merged
from simulators.reach import ReachRecipe
from simulators.vector import Vector
from tests.counting import Counting, CountingRecipe

COUNTING = CountingRecipe(num_envs=2, max_steps=5)  # state (2,), one unnamed task
PENDULUM = GymnasiumRecipe(num_envs=1, processes=1, control_hz=10.0)  # state (3,), one task
MIXED = MixedRecipe(parts=(COUNTING, PENDULUM))
EVERYONE = torch.ones(3, dtype=torch.bool)


@recipe
class TaskedRecipe:
    """Counting, with two tasks: 0 counts from 0, 1 from 100."""

    num_envs: int = 2

    def build(self):
        return Vector(Tasked, self.num_envs)


class Tasked(Counting):
    def __init__(self):
        super().__init__(CountingRecipe())
        self.spec = replace(self.spec, tasks=("count", "count on"), initial_states=(0, 3))

    def reset(self, task, initial_state, seed):
        super().reset(task, initial_state, seed)
        self.count = 100 * task


def spec(**named):
    fields = {"obs": {"state": Array((2,))}, "action_dim": 1, "num_envs": 1, "control_hz": 10.0}
    return Spec(**(fields | named))


def start(tasks):
    return replace(Start.seeded([1, 2, 3]), task=torch.tensor(tasks))


@pytest.fixture(scope="module")
def env():
    env = MIXED.build()
    yield env
    env.close()


def test_a_mixture_has_the_tasks_of_its_parts_and_room_for_the_longest_vector(env):
    s = env.spec
    assert s.tasks == ("", "Pendulum-v1")
    assert s.playable == ((0,), (0,), (1,))
    assert (s.num_envs, s.action_dim, s.control_hz, s.max_steps) == (3, 1, 10.0, (5, 200))
    assert dict(s.obs) == {"state": Array((3,)), "task": Array((), torch.int64)}


def test_short_vectors_are_filled_up_with_zeros_and_the_task_is_told(env):
    env.reset(EVERYONE, start([0, 0, 1]))
    env.step(torch.full((3, 2, 1), 0.5))
    obs = env.observe()
    assert obs["state"][:2].tolist() == [[2.0, 0.5, 0.0]] * 2
    assert obs["state"][2, :2].norm().item() == pytest.approx(1.0)  # cosine and sine of the pendulum
    assert obs["task"].tolist() == [0, 0, 1]


def test_a_task_that_an_environment_cannot_play_is_refused(env):
    with pytest.raises(ConfigError, match="task 1 was asked of an environment that plays 0 to 0"):
        env.reset(EVERYONE, start([0, 1, 1]))


def test_a_restored_state_goes_on_in_every_part(env):
    env.reset(EVERYONE, start([0, 0, 1]))
    state = env.get_state()
    expected = env.step(torch.ones(3, 2, 1)).reward
    env.set_state(EVERYONE, state)
    torch.testing.assert_close(env.step(torch.ones(3, 2, 1)).reward, expected)


def test_tasks_of_a_part_with_several_are_shifted():
    part = Part(TaskedRecipe().build(), PartRecipe(part=TaskedRecipe(), whole=spec(), first=7, rename={}))
    part.spec = replace(part.spec, obs={"state": Array((2,)), "task": Array((), torch.int64)})
    assert part.spec.playable == ((7, 8), (7, 8))
    part.reset(torch.ones(2, dtype=torch.bool), replace(Start.seeded([1, 2]), task=torch.tensor([8, 7])))
    assert part.observe()["task"].tolist() == [8, 7]
    assert part.observe()["state"][:, 0].tolist() == [100.0, 0.0]
    part.reset(torch.ones(2, dtype=torch.bool), Start.seeded([2, 3]))
    assert part.observe()["task"].tolist() == [7, 8]  # its own choice, by the seed


def test_stored_initial_states_and_limits_are_those_of_the_parts():
    whole = merged([spec(tasks=("a", "b"), initial_states=(3, 4), max_steps=5), spec(max_steps=9, robot="Panda")])
    assert (whole.tasks, whole.initial_states, whole.max_steps) == (("a", "b", ""), (3, 4, 0), (5, 5, 9))
    assert whole.robot == ""
    assert merged([spec(robot="Panda"), spec(robot="Panda", max_steps=3)]).max_steps == (None, 3)
    assert merged([spec(max_steps=3), spec(tasks=("a", "b"), max_steps=3)]).max_steps == 3
    assert merged([spec(robot="Panda"), spec(robot="Panda")]).robot == "Panda"


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (spec(action_dim=2), "same action_dim, and have 1, 2"),
        (spec(control_hz=20.0), r"same control_hz, and have 10\.0, 20\.0"),
        (spec(device="cuda:0"), "same device"),
        (spec(obs={"rgb/top": Array((8, 8, 3), torch.uint8)}), "parts 0 and 1 have none and rgb/top 8x8x3"),
    ],
)
def test_parts_that_cannot_look_alike_are_refused_with_what_differs(other, sentence):
    with pytest.raises(ConfigError, match=sentence):
        merged([spec(), other])


def test_cameras_of_other_names_can_be_renamed():
    seeing = ReachRecipe(num_envs=1, obs="rgb", image_size=8, tolerance=0.5)
    mixed = MixedRecipe(parts=(seeing, seeing), rename=({"rgb/top": "rgb/eye"}, {"rgb/top": "rgb/eye"}))
    (shard, _) = mixed.shards()
    assert list(shard.whole.obs) == ["state", "rgb/eye", "task"]
    built = shard.build()
    built.reset(torch.ones(1, dtype=torch.bool), Start.seeded([1]))
    assert built.observe()["rgb/eye"].float().std() > 0
    with pytest.raises(ConfigError, match=r"`rgb/side`.*state, rgb/top"):
        MixedRecipe(parts=(seeing,), rename=({"rgb/side": "rgb/eye"},)).shards()


def test_every_shard_knows_all_tasks_and_its_own():
    first, second = MIXED.shards()
    assert (first.num_envs, second.num_envs) == (2, 1)
    built = first.build()
    assert built.spec.tasks == ("", "Pendulum-v1")
    assert (built.spec.playable, built.spec.num_envs) == (((0,), (0,)), 2)


def training(simulator, **named):
    fields = {"rollout": 8, "total_steps": 144, "evaluate": 4, "film": 0, "device": "cpu"}
    return Training(simulator=simulator, policy=MLPRecipe(hidden=(8,)), algorithm=PPO(), **(fields | named))


def test_the_farm_plays_every_part_in_processes_of_its_own():
    collector = collector_recipe(training(MIXED)).build()
    s = collector.spec()
    collector.close()
    assert (s.tasks, s.playable) == (("", "Pendulum-v1"), ((0,), (0,), (1,)))


def test_two_simulators_train_and_are_evaluated_and_filmed_in_one_run(tmp_path):
    near, far = ReachRecipe(num_envs=2, max_steps=6), ReachRecipe(num_envs=3, tolerance=0.5, max_steps=9)
    folder = tmp_path / "run"
    assert run(training(MixedRecipe(parts=(near, far)), total_steps=160, film=3), folder, None) == 0
    result = evaluate(*load_evaluation(checkpoints.latest(folder), ["episodes=6", "film=0"]))
    assert sorted(episode.task for episode in result.whole) == [0, 0, 0, 1, 1, 1]
    assert result.parts[0].spec.tasks == ("reach the goal", "reach the goal")
    assert (folder / "video.mp4").stat().st_size > 1000
