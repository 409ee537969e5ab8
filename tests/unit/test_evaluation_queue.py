"""Which episodes an evaluation plays, who gets which, and when there are enough: nothing is simulated here."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from embodied.errors import ConfigError
from embodied.evaluation.jobs import choose_tasks, jobs_of
from embodied.evaluation.queue import NarrowEnough, Queue
from embodied.metrics.intervals import wilson
from embodied.types import Episode
from tests.made import vectors

FIVE = replace(vectors(num_envs=4), tasks=("reach", "push", "pick", "stack", "open the drawer"))
ALL = range(5)


def ended(job, success=True, steps=1, lost=False):
    first = 1 if success else None
    task, state, seed = job.start
    return Episode(job.index, 0, task, state, seed, steps, 1.0, success, success, first, success, lost)


def queue(spec=FIVE, *, enough=None, num_envs=4, done=None, **asked) -> Any:
    return Queue(jobs_of(spec, **asked), num_envs=num_envs, enough=enough, done=done)


def test_every_task_and_stored_state_is_played_equally_often():
    jobs = jobs_of(replace(FIVE, initial_states=(3,) * 5), episodes=30).all
    assert [job.index for job in jobs] == list(range(30))
    assert Counter((job.task, job.initial_state) for job in jobs) == {(t, s): 2 for t in ALL for s in range(3)}
    again = jobs_of(replace(FIVE, initial_states=(3,) * 5), episodes_per_task=6).all
    assert again == jobs


def test_an_episode_begins_alike_however_many_there_are_and_whoever_plays():
    few, many = jobs_of(FIVE, episodes=7).all, jobs_of(replace(FIVE, num_envs=9), episodes=23, seeds=(1, 0)).all
    assert [job.start for job in few] == [job.start for job in many if job.seed == 0][:7]
    assert few[1].start == (1, -1, 1802486431)  # what it always was: tables of old evaluations stay comparable
    assert all(job.start_seed % 2 for job in many)  # evaluation's seeds are odd, those of training even


def test_rounds_hold_every_seed_and_task_once():
    jobs = jobs_of(FIVE, episodes=12, seeds=(3, 8), tasks=("push", 4, "2_pick"))
    assert jobs.round == 6
    for first in range(0, 24, 6):
        assert {(job.seed, job.task) for job in jobs.all[first : first + 6]} == {
            (s, t) for s in (3, 8) for t in (1, 4, 2)
        }
    assert [job.order for job in jobs.all] == list(range(24))


def test_repeats_begin_alike_and_draw_other_numbers():
    jobs = jobs_of(FIVE, episodes=5, repeats=2).all
    assert [job.index for job in jobs] == list(range(10))
    assert [job.start for job in jobs[:5]] == [job.start for job in jobs[5:]]
    assert len({job.generator(torch.device("cpu")).initial_seed() for job in jobs}) == 10


def test_an_unknown_task_is_refused():
    with pytest.raises(ConfigError, match=r"no task is called `pull`.*Nearest: `push`"):
        choose_tasks(FIVE, ["pull"])
    with pytest.raises(ConfigError, match=r"task 5 was asked for, and the simulator has 5"):
        choose_tasks(FIVE, [5])
    with pytest.raises(ConfigError, match=r"no environment can play the task `open the drawer`"):
        jobs_of(replace(FIVE, playable=((0, 1, 2, 3),) * 4), episodes=5)


def test_environments_keep_their_task_while_there_is_work_on_it_and_then_help_where_most_is_left():
    q = queue(episodes=20)
    assert [q.next(ALL, None, alone=False).task for _ in range(4)] == [0, 1, 2, 3]
    assert [q.next(ALL, 2, alone=False).task for _ in range(4)] == [2, 2, 2, 4]
    assert q.next(ALL, 2, alone=False).task in (0, 1, 3, 4)


def test_only_tasks_that_an_environment_can_play_are_given_to_it():
    q = queue(episodes=10)
    assert [q.next((4,), None, alone=False).task for _ in range(2)] == [4, 4]
    assert q.next((4,), 4, alone=False) is None
    assert q.next((0, 1), None, alone=False).task == 0


def test_an_episode_whose_process_died_is_played_again_alone_and_given_up_the_third_time():
    q = queue(episodes=5)
    job = q.next(ALL, None, alone=True)
    assert q.died(job)
    others = [q.next(ALL, None, alone=False) for _ in range(4)]
    assert job not in others
    assert q.next(ALL, None, alone=False) is None  # only beside others
    assert q.next(ALL, None, alone=True) == job
    assert q.is_suspect(job)
    assert q.died(job)
    assert q.next(ALL, None, alone=True) == job
    assert not q.died(job)
    for one in [*others, job]:
        q.finished(one, ended(one, lost=one is job))
    assert q.is_done


def test_what_was_played_before_is_not_played_again():
    jobs = jobs_of(FIVE, episodes=10).all
    q = queue(episodes=10, done={job.order: ended(job) for job in jobs if job.order % 2})
    left = []
    while (job := q.next(ALL, None, alone=False)) is not None:
        left.append(job.order)
        q.finished(job, ended(job))
    assert sorted(left) == [0, 2, 4, 6, 8]
    assert q.is_done


def outcomes(seed, rate=0.8):
    """Whether each episode succeeds, and how long it takes: successes are short."""
    generator = np.random.default_rng(seed)
    success = generator.random(1000) < rate
    return success, np.where(success, generator.integers(5, 20, 1000), 50)


def raced(num_envs, seed, width=0.2, **asked):
    """Episodes that count, when `num_envs` environments play side by side; order of ends by their lengths."""
    success, steps = outcomes(seed)
    q = queue(enough=NarrowEnough(width), num_envs=num_envs, **asked)
    running, clock, last = [], 0, {}
    while not q.is_done:
        for env in set(range(num_envs)) - {env for _, env, _ in running}:
            job = q.next(ALL, last.get(env), alone=False)
            if job is not None:
                last[env] = job.task
                running.append((clock + steps[job.order], env, job))
        running.sort(key=lambda row: row[0])
        clock, _, job = running.pop(0)
        q.finished(job, ended(job, bool(success[job.order])))
    return [(job.seed, job.index, e.success_once) for job, e in q.counted()], q


@pytest.mark.parametrize("seed", range(5))
def test_where_it_stops_does_not_depend_on_who_finishes_first(seed):
    alone, q = raced(1, seed, episodes=500, seeds=(0, 1))
    for num_envs in (2, 7, 40):
        assert raced(num_envs, seed, episodes=500, seeds=(0, 1))[0] == alone
    assert q.stopped_at == len(alone) < 1000
    assert len(alone) % 10 == 0  # whole rounds of five tasks and two seeds


def test_it_stops_at_the_first_round_whose_interval_is_narrow_enough():
    rows, _ = raced(3, 0, episodes=500)
    hits = [success for _, _, success in rows]

    def width(count):
        low, high = wilson(sum(hits[:count]), count)
        return high - low

    assert width(len(hits)) <= 0.2 < width(len(hits) - 5)


def test_it_plays_everything_where_the_interval_never_gets_narrow_enough():
    rows, q = raced(3, 0, width=0.01, episodes=30)
    assert len(rows) == 30
    assert q.stopped_at is None


def test_counting_whoever_finished_first_would_be_biased_and_the_prefix_is_not():
    """With 20 environments at 50 %: the first 40 that end against the 40 first in order."""
    first, prefix = [], []
    for seed in range(200):
        success, steps = outcomes(seed, rate=0.5)
        ends, free = [], [0.0] * 20
        for n in range(100):
            env = min(range(20), key=free.__getitem__)
            free[env] += steps[n]
            ends.append((free[env], n))
        first.append(np.mean([success[n] for _, n in sorted(ends)[:40]]))
        prefix.append(success[:40].mean())
    assert np.mean(first) > 0.6
    assert abs(np.mean(prefix) - 0.5) < 0.02


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5, 0.9])
def test_the_interval_it_stopped_at_covers_about_as_often_as_it_says(rate):
    """docs/evaluation.md has more rates and widths, by benchmarks/evaluation_stopping.py."""
    enough, covered, trials = NarrowEnough(0.2), 0, 1000
    generator = random.Random(0)
    for _ in range(trials):
        successes, count = 0, 0
        while not count or not enough(successes, count):
            successes, count = successes + (generator.random() < rate), count + 1
        low, high = wilson(successes, count)
        covered += low <= rate <= high
    assert covered / trials > 0.92
