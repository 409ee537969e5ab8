import pytest

from embodied.metrics.stats import percent, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(17, 20, 63.96, 94.76), (20, 20, 83.89, 100), (100, 100, 96.30, 100), (246, 256, 92.96, 97.86),
     (450, 500, 87.06, 92.33), (495, 500, 97.68, 99.57), (499, 500, 98.88, 99.96)],
)  # fmt: skip
def test_wilson_matches_the_golden_intervals(successes, trials, low, high):
    assert [100 * x for x in wilson(successes, trials)] == pytest.approx([low, high], abs=0.005)


def test_nothing_is_known_without_trials():
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_rate_is_printed_with_its_interval():
    assert percent(17, 20) == "85.0 % [64.0, 94.8] of 20"
