"""What is read from run folders and tables of scores, and what is refused, by file and line."""

import fcntl
import itertools
import json
import shutil

import numpy as np
import pytest

from embodied.comparing.checkpoints import compare_checkpoints, flip_p
from embodied.comparing.command import main
from embodied.comparing.command import parse as parse_compare
from embodied.comparing.scores import read_groups
from embodied.comparing.values import Group, Outcome, Run, ranges
from embodied.comparing.words import checkpoint_sentence
from embodied.errors import ConfigError
from embodied.metrics.intervals import paired_counts
from embodied.purpose import TUNING_SEEDS
from tests.scored_runs import scored_run


def table(tmp_path, text):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    return path


def test_a_run_scores_the_share_of_its_final_episodes_on_each_task_without_lost_ones(tmp_path):
    scored_run(tmp_path / "ppo" / "seed3", {"push": [1, 0, 1, 1], "pull": [0, 1]}, seed=3, lost=2)
    (found,) = read_groups([tmp_path / "ppo"])
    run = found.runs[0]
    assert (found.name, found.seeds, found.tasks) == ("ppo", (3,), ("push", "pull"))
    assert run.scores == {"push": 0.75, "pull": 0.5}
    assert run.counts == {"push": (3, 4), "pull": (1, 2)}
    assert run.episodes == 6
    assert run.outcomes[0].start == ("push", -1, 1000)
    assert found.notes == ("ppo: 2 episodes of seeds 3 were lost with their process and count in no score.",)
    np.testing.assert_array_equal(found.matrix(("pull", "push")), [[0.5, 0.75]])


def test_each_metric_has_its_own_score(tmp_path):
    run = scored_run(tmp_path / "run", {"push": [1, 0, 1, 1]})
    scores = {
        metric: read_groups([run], metric=metric)[0].runs[0].scores["push"]
        for metric in ("success_once", "success_at_end", "return")
    }
    assert scores == {"success_once": 0.75, "success_at_end": 0.0, "return": 1.5}


def test_runs_that_differ_in_seed_and_housekeeping_are_one_group(tmp_path):
    for seed in range(3):
        scored_run(tmp_path / f"run{seed}", {"push": [1]}, seed=seed, wandb=str(seed), film=seed, evaluate=seed)
    assert [g.seeds for g in read_groups([tmp_path])] == [(0, 1, 2)]
    assert [(g.name, g.seeds) for g in read_groups([tmp_path / f"run{seed}" for seed in range(3)])] == [
        ("made", (0, 1, 2))
    ]


def test_runs_of_other_settings_are_groups_named_by_what_differs(tmp_path):
    for gamma in (0.9, 0.99):
        algorithm = {"_target_": "made.PPO", "gamma": gamma}
        scored_run(tmp_path / "sweep" / f"{gamma}", {"push": [1]}, algorithm=algorithm, total_steps=int(1000 * gamma))
    assert [g.name for g in read_groups([tmp_path / "sweep"])] == [
        "sweep (algorithm.gamma=0.9, total_steps=900)",
        "sweep (algorithm.gamma=0.99, total_steps=990)",
    ]


def test_a_setting_that_older_runs_do_not_have_and_newer_ones_leave_empty_is_no_difference(tmp_path):
    scored_run(tmp_path / "a", {"push": [1]}, seed=0)
    scored_run(tmp_path / "b", {"push": [1]}, seed=1, something=None)
    assert len(read_groups([tmp_path])) == 1


def test_a_name_can_be_given_and_equal_ones_cannot(tmp_path):
    scored_run(tmp_path / "x" / "ppo" / "seed0", {"push": [1]})
    scored_run(tmp_path / "y" / "ppo" / "seed0", {"push": [0]})
    before, after = tmp_path / "x" / "ppo", tmp_path / "y" / "ppo"
    assert [g.name for g in read_groups([f"before={before}", f"after={after}"])] == ["before", "after"]
    with pytest.raises(ConfigError, match=r"two groups are called ppo.*NAME=PATH"):
        read_groups([before, after])


def test_a_folder_with_an_equals_sign_is_a_folder(tmp_path):
    scored_run(tmp_path / "gamma=0.9" / "seed0", {"push": [1]})
    assert [g.name for g in read_groups([tmp_path / "gamma=0.9"])] == ["gamma=0.9"]


def test_a_run_that_was_not_evaluated_to_the_end_is_left_out_and_named(tmp_path):
    scored_run(tmp_path / "seed0", {"push": [1]})
    unfinished = scored_run(tmp_path / "seed1", {"push": [1]}, seed=1)
    (unfinished / "evaluation" / "final" / "summary.json").unlink()
    (found,) = read_groups([tmp_path])
    assert found.seeds == (0,)
    assert f"{unfinished} was left out: it was not evaluated to the end" in found.notes[0]
    assert "only if that has nothing to do with its score" in found.notes[0]
    with pytest.raises(ConfigError, match=r"1 runs and no final evaluation of any"):
        read_groups([unfinished])


def test_an_evaluation_of_an_earlier_checkpoint_is_not_the_final_one(tmp_path):
    scored_run(tmp_path / "seed0", {"push": [1]})
    scored_run(tmp_path / "seed1", {"push": [1]}, seed=1, checkpoint="000010", newest="000020")
    (found,) = read_groups([tmp_path])
    assert found.seeds == (0,)
    assert "is of checkpoint 000010, but it went on to 000020" in found.notes[0]


def test_a_seed_that_was_run_twice_is_not_two_seeds(tmp_path):
    for name in ("first", "again"):
        scored_run(tmp_path / name, {"push": [1]}, seed=7)
    with pytest.raises(ConfigError, match=r"seed 7 of .* was run 2 times .*one seed, not several"):
        read_groups([tmp_path])


def test_conditions_of_an_evaluation_are_tasks_of_their_own(tmp_path):
    run = scored_run(tmp_path / "run", {"push": [1, 0]})
    final = run / "evaluation" / "final"
    (final / "episodes-seed0.csv").rename(final / "episodes-dark-seed0.csv")
    (final / "episodes-bright-seed0.csv").write_text((final / "episodes-dark-seed0.csv").read_text())
    assert read_groups([run])[0].runs[0].scores == {"push (bright)": 0.5, "push (dark)": 0.5}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("True", "yes", "line 2 is not an episode .*`yes` is neither True nor False"),
        ("2.0", "nan", "line 2 is not an episode .*its reward is nan"),
        (",30,", ",thirty,", "line 2 is not an episode"),
        ("success_once", "success", "line 2 is not an episode .*'success_once'"),
    ],
)
def test_an_episode_that_makes_no_sense_is_named_by_line(tmp_path, before, after, told):
    run = scored_run(tmp_path / "run", {"push": [1, 1]})
    path = run / "evaluation" / "final" / "episodes-seed0.csv"
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(ConfigError, match=told):
        read_groups([run])


def test_what_is_no_run_is_said(tmp_path):
    with pytest.raises(ConfigError, match="there is no file or folder"):
        read_groups([tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match="neither a run folder nor does it hold any"):
        read_groups([tmp_path])
    run = scored_run(tmp_path / "run", {"push": [1]})
    (run / "evaluation" / "final" / "summary.json").write_text("{")
    with pytest.raises(ConfigError, match=r"summary.json cannot be read"):
        read_groups([run])


def test_a_table_under_other_names_of_its_columns(tmp_path):
    path = table(tmp_path, "method;run;environment;success_rate\nppo;1;push;0.5\nppo;2;push;1\nsac;1;push;0\n")
    ppo, sac = read_groups([path])
    assert (ppo.name, ppo.seeds, sac.name) == ("ppo", (1, 2), "sac")
    np.testing.assert_array_equal(ppo.matrix(["push"]), [[0.5], [1.0]])


def test_a_table_of_one_group_and_one_task_needs_neither_and_takes_a_name(tmp_path):
    path = table(tmp_path, "seed,score\n0,0.25\n1,0.75\n")
    assert [g.name for g in read_groups([path])] == ["scores"]
    (found,) = read_groups([f"theirs={path}"])
    assert (found.name, found.tasks, [run.mean for run in found.runs]) == ("theirs", ("task",), [0.25, 0.75])


def test_successes_of_episodes_are_a_score(tmp_path):
    (found,) = read_groups([table(tmp_path, "seed,successes,episodes\n0,17,20\n1,20,20\n")])
    assert [run.scores["task"] for run in found.runs] == [0.85, 1.0]
    assert found.runs[0].counts == {"task": (17, 20)}


def test_rows_of_the_metric_that_is_asked_for(tmp_path):
    path = table(tmp_path, "seed,metric,score\n0,return,12.5\n0,success_once,0.5\n")
    assert read_groups([path], metric="return")[0].runs[0].mean == 12.5
    assert read_groups([path])[0].runs[0].mean == 0.5
    with pytest.raises(ConfigError, match="no scores of metric success_at_end, but of return, success_once"):
        read_groups([path], metric="success_at_end")


def test_unknown_columns_are_named_and_not_used(tmp_path):
    (found,) = read_groups([table(tmp_path, "seed,score,lr,color\n0,0.5,1e-3,red\n")])
    assert found.notes == ("scores.csv: not used, as their meaning is not known: lr, color.",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("group,seed,score\na,0,0.5\na,1,nan\nb,0,0.5\n", "line 3: the score is nan; .*in other lines: 1 of a, 1 of b"),
        ("group,seed,score\na,0,high\na,1,\n", r"line 2: the score is `high`.*\(and 1 more such lines: 3\)"),
        ("seed,score\n0,85\n", "line 2: the success_once is 85, not between 0 and 1: divide percents by 100"),
        ("seed,score\nfirst,0.5\n", "line 2: the seed is `first`, which is not a number"),
        ("seed,score\n1.5,0.5\n", "line 2: the seed is `1.5`, which is not a whole number"),
        ("group,seed,score\n,1,0.5\n", "line 2: the group has no name"),
        ("seed,successes,episodes\n0,21,20\n", "line 2: 21 successes of 20 episodes cannot be"),
        ("seed,score,successes,episodes\n0,0.5,17,20\n", "line 2: the score is 0.5, but 17 of 20 episodes are 0.85"),
        ("seed,score,purpose\n0,0.5,play\n", "line 2: the purpose is `play`"),
        ("group,seed,task,score\na,0,x,0.5\na,0,y,0.5\na,0,x,0.6\n", "lines 2 and 4 both score seed 0 of a on x"),
        ("seed,score,lr\n0,0.5,1\n0,0.6,2\n", "lines 2 and 3 .*If lr tells them apart"),
        ("seed,score,value\n0,0.5,1\n", "two columns for the score, score and value"),
        ("group,result\na,0.5\n", r"first line holds group, result; .*Missing: seed \(seed or run or run_id\), score"),
        ("seed,score\n", "holds no scores below its first line"),
        ("group,seed,score\na,0,0,5\n", "line 2 has 4 cells, but its first line names 3"),
        ("group,seed,score\na,0,0.5\n\"b,0,0.5\nc,0,1\n", "cannot be read as CSV from line 3 on"),
        ("seed,\"score\n0,0.5\n", "cannot be read as CSV from line 1 on"),
        ("seed,task,score,purpose\n0,x,0.5,test\n0,y,0.5,tuning\n", "both test and tuning of seed 0"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_trusted_is_refused_by_line(tmp_path, text, told):
    with pytest.raises(ConfigError, match=told) as caught:
        read_groups([table(tmp_path, text)])
    assert "nothing was compared" in str(caught.value)


def test_a_task_that_a_run_lacks_is_no_score(tmp_path):
    (found,) = read_groups([table(tmp_path, "seed,task,score\n0,x,0.5\n0,y,0.5\n1,x,0.5\n")])
    with pytest.raises(ConfigError, match=r"seed 1 has no score on `y`.*tasks=shared"):
        found.matrix(found.tasks)


def test_the_code_of_a_group_is_told_where_it_changed(tmp_path):
    for seed, git in enumerate(("abc", "abc-dirty")):
        run = scored_run(tmp_path / str(seed), {"push": [1]}, seed=seed)
        (run / "facts.json").write_text(json.dumps({"git": git}))
    assert "different versions of the code (abc, abc-dirty)" in read_groups([tmp_path])[0].notes[0]


def test_seeds_are_listed_as_ranges():
    assert ranges([3, 1, 2, 7, 9, 10]) == "1-3, 7, 9-10"


def stored(name, hits, seeds, *, state=0):
    """One run on stored states, one for each of `hits`, played under each of `seeds` and ending alike."""
    outcomes = tuple(
        Outcome(
            "push", state + i if state >= 0 else -1, 10 * seed + (0 if state >= 0 else i), bool(hit), False, 0, 9, None
        )
        for seed in seeds
        for i, hit in enumerate(hits)
    )
    successes = sum(o.success for o in outcomes)
    run = Run(0, {"push": successes / len(outcomes)}, outcomes, counts={"push": (successes, len(outcomes))})
    return Group(name, (run,))


HITS = [1] * 9 + [0] * 11, [1] * 2 + [0] * 15 + [1] * 3


def test_a_stored_state_that_is_played_again_under_other_seeds_is_the_same_start():
    once, thrice = (
        compare_checkpoints(stored("a", HITS[0], seeds), stored("b", HITS[1], seeds), ["push"])
        for seeds in ([0], [0, 1, 2])
    )
    assert (once.method, thrice.method) == ("mcnemar", "starts")
    assert once.p is not None
    assert thrice.p == pytest.approx(once.p)
    assert (thrice.starts, thrice.only_first, thrice.only_second) == (once.starts, 7, 3) == (20, 7, 3)
    assert thrice.difference is not None
    assert thrice.difference.estimate == pytest.approx(0.2)
    assert thrice.difference.low < 0 < thrice.difference.high
    told = checkpoint_sentence(thrice)
    assert "of the same 20 starts, each played several times and counted once, 7 were solved more often by a" in told
    mixed = compare_checkpoints(stored("a", HITS[0], [0]), stored("b", HITS[1], [0, 1, 2]), ["push"])
    assert mixed.p == pytest.approx(once.p)


def test_repeats_that_are_not_shared_are_no_trials_either():
    found, once = (
        compare_checkpoints(
            stored("a", [1] * 9 + [0], range(n)), stored("b", [1] * 5 + [0] * 5, range(n), state=50), ["push"]
        )
        for n in (20, 1)
    )
    assert (found.method, found.starts, once.method) == ("clusters", 10, "newcombe")
    assert found.difference is not None
    assert once.difference is not None
    assert found.difference.high - found.difference.low > 0.7 * (once.difference.high - once.difference.low)
    assert "interval over whole starts, unpaired as they share 0 starts of 10 and 10" in checkpoint_sentence(found)
    alone = compare_checkpoints(stored("a", [1], range(9)), stored("b", [0], range(9)), ["push"])
    assert (alone.method, alone.p) == ("none", None)


def test_no_difference_of_repeated_starts_is_no_certainty():
    found = compare_checkpoints(stored("a", HITS[0], [0, 1]), stored("b", HITS[0], [0, 1]), ["push"])
    assert (found.p, found.differ) == (1.0, False)
    assert found.difference is not None
    assert found.difference.low < -0.1 < 0.1 < found.difference.high


@pytest.mark.parametrize("counts", [(7, 3), (5, 5), (8, 0), (0, 0), (40, 22)])
def test_flips_of_single_episodes_are_mcnemar(counts):
    more, fewer = counts
    gaps = [1.0] * more + [-1.0] * fewer + [0.0] * 4
    assert flip_p(gaps) == pytest.approx(paired_counts(2, more, fewer, 2).p_mid)


def test_flips_of_shares_are_every_choice_of_signs():
    gaps = np.array([1 / 3, 2 / 3, 1, -1 / 3, 0.5, 1])
    signs = np.array(list(itertools.product((-1, 1), repeat=6))).T
    sums, seen = np.abs(gaps @ signs), abs(gaps.sum())
    expected = (sums > seen + 1e-9).mean() + (np.abs(sums - seen) < 1e-9).mean() / 2
    assert flip_p(gaps) == pytest.approx(expected)


@pytest.mark.parametrize("how", ["stopped", "failed", None])
def test_a_run_that_was_stopped_is_left_out_with_how_far_it_came(tmp_path, how):
    settings = {"total_steps": 5000, "rollout": 100, "simulator": {"num_envs": 5}}
    scored_run(tmp_path / "seed0", {"push": [1]}, how="finished", **settings)
    early = scored_run(
        tmp_path / "seed1", {"push": [1]}, seed=1, how=how, newest="000004", checkpoint="000004", **settings
    )
    (early / "metrics.jsonl").write_text('{"env_steps": 2000}\n')
    (found,) = read_groups([tmp_path])
    assert found.seeds == (0,)
    assert (
        f"{early} was left out: it is {how or 'killed'} at 40 % (2,000 of 5,000), and only whole runs" in found.notes[0]
    )


def test_a_run_that_someone_writes_to_is_left_out(tmp_path):
    scored_run(tmp_path / "seed0", {"push": [1]})
    running = scored_run(tmp_path / "seed1", {"push": [1]}, seed=1)
    with (running / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        (found,) = read_groups([tmp_path])
    assert found.seeds == (0,)
    assert "it is running" in found.notes[0]


def test_a_run_without_a_word_of_its_end_is_whole_after_its_last_iteration(tmp_path):
    settings = {"total_steps": 4900, "rollout": 100, "simulator": {"num_envs": 5}, "policy": {"chunk": 1}}
    scored_run(tmp_path / "a", {"push": [1]}, how=None, **settings)  # its checkpoint is of iteration 10
    assert read_groups([tmp_path / "a"])[0].seeds == (0,)
    steps = scored_run(tmp_path / "b", {"push": [1]}, how=None, total_steps=4900)
    (steps / "metrics.jsonl").write_text('{"env_steps": 5000}\n')
    assert read_groups([steps])[0].seeds == (0,)
    offline = {"_target_": "made.BC", "updates": 2500, "updates_per_iteration": 250}
    scored_run(tmp_path / "c", {"push": [1]}, how=None, algorithm=offline)
    assert read_groups([tmp_path / "c"])[0].seeds == (0,)
    unknown = scored_run(tmp_path / "d", {"push": [1]}, how=None)
    with pytest.raises(ConfigError, match="it is killed before its first iteration ended"):
        read_groups([unknown])


def test_an_evaluation_of_other_weights_is_left_out(tmp_path):
    for seed in (0, 1):
        run = scored_run(tmp_path / f"seed{seed}", {"push": [1]}, seed=seed)
        (run / "checkpoints" / "000010" / "manifest.json").write_text(json.dumps({"weights.safetensors": f"w{seed}"}))
        (run / "evaluation" / "final" / "evaluation.json").write_text(json.dumps({"weights": "w0"}))
    (found,) = read_groups([tmp_path])
    assert found.seeds == (0,)
    assert "is of other weights than its checkpoint 000010" in found.notes[0]


def test_an_episode_that_is_there_twice_is_named(tmp_path):
    path = scored_run(tmp_path / "run", {"push": [1, 0]}) / "evaluation" / "final" / "episodes-seed0.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(ConfigError, match=r"line 4 is not an episode .*episode 0 is in line 2 already"):
        read_groups([tmp_path])


def test_another_evaluation_can_be_compared_by_its_name_or_its_folder(tmp_path, capsys):
    for name, hits in (("a", [1, 1]), ("b", [0, 0])):
        run = scored_run(tmp_path / name, {"push": [1, 0]})
        other = scored_run(tmp_path / "other" / name, {"push": hits})
        shutil.move(other / "evaluation" / "final", run / "evaluation" / "libero")
    words = [f"a={tmp_path / 'a'}", f"b={tmp_path / 'b'}"]
    assert [g.runs[0].mean for g in read_groups(words, evaluation="libero")] == [1.0, 0.0]
    assert [g.runs[0].mean for g in read_groups([f"{word}/evaluation/libero" for word in words])] == [1.0, 0.0]
    assert read_groups([tmp_path / "a" / "evaluation" / "libero"])[0].runs[0].mean == 1.0
    assert main([*words, "evaluation=libero"]) == 0
    assert "+100.0 points" in capsys.readouterr().out
    with pytest.raises(
        ConfigError, match=r"no nowhere evaluation of any .*embodied evaluate .* out=.*evaluation/nowhere"
    ):
        read_groups(words, evaluation="nowhere")
    with pytest.raises(ConfigError, match="should name a folder in RUN/evaluation"):
        parse_compare([*words, "evaluation=a/b"])


def test_seeds_of_tuning_in_a_table_are_for_tuning_unless_it_says_otherwise(tmp_path):
    (found,) = read_groups([table(tmp_path, f"seed,score\n0,0.5\n{TUNING_SEEDS},0.9\n")])
    assert [run.purpose for run in found.runs] == ["test", "tuning"]
    assert f"seeds {TUNING_SEEDS} are taken to be for tuning" in found.notes[0]
    (found,) = read_groups([table(tmp_path, f"seed,score,purpose\n{TUNING_SEEDS},0.9,test\n")])
    assert ([run.purpose for run in found.runs], found.notes) == (["test"], ())
