"""A comparison that asks for seeds: which ones, when it stops, what it keeps, and what it refuses."""

import json

import numpy as np
import pytest

from embodied.comparing.sequential import STATE, Score, Study, collect, load, save, standing
from embodied.comparing.sequential_command import main, parse
from embodied.errors import ConfigError
from embodied.train import TUNING_SEEDS
from tests.scored_runs import scored_run

OTHERS = {"a": "csv", "b": "csv"}


def scores(**agents):
    return [Score(name, seed, x, "") for name, own in agents.items() for seed, x in enumerate(own)]


def table(path, **agents):
    rows = [f"{name},{seed},{x}" for name, own in agents.items() for seed, x in enumerate(own)]
    path.write_text("\n".join(["group,seed,score", *rows]) + "\n")
    return path


def test_each_interim_asks_for_the_next_seeds_of_the_undecided():
    study = Study(agents=OTHERS, seeds=3, interims=3, first_seed=10)
    assert standing(study, []).missing == tuple((name, seed) for seed in (10, 11, 12) for name in "ab")
    some = [Score(name, seed, 0.1 * seed, "") for name in "ab" for seed in (10, 11, 12)]
    assert standing(study, some[:-1]).missing == (("b", 12),)
    assert standing(study, some).missing == tuple((name, seed) for seed in (13, 14, 15) for name in "ab")


def test_who_is_decided_is_asked_for_nothing_more():
    study = Study(agents={"a": "csv", "b": "csv", "c": "csv"}, seeds=5, interims=2)
    generator = np.random.default_rng(0)
    a, b = (generator.normal(0.5, 0.05, 5).tolist() for _ in "ab")
    now = standing(study, scores(a=a, b=b, c=[0.9, 0.91, 0.92, 0.93, 0.94]))
    assert now.test.decisions()["a", "c"] == now.test.decisions()["b", "c"] == "smaller"
    assert {name for name, _ in now.missing} == {"a", "b"}


def test_more_seeds_than_were_asked_for_change_no_decision():
    study = Study(agents=OTHERS, seeds=5, interims=1)
    few = scores(a=[0.9, 0.8, 0.85, 0.95, 0.9], b=[0.1, 0.3, 0.2, 0.25, 0.2])
    assert standing(study, few).test.decisions()["a", "b"] == "larger"
    more = few + [Score("a", seed, 0.0, "") for seed in range(5, 20)]
    assert standing(study, more).test.scores() == standing(study, few).test.scores()


def test_a_study_is_the_same_after_it_was_saved(tmp_path):
    study = Study(agents={"a": "experiment=reach_ppo", "b": "csv"}, seeds=3, interims=4, level=0.1, metric="return")
    found = scores(a=[1.0, 2.0, 3.0], b=[5.0, 7.0, 6.0])
    save(study, tmp_path, found)
    assert load(tmp_path) == (study, found)
    assert json.loads((tmp_path / STATE).read_text())["interims"] == 1
    assert load(tmp_path / "elsewhere") is None
    (tmp_path / STATE).write_text("{}")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


def test_finished_runs_and_tables_are_counted_together(tmp_path):
    study = Study(agents=OTHERS, seeds=3)
    for seed in (0, 1):
        run = scored_run(tmp_path / "a" / f"seed{seed}", {"push": [1, 0], "pull": [1, 1]}, seed=seed)
        (run / "end.json").write_text(json.dumps({"how": "finished" if seed else "stopped"}))
    found = collect(study, tmp_path, [table(tmp_path / "t.csv", b=[0.5])], [])
    assert [(s.agent, s.seed, s.value) for s in found] == [("a", 1, 0.75), ("b", 0, 0.5)]


def test_a_score_that_was_looked_at_cannot_be_replaced(tmp_path):
    study = Study(agents=OTHERS)
    saved = scores(a=[0.25])
    assert collect(study, tmp_path, [table(tmp_path / "same.csv", a=[0.25])], saved) == saved
    with pytest.raises(ConfigError, match=r"seed 0 of a counted with 0.25 .*says 0.75; nothing was changed"):
        collect(study, tmp_path, [table(tmp_path / "other.csv", a=[0.75])], saved)


def test_scores_of_others_must_be_of_the_agents_and_not_for_tuning(tmp_path):
    study = Study(agents=OTHERS)
    with pytest.raises(ConfigError, match="holds scores of c, but test seeds of a, b are compared"):
        collect(study, tmp_path, [table(tmp_path / "t.csv", c=[0.5])], [])
    (tmp_path / "t.csv").write_text("group,seed,score,purpose\na,0,0.5,tuning\n")
    with pytest.raises(ConfigError, match="holds tuning seeds 0 of a"):
        collect(study, tmp_path, [tmp_path / "t.csv"], [])


def test_agents_on_different_tasks_are_refused(tmp_path):
    for name, task in (("a", "push"), ("b", "pull")):
        run = scored_run(tmp_path / name / "seed0", {task: [1]})
        (run / "end.json").write_text('{"how": "finished"}')
    with pytest.raises(ConfigError, match=r"different tasks \(seed 0 of a on push; seed 0 of b on pull\)"):
        collect(Study(agents=OTHERS), tmp_path, [], [])


def test_the_next_runs_are_told_as_commands(tmp_path, capsys):
    out = tmp_path / "out"
    words = [f"out={out}", "agents.a=experiment=reach_ppo algorithm.gamma=0.9", "agents.b=csv", "seeds=3", "dry=true"]
    assert main(words) == 0
    told = capsys.readouterr().out
    for seed in range(3):
        run = f"seed={seed} run_dir={out}/a/seed{seed}"
        assert f"embodied train experiment=reach_ppo algorithm.gamma=0.9 film=0 {run}" in told
    assert "scores of b, seeds 0-2, in a table" in told
    assert not out.exists()


def test_scores_of_others_decide_without_a_run_of_ours(tmp_path, capsys):
    words = [f"out={tmp_path / 'out'}", "agents.a=csv", "agents.b=csv"]
    assert main(words) == 1  # scores are missing
    scored = table(tmp_path / "t.csv", a=[0.9, 0.8, 0.85, 0.95, 0.9], b=[0.1, 0.3, 0.2, 0.25, 0.2])
    capsys.readouterr()
    assert main([f"out={tmp_path / 'out'}", f"scores={scored}"]) == 0
    told = capsys.readouterr().out
    assert "after interim 1 of at most 5 (AdaStop, level 0.05):" in told
    assert "a is better than b" in told
    assert main([f"out={tmp_path / 'out'}", "dry=true"]) == 0
    assert "everything is decided" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["agents.a=csv", "agents.b=csv"], "Name it: out=FOLDER"),
        (["out=OUT"], "OUT holds no comparison to continue"),
        (["out=OUT", "agents.a=csv"], "two or more agents"),
        (["out=OUT", "agents.a=csv", "agents.b=seed=3"], "found `seed=3` in agents.b"),
        (["out=OUT", "agents.a=csv", 'agents.b=experiment=reach_ppo "x'], "agents.b cannot be split into words"),
        (["out=OUT", "agents.a=csv", "agents.b=evaluate=0"], "found `evaluate=0` in agents.b"),
        (["out=OUT", "agents.a=csv", "agents.b/c=csv"], "found an agent called `b/c`"),
        (["out=OUT", "agents.a=csv", "agents.b=experiment=reach_ppoo"], "Did you mean `experiment=reach_ppo`"),
        (["out=OUT", "agents.a=csv", "agents.b=csv", "seeds=0"], "seeds=0 should be a whole number from 1"),
        (["out=OUT", "agents.a=csv", "agents.b=csv", "seeds=2", "interims=1"], "can never reach the level 0.05"),
        (["out=OUT", "agents.a=csv", "agents.b=csv", f"first_seed={TUNING_SEEDS}"], "seeds that are for tuning"),
        (["out=OUT", "agents.a=csv", "agents.b=csv", "sede=3"], "Did you mean `seeds`"),
        (["out=OUT", "agents.a=csv", "agents.b=csv", "scores=nowhere.csv"], "there is no table nowhere.csv"),
        (["out=OUT", "seeds=3"], "belongs to the beginning of a comparison"),
        (["out=OUT", "agents.a=csv", "agents.b=csv", "level=2"], "between 0 and 1"),
        (["out=OUT", "agents.a=csv", "agents.b=csv", "metric=x"], "metric=x: there is success_once"),
        (["out=OUT", "agents.a=csv", "agents.b=csv", "dry=yes"], "dry=yes should be true or false"),
    ],
)
def test_a_wrong_word_starts_nothing(tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=told):
        main(words)
    assert not (tmp_path / "OUT").exists()


def test_settings_do_not_change_after_looking(tmp_path):
    agents = ["agents.a=csv", "agents.b=csv"]
    main([f"out={tmp_path}", *agents])
    with pytest.raises(ConfigError, match=r"holds another comparison, of a: csv; b: csv \(seeds=5.*void its level"):
        main([f"out={tmp_path}", *agents, "interims=9"])
    assert parse([f"out={tmp_path}", "jobs=2"]).jobs == 2


def test_agents_that_are_evaluated_otherwise_are_told_before_anything_starts(tmp_path, capsys):
    easy = "experiment=reach_ppo simulator.num_envs=8"
    words = [
        f"out={tmp_path / 'out'}",
        f"agents.easy={easy}",
        "agents.hard=experiment=reach_ppo simulator.tolerance=0.02",
    ]
    assert main([*words, "dry=true"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(
        "note: The agents are not evaluated alike (simulator.tolerance: 0.1, 0.02; in the order easy, hard)"
    )
    assert Study(agents={"a": easy, "b": "experiment=reach_ppo algorithm.gamma=0.5", "c": "csv"}).notes() == []


def test_agents_that_are_evaluated_otherwise_are_told_at_the_end(tmp_path, capsys):
    agents = {"a": "experiment=reach_ppo", "b": "experiment=reach_ppo evaluate=7"}
    save(Study(agents=agents), tmp_path, scores(a=[0.9, 0.8, 0.85, 0.95, 0.9], b=[0.1, 0.3, 0.2, 0.25, 0.2]))
    assert main([f"out={tmp_path}"]) == 0
    assert capsys.readouterr().out.count("not evaluated alike (evaluate: 100, 7") == 2  # first and last
    assert "evaluate: 100, 7" in json.loads((tmp_path / STATE).read_text())["notes"][0]
