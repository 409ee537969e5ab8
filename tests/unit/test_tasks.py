"""Which tasks a run plays: samplers, what they follow, and that processes and resuming change nothing."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from embodied.algorithms.ppo import PPO
from embodied.compose import compose_recipe
from embodied.config import Count, Natural, from_dict, recipe, to_dict
from embodied.errors import ConfigError
from embodied.evaluation.protocol import EvaluationRecipe
from embodied.evaluation.run import evaluate
from embodied.evaluation.summary import summary_of
from embodied.learner.checkpoint import Checkpoint
from embodied.metrics.curve import success_curve
from embodied.metrics.success import Recent
from embodied.sampler.tasks import Curriculum, Filter, Hard, Uniform, Variance
from embodied.spec import task_names
from embodied.train import Loop, Training
from embodied.types import Array, Episode, Spec
from policies.mlp import MLPRecipe
from simulators.subprocess_env import split
from simulators.vector import Vector
from tests.evaluated import trained
from tests.made import vectors

LEVELS = (1.0, 0.5, 0.0)  # success of each task
TASKS = ("Reach the goal.", "push it", "stack them")
THREE = replace(vectors(num_envs=4), tasks=TASKS)


@recipe
class SkillsRecipe:
    """Three tasks; the seed decides whether an episode of two actions, or three, is a success."""

    num_envs: Count = 4
    processes: Natural = 0

    def build(self) -> Vector:
        return Vector(lambda: Skills(), self.num_envs)

    def shards(self):
        if self.processes == 0:
            return [self]
        return [SkillsRecipe(num_envs=n) for n in split(self.num_envs, self.processes)]


class Skills:
    spec = Spec({"state": Array((2,))}, 1, 1, 10.0, TASKS, max_steps=5, initial_states=(0, 7, 7))

    def reset(self, task, initial_state, seed):  # noqa: ARG002
        self.steps, self.task, self.seed = 0, task, seed
        self.solvable = np.random.default_rng(seed).random() < LEVELS[task]

    def step(self, action):  # noqa: ARG002
        self.steps += 1
        done = self.steps == 2 + self.seed % 2
        return float(done and self.solvable), bool(done), bool(done and self.solvable)

    def observe(self):
        return {"state": np.array([self.steps, self.task], dtype=np.float32)}

    def picture(self):
        return torch.zeros(2, 2, 3, dtype=torch.uint8)

    def get_state(self):
        return np.zeros(1)

    def set_state(self, state): ...

    def close(self): ...


def loop_of(sampler=None, **named) -> Any:
    named = {"simulator": SkillsRecipe(), **named}
    policy = MLPRecipe(hidden=(8,))
    return Loop(Training(policy=policy, algorithm=PPO(epochs=1), rollout=8, device="cpu", tasks=sampler, **named))


def episode(task, success, **named):
    fields = {"index": 0, "env": 0, "task": task, "initial_state": -1, "seed": 0, "steps": 3, "terminated": True}
    outcome = {"success_once": success, "success_at_end": False, "first_success_step": None, "reward": 2.0 * success}
    return Episode(**(fields | outcome | named))


def known(sampler, success):
    """A curriculum that has seen many episodes with this success of each task, and its shares."""
    curriculum = Curriculum(sampler, THREE)
    rows = [episode(task, i < 100 * p) for task, p in enumerate(success) for i in range(100)]
    curriculum.follow(rows, torch.zeros(4, dtype=torch.int64))
    return curriculum.share()


def test_nothing_is_known_at_first_and_every_task_is_played_alike():
    for sampler in (Uniform(), Variance(), Filter(), Hard()):
        np.testing.assert_allclose(Curriculum(sampler, THREE).share(), [1 / 3, 1 / 3, 1 / 3])


def test_success_is_estimated_from_evidence_that_fades():
    curriculum = Curriculum(Variance(), THREE)
    begun = torch.zeros(4, dtype=torch.int64)
    curriculum.follow([episode(0, True), episode(0, True), episode(1, False)], begun)
    np.testing.assert_allclose(curriculum.success(), [3 / 4, 1 / 3, 1 / 2])
    curriculum.follow([episode(1, True), episode(1, True, lost=True)], begun)
    np.testing.assert_allclose(curriculum.success(), [2.9 / 3.9, 2 / 3.95, 1 / 2])
    curriculum.follow([], begun)  # no episode ended: nothing was learned, nothing fades
    np.testing.assert_allclose(curriculum.success(), [2.9 / 3.9, 2 / 3.95, 1 / 2])


def test_variance_prefers_tasks_whose_outcome_is_open():
    shares = known(Variance(), (1.0, 0.5, 0.2))
    wanted = np.sqrt([(101 / 102) * (1 / 102), 0.25, (21 / 102) * (81 / 102)])
    np.testing.assert_allclose(shares, 0.9 * wanted / wanted.sum() + 0.1 / 3)


def test_filter_leaves_out_what_is_solved_or_hopeless():
    np.testing.assert_allclose(known(Filter(), (1.0, 0.5, 0.0)), [0.1 / 3, 0.9 + 0.1 / 3, 0.1 / 3])
    np.testing.assert_allclose(known(Filter(), (1.0, 1.0, 0.0)), [1 / 3, 1 / 3, 1 / 3])
    with pytest.raises(ValueError, match=r"between low=0\.5 and high=0\.5"):
        Filter(low=0.5, high=0.5)


def test_hard_tasks_get_more_episodes():
    easy, middle, hopeless = known(Hard(), (1.0, 0.6, 0.0))
    assert easy == middle
    weight = 1 + 4 * (1 - 1 / 102)
    assert (hopeless - 0.1 / 3) / (easy - 0.1 / 3) == pytest.approx(weight)


def test_weights_are_given_by_index_instruction_or_short_name():
    for name in (2, "2", "stack them", "2_stack_them"):
        np.testing.assert_allclose(Curriculum(Uniform(weights=((name, 0),)), THREE).share(), [0.5, 0.5, 0])
    with pytest.raises(ConfigError, match=r"names `stack`, and the simulator has no such task.*Nearest: `stack them`"):
        Curriculum(Uniform(weights=(("stack", 2.0),)), THREE)
    run = compose_recipe("train", ["tasks.weights=[[2,0.5],[push it,3]]", "tasks.stay=4"])
    assert run.tasks == Uniform(weights=((2, 0.5), ("push it", 3.0)), stay=4)
    assert from_dict(to_dict(run)) == run


def test_a_sampler_is_chosen_on_the_command_line():
    assert compose_recipe("train", ["tasks=var", "tasks.floor=0.2"]).tasks == Variance(floor=0.2)
    with pytest.raises(ConfigError, match=r"tasks\.floor.*greater than 0"):
        compose_recipe("train", ["tasks=dars", "tasks.floor=0"])


def test_short_names_differ_sort_and_fit_a_table():
    long = ("Pick up the black bowl between the plate and the ramekin, and place it on the plate",) * 11
    names = task_names(long)
    assert names[3] == "03_pick_up_the_black_bowl_between_the_plate"
    assert len(set(names)) == 11
    assert task_names(("",)) == ["0"]


def test_success_of_several_tasks_is_their_mean_whatever_was_played_more():
    recent = Recent(THREE.tasks)
    recent.take([episode(0, True)] * 30 + [episode(1, False), episode(2, True, lost=True)])
    numbers = recent.metrics()
    assert numbers["success_once"] == 0.5
    assert numbers["success/0_reach_the_goal"] == 1.0
    assert numbers["return/0_reach_the_goal"] == 2.0
    assert numbers["success/1_push_it"] == 0.0
    assert "success/2_stack_them" not in numbers  # never played to its end
    assert str(recent) == "50.0 % over 2 of 3 tasks"
    again = Recent(THREE.tasks)
    again.load(recent.state())
    assert again.outcomes == recent.outcomes


def test_success_of_a_single_task_is_over_its_last_hundred_episodes():
    recent = Recent(("only",))
    recent.take([episode(0, False)] * 50 + [episode(0, True)] * 75)
    assert recent.metrics() == {"success_once": 0.75, "success_at_end": 0.0}
    assert str(recent).startswith("75.0 % [")


def played(loop, iterations):
    """What a run plays: labels of every decision, the metrics without clocks, and the final weights."""
    rows, numbers = [], []
    for _ in range(iterations):
        metrics, episodes = loop.iterate()
        rows += [(e.index, e.task, e.initial_state, e.seed, e.success_once) for e in episodes]
        numbers.append({k: x for k, x in metrics.items() if k.startswith(("success", "share", "return", "loss"))})
    return rows, numbers


def test_a_curriculum_plays_the_same_in_any_number_of_processes():
    found = []
    for processes in (0, 3):
        loop = loop_of(Variance(), simulator=SkillsRecipe(processes=processes), group_size=2)  # three cut a group

        found.append(played(loop, 5))
        loop.close()
    assert found[0][0] == found[1][0]
    assert found[0][1][-1]["share/1_push_it"] == found[1][1][-1]["share/1_push_it"] > 0.4
    by_group = {}
    for index, task, state, seed, _ in found[0][0]:
        count, env = divmod(index, 4)
        assert by_group.setdefault((count, env // 2), (task, state, seed)) == (task, state, seed)


def test_a_curriculum_continues_where_it_was(tmp_path):
    one, other = loop_of(Variance(), group_size=2), loop_of(Variance(), group_size=2)
    played(one, 3)
    tensors, facts = one.state()
    assert other.load(Checkpoint(tmp_path, tensors, facts))
    assert played(one, 4) == played(other, 4)
    np.testing.assert_array_equal(one.curriculum.success(), other.curriculum.success())
    one.close()
    other.close()


def test_a_process_that_died_follows_the_plan_of_the_others():
    loop = loop_of(Uniform(weights=((0, 0), (2, 0))), simulator=SkillsRecipe(processes=2))
    played(loop, 1)
    farm = loop.sampler._target
    farm.stages[1]._child.process.kill()
    farm.stages[1]._child.process.wait()
    rows, _ = played(loop, 2)
    assert farm.deaths == 1
    assert {task for _, task, *_ in rows} == {1}
    loop.close()


def test_the_labels_of_a_trajectory_say_what_was_played():
    loop = loop_of()
    trajectory = loop.sampler._target.collect(8)
    torch.testing.assert_close(trajectory.task, trajectory.obs["state"][..., 1].long())
    assert trajectory.task.unique().tolist() == [0, 1, 2]
    assert (trajectory.initial_state[trajectory.task > 0] >= 0).all()
    assert (trajectory.initial_state[trajectory.task == 0] == -1).all()  # it has none stored: the seed decides
    loop.close()


def test_an_evaluation_plays_all_tasks_alike_and_tells_of_each():
    simulator = SkillsRecipe(num_envs=5)
    e = EvaluationRecipe(simulator=simulator, policy=MLPRecipe(hidden=(8,)), checkpoint="", episodes=42, seeds=(0, 1))
    result = evaluate(e, trained(e.policy, simulator.build().spec))
    (part,) = result.parts
    assert {task: len(rows) for task, rows in part.by_task().items()} == {0: 28, 1: 28, 2: 28}
    assert sorted(x.initial_state for x in part.by_task()[1]) == [i // 4 for i in range(28)]
    assert [x.index for x in part.by_seed()[0]] == list(range(42))
    summary = json.loads(json.dumps(summary_of(e, result)))
    first, second, third = summary["tasks"]
    assert (first["task"], first["success_once"]["successes"]) == ("Reach the goal.", 28)
    assert first["success_once"]["interval_95"] == pytest.approx([0.879, 1.0], abs=1e-3)
    assert third["success_once"]["successes"] == 0
    mean = (1 + second["success_once"]["successes"] / 28) / 3
    assert summary["success_once"]["mean_over_tasks"] == pytest.approx(mean)
    assert summary["tasks_not_played"] == []


def learned(sampler, onset, width, seed, *, rollouts=1000, batch=64):
    """Episodes until the mean success is 0.9, and the smallest share of a task.

    Learning curves are logistic: a task's success after n episodes of it is 1 / (1 + exp((onset - n) / width)).
    """
    random = np.random.default_rng(seed)
    curriculum = Curriculum(sampler, replace(vectors(num_envs=batch), tasks=tuple(map(str, range(len(onset))))))
    counts = np.zeros(len(onset))
    for rollout in range(rollouts):
        success = 1 / (1 + np.exp((onset - counts) / width))
        if success.mean() >= 0.9:
            return rollout * batch, counts.min() / counts.sum()
        tasks = [curriculum.plan.choose((seed, 0), env, rollout)[1] for env in range(batch)]
        np.add.at(counts, tasks, 1)
        if curriculum.adapts:
            episodes = [episode(task, random.random() < success[task]) for task in tasks]
            curriculum.follow(episodes, torch.full((batch,), rollout))
    return rollouts * batch, counts.min() / counts.sum()


def test_variance_learns_tasks_of_different_speed_in_fewer_episodes_than_uniform():
    width = np.geomspace(10, 200, 10)  # the last learns twenty times slower than the first
    onset = np.linspace(-0.5, 2.5, 10) * width  # from 62 % to 8 % at first
    uniform, _ = learned(Uniform(), onset, width, 0)
    assert max(learned(Variance(), onset, width, seed)[0] / uniform for seed in range(3)) < 0.95


def test_hard_learns_tasks_that_begin_hopeless_in_fewer_episodes_than_uniform():
    onset, width = np.linspace(0, 600, 10), np.full(10, 60.0)  # the last begins at 0.005 %
    uniform, _ = learned(Uniform(), onset, width, 0)
    assert learned(Hard(), onset, width, 0)[0] / uniform < 0.8


@pytest.mark.parametrize("sampler", [Variance(), Filter(), Hard()])
def test_the_floor_keeps_a_task_alive_that_never_succeeds(sampler):
    onset = np.array([0.0, 0.0, 0.0, 1e4])
    _, least = learned(sampler, onset, np.full(4, 20.0), 0, rollouts=200)
    assert least > 0.9 * 0.1 / 4


def test_the_learning_curve_of_several_tasks_is_their_mean(tmp_path):
    header = "env_steps,index,env,task,success_once,lost"
    rows = [(10, 0, True), (10, 0, True), (10, 0, True), (20, 1, False), (30, 1, True), (30, 1, True)]
    lines = [f"{steps},0,0,{task},{success},False" for steps, task, success in rows]
    (tmp_path / "episodes.csv").write_text("\n".join([header, *lines]))
    axis, steps, success, low, high = success_curve(tmp_path)
    assert axis.key == "env_steps"
    assert steps.tolist() == [10, 20, 30]
    np.testing.assert_allclose(success, [1.0, 0.5, (1 + 2 / 3) / 2])
    assert (low < success).all()
    assert (high <= 1).all()
