"""Collecting demonstrations: what is tried, what is kept, and what a death, a failure or Ctrl-C costs."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from embodied.collect import Collection, main, run
from embodied.collecting.crew import Job, Schedule
from embodied.collecting.expert import Attempt, Expert, ExpertRecipe, discard_unfinished, facts_of, tidy
from embodied.collecting.folder import append, attempts_in, create
from embodied.config import recipe
from embodied.data.episode_log import EpisodeLog, LogWriter
from embodied.data.recording import Label
from embodied.errors import ConfigError, DemonstrationError
from embodied.sampler.starts import Starts
from simulators.gymnasium import GymnasiumRecipe
from simulators.reach import ReachRecipe
from tests.counting import Counting, CountingRecipe


@recipe
class ShownRecipe:
    """Counting, with an expert that counts."""

    scene: CountingRecipe = CountingRecipe(length=3)
    num_envs: int = 1
    patience: int = 1000  # actions after which the expert returns
    gives_up: bool = False
    solves_once: bool = False  # and never again from the same seed
    tasks: int = 1

    def build(self):
        return self.scene.build()

    def demonstrator(self):
        return Shown(self)


class Shown:
    source = "script"

    def __init__(self, r):
        self.r, self.scene = r, Counting(r.scene)
        self.spec = replace(self.scene.spec, tasks=tuple(f"count {n}" for n in range(r.tasks)))
        self.began = set()

    def reset(self, task, initial_state, seed):
        self.is_repeated = (task, seed) in self.began
        self.began.add((task, seed))
        self.scene.reset(task, initial_state, seed)

    def step(self, action):
        reward, terminated, success = self.scene.step(action)
        return reward, terminated, success and not (self.r.solves_once and self.is_repeated)

    def observe(self):
        return self.scene.observe()

    def demonstrate(self, act):
        for _ in range(self.r.patience):
            act(np.array([0.5], dtype=np.float32))
        if self.r.gives_up:
            raise DemonstrationError("the expert saw no way")

    def close(self): ...


def expert(tmp_path, simulator, **named) -> Expert:
    return ExpertRecipe(simulator=simulator, folder=str(tmp_path / "demos"), part="0", **named).build()


def attempts(outcomes):
    """Endless: whether attempt n succeeds."""
    return lambda n: outcomes[n % len(outcomes)]


def begun(schedule: Schedule) -> Job:
    job = schedule.next()
    assert job is not None
    return job


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


def test_an_expert_records_what_it_saw_before_each_action_and_after_the_last(tmp_path):
    e = expert(tmp_path, ShownRecipe())
    attempt = e.attempt(0, 42)
    e.close()
    assert (attempt.success, attempt.kept, attempt.steps, attempt.reason) == (True, True, 3, "")
    recording = EpisodeLog(tmp_path / "demos").recording(0)
    assert recording.obs["state"].tolist() == [[0, 0], [1, 0.5], [2, 0.5], [3, 0.5]]
    assert recording.action.tolist() == [[0.5], [0.5], [0.5]]
    assert recording.success.tolist() == [False, False, True]
    assert recording.label == Label(task=0, seed=42, source="script")


@pytest.mark.parametrize(
    ("named", "limits", "reason"),
    [
        ({"patience": 2, "gives_up": True}, {}, "the expert saw no way"),
        ({"patience": 2}, {}, "the expert was done and the task not solved"),
        ({}, {"max_steps": 2}, "not solved within 2 actions"),
        ({"solves_once": True}, {}, "not again by the same actions"),
    ],
)
def test_a_failure_is_not_kept_and_says_why(tmp_path, named, limits, reason):
    e = expert(tmp_path, ShownRecipe(**named), **limits)
    attempt = e.attempt(0, 1)
    e.close()
    assert not attempt.kept
    assert not attempt.success
    assert reason in attempt.reason
    assert not (tmp_path / "demos").exists() or len(EpisodeLog(tmp_path / "demos")) == 0


def test_failures_are_kept_where_all_is_asked_for(tmp_path):
    e = expert(tmp_path, ShownRecipe(patience=2), keep="all")
    assert e.attempt(0, 1).kept
    e.close()
    assert not EpisodeLog(tmp_path / "demos").recording(0).success.any()


def test_a_replay_finds_the_episode_that_does_not_repeat(tmp_path):
    e = expert(tmp_path, ShownRecipe(), twice=False)
    e.attempt(0, 1)
    assert e.replay(0)
    e.close()
    other = ExpertRecipe(simulator=ShownRecipe(scene=CountingRecipe(length=4)), folder=str(tmp_path / "demos")).build()
    assert not other.replay(0)


def unfinished(tmp_path):
    """A part whose process was killed while it wrote its second episode."""
    e = expert(tmp_path, ShownRecipe())
    e.attempt(0, 1)
    e.close()
    log = LogWriter(tmp_path / "demos", facts_of(ShownRecipe(), e.spec()), part="0")
    log.begin(Label(seed=2))
    log.step(e.demonstrator.observe(), np.zeros(1, dtype=np.float32), 0.0, terminated=False, success=False)
    log.close()
    assert len(EpisodeLog(tmp_path / "demos")) == 2


def test_an_episode_that_was_being_written_when_its_process_was_killed_is_forgotten(tmp_path):
    unfinished(tmp_path)
    e = expert(tmp_path, ShownRecipe())
    e.attempt(0, 3)
    e.close()
    log = EpisodeLog(tmp_path / "demos")
    assert [log.label(n).seed for n in range(len(log))] == [1, 3]
    assert not log.damaged


def test_tidying_forgets_what_is_unfinished_and_nothing_else(tmp_path):
    unfinished(tmp_path)
    tidy(tmp_path / "demos")
    tidy(tmp_path / "demos")
    log = EpisodeLog(tmp_path / "demos")
    assert [log.label(n).seed for n in range(len(log))] == [1]


def test_a_finished_episode_is_not_discarded(tmp_path):
    e = expert(tmp_path, ShownRecipe())
    e.attempt(0, 1)
    assert e.log is not None
    discard_unfinished(e.log)
    e.close()
    assert len(EpisodeLog(tmp_path / "demos")) == 1


def test_the_table_of_attempts_survives_sentences_with_commas_and_lines(tmp_path):
    e = expert(tmp_path, ShownRecipe())
    create(tmp_path / "demos", {}, facts_of(ShownRecipe(), e.spec()))
    failed = Attempt(1, 7, success=False, kept=False, steps=4, seconds=0.25, reason='no "path",\nnone')
    append(tmp_path / "demos", failed)
    e.attempt(0, 8)  # in the log, and its row was never written
    e.close()
    found = attempts_in(tmp_path / "demos")
    assert found[0] == replace(failed, reason='no "path", none')
    assert (found[1].seed, found[1].kept, found[1].steps) == (8, True, 3)


def collection(tmp_path, simulator, **named):
    return Collection(simulator=simulator, out=str(tmp_path / "demos"), **named)


def test_a_simulator_without_an_expert_is_refused_by_name():
    with pytest.raises(ConfigError, match="GymnasiumRecipe has no planner or scripted expert"):
        Collection(simulator=GymnasiumRecipe(), out="x")


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="no collection of ours; nothing was collected or overwritten"):
        run(Collection(simulator=ReachRecipe(), out=str(tmp_path)), tmp_path, [])
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_reach_is_collected_continued_and_replayed(tmp_path, capsys):
    out = tmp_path / "demos"
    words = ["simulator=reach", "simulator.max_steps=10", f"out={out}"]
    assert main([*words, "episodes=6"]) == 0
    said = capsys.readouterr().out
    assert "replayed 6 of 6 episodes from their seeds: 100.0 %" in said
    assert f"embodied train algorithm=bc algorithm.dataset={out} simulator=reach simulator.max_steps=10" in said
    six = EpisodeLog(out)
    with pytest.raises(ConfigError, match="already holds 6 episodes"):
        main([*words, "episodes=6"])
    with pytest.raises(ConfigError, match=r"another simulator.max_steps \(10, asked for 40\)"):
        main(["simulator=reach", f"out={out}", "episodes=9"])
    assert main([*words, "episodes=9", "processes=1", "verify=0", "simulator.num_envs=3"]) == 0
    nine = EpisodeLog(out)
    seeds = [{log.label(n).seed for n in range(len(log))} for log in (six, nine)]
    assert (len(seeds[0]), len(seeds[1])) == (6, 9)
    assert seeds[0] < seeds[1]
    capsys.readouterr()
    assert main(["--replay", str(out), "episodes=4", "processes=1"]) == 0
    assert "replayed 4 of 9 episodes from their seeds: 100.0 %" in capsys.readouterr().out


def test_the_death_of_a_process_costs_its_running_episode_and_nothing_else(tmp_path):
    once = tmp_path / "died"
    scene = CountingRecipe(length=3, breaks="exit", breaks_at=2, once=str(once))
    assert run(collection(tmp_path, ShownRecipe(scene=scene), episodes=5, processes=2), tmp_path / "demos", []) == 0
    assert once.exists()
    log = EpisodeLog(tmp_path / "demos")
    schedule = Schedule(5, 1, 0)
    assert {log.label(n).seed for n in range(len(log))} == {begun(schedule).seed for _ in range(5)}
    assert not log.damaged


def test_an_expert_that_always_fails_ends_the_collection_with_its_reason(tmp_path, capsys):
    simulator = ShownRecipe(patience=1, gives_up=True, tasks=2)
    c = collection(tmp_path, simulator, episodes=4, max_failures=3, processes=1)
    assert run(c, tmp_path / "demos", []) == 1
    said = capsys.readouterr().out
    assert "the expert failed 3 times in a row at `count " in said
    assert "lastly because the expert saw no way" in said
    assert "0 episodes are kept" in said


def test_ctrl_c_keeps_what_is_whole(tmp_path):
    out = tmp_path / "demos"
    command = ["collect", "simulator=reach", f"out={out}", "episodes=1000000", "processes=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "embodied.cli", *command], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    deadline = time.monotonic() + 60
    while not (out / "attempts.csv").is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "not complete: stopped by Ctrl-C. Repeat the command to continue." in said
    log = EpisodeLog(out)
    assert len(log) > 0
    assert all(log.recording(n).complete for n in range(len(log)))
