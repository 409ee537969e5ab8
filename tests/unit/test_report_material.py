"""What a report is made from: which runs count, which are left out and why."""

import fcntl
import json

import pytest

from embodied.comparing.values import Group, Outcome, Run
from embodied.errors import ConfigError
from embodied.report.costs import parts
from embodied.report.estimates import estimate
from embodied.report.gather import gather
from embodied.report.history import read_history
from embodied.report.provenance import provenance
from tests.made_runs import write_evaluation, write_run


def test_a_history_is_what_its_files_say(tmp_path):
    row = read_history(write_run(tmp_path / "a", seed=3, points=10))
    progress, wall_s, success = row.curve
    assert (row.seed, row.done, row.planned, row.standing) == (3, 10_000, 10_000, "finished")
    assert (progress[-1], wall_s[-1]) == (10_000, 10)
    assert success[0] < success[-1] < 0.8
    assert (row.counter("optimizer_steps"), row.counter("never")) == (240, None)


def test_a_line_that_is_being_written_is_left_for_later(tmp_path):
    folder = write_run(tmp_path / "a", points=10)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"env_steps": 110')
    assert read_history(folder).done == 10_000


def test_points_without_success_are_not_invented(tmp_path):
    folder = write_run(tmp_path / "a", points=2)
    rows = [{"env_steps": 1, "wall_s": 1.0}, {"env_steps": 2, "wall_s": 2.0, "success_once": 0.5}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [x.tolist() for x in read_history(folder).curve] == [[2], [2], [0.5]]


@pytest.mark.parametrize(("how", "standing"), [("stopped", "stopped at 25 %"), ("killed", "killed at 25 %")])
def test_a_run_that_did_not_finish_says_how_far_it_came(tmp_path, how, standing):
    assert read_history(write_run(tmp_path / "a", points=5, planned=20, how=how, evaluated=False)).standing == standing


def test_a_run_that_someone_writes_to_is_running_and_has_no_score(tmp_path):
    folder = write_run(tmp_path / "runs" / "a", seed=0, points=5, planned=20, how="killed", evaluated=False)
    write_run(tmp_path / "runs" / "b", seed=1)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = gather([str(tmp_path / "runs")])
    assert {row.seed for rows in found.histories.values() for row in rows} == {0, 1}
    assert [run.seed for group in found.groups for run in group.runs] == [1]
    assert "(running at 25 %) has a curve here, and no score" in found.left_out[0]


def test_a_damaged_run_is_named_and_the_others_are_reported(tmp_path):
    for seed in range(3):
        write_run(tmp_path / "runs" / str(seed), seed=seed)
    (tmp_path / "runs" / "1" / "config.yaml").write_text("a: [1")
    (tmp_path / "runs" / "2" / "facts.json").unlink()
    (tmp_path / "runs" / "2" / "evaluation" / "final" / "summary.json").write_text("{")
    found = gather([str(tmp_path / "runs")])
    assert [row.seed for row in found.runs] == [0]
    assert ["runs/1 was left out" in text for text in found.left_out] == [True, False]
    assert ["runs/2 was left out" in text for text in found.left_out] == [False, True]


def test_a_run_whose_log_is_damaged_keeps_its_score_as_in_compare(tmp_path):
    for seed in range(2):
        write_run(tmp_path / "runs" / str(seed), seed=seed)
    (tmp_path / "runs" / "1" / "metrics.jsonl").write_text("{\n{}\n")
    found = gather([str(tmp_path / "runs")])
    assert [row.seed for row in found.runs] == [0]
    assert found.groups[0].seeds == (0, 1)
    assert "runs/1 has a score here, and no curve" in found.left_out[0]


def test_tuning_runs_are_in_no_score_and_no_curve(tmp_path):
    write_run(tmp_path / "runs" / "a", seed=0)
    write_run(tmp_path / "runs" / "b", seed=1_000_000, purpose="tuning")
    found = gather([str(tmp_path / "runs")])
    assert [row.seed for row in found.runs] == [0]
    assert len(found.tuning) == 1
    assert "runs/b (seed 1000000)" in found.tuning[0]


def test_a_test_run_of_a_seed_that_tuned_is_in_no_score_either(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / "runs" / str(seed), seed=seed)
    table = tmp_path / "tuned.csv"
    table.write_text("group,seed,score,purpose\nother,1,0.9,tuning\nother,3,0.9,test\n")
    found = gather([str(tmp_path / "runs"), str(table)])
    assert [run.seed for run in found.groups[0].runs] == [row.seed for row in found.histories["runs"]] == [0]
    assert found.tuning == ("other, seed 1", "runs, seed 1: a test run, but the seed was used for tuning")


def test_tuning_runs_alone_have_curves_and_no_score(tmp_path):
    write_run(tmp_path / "runs" / "a", seed=1_000_000, purpose="tuning")
    found = gather([str(tmp_path / "runs")])
    assert len(found.runs) == 1
    assert found.groups == ()


def test_a_table_of_scores_joins_runs_without_a_history(tmp_path):
    write_run(tmp_path / "ours" / "a", seed=0)
    table = tmp_path / "theirs.csv"
    table.write_text("group,seed,task,score,purpose\nsac,0,push,0.5,test\nsac,1,push,0.6,test\nsac,7,push,1.0,tuning\n")
    found = gather([str(tmp_path / "ours"), str(table)])
    assert found.names == ("ours", "sac")
    assert found.histories["sac"] == ()
    assert found.groups[1].seeds == (0, 1)
    assert found.tuning == ("sac, seed 7",)


def test_runs_of_other_settings_are_another_group(tmp_path):
    for seed in range(2):
        write_run(tmp_path / "runs" / f"a{seed}", seed=seed, learning_rate=1e-3)
        write_run(tmp_path / "runs" / f"b{seed}", seed=seed, learning_rate=1e-4)
    found = gather([str(tmp_path / "runs")])
    assert found.common == "runs"
    assert found.names == ("learning_rate=0.001", "learning_rate=0.0001")
    assert [group.name for group in found.groups] == list(found.names)


def test_a_run_without_a_score_joins_the_group_of_its_settings(tmp_path):
    write_run(tmp_path / "runs" / "a", seed=0, learning_rate=1e-3)
    write_run(tmp_path / "runs" / "b", seed=1, learning_rate=1e-3, how="killed", points=10, planned=20, evaluated=False)
    found = gather([str(tmp_path / "runs")])
    assert [row.seed for row in found.histories["runs"]] == [0, 1]
    assert "runs/b (killed at 50 %) has a curve here, and no score" in found.left_out[0]


def test_nothing_to_report_is_refused_with_the_reasons(tmp_path):
    folder = write_run(tmp_path / "a")
    (folder / "config.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match=r"nothing was written.*config\.yaml cannot be read"):
        gather([str(folder)])


def test_parts_of_the_time_add_up_to_all_of_it(tmp_path):
    row = read_history(write_run(tmp_path / "a", points=10))
    found = parts(row)
    assert found["rest"] == pytest.approx(10 * (0.5 - 0.1 - 0.2 - 0.05 - 0.05))
    assert sum(found.values()) == pytest.approx(10 * 0.8 + 3.0)  # collecting and learning, then the evaluation


def test_commands_settings_and_versions_are_told(tmp_path):
    for name, rate in (("a", 1e-3), ("b", 1e-4)):
        write_run(tmp_path / name, learning_rate=rate, command="embodied train experiment=it")
    facts = json.loads((tmp_path / "b" / "facts.json").read_text())
    later = facts | {"git": "ffff-dirty", "command": "embodied train resume=b"}
    (tmp_path / "b" / "facts.json").write_text(json.dumps(facts | {"continued": [later]}))
    section = provenance(gather([f"one={tmp_path / 'a'}", f"two={tmp_path / 'b'}"]).histories)
    text = str(section)
    assert "('learning_rate', '0.001', '0.0001')" in text
    assert "embodied train experiment=it seed=0" in text
    assert "embodied train resume=b" in text
    assert "2 versions of the code: 0123456789ab, ffff-dirty" in text


@pytest.mark.parametrize("how", ["stopped", "killed", "failed"])
def test_a_run_that_was_stopped_has_no_score_although_it_was_evaluated(tmp_path, how):
    write_run(tmp_path / "runs" / "a", seed=0, points=20)
    write_run(tmp_path / "runs" / "b", seed=1, points=5, planned=20, how=how)
    found = gather([str(tmp_path / "runs")])
    assert found.groups[0].seeds == (0,)
    assert f"runs/b ({how} at 25 %) has a curve here, and no score: it is {how} at 25 % (5,000 of" in found.left_out[0]


def test_a_report_rests_on_the_evaluation_that_is_named(tmp_path):
    run = write_run(tmp_path / "a", rate=0.9)
    write_evaluation(run / "evaluation" / "libero", rate=0.0, tasks=("push",), episodes=5, seed=0)
    assert gather([str(run)], evaluation="libero").groups[0].runs[0].mean == 0.0
    assert gather([str(run)]).groups[0].runs[0].mean > 0.5


def test_one_seed_on_repeated_starts_has_the_interval_of_its_starts():
    def group(repeats):
        outcomes = tuple(
            Outcome("push", state, seed, state < 12, False, 0.0, 9, None)
            for seed in range(repeats)
            for state in range(20)
        )
        counts = {"push": (12 * repeats, 20 * repeats)}
        return Group("a", (Run(0, {"push": 0.6}, outcomes, counts=counts),))

    once, often = (estimate(group(repeats), ("push",)).interval for repeats in (1, 10))
    assert once is not None
    assert often is not None
    assert often.high - often.low > 0.9 * (once.high - once.low)
