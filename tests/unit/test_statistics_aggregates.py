import numpy as np
import pytest

from embodied.errors import ConfigError
from embodied.metrics import bootstrap
from embodied.metrics.aggregates import as_scores, improvement, iqm, mean, median, optimality_gap, profile
from embodied.metrics.bootstrap import (
    aggregate_intervals,
    cluster_bootstrap,
    clustered_rate,
    improvement_interval,
    profile_band,
    take,
)

X = as_scores([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6], [0.5, 1.0]])
Y = as_scores([[0.15, 0.5], [0.25, 0.5], [0.2, 0.5], [0.1, 0.5], [0.5, 0.9]])


def test_aggregates_match_the_golden_matrix():
    """G11."""
    assert (iqm(X), optimality_gap(X), improvement(X, Y)) == pytest.approx((0.55, 0.45, 0.74))
    assert improvement(X[:, :1], Y[:, :1]) == pytest.approx(0.62)
    assert improvement(X[:, 1:], Y[:, 1:]) == pytest.approx(0.86)


def test_the_mean_and_the_median_are_over_means_of_tasks():
    scores = as_scores([[0.0, 1.0, 8.0], [2.0, 3.0, 0.0]])  # means 1, 2, 4
    assert (mean(scores), median(scores)) == pytest.approx((7 / 3, 2.0))


def test_a_score_on_the_threshold_is_not_above_it():
    assert profile(X, np.array([0.0, 0.5, 0.9, 2.0])).tolist() == pytest.approx([1.0, 0.5, 0.1, 0.0])


FIRST = (np.arange(15).reshape(5, 3) * 37 % 101) / 80
SECOND = (np.arange(12).reshape(4, 3) * 53 % 97) / 80
RLIABLE = [  # rliable 1.2.0 on the draws below: mean, median, IQM, optimality gap, P(first > second), profile
    (0.5441666666666668, 0.6700000000000002, 0.5347222222222222, 0.4708333333333333, 0.65,
     [0.9333333333333333, 0.6666666666666666, 0.4666666666666667, 0.3333333333333333, 0.13333333333333333]),
    (0.6708333333333334, 0.7125, 0.7263888888888889, 0.3458333333333333, 0.43333333333333335,
     [0.9333333333333333, 0.8, 0.6, 0.4666666666666667, 0.3333333333333333]),
    (0.5025000000000001, 0.5875, 0.4694444444444445, 0.5125, 0.5333333333333333,
     [0.9333333333333333, 0.6666666666666666, 0.5333333333333333, 0.2, 0.13333333333333333]),
]  # fmt: skip


def test_resampled_aggregates_are_those_of_rliable():
    b, r, t = np.ogrid[:3, :5, :3]
    first = take(FIRST, (b * 7 + r * 3 + t * 2 + b * r * t) % 5)
    b, r, t = np.ogrid[:3, :4, :3]
    second = take(SECOND, (b * 5 + r * r + t * 3 + b * r) % 4)
    numbers = [f(first) for f in (mean, median, iqm, optimality_gap)] + [improvement(first, second)]
    assert np.abs(np.stack(numbers, axis=1) - np.array([row[:5] for row in RLIABLE])).max() < 1e-12
    levels = profile(first, np.array([0, 0.25, 0.5, 0.75, 1.0]))
    assert np.abs(levels - np.array([row[5] for row in RLIABLE])).max() < 1e-12


def test_runs_are_drawn_inside_their_task():
    """Each task has a level of its own; a draw that mixed tasks would show it."""
    scores = np.arange(3.0) * 10 + np.arange(4.0)[:, None] / 10  # (4, 3)
    drawn = np.concatenate(list(bootstrap.resamples(scores, 500, np.random.default_rng(0))))
    assert drawn.shape == (500, 4, 3)
    assert (np.floor(drawn / 10) == np.arange(3)).all()
    same = (drawn[:, :, 0] - 0 == drawn[:, :, 1] - 10).all(axis=1)
    assert same.mean() < 0.05  # tasks are drawn independently


def test_whole_runs_keep_their_scores_together():
    scores = np.arange(3.0) * 10 + np.arange(4.0)[:, None] / 10  # (4, 3)
    drawn = np.concatenate(list(bootstrap.resamples(scores, 500, np.random.default_rng(0), whole=True)))
    assert drawn.shape == (500, 4, 3)
    assert np.allclose(drawn - drawn[:, :, :1], [0, 10, 20])
    assert len(np.unique(drawn[:, 0, 0])) == 4


def test_drawn_inside_tasks_a_policy_that_plays_all_of_them_seems_far_too_certain():
    """Eight runs whose ten tasks share nearly all of their luck: whole runs say so."""
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(8, 1)) + 0.1 * generator.normal(size=(8, 10))
    apart, whole = (aggregate_intervals(scores, replicates=2000, whole=x)["mean"] for x in (False, True))
    assert whole.high - whole.low > 2.5 * (apart.high - apart.low)  # about the root of ten
    assert whole.high - whole.low == pytest.approx(2 * 1.96 * scores.mean(axis=1).std() / 8**0.5, rel=0.1)


def test_chunks_change_nothing(monkeypatch):
    whole = aggregate_intervals(FIRST, replicates=500), profile_band(FIRST, [0.2, 0.6], replicates=500)
    monkeypatch.setattr(bootstrap, "CHUNK", 700)
    parts = aggregate_intervals(FIRST, replicates=500), profile_band(FIRST, [0.2, 0.6], replicates=500)
    assert parts[0] == whole[0]
    assert parts[1].low.tolist() == whole[1].low.tolist()


def test_intervals_of_the_iqm_cover_as_they_should():
    """10 runs on 10 tasks, standard normal: the population's IQM is 0."""
    generator, covered = np.random.default_rng(0), 0
    for seed in range(600):
        found = aggregate_intervals(generator.normal(size=(10, 10)), replicates=300, seed=seed)["iqm"]
        covered += not found.excludes(0)
    assert 0.92 <= covered / 600 <= 0.97


def test_an_improvement_is_meaningful_when_its_whole_interval_says_so():
    better = improvement_interval(X + 0.3, Y, replicates=2000)
    unclear = improvement_interval(X, X[::-1] + 0.01, replicates=2000)
    assert better.is_meaningful
    assert better.probability.low < better.probability.estimate < better.probability.high
    assert not unclear.is_meaningful


def test_two_matrices_are_drawn_independently():
    """The same draws for both would make any policy exactly as good as itself."""
    itself = improvement_interval(X, X, replicates=2000).probability
    assert itself.estimate == 0.5
    assert itself.high - itself.low > 0.3


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[0.1, 0.2], [0.3]], "rows differ in length"),
        ([[0.1, float("nan")], [0.3, 0.4]], "1 values that are not finite, the first in run 0 of task 1"),
        ([], r"shape \(0, 1\)"),
        ([[0.5, 0.6]], "one run, which says nothing of how runs differ"),
    ],
)
def test_scores_without_an_answer_are_refused(rows, words):
    with pytest.raises(ConfigError, match=words):
        aggregate_intervals(rows)


def test_other_tasks_are_refused():
    with pytest.raises(ConfigError, match="2 tasks and the second on 1"):
        improvement_interval(X, X[:, :1])


def test_repeated_episodes_of_a_start_add_no_certainty():
    """100 starts that always end alike, each played 20 times: the interval is that of 100 episodes."""
    starts = np.arange(100).repeat(20)
    solved = starts % 4 != 0
    found = cluster_bootstrap(solved, starts)
    half = 1.96 * (0.75 * 0.25 / 99) ** 0.5
    assert found.estimate == pytest.approx(0.75)
    assert (found.low, found.high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.01)
    naive = cluster_bootstrap(solved, np.arange(2000))
    assert naive.high - naive.low < 0.3 * (found.high - found.low)


def test_few_clusters_vary_as_much_as_many():
    """Ten clusters: the standard error of their mean, which ten draws would put 5 % too low (Rao & Wu 1988)."""
    values = np.arange(10) * 0.37 + np.sqrt(np.arange(10))
    found = cluster_bootstrap(values, np.arange(10), replicates=40_000)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * values.std(ddof=1) / 10**0.5, rel=0.02)


def test_training_seeds_that_differ_widen_the_interval():
    generator = np.random.default_rng(0)
    seeds, starts = np.divmod(np.arange(2000), 200)
    solved = generator.random(2000) < np.linspace(0.4, 0.9, 10)[seeds]
    without, with_seeds = cluster_bootstrap(solved, starts), cluster_bootstrap(solved, starts, seeds)
    assert with_seeds.high - with_seeds.low > 2 * (without.high - without.low)
    assert with_seeds.estimate == without.estimate == pytest.approx(solved.mean())


def test_a_perfect_score_is_not_certainty():
    starts = np.arange(50).repeat(4)
    found = clustered_rate(np.ones(200), starts)
    assert (found.estimate, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.9287, abs=1e-4)  # Wilson, 50 of 50
    assert clustered_rate(starts % 2, starts) == cluster_bootstrap(starts % 2, starts)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([1, 0], [0, 0]), "have 1 of them"),
        (([1, 0, 1], [0, 1]), "3 episodes were given with 2 labels"),
        (([1, 0, 1], [0, 1, 2], [7, 7, 7]), "leave training seeds out"),
        (([1, 0], [0, 1], [0, 1]), "a draw of both held none"),
    ],
)
def test_clusters_without_an_answer_are_refused(arguments, words):
    with pytest.raises(ConfigError, match=words):
        cluster_bootstrap(*arguments)
