"""Collecting demonstrations: what is tried, what is kept, and what a death, a failure or Ctrl-C costs."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from embodied import cli
from embodied.collect import Collection, main, run
from embodied.collecting.crew import Job, Schedule
from embodied.collecting.expert import Attempt, Expert, ExpertRecipe, facts_of, tidy
from embodied.collecting.folder import append, attempts_in, check_writable, create
from embodied.collecting.report import summary
from embodied.data.episode_log import EpisodeLog, LogWriter
from embodied.data.recording import Label
from embodied.errors import ConfigError, StageError
from embodied.types import Array
from simulators.gymnasium import GymnasiumRecipe
from simulators.reach import ReachRecipe
from tests.counting import Counting, CountingRecipe
from tests.shown import Shown, ShownRecipe


def expert(tmp_path, simulator, **named) -> Expert:
    return ExpertRecipe(simulator=simulator, folder=str(tmp_path / "demos"), part="0", **named).build()


def begun(schedule: Schedule) -> Job:
    job = schedule.next()
    assert job is not None
    return job


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


def test_a_demonstration_may_take_four_times_the_limit_of_its_task(tmp_path):
    e = expert(tmp_path, ShownRecipe(scene=CountingRecipe(max_steps=(2, 5)), tasks=2))
    assert [e.attempt(task, 1).steps for task in (0, 1)] == [8, 20]
    e.close()


@pytest.mark.parametrize(("task", "word"), [(0, " max_steps=50"), (1, "")])
def test_the_next_step_gives_time_where_an_example_took_more_than_its_task_allows(tmp_path, capsys, task, word):
    spec = Counting(CountingRecipe(max_steps=(20, 50))).spec
    attempts = [Attempt(task, 1, success=True, kept=True, steps=30, seconds=0.1)]
    summary(tmp_path, spec, attempts, None, "", [])
    assert capsys.readouterr().out.rstrip().endswith(f"policy.chunk=8{word}")


@pytest.mark.parametrize("keep", ["successes", "all"])
def test_a_bug_in_an_expert_costs_its_attempt_and_not_the_next(tmp_path, keep):
    e = expert(tmp_path, ShownRecipe(stored=(2,), breaks_at=0), keep=keep)
    broken, whole = e.attempt(0, 1, initial_state=0), e.attempt(0, 2, initial_state=1)
    e.close()
    assert (broken.success, broken.kept) == (False, False)
    assert broken.reason == "ZeroDivisionError: no way has no length"
    assert (whole.success, whole.kept) == (True, True)


def test_a_bug_in_an_expert_in_the_middle_of_an_episode_keeps_none_of_it(tmp_path):
    e = expert(tmp_path, ShownRecipe(scene=CountingRecipe(length=3, breaks="raise", breaks_at=2)), keep="all")
    attempt = e.attempt(0, 1)
    assert e.log is None
    e.close()
    assert (attempt.kept, attempt.steps, attempt.reason) == (False, 1, "RuntimeError: the gripper melted")


def test_a_full_disk_is_no_failure_of_the_expert(tmp_path):
    (tmp_path / "demos").write_text("a file")
    with pytest.raises(OSError, match="demos"):
        expert(tmp_path, ShownRecipe()).attempt(0, 1)


def test_failures_are_kept_where_all_is_asked_for(tmp_path):
    e = expert(tmp_path, ShownRecipe(patience=2), keep="all")
    assert e.attempt(0, 1).kept
    e.close()
    assert not EpisodeLog(tmp_path / "demos").recording(0).success.any()


def test_an_episode_remembers_the_stored_state_it_began_in_and_replays_from_it(tmp_path):
    e = expert(tmp_path, ShownRecipe(stored=(9,)))
    assert e.attempt(0, 1, initial_state=7).initial_state == 7
    assert EpisodeLog(tmp_path / "demos").label(0).initial_state == 7
    e.demonstrator.reset(0, 3, 1)
    assert e.replay(0)
    assert isinstance(e.demonstrator, Shown)
    assert e.demonstrator.state == 7
    e.close()


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
    e.log.discard_unfinished()
    e.close()
    assert len(EpisodeLog(tmp_path / "demos")) == 1


def test_the_table_of_attempts_survives_sentences_with_commas_and_lines(tmp_path):
    e = expert(tmp_path, ShownRecipe())
    create(tmp_path / "demos", {}, facts_of(ShownRecipe(), e.spec()))
    failed = Attempt(1, 7, False, False, steps=4, seconds=0.25, reason='no "path",\nnone', initial_state=5)
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


@pytest.mark.parametrize(
    ("simulator", "different"),
    [
        (ShownRecipe(solves_once=True), "0.0 %"),
        (ShownRecipe(breaks_again="raise"), "66.7 %"),  # a simulator's exception costs its episode alone
    ],
)
def test_a_verified_episode_that_does_not_repeat_is_named_and_fails(tmp_path, capsys, simulator, different):
    c = collection(tmp_path, simulator, episodes=3, processes=1, twice=False)
    assert run(c, tmp_path / "demos", []) == 1
    said = capsys.readouterr().out
    assert f"replayed 3 of 3 episodes from their seeds: {different}" in said
    assert "end as they did; not 0:" in said
    assert f"3 episodes are in {tmp_path / 'demos'}." in said


def test_a_verification_that_breaks_leaves_the_summary_of_what_was_collected(tmp_path, capsys):
    c = collection(tmp_path, ShownRecipe(breaks_again="exit"), episodes=3, processes=1, twice=False)
    with pytest.raises(StageError, match=r"ended with status 3 .*`replay`"):
        run(c, tmp_path / "demos", [])
    said = capsys.readouterr().out
    assert "replayed 1 of 3 episodes from their seeds: 100.0 %" in said
    assert f"3 episodes are in {tmp_path / 'demos'}." in said


def test_a_collection_that_breaks_leaves_the_summary_of_what_was_collected(tmp_path, capsys):
    scene = CountingRecipe(length=3, breaks="exit", breaks_at=2)
    with pytest.raises(StageError, match="ended with status 3"):
        run(collection(tmp_path, ShownRecipe(scene=scene), processes=1), tmp_path / "demos", [])
    assert "not complete: it ended with an error. Repeat the command to continue." in capsys.readouterr().out


def test_stored_initial_states_are_recorded_and_said_to_be_those_of_evaluation(tmp_path, capsys):
    simulator = ShownRecipe(stored=(3, 2), tasks=2)
    assert run(collection(tmp_path, simulator, episodes=6, processes=1, verify=0), tmp_path / "demos", []) == 0
    log = EpisodeLog(tmp_path / "demos")
    labels = [log.label(n) for n in range(6)]
    states = [[label.initial_state for label in labels if label.task == task] for task in (0, 1)]
    assert states[0] == [0, 1, 2]
    assert {*states[1]} == {0, 1}
    assert {a.initial_state for a in attempts_in(tmp_path / "demos") if a.task == 0} == {0, 1, 2}
    said = capsys.readouterr().out
    assert "They begin in 5 of the simulator's 5 stored initial states, which are those of evaluation" in said
    assert "simulator.starts=sampled collects from others" in said


def test_a_bug_in_an_expert_ends_the_collection_in_a_sentence(tmp_path, capsys):
    simulator = ShownRecipe(stored=(1,), breaks_at=0)
    c = collection(tmp_path, simulator, episodes=4, max_failures=3, processes=1)
    assert run(c, tmp_path / "demos", []) == 1
    assert "3 times in a row at `count 0`, lastly because ZeroDivisionError: no way" in capsys.readouterr().out


@pytest.mark.parametrize(("camera", "wanted"), [("rgb/front", True), ("depth/front", True), ("state", False)])
def test_the_next_step_names_a_policy_that_sees_where_there_are_pictures(tmp_path, capsys, camera, wanted):
    spec = replace(Counting(CountingRecipe()).spec, obs={camera: Array((4, 4, 3))})
    attempts = [Attempt(0, 1, success=True, kept=True, steps=3, seconds=0.1)]
    summary(tmp_path, spec, attempts, None, "", ["simulator=tabletop", "simulator.obs=rgb"])
    said = capsys.readouterr().out
    assert (" simulator.obs=rgb policy=vision policy.chunk=8" in said) == wanted
    assert ("policy=vision" in said) == wanted


def test_a_replay_that_does_not_repeat_is_named_and_fails(tmp_path, capsys):
    e = expert(tmp_path, ReachRecipe(max_steps=10))
    assert e.attempt(0, 2).kept
    recording = EpisodeLog(tmp_path / "demos").recording(0)
    e._log().write(replace(recording, label=replace(recording.label, seed=4)))
    e.close()
    assert main(["--replay", str(tmp_path / "demos"), "processes=1"]) == 1
    assert "50.0 %" in (said := capsys.readouterr().out)
    assert said.rstrip().endswith("not 0:1")


@pytest.mark.parametrize("word", ["processes=0", "episodes=-1", "processes=abc", "episodes=0", "episodes=1.5"])
def test_a_wrong_setting_of_a_replay_is_one_sentence(word):
    with pytest.raises(ConfigError, match=rf"^{word.partition('=')[0]}: Input should be .*Nothing was built\.$"):
        main(["--replay", "demos", word])


@pytest.mark.parametrize("name", ["absent", "empty", "file"])
def test_what_is_no_log_is_not_replayed(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"has no dataset\.json; nothing was played\. Name a folder that `embodied"):
        main(["--replay", str(tmp_path / name)])


def test_a_folder_that_cannot_be_written_is_refused_before_the_simulator_starts(tmp_path):
    (tmp_path / "file").touch()
    for folder in ("/proc/x", str(tmp_path / "file" / "demos")):
        with pytest.raises(ConfigError, match=rf"{folder} cannot be written \(.*\); nothing was collected"):
            main(["simulator=reach", f"out={folder}"])


def test_looking_whether_a_folder_can_be_written_leaves_nothing(tmp_path):
    check_writable(tmp_path / "demos")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("train", "stopped; checkpoints that were written are kept\n"),
        ("collect", "stopped; whole episodes are kept\n"),
        ("data", "stopped\n"),
    ],
)
def test_a_command_that_is_stopped_says_what_it_keeps_and_no_more(monkeypatch, capsys, command, said):
    def stopped(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_command", lambda _: stopped)
    assert cli.run([command]) == 130
    assert capsys.readouterr().err == f"embodied {command}: {said}"


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
