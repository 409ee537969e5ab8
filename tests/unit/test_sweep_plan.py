"""What a sweep would run, and what it refuses before it runs anything."""

import csv
from dataclasses import asdict

import numpy as np
import pytest

from embodied.errors import ConfigError
from embodied.metrics.logger import COLUMNS
from embodied.sweeping.command import _checked as checked
from embodied.sweeping.plan import folders, make
from embodied.sweeping.recipe import NAMES, Sweep, part
from embodied.sweeping.results import rate, read_result
from embodied.sweeping.space import Span, read
from embodied.train import TUNING_SEEDS, Training
from embodied.types import Episode


def ranges(*words):
    return read(words)[1]


def test_values_are_read_as_hydra_reads_them():
    assert ranges("a=1,2.5,x") == {"a": ("1", "2.5", "x")}
    assert ranges("a=range(1,10,3)") == {"a": ("1", "4", "7")}
    assert ranges("a=choice(x,y)", "b=[1,2],[3]") == {"a": ("x", "y"), "b": ("[1,2]", "[3]")}
    assert ranges("simulator=glob(robosuite*)") == {"simulator": ("robosuite", "robosuite15")}
    assert ranges("+a.b=1,2") == {"+a.b": ("1", "2")}
    assert ranges("a='x,y'") == {}


def test_an_interval_keeps_its_scale_and_its_kind():
    assert ranges("a=interval(0,1)") == {"a": Span(0.0, 1.0, log=False, whole=False)}
    assert ranges("a=tag(log,interval(1e-4,0.1))") == {"a": Span(1e-4, 0.1, log=True, whole=False)}
    assert ranges("a=int(interval(1,8))") == {"a": Span(1, 8, log=False, whole=True)}


def test_the_last_word_of_a_key_counts_and_values_that_are_repeated_count_once():
    assert read(["a=1", "b=2", "a=3,3,4"]) == (["b=2"], {"a": ("3", "4")})
    assert read(["a=1,2", "a=3"]) == (["a=3"], {})


def test_every_combination_is_a_run_and_seeds_vary_slowest():
    _, plan = make(["experiment=reach_ppo", "algorithm.gamma=0.9,0.99", "seed=range(2)", "algorithm.epochs=1,2"])
    found = [(job.seed, job.words[1:3]) for job in plan.grid()]
    settings = [(f"algorithm.gamma={g}", f"algorithm.epochs={e}") for g in (0.9, 0.99) for e in (1, 2)]
    assert found == [(seed, setting) for seed in (0, 1) for setting in settings]


def test_a_run_has_the_folder_of_its_setting_and_seed_and_knows_its_length():
    _, plan = make(["experiment=reach_ppo", "algorithm.gamma=0.9,0.99", "total_steps=5000"])
    job = plan.grid()[1]
    assert str(job.path) == "algorithm.gamma-0.99/seed0"
    assert job.words == ("experiment=reach_ppo", "total_steps=5000", "algorithm.gamma=0.99", "seed=0")
    assert job.total == 3 * 32 * 32 * 2  # whole rollouts: steps x environments x actions in a chunk
    assert plan.name == "reach_ppo"


def test_where_only_seeds_vary_their_folders_lie_side_by_side():
    assert [str(job.path) for job in make(["seed=3,5"])[1].grid()] == ["seed3", "seed5"]


def test_names_of_folders_are_their_own_even_of_words_that_look_alike_or_never_end():
    names = folders([("a=[1,2]",), ("a=[1-2]",), ("b=" + "x" * 300,)])
    assert names[:2] == ["000-a-1-2", "001-a-1-2"]
    assert len(names[2]) < 120


def test_tuning_moves_seeds_out_of_the_way_of_tests():
    assert make(["purpose=tuning", "seed=range(2)"])[1].seeds == (TUNING_SEEDS, TUNING_SEEDS + 1)
    assert make(["purpose=tuning", f"seed={TUNING_SEEDS + 7}"])[1].seeds == (TUNING_SEEDS + 7,)
    assert make(["seed=range(2)"])[1].seeds == (0, 1)
    _, plan = make(["hydra/sweeper=optuna", "learning_rate=interval(0.1,0.2)", "seed=range(2)"])
    assert (plan.purpose, plan.seeds) == ("tuning", (TUNING_SEEDS, TUNING_SEEDS + 1))
    assert "purpose=tuning" in plan.jobs("", ["learning_rate=0.1"])[0].words


def test_a_sweep_has_settings_of_its_own_under_our_names_and_hydras():
    sweep, rest = part(["jobs=3", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=7", "seed=1,2"])
    assert sweep == Sweep(jobs=3, sweeper="optuna", trials=7)
    assert rest == ["seed=1,2"]
    assert not set(NAMES) & set(Training.__dataclass_fields__)


SEARCH = ["hydra/sweeper=optuna", "learning_rate=interval(0.1,0.2)"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["algorithm.gama=0.9,0.8"], "no setting `algorithm.gama`.*Did you mean `algorithm.gamma`"),
        (["trails=3"], "Did you mean `trials`"),
        (["simulator=reach,reech"], "no simulator `reech`.*Did you mean `simulator=reach`"),
        (["algorithm.gamma=0.9,1.5"], "algorithm.gamma: .*less than or equal to 1.*found 1.5"),
        (["group_size=1,3"], "group_size=3 does not divide"),
        (["seed=0", "seed"], "`seed` is not a setting"),
        (["seed=range(3"], r"`seed=range\(3` could not be read"),
        (["seed=1,a"], "seeds are whole numbers"),
        (["seed=interval(0,3)"], "seeds are whole numbers"),
        (["seed=range(2000)"], "more than 1000"),
        (["seed=range(100)", "algorithm.epochs=range(1,20)"], "would be 1900 runs"),
        ([f"seed=1,{TUNING_SEEDS}"], "purpose=test cannot use seed=1000000"),
        (["purpose=test,tuning"], "one purpose"),
        (["algorithm.gamma=interval(0,1)"], "`algorithm.gamma` is an interval.*hydra/sweeper=optuna"),
        (["run_dir=runs/x"], "is about one run"),
        (["jobs=0"], "jobs: .*greater than or equal to 1"),
        (["hydra.sweeper.foo=3"], "`hydra.sweeper.foo` is a setting of Hydra's"),
        ([*SEARCH, "purpose=test"], "cannot be purpose=test"),
        (["hydra/sweeper=optuna", "seed=1,2"], "nothing varies but the seed"),
        (["hydra/sweeper=optuna", "learning_rate=interval(0.2,0.1)"], "from less to more"),
        (["hydra/sweeper=optuna", "learning_rate=tag(log,interval(0,1))"], "from less to more above 0"),
        (["simulator=glob(x*)"], "names none"),
    ],
)
def test_a_mistake_in_any_run_is_one_sentence_before_the_first(words, told):
    with pytest.raises(ConfigError, match=told) as caught:
        checked(*make(words))
    assert "\n" not in str(caught.value)
    assert "nothing was" in str(caught.value).lower()


def test_the_ends_of_a_search_are_checked_before_it_begins():
    pytest.importorskip("optuna", reason="the extra `optuna` is not installed")
    with pytest.raises(ConfigError, match=r"algorithm\.gamma: .*found 2\.0"):
        checked(*make(["hydra/sweeper=optuna", "algorithm.gamma=interval(0.5,2)"]))
    assert checked(*make(SEARCH)) == []


def write_table(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(asdict(row).values() for row in rows)


def evaluated(run, hits, name="episodes-seed0.csv"):
    """A run folder whose final evaluation had these successes, on starts 0, 1, ..."""
    folder = run / "evaluation" / "final"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [Episode(0, 0, 0, -1, 99, 9, 100.0, True, True, None, True, lost=True)]  # counts for nothing
    rows += [Episode(i + 1, 0, 0, -1, i, 9, float(i), bool(hit), False, None, False) for i, hit in enumerate(hits)]
    write_table(folder / name, rows)
    (folder / "summary.json").write_text("{}")
    return run


def test_a_setting_is_judged_over_its_seeds_and_starts(tmp_path):
    hits = np.random.default_rng(0).random((4, 50)) < np.array([[0.2], [0.5], [0.5], [0.8]])
    found = [read_result(evaluated(tmp_path / str(seed), row), seed) for seed, row in enumerate(hits)]
    results = [result for result in found if result is not None]
    assert [result.score("success_once") for result in results] == list(hits.mean(axis=1))
    assert results[0].score("return") == 24.5
    pooled = rate(results, "success_once")
    assert pooled.estimate == pytest.approx(hits.mean())
    assert pooled.high - pooled.low > 0.3  # seeds differ: 200 independent episodes would have given 0.14
    assert rate(results[:1], "success_once").low > 0.05  # one seed: Wilson over its 50 episodes
    assert rate(results, "success_at_end").estimate == 0.0


def test_a_run_whose_final_evaluation_is_not_whole_has_no_result(tmp_path):
    assert read_result(tmp_path, 0) is None
    assert read_result(evaluated(tmp_path, [True]), 0) is not None
    (tmp_path / "evaluation" / "final" / "summary.json").unlink()
    assert read_result(tmp_path, 0) is None


def test_a_final_evaluation_under_named_conditions_is_read_under_all_of_them(tmp_path):
    hits = [True, False] * 20
    for condition in ("easy", "hard"):
        evaluated(tmp_path, hits, f"episodes-{condition}-seed0.csv")
    result = read_result(tmp_path, 0)
    assert result is not None
    assert len(result.starts) == 80
    assert len(set(result.starts)) == 40
    found = rate([result], "success_once")  # the same starts under both: 40 outcomes, not 80
    assert (found.estimate, found.high - found.low > 0.28) == (0.5, True)
