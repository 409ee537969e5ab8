import numpy as np
import pytest

from embodied.errors import ConfigError
from embodied.metrics.scaling import fit_growth, forecast, frequency_averaged_score, pass_at_k

STEPS = np.linspace(2e4, 1e6, 50)


def sigmoid(midpoint, noise=0.0, seed=0):
    curve = 0.1 + 0.8 / (1 + (midpoint / STEPS) ** 2)
    return curve + noise * np.random.default_rng(seed).normal(size=50)


def test_a_sigmoid_is_found_again():
    growth = fit_growth(STEPS, sigmoid(2e5))
    assert (growth.start, growth.asymptote, growth.exponent) == pytest.approx((0.1, 0.9, 2.0), abs=1e-3)
    assert growth.midpoint == pytest.approx(2e5, rel=1e-3)
    assert growth.predict([2e5]) == pytest.approx([0.5], abs=1e-3)


def test_noise_is_told_as_uncertainty():
    """Two standard deviations hold the asymptote in 95 % of curves."""
    fits = [fit_growth(STEPS, sigmoid(2e5, noise=0.02, seed=seed)) for seed in range(40)]
    assert np.mean([abs(fit.asymptote - 0.9) < 2 * fit.asymptote_error for fit in fits]) >= 0.85
    assert np.mean([abs(np.log(fit.midpoint / 2e5)) < 2 * np.log(fit.midpoint_factor) for fit in fits]) >= 0.85
    assert np.mean([fit.asymptote_error for fit in fits]) == pytest.approx(0.01, abs=0.002)
    assert np.mean([fit.residual for fit in fits]) == pytest.approx(0.02, abs=0.002)


def test_the_first_half_predicts_the_second_of_a_curve_that_has_bent():
    found = forecast(STEPS, sigmoid(1e5, noise=0.02))
    assert found.growth.is_determined
    assert found.growth.measured == pytest.approx(5e5)
    assert found.error < 0.03  # of which the noise is 0.02
    assert abs(found.bias) < 0.02


def test_a_curve_that_has_not_bent_yet_determines_nothing():
    found = forecast(STEPS, sigmoid(6e5, noise=0.02))
    assert not found.growth.is_determined


def test_a_flat_curve_determines_nothing():
    assert not fit_growth(STEPS, np.full(50, 0.5)).is_determined


@pytest.mark.parametrize(
    ("steps", "scores"),
    [([1, 2, 3], [0.1, 0.2, 0.3]), (np.arange(8), np.ones(8)), (np.arange(1, 9), np.full(8, np.nan))],
)
def test_points_that_hold_no_curve_are_refused(steps, scores):
    with pytest.raises(ConfigError, match="6 or more points with compute above zero"):
        fit_growth(steps, scores)


def test_a_policy_that_is_as_good_at_every_period_keeps_its_score():
    assert frequency_averaged_score([16, 1, 4, 2, 8], [0.7] * 5) == pytest.approx(0.7)


def test_the_score_over_periods_is_the_area_under_its_curve():
    """(1 + 1)/2 x 1 + (1 + .5)/2 x 2, over 3."""
    assert frequency_averaged_score([1, 2, 4], [1.0, 1.0, 0.5]) == pytest.approx(2.5 / 3)


@pytest.mark.parametrize(("periods", "scores"), [([1], [1.0]), ([1, 1], [1.0, 0.5]), ([1, 2], [1.0, np.nan])])
def test_periods_without_an_area_are_refused(periods, scores):
    with pytest.raises(ConfigError, match="two or more decision periods"):
        frequency_averaged_score(periods, scores)


def test_pass_at_k_counts_the_draws_without_a_success():
    assert pass_at_k(2, 5, 1) == pytest.approx(0.4)
    assert pass_at_k(2, 5, 2) == pytest.approx(1 - 3 / 10)  # C(3, 2) / C(5, 2)
    assert pass_at_k(3, 5, 3) == 1.0
    assert pass_at_k([0, 2], 5, 1) == pytest.approx(0.2)


def test_pass_at_k_is_unbiased():
    generator = np.random.default_rng(0)
    successes = generator.binomial(8, 0.3, size=20_000)
    assert pass_at_k(successes, 8, 4) == pytest.approx(1 - 0.7**4, abs=0.005)


@pytest.mark.parametrize(("successes", "attempts", "k"), [(1, 4, 5), (5, 4, 1), (1, 4, 0)])
def test_more_than_was_tried_cannot_be_known(successes, attempts, k):
    with pytest.raises(ConfigError, match=f"pass@{k} was asked of {attempts} attempts"):
        pass_at_k(successes, attempts, k)
