import itertools

import numpy as np
import pytest

from embodied.errors import ConfigError
from embodied.metrics.adastop import AdaStop

PAIR = ("a", "b")


def compare(draw, agents=PAIR, **settings):
    """Play to the end; `draw(agent)` gives the scores of a block."""
    test = AdaStop(agents, **settings)
    while test.wanted:
        test = test.add({agent: draw(agent) for agent in test.wanted})
    return test


def normal(generator, means=None, seeds=5):
    return lambda agent: generator.normal((means or {}).get(agent, 0.0), size=seeds)


def wrong_claims(runs, **settings):
    generator = np.random.default_rng(0)
    found = [compare(normal(generator), seed=run, **settings).decisions() for run in range(runs)]
    return sum(any(x != "equal" for x in decisions.values()) for decisions in found) / runs


def signed_claims(runs, level=0.05):
    """The released package's way, one interim of five seeds: |difference| against quantiles of signed differences."""
    signs = np.array([[1 if i in chosen else -1 for i in range(10)] for chosen in itertools.combinations(range(10), 5)])
    scores = np.random.default_rng(0).normal(size=(runs, 10))
    differences = scores @ signs.T / 5  # (runs, 252), the first permutes nothing
    bound = np.sort(differences, axis=1)[:, 251 - int(252 * level)]
    return float((np.abs(differences[:, 0]) > bound).mean())


def test_the_level_holds_with_absolute_sums_and_doubles_with_signed_ones():
    assert 0.03 <= wrong_claims(2000, interims=1) <= 0.06
    assert 0.075 <= signed_claims(2000) <= 0.115


def test_the_level_holds_over_five_looks():
    assert 0.03 <= wrong_claims(2000, permutations=500) <= 0.06


def test_the_level_holds_for_the_family_of_three_agents():
    assert 0.03 <= wrong_claims(1000, agents=("a", "b", "c"), interims=3, permutations=500) <= 0.06


def test_the_level_holds_when_the_first_block_has_more_permutations_than_are_drawn():
    assert 0.03 <= wrong_claims(1000, interims=2, permutations=200) <= 0.06


@pytest.mark.parametrize(("shift", "power", "seeds"), [(0.5, 0.33, 22.1), (1.0, 0.92, 15.2), (2.0, 1.0, 8.2)])
def test_power_and_seeds_are_those_of_the_table(shift, power, seeds):
    generator = np.random.default_rng(0)
    tests = [compare(normal(generator, {"a": shift}), seed=run, permutations=2000) for run in range(400)]
    larger = sum(test.decisions()[PAIR] == "larger" for test in tests) / 400
    used = sum(len(test.scores()["a"]) for test in tests) / 400
    assert larger == pytest.approx(power, abs=0.08)
    assert used == pytest.approx(seeds, abs=1.5)


def test_one_look_is_the_exact_permutation_test():
    """The rank of the observed difference among all 252: at most 12 may lie above the boundary."""
    scores = np.random.default_rng(3).normal(size=(300, 10)) + np.repeat([1.0, 0.0], 5)
    signs = np.array([[1 if i in chosen else -1 for i in range(10)] for chosen in itertools.combinations(range(10), 5)])
    sums = np.abs(scores @ signs.T)  # (300, 252)
    expected = (sums >= sums[:, :1] - 1e-9).sum(axis=1) <= 12
    found = [AdaStop(PAIR, interims=1).add({"a": row[:5], "b": row[5:]}).decisions()[PAIR] for row in scores]
    assert [x == "larger" for x in found] == expected.tolist()
    assert 50 < expected.sum() < 250


def test_claims_are_about_the_first_of_the_pair():
    high, low = [1.0, 1.1, 1.2, 1.3, 1.4], [0.0, 0.1, 0.2, 0.3, 0.4]
    assert AdaStop(PAIR, interims=1).add({"a": high, "b": low}).decisions() == {PAIR: "larger"}
    assert AdaStop(PAIR, interims=1).add({"a": low, "b": high}).decisions() == {PAIR: "smaller"}


def test_only_agents_with_open_comparisons_need_more_seeds():
    generator = np.random.default_rng(1)
    test = AdaStop(("a", "b", "far"))
    assert test.wanted == ("a", "b", "far")
    draw = normal(generator, {"far": 20.0})
    while "far" in test.wanted:
        test = test.add({agent: draw(agent) for agent in test.wanted})
    assert test.decisions() == {("a", "b"): "undecided", ("a", "far"): "smaller", ("b", "far"): "smaller"}
    assert test.wanted == ("a", "b")
    assert len(test.blocks) < 5
    while test.wanted:
        test = test.add({agent: draw(agent) for agent in test.wanted})
    assert test.decisions()["a", "b"] == "equal"
    assert len(test.scores()["a"]) == 25 > len(test.scores()["far"])


def test_only_the_named_comparisons_are_made():
    test = compare(normal(np.random.default_rng(0), {"b": 9.0}), ("a", "b", "c"), comparisons=(("b", "a"), ("b", "c")))
    assert test.decisions() == {("b", "a"): "larger", ("b", "c"): "larger"}


def test_scores_that_are_all_alike_are_equal():
    assert compare(lambda _: [0.9] * 5).decisions() == {PAIR: "equal"}


def test_a_common_offset_changes_nothing():
    """Success rates have ties, which rounding must not break."""
    rates = np.random.default_rng(5).binomial(20, [0.9, 0.8], size=(25, 2)) / 20
    states = []
    for offset in (0.0, 1e6):
        blocks = iter(np.split(rates + offset, 5))
        test = AdaStop(PAIR, permutations=2000)
        while test.wanted:
            block = next(blocks)
            test = test.add({"a": block[:, 0], "b": block[:, 1]})
        states.append((test.decisions()[PAIR], len(test.blocks), len(test._state.sums), test._state.spent))
    assert states[0] == states[1]
    assert states[0][:2] == ("larger", 4)


def test_a_saved_comparison_goes_on_as_if_nothing_had_happened():
    draws = np.random.default_rng(2).normal(size=(5, 2, 5)) + np.array([[0.6], [0.0]])
    whole = saved = AdaStop(PAIR, seed=4, permutations=300)
    for a, b in draws:
        if not whole.wanted:
            break
        whole = whole.add({"a": a, "b": b})
        saved = AdaStop.from_json(saved.to_json()).add({"a": a, "b": b})
    assert saved == whole
    assert saved.decisions() == whole.decisions()
    assert (saved._state.sums == whole._state.sums).all()


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"a": [1.0] * 5}, r"5 scores of each of \['a', 'b'\], but holds \{'a': 5\}"),
        ({"a": [1.0] * 5, "b": [1.0] * 4}, "'b': 4"),
        ({"a": [1.0] * 5, "b": [1.0] * 5, "c": [1.0] * 5}, "neither more nor fewer"),
        ({"a": [1.0] * 5, "b": [float("nan")] * 5}, "not finite"),
    ],
)
def test_blocks_that_are_not_what_was_asked_for_are_refused(block, words):
    with pytest.raises(ConfigError, match=words):
        AdaStop(PAIR).add(block)


def test_a_plan_that_could_never_claim_anything_is_refused():
    with pytest.raises(ConfigError, match=r"the least p-value is 0\.1;"):
        AdaStop(PAIR, seeds_per_interim=3, interims=1)


@pytest.mark.parametrize("agents", [("a",), ("a", "a")])
def test_agents_must_be_told_apart(agents):
    with pytest.raises(ConfigError, match="two or more agents with different names"):
        AdaStop(agents)
