"""Curves of several runs as one: the grid, the band, and where a curve has to end."""

import itertools

import numpy as np
import pytest

from embodied.report.canvas import duration, short_number, shortened, spread, wrapped
from embodied.report.curves import Line, band, covers, curve_of
from embodied.report.style import looks, short_names


def line(*points, ends=True):
    x, y = np.array(points, dtype=float).T
    return Line(x, y, ends)


def at(curve, x):
    return float(np.interp(x, curve.x, curve.y))


def test_runs_with_different_points_are_averaged_where_they_meet():
    curve = curve_of([line((0, 0.0), (10, 1.0)), line((0, 0.0), (4, 0.8), (10, 0.8))])
    assert at(curve, 4) == pytest.approx(0.6, abs=0.01)
    assert curve.y[-1] == pytest.approx(0.9)


def test_a_curve_begins_with_the_latest_first_point_and_ends_with_the_shortest_run():
    curve = curve_of([line((1, 0.1), (10, 1.0)), line((2, 0.2), (6, 0.4))])
    assert (curve.x[0], curve.x[-1]) == (2, 6)


def test_along_wall_time_a_run_that_finished_keeps_its_last_value():
    finished, longer = line((0, 0.0), (5, 0.8)), line((0, 0.0), (10, 0.4))
    curve = curve_of([finished, longer], hold=True)
    assert curve.x[-1] == 10
    assert curve.y[-1] == pytest.approx(0.6)


def test_a_run_that_was_stopped_is_never_continued():
    stopped, longer = line((0, 0.0), (5, 0.8), ends=False), line((0, 0.0), (10, 0.4))
    assert curve_of([stopped, longer], hold=True).x[-1] == 5


def test_runs_that_share_no_stretch_have_no_curve_but_keep_their_lines():
    curve = curve_of([line((0, 0.0), (1, 0.1)), line((5, 0.5), (6, 0.6))])
    assert len(curve.x) == 0
    assert len(curve.lines) == 2


def test_a_run_without_a_point_leaves_its_group_without_a_curve():
    assert len(curve_of([line((0, 0.0), (1, 0.1)), Line(np.empty(0), np.empty(0), ends=False)]).x) == 0


def test_two_runs_have_no_band_and_three_have_their_range():
    lines = [line((0, level), (1, level)) for level in (0.1, 0.5, 0.6)]
    assert not curve_of(lines[:2]).has_band
    curve = curve_of(lines)
    assert curve.low[0] == pytest.approx(0.1)
    assert curve.high[0] == pytest.approx(0.6)


def test_the_band_of_the_mean_is_the_bootstrap_of_scipy():
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).normal(size=(12, 1))
    low, high = band(values)
    found = bootstrap((values[:, 0],), np.mean, method="percentile", n_resamples=20_000, rng=0)
    assert low[0] == pytest.approx(found.confidence_interval.low, abs=0.05)
    assert high[0] == pytest.approx(found.confidence_interval.high, abs=0.05)


@pytest.mark.parametrize("runs", [3, 5, 10])
def test_the_band_covers_what_its_caption_says(runs):
    low, high = band(np.random.default_rng(0).normal(size=(runs, 2000)))
    assert 100 * np.mean((low <= 0) & (high >= 0)) == pytest.approx(covers(runs), abs=2.5)
    assert covers(runs + 1) >= covers(runs)


def test_the_interquartile_mean_leaves_out_the_worst_and_the_best_run():
    lines = [line((0, level), (1, level)) for level in (0.0, 0.4, 0.6, 1.0)]
    assert curve_of(lines, middle="iqm").y[0] == pytest.approx(0.5)
    lines[0] = line((0, -9.0), (1, -9.0))
    assert curve_of(lines, middle="iqm").y[0] == pytest.approx(0.5)
    assert curve_of(lines, middle="mean").y[0] < 0


def test_the_same_curve_comes_out_twice():
    values = np.random.default_rng(0).random((5, 30))
    assert all(np.array_equal(a, b) for a, b in zip(band(values), band(values), strict=True))


def test_labels_are_moved_apart_and_stay_inside():
    placed = spread([50, 51, 52, 99, 100], 8, 0, 100)
    assert all(b - a >= 8 - 1e-9 for a, b in itertools.pairwise(placed))
    assert placed[-1] <= 100


def test_looks_differ_without_their_color():
    seen = {(look.dashes, look.marker) for look in looks(42)}
    assert len(seen) == 42
    assert len({look.dashes for look in looks(6)}) == 6


def test_names_with_a_common_beginning_are_told_by_their_settings():
    assert short_names(["ppo (lr=1)", "ppo (lr=2)"]) == ("ppo", ["lr=1", "lr=2"])
    assert short_names(["ppo (lr=1)", "sac (lr=2)"]) == ("", ["ppo (lr=1)", "sac (lr=2)"])
    assert short_names(["ppo (lr=1)"]) == ("", ["ppo (lr=1)"])


def test_a_label_is_broken_at_signs_and_keeps_both_of_its_ends():
    assert wrapped("learning_rate=0.0003") == "learning_rate=\n0.0003"
    assert wrapped("short") == "short"
    long = wrapped("a" * 40 + "z" * 40)
    assert long.startswith("aaa")
    assert long.endswith("zzz")
    assert max(map(len, long.split("\n"))) <= 18


def test_a_label_is_never_a_formula_and_never_hidden():
    assert wrapped("$x$") == shortened("$x$", 9) == r"\$x\$"
    assert not wrapped("_x").startswith("_")


def test_numbers_are_short():
    assert [short_number(x) for x in (0, 950, 20_000, 2.5e6)] == ["0", "950", "20k", "2.5M"]
    assert [duration(x) for x in (48, 750, 11_556)] == ["48 s", "12.5 min", "3.21 h"]
