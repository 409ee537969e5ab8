"""Which demonstration is attempted next, and from where."""

import numpy as np

from embodied.collecting.crew import Job, Schedule
from embodied.collecting.expert import Attempt
from embodied.sampler.starts import Starts


def begun(schedule: Schedule) -> Job:
    job = schedule.next()
    assert job is not None
    return job


def attempts(outcomes):
    """Endless: whether attempt n succeeds."""
    return lambda n: outcomes[n % len(outcomes)]


def kept_seeds(schedule, succeeds, order, running):
    """Play a schedule with `running` attempts at a time that end in the order of `order`; what is kept."""
    numbers = {Starts(seed=0, role="demonstrate")([0], [n], 1)[0][2]: n for n in range(200)}
    open_jobs, kept = [], []
    while True:
        while len(open_jobs) < running and (job := schedule.next()):
            open_jobs.append(job)
        if not open_jobs:
            return kept
        job = open_jobs.pop(int(order.integers(len(open_jobs))))
        success = succeeds(numbers[job.seed])
        schedule.finished(Attempt(job.task, job.seed, success, success, 1, 0.0))
        if success:
            kept.append(numbers[job.seed])


def test_each_stored_initial_state_comes_once_before_any_comes_again():
    schedule = Schedule(12, 3, 0, initial_states=(3, 0, 2))
    jobs = [begun(schedule) for _ in range(12)]
    states = [[job.initial_state for job in jobs if job.task == task] for task in range(3)]
    assert (sorted(states[0][:3]), states[1], sorted(states[2][:2])) == ([0, 1, 2], [-1] * 4, [0, 1])
    assert sorted(states[2][2:]) == [0, 1]
    plain = Schedule(12, 3, 0)
    assert [begun(plain).seed for _ in range(12)] == [job.seed for job in jobs]


def test_the_order_of_stored_initial_states_follows_from_the_seed():
    def order(seed):
        schedule = Schedule(50, 1, seed, initial_states=(50,))
        return [begun(schedule).initial_state for _ in range(50)]

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert order(0) != list(range(50))


def test_the_kept_episodes_are_the_first_successes_whatever_the_processes():
    succeeds = attempts([True, False, False, True, True, False, True])
    alone = kept_seeds(Schedule(20, 1, 0), succeeds, np.random.default_rng(0), 1)
    for running in (2, 5):
        found = kept_seeds(Schedule(20, 1, 0), succeeds, np.random.default_rng(running), running)
        assert sorted(found) == alone


def test_tasks_share_the_episodes_evenly_and_come_in_turn():
    schedule = Schedule(5, 2, 0)
    jobs = [begun(schedule) for _ in range(5)]
    assert [job.task for job in jobs] == [0, 1, 0, 1, 0]
    assert schedule.next() is None  # five are coming
    schedule.finished(Attempt(1, jobs[1].seed, success=False, kept=False, steps=1, seconds=0.0))
    assert begun(schedule).task == 1


def test_an_attempt_whose_process_died_comes_again():
    schedule = Schedule(1, 1, 0)
    job = begun(schedule)
    assert schedule.next() is None
    schedule.lost(job)
    assert schedule.next() == job


def test_what_was_tried_before_is_not_tried_again():
    first = Schedule(3, 1, 0)
    jobs = [begun(first) for _ in range(3)]
    earlier = [Attempt(0, jobs[0].seed, True, True, 1, 0.0), Attempt(0, jobs[1].seed, False, False, 1, 0.0)]
    again = Schedule(3, 1, 0, earlier)
    assert again.next() == jobs[2]  # which was running when the first was killed
    assert begun(again) not in jobs
    assert again.next() is None


def test_no_demonstration_begins_where_an_evaluation_does():
    schedule = Schedule(500, 1, 0)
    mine = {begun(schedule).seed for _ in range(500)}
    evaluated = {Starts(seed=0, role="evaluate")([0], [n], 1)[0][2] for n in range(500)}
    assert len(mine) == 500
    assert {seed % 2 for seed in mine} == {0}
    assert {seed % 2 for seed in evaluated} == {1}
