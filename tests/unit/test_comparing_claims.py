"""What may be claimed of groups of runs: the test over seeds, its interval, the seeds it needs, and refusals."""

import json
import math

import numpy as np
import pytest
from scipy.stats import norm

from embodied.comparing.command import main, parse
from embodied.comparing.compare import compare, holm
from embodied.comparing.permutation import difference, least_p, p_value
from embodied.comparing.plots import draw_forest, draw_profiles
from embodied.comparing.scores import read_groups
from embodied.comparing.seeds import Needed, power_of, seeds_needed
from embodied.comparing.values import Group, Run
from embodied.comparing.words import as_json, best, verdicts
from embodied.errors import ConfigError
from embodied.metrics.aggregates import Scores
from tests.scored_runs import group, scored_run


def column(*scores: float) -> Scores:
    return np.array(scores, dtype=np.float64)[:, None]


def test_the_p_value_is_the_share_of_relabelings_that_are_as_far_apart():
    assert p_value(column(4, 5, 6), column(1, 2, 3)) == 2 / math.comb(6, 3)
    assert p_value(column(3, 5), column(1, 2, 0)) == 1 / math.comb(5, 2)  # nothing is as far on the other side
    assert p_value(column(1, 2), column(1, 2)) == 1.0
    # of the six ways to choose two of 1, 2, 4, 8: differences of means 9, 7 and 5 halves, either way around
    assert p_value(column(2, 8), column(1, 4)) == 4 / 6


def test_whole_runs_change_places():
    """Ten tasks of one seed are not ten pieces of evidence."""
    assert p_value(np.ones((2, 10)), np.zeros((2, 10))) == 2 / 6


def test_the_least_p_value_is_that_of_groups_apart():
    assert least_p(3, 3) == p_value(column(4, 5, 6), column(1, 2, 3))
    assert least_p(2, 3) == p_value(column(4, 9), column(1, 2, 3))
    assert least_p(4, 4) == p_value(column(5, 6, 7, 8), column(1, 2, 3, 4))  # whose middle halves can be had otherwise


def test_the_test_keeps_its_level_on_few_seeds_that_are_far_from_normal():
    generator = np.random.default_rng(0)
    draws = generator.beta(0.3, 0.3, size=(2000, 2, 5, 1))
    rate = np.mean([p_value(a, b) <= 0.05 for a, b in draws])
    assert 0.03 < rate < 0.06


def test_the_interval_leaves_out_zero_where_the_test_rejects_and_nowhere_else():
    generator = np.random.default_rng(1)
    rejected = []
    for shift in np.linspace(0, 3, 40):
        a, b = generator.normal(shift, 1, (5, 2)), generator.normal(0, 1, (5, 2))
        found = difference(a, b)
        rejected.append(p_value(a, b) <= 0.05)
        assert found.low < found.estimate < found.high
        assert found.excludes(0.0) == rejected[-1]
    assert any(rejected)
    assert not all(rejected)


def test_the_interval_moves_with_the_scores():
    generator = np.random.default_rng(2)
    a, b = generator.normal(0, 1, (6, 1)), generator.normal(0, 1, (5, 1))
    still, moved = difference(a, b), difference(a + 10, b)
    assert (moved.estimate, moved.low, moved.high) == pytest.approx(
        (still.estimate + 10, still.low + 10, still.high + 10), abs=0.02
    )


def test_the_interval_covers_where_tasks_of_a_run_go_up_and_down_together():
    """The stratified bootstrap, which takes them for independent, covers little more than half here."""
    generator = np.random.default_rng(3)
    covered = []
    for _ in range(120):
        a, b = (generator.normal(0, 1, (5, 1)) + generator.normal(0, 1, (5, 10)) for _ in range(2))
        covered.append(not difference(a, b).excludes(0.0))
    assert np.mean(covered) > 0.9


def test_three_seeds_tell_no_end_of_the_interval():
    assert difference(column(0.7, 0.8, 0.9), column(0.1, 0.2, 0.3), bounds=(-1.0, 1.0)).low == -1.0
    assert difference(column(7, 8, 9), column(1, 2, 3)).high == math.inf


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]


def test_the_seeds_needed_are_those_of_the_known_formula():
    """Two groups of normal scores one standard deviation apart: 17 each for 80 % power by a t-test, 2 apart: 6."""
    normal = norm.ppf((np.arange(100) + 0.5) / 100)
    spread = column(*(normal / normal.std()).tolist())
    assert 14 <= (seeds_needed(spread + 1.0, spread).seeds or 0) <= 24
    assert 5 <= (seeds_needed(spread + 2.0, spread).seeds or 0) <= 7
    assert seeds_needed(spread + 0.1, spread).seeds is None
    assert power_of(spread + 1.0, spread, 20) > power_of(spread + 1.0, spread, 8)


def test_few_runs_leave_the_number_of_seeds_wide_open():
    few, many = column(0.2, 0.5, 0.8), np.repeat(column(0.2, 0.5, 0.8), 10, axis=0)
    wide, narrow = seeds_needed(few + 0.3, few), seeds_needed(many + 0.3, many)
    assert wide.fewest is not None
    assert narrow.fewest is not None
    assert narrow.most is not None
    assert wide.most is None or wide.most - wide.fewest > narrow.most - narrow.fewest


def test_the_seeds_needed_in_words():
    assert str(Needed(12, 8, 30, 5, 10, 0.8)) == (
        "about 7 more seeds each would settle a difference of this size (80 % power; 3 to 25, as the spread is known "
        "from 10 runs only)"
    )
    assert str(Needed(None, None, None, 5, 10, 0.8)).startswith("more than 64 seeds each would be needed")


APART = group("good", [0.9, 0.8, 0.85, 0.95, 0.9]), group("bad", [0.1, 0.3, 0.2, 0.25, 0.2])


def test_a_claim_says_who_is_better_by_how_much_and_how_surely():
    found = compare(APART)
    (claim,) = found.claims
    assert (claim.verdict, claim.p, claim.needed) == ("better", 2 / 252, None)
    assert claim.difference.estimate == pytest.approx(0.883333 - 0.216667, abs=1e-5)  # middle three of five
    (told,) = verdicts(found)
    assert told.startswith("good is better than bad: +66.7 points [")
    assert told.endswith("P(good > bad) = 1.00 (every run of good above every run of bad), permutation p = 0.0079.")
    (turned,) = verdicts(compare(APART[::-1]))
    assert turned.startswith("good is better than bad: +66.7 points [")


def test_what_cannot_be_told_yet_says_how_many_seeds_would_tell():
    (told,) = verdicts(compare([group("a", [0.5, 0.7, 0.9, 0.8, 0.6]), group("b", [0.3, 0.5, 0.7, 0.6, 0.4])]))
    assert told.startswith("a and b cannot be told apart yet: +20.0 points [")
    assert "more seeds each would settle a difference of this size (80 % power" in told


def test_equal_scores_need_no_more_seeds():
    (told,) = verdicts(compare([group("a", [1.0] * 5), group("b", [1.0] * 5)]))
    assert told.startswith("a and b cannot be told apart: +0.0 points [")
    assert "more seeds" not in told


def test_two_seeds_of_each_can_never_tell():
    (told,) = verdicts(compare([group("a", [0.9, 1.0]), group("b", [0.0, 0.1])]))
    assert "So few seeds can never show a difference: their least p is 0.33" in told
    assert "about 2 more seeds each" in told


def test_more_pairs_need_more_evidence():
    groups = [*APART, group("other", [0.5, 0.9, 0.7, 0.8, 0.6])]
    found = compare(groups)
    p = {(c.first, c.second): (c.p, c.p_holm, c.verdict) for c in found.claims}
    assert p["good", "bad"] == (2 / 252, pytest.approx(6 / 252), "better")
    assert p["bad", "other"] == (2 / 252, pytest.approx(6 / 252), "worse")
    assert p["good", "other"][2] == "open"
    assert best(found) == "No group is shown to be better than all others."
    assert best(compare([*APART, group("worse", [0.0] * 5)])) == "good is better than all others."
    assert "after Holm's correction for 3 pairs" in verdicts(found)[0]


def test_tuning_seeds_count_in_no_claim():
    tuned = group("good", [1.0, 1.0], first_seed=5, purpose="tuning")
    good = Group("good", APART[0].runs + tuned.runs)
    found = compare([good, APART[1]])
    assert [s.seeds for s in found.summaries] == [(0, 1, 2, 3, 4)] * 2
    assert "good: seeds 5-6 were for tuning and count in no claim." in found.notes
    with pytest.raises(ConfigError, match=r"only bad has test runs; .*good: seeds 5-6 were for tuning"):
        compare([tuned, APART[1]])


def test_a_test_run_on_a_seed_that_was_tuned_on_counts_in_no_claim():
    tuned = group("tried", [1.0, 1.0], first_seed=4, purpose="tuning")
    found = compare([tuned, *APART])
    assert [s.seeds for s in found.summaries] == [(0, 1, 2, 3)] * 2
    assert any(note.startswith("good: seeds 4 were used for tuning elsewhere") for note in found.notes)


def test_different_tasks_are_refused_and_shared_ones_compared_when_asked():
    def on(name, *tasks):
        return Group(name, tuple(Run(seed, {task: 0.5 + 0.1 * seed for task in tasks}) for seed in range(3)))

    with pytest.raises(ConfigError, match=r"share no task \(a: push; b: pull\).*nothing was compared"):
        compare([on("a", "push"), on("b", "pull")], tasks="shared")
    with pytest.raises(ConfigError, match=r"1 of 2 tasks are not in every run \(b has no `pull`\).*tasks=shared"):
        compare([on("a", "push", "pull"), on("b", "push")])
    found = compare([on("a", "push", "pull"), on("b", "push")], tasks="shared")
    assert found.tasks == ("push",)
    assert found.notes[0].startswith("Compared on 1 of 2 tasks")
    holed = Group("c", (*on("c", "push", "pull").runs[:2], Run(2, {"push": 0.5})))
    with pytest.raises(ConfigError, match=r"seeds 2 of c have no `pull`"):
        compare([on("a", "push", "pull"), holed])


def test_unequal_seeds_episodes_and_conditions_are_said():
    a = group("a", [0.5, 0.6, 0.7], counts={"push": (5, 10)}, conditions={"simulator.tolerance": 0.1})
    b = group("b", [0.5, 0.6], counts={"push": (50, 100)}, conditions={"simulator.tolerance": 0.2})
    notes = compare([a, b]).notes
    assert notes[0].startswith("Unequal numbers of seeds (a: 3, b: 2)")
    assert notes[1].startswith("Runs were evaluated on 10 to 100 episodes.")
    assert notes[2].startswith("The runs were not evaluated alike (simulator.tolerance: 0.1, 0.2)")


def test_one_seed_each_on_the_same_starts_is_mcnemar_for_the_checkpoints_and_no_claim(tmp_path):
    scored_run(tmp_path / "a", {"push": [1] * 9 + [0]})
    scored_run(tmp_path / "b", {"push": [0] * 8 + [1, 1]})
    found = compare(read_groups([f"a={tmp_path / 'a'}", f"b={tmp_path / 'b'}"]))
    (pair,) = found.checkpoints
    assert found.claims == ()
    assert (pair.method, pair.starts, pair.only_first, pair.only_second) == ("mcnemar", 10, 8, 1)
    assert pair.p == pytest.approx(2 * (0.5 * 9 + 1) / 2**9)  # half of the weight on what was seen
    (told,) = verdicts(found)
    assert "nothing can be claimed of the algorithms. Of these two checkpoints: that of a is better" in told
    assert "on the same 10 starts 8 were solved by a alone and 1 by b alone" in told


@pytest.mark.parametrize(
    ("differing", "reason"),
    [
        ({"first_start": 5000}, "they share 0 starts of 10 and 10"),
        ({"tolerance": 0.2}, r"not evaluated alike \(simulator.tolerance\)"),
    ],
)
def test_one_seed_each_on_other_starts_is_newcombe(tmp_path, differing, reason):
    scored_run(tmp_path / "a", {"push": [1] * 9 + [0]})
    scored_run(tmp_path / "b", {"push": [0] * 8 + [1, 1]}, **differing)
    found = compare(read_groups([f"a={tmp_path / 'a'}", f"b={tmp_path / 'b'}"]))
    (pair,) = found.checkpoints
    assert pair.method == "newcombe"
    assert pair.difference is not None
    assert pair.difference.estimate == pytest.approx(0.7)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(verdicts(found)[0])


def test_one_seed_without_episodes_says_nothing():
    (told,) = verdicts(compare([group("a", [0.9]), group("b", [0.1])]))
    assert "nor of these two checkpoints: nobody wrote down how many episodes were played" in told


def test_one_seed_beside_several_is_placed_among_them():
    found = compare([group("a", [0.5]), APART[1]])
    assert found.claims == ()
    assert (
        "its 50.0 % lies above all the 5 runs of bad (10.0 % to 30.0 %). Train more seeds of a." in verdicts(found)[0]
    )


def test_a_run_in_two_groups_is_refused(tmp_path):
    for seed in range(2):
        scored_run(tmp_path / f"seed{seed}", {"push": [1]}, seed=seed)
    with pytest.raises(ConfigError, match=r"seed1 is in both all and one; nothing was compared"):
        compare(read_groups([f"all={tmp_path}", f"one={tmp_path / 'seed1'}"]))


def test_one_group_is_nothing_to_compare():
    with pytest.raises(ConfigError, match=r"found one: good with seeds 0-4.*A=PATH B=PATH"):
        compare([APART[0]])


def test_json_and_pictures_hold_what_was_found(tmp_path):
    found = compare([group("a", [2.0, 3.0, 4.0]), group("b", [1.0, 9.0, 5.0])])
    told = json.loads(as_json(found))
    assert told["claims"][0]["p"] == found.claims[0].p
    assert told["groups"]["a"][0] == {"seed": 0, "scores": {"push": 2.0}, "folder": None}
    assert told["verdicts"] == verdicts(found)
    for draw in (draw_forest, draw_profiles):
        path = draw(found, tmp_path / f"{draw.__name__}.png")
        assert path.read_bytes().startswith(b"\x89PNG")


def test_the_command_says_it_all(tmp_path, capsys):
    rows = [
        f"{name},{seed},{x}" for name, base in (("a", 0.6), ("b", 0.1)) for seed, x in enumerate((base, base + 0.1))
    ]
    (tmp_path / "scores.csv").write_text("\n".join(["group,seed,score", *rows]))
    status = main([str(tmp_path / "scores.csv"), f"json={tmp_path / 'out.json'}", f"plots={tmp_path / 'plots'}"])
    told = capsys.readouterr().out
    assert status == 0
    assert "a and b cannot be told apart yet: +50.0 points" in told
    assert "let `embodied compare --sequential` ask" in told
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"forest.png", "profiles.png"}
    assert json.loads((tmp_path / "out.json").read_text())["metric"] == "success_once"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["mertic=return"], "Did you mean the setting `metric`"),
        (["metric=reward"], "there is success_once, success_at_end, return"),
        (["tasks=some"], "there is all, shared"),
        (["at=best"], "last checkpoint: the best of several looks better than it is"),
        (["level=5"], "level=5 should be a number between 0 and 1"),
    ],
)
def test_a_setting_that_is_wrong_is_named(words, told):
    with pytest.raises(ConfigError, match=told):
        parse(words)
