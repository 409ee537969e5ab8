import numpy as np
import pytest
from scipy.stats import binomtest

from embodied.errors import ConfigError
from embodied.metrics.intervals import clopper_pearson, newcombe, paired, paired_counts, percent, wilson

GOLDEN = [  # successes, trials, Wilson, Clopper-Pearson (95 %, in per cent): algorithms.md 7.2, G16
    (17, 20, (63.96, 94.76), (62.11, 96.79)),
    (20, 20, (83.89, 100), (83.16, 100)),
    (100, 100, (96.30, 100), (96.38, 100)),
    (246, 256, (92.96, 97.86), (92.93, 98.11)),
    (450, 500, (87.06, 92.33), None),
    (495, 500, (97.68, 99.57), None),
    (499, 500, (98.88, 99.96), None),
]


@pytest.mark.parametrize(("successes", "trials", "score", "exact"), GOLDEN)
def test_intervals_match_the_golden_table(successes, trials, score, exact):
    assert [100 * x for x in wilson(successes, trials)] == pytest.approx(score, abs=0.005)
    if exact is not None:
        assert [100 * x for x in clopper_pearson(successes, trials)] == pytest.approx(exact, abs=0.005)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_wilson_is_that_of_scipy(level):
    theirs = binomtest(17, 20).proportion_ci(level, method="wilson")
    assert wilson(17, 20, level) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_nothing_is_known_without_trials():
    assert wilson(0, 0) == clopper_pearson(0, 0) == (0.0, 1.0)
    with pytest.raises(ConfigError, match=r"3 of 4 and 0 of 0 .* nothing was compared"):
        newcombe((3, 4), (0, 0))


def test_a_rate_is_printed_with_its_interval():
    assert percent(17, 20) == "85.0 % [64.0, 94.8] of 20"


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090), ((10, 10), (0, 20), 0.6791, 1.0)],
)  # Newcombe 1998, table II, method 10
def test_the_difference_of_two_rates_matches_the_paper(first, second, low, high):
    found = newcombe(first, second)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    mirrored = newcombe(second, first)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_a_suite_of_500_episodes_cannot_separate_98_and_a_half_from_99_and_a_half():
    assert not newcombe((497, 500), (493, 500)).excludes(0)
    assert newcombe((495, 500), (480, 500)).excludes(0)


def test_paired_rates_match_published_examples():
    before_after = paired_counts(1, 1, 7, 12)  # Bentur et al. 2009 in Fagerland et al. 2014: -0.507 to -0.026
    assert (before_after.difference.low, before_after.difference.high) == pytest.approx((-0.507, -0.026), abs=5e-4)
    assert (before_after.p_exact, before_after.p_mid) == pytest.approx((0.0703, 0.0391), abs=5e-5)
    lesions = paired_counts(14, 5, 0, 22)  # Altman et al. 2000, table 6.2: 0.011 to 0.226
    assert (lesions.difference.low, lesions.difference.high) == pytest.approx((0.011, 0.226), abs=5e-4)
    assert lesions.p_exact == pytest.approx(2 / 2**5)


def test_pairs_are_counted_start_by_start():
    found = paired([True, True, False, False, True], [True, False, True, False, False])
    assert (found.both, found.only_first, found.only_second, found.neither) == (1, 2, 1, 1)
    assert found.difference.estimate == pytest.approx(0.2)


def test_shared_starts_sharpen_the_comparison():
    """Twelve starts that nobody solves and eight that only the first does, of 100."""
    together, apart = paired_counts(80, 8, 0, 12), newcombe((88, 100), (80, 100))
    assert together.difference.excludes(0)
    assert together.p_exact == pytest.approx(2 / 2**8)
    assert not apart.excludes(0)


def test_policies_that_never_disagree_are_not_certainly_equal():
    alike = paired_counts(20, 0, 0, 0)
    assert (alike.p_exact, alike.p_mid) == (1.0, 1.0)
    assert alike.difference.low < -0.1
    assert alike.difference.high > 0.1


def test_the_mid_p_of_a_draw_is_less_than_one_by_half_of_what_was_seen():
    assert paired_counts(5, 1, 1, 5).p_mid == pytest.approx(0.75)  # 1 - P(1 of 2) / 2


@pytest.mark.parametrize(("first", "second"), [([True], [True, False]), ([], [])])
def test_starts_that_only_one_policy_played_are_refused(first, second):
    with pytest.raises(ConfigError, match="one outcome of each policy for every start"):
        paired(first, second)


def test_the_level_of_the_paired_tests_holds_when_rates_are_equal():
    """1,000 comparisons over 60 starts, whose difficulty both policies share: between 0 and 1, uniformly."""
    generator, wrong = np.random.default_rng(0), np.zeros(3)
    for _ in range(1000):
        chance = generator.random(60)
        found = paired(generator.random(60) < chance, generator.random(60) < chance)
        wrong += found.p_exact < 0.05, found.p_mid < 0.05, found.difference.excludes(0)
    exact, mid, interval = wrong / 1000
    assert 0.01 < exact <= mid < 0.06
    assert 0.02 < interval < 0.06
