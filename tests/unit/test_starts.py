"""Where episodes begin, and which task each plays: the same whoever asks, and however often."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from embodied.errors import ConfigError
from embodied.sampler.starts import Draw, Starts
from tests.made import vectors

FIVE = replace(vectors(num_envs=4), tasks=("reach", "push", "pick", "stack", "open"))
KEY = (0, 0)


def tasks(plan, groups, counts, key=KEY):
    return [plan.choose(key, group, count)[1] for count in counts for group in groups]


def test_starts_depend_on_seed_role_and_episode_alone():
    train = Starts(seed=1)
    assert train([0, 1], [0, 0], 2) == train([0, 1], [0, 0], 2)
    assert train([1], [4], 2) == train([1, 0], [4, 9], 2)[:1]
    others = train, Starts(seed=2), Starts(seed=1, role="evaluate")
    seeds = {starts([env], [count], 4)[0][2] for starts in others for env in range(4) for count in range(5)}
    assert len(seeds) == 3 * 4 * 5


def test_the_environments_of_a_group_share_task_and_start():
    rows = Starts(seed=0, group_size=2, plan=Draw.over(FIVE, 2))([0, 1, 2, 3], [0, 0, 0, 0], 4)
    assert rows[0] == rows[1]
    assert rows[2] == rows[3]
    assert rows[0] != rows[2]


def test_tasks_in_turn_come_equally_often_in_an_order_that_changes():
    plan = Draw.over(FIVE)
    played = tasks(plan, range(4), range(25))  # 100 episodes: twenty times around
    around = [tuple(played[i : i + 5]) for i in range(0, 100, 5)]
    assert all(sorted(turn) == [0, 1, 2, 3, 4] for turn in around)
    assert len(set(around)) > 10
    assert played != tasks(plan, range(4), range(25), key=(1, 0))


def test_a_visit_lasts_as_many_episodes_as_asked():
    plan = Draw.over(FIVE, stay=3)
    played = tasks(plan, [2], range(30))
    assert all(len(set(played[i : i + 3])) == 1 for i in range(0, 30, 3))
    assert len(set(played)) > 1


def test_shares_decide_how_often_a_task_is_drawn_and_none_means_never():
    plan = Draw.over(FIVE, shares=np.array([3.0, 1.0, 0.0, 0.0, 0.0]))
    counts = Counter(tasks(plan, range(4), range(500)))
    assert counts.keys() == {0, 1}
    assert counts[0] / 2000 == pytest.approx(0.75, abs=0.03)


def test_an_environment_plays_only_what_it_can():
    spec = replace(FIVE, playable=((0, 1), (0, 1), (0, 1), (3,)))
    for shares in (None, np.array([1.0, 2.0, 9.0, 1.0, 9.0])):
        plan = Draw.over(spec, shares=shares)
        assert set(tasks(plan, [0, 1, 2], range(40))) == {0, 1}
        assert set(tasks(plan, [3], range(40))) == {3}
    in_turn = Counter(tasks(Draw.over(spec), [0, 1, 2], range(40)))
    assert in_turn[0] == in_turn[1] == 60


def test_stored_initial_states_are_drawn_and_named():
    spec = replace(FIVE, initial_states=(50, 50, 50, 50, 0))
    rows = Starts(seed=0, plan=Draw.over(spec))(list(range(4)) * 50, [n // 4 for n in range(200)], 4)
    drawn = {state for task, state, _ in rows if task < 4}  # 160 times of 50
    assert len(drawn) > 40
    assert drawn <= set(range(50))
    assert {state for task, state, _ in rows if task == 4} == {-1}


def test_members_of_a_group_play_the_same_while_shares_change_between_their_episodes():
    first, second = np.eye(5)[0], np.eye(5)[1]
    plan = Draw.over(FIVE, 2, shares=first)  # groups of two environments
    plan = plan.revised(second, begun=np.array([[3, 1], [0, 0]]))  # one member is at its fourth episode, one behind
    assert tasks(plan, [0], range(6)) == [0, 0, 0, 0, 1, 1]
    assert tasks(plan, [1], range(3)) == [0, 1, 1]
    plan = plan.revised(first, begun=np.array([[4, 4], [2, 2]]))
    assert tasks(plan, [0], range(4, 7)) == [1, 0, 0]
    assert tasks(plan, [1], range(2, 5)) == [1, 0, 0]


def test_a_visit_keeps_the_shares_of_its_beginning():
    plan = Draw.over(FIVE, stay=2, shares=np.eye(5)[0]).revised(np.eye(5)[1], begun=np.array([[2], [1], [0], [-1]]))
    assert tasks(plan, [0], range(3, 6)) == [0, 1, 1]  # its second visit, episodes 2 and 3, had begun
    assert tasks(plan, [1], range(2, 4)) == [1, 1]
    assert tasks(plan, [2], range(1, 3)) == [0, 1]
    assert tasks(plan, [3], range(2)) == [1, 1]


def test_shares_that_nobody_needs_any_more_are_forgotten():
    plan = Draw.over(FIVE, shares=np.ones(5))
    for count in range(100):
        plan = plan.revised(np.ones(5), begun=np.full((4, 1), count))
    assert plan.shares is not None
    assert len(plan.shares) == len(plan.since) == 2  # of the running episodes, and of the next
    for _ in range(100):
        plan = plan.revised(np.ones(5), begun=np.full((4, 1), 99))  # nothing began
    assert len(plan.since) == 2


def test_a_group_that_cannot_play_the_same_tasks_is_refused():
    spec = replace(FIVE, playable=((0,), (0,), (0,), (1,)))
    with pytest.raises(ConfigError, match=r"environment 3 cannot play the tasks of the others in its group of 2"):
        Draw.over(spec, 2)


def test_environments_without_any_task_of_weight_are_refused():
    spec = replace(FIVE, playable=((0,), (0,), (0,), (1,)))
    with pytest.raises(ConfigError, match=r"play none but \['push'\].*no share"):
        Draw.over(spec, shares=np.array([1.0, 0, 1, 1, 1]))
