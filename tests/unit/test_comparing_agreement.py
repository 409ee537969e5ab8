"""Verdict, p-value, interval, table and JSON of a comparison say the same, on ties, grids, units and few seeds."""

import json

import numpy as np
import pytest

from embodied.comparing.compare import compare
from embodied.comparing.permutation import difference, p_value
from embodied.comparing.plots import draw_forest
from embodied.comparing.values import Group, Run
from embodied.comparing.words import as_json, best, verdicts
from embodied.report.blocks import Table
from embodied.report.comparisons import compared
from embodied.report.style import looks
from tests.scored_runs import group


def failing(name, tasks):
    """Eight seeds that solve all of 20 tasks but so many, which are others for every seed."""
    return Group(
        name,
        tuple(Run(seed, {f"task{t}": float((t - seed * tasks) % 20 >= tasks) for t in range(20)}) for seed in range(8)),
    )


def pairs_of(groups):
    """Rows of the report's table of pairs, by column."""
    section = compared(groups, dict(zip([g.name for g in groups], looks(len(groups)), strict=True))).section
    (pairs,) = (block for block in section.blocks if isinstance(block, Table) and block.caption == "Pairs")
    told = [[cell if isinstance(cell, str) else cell.text for cell in row] for row in pairs.rows]
    return [dict(zip(pairs.columns, row, strict=True)) for row in told]


MEANS = {"A": 1.0, "B": 0.8, "C": 0.9}
TIED = [failing("A", 0), failing("B", 4), failing("C", 2)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_where_interquartile_means_tie_the_means_decide(tmp_path, order):
    found = compare([TIED[i] for i in order])
    assert {s.name: (s.iqm, round(s.mean, 9)) for s in found.summaries} == {n: (1.0, m) for n, m in MEANS.items()}
    assert best(found) == "A is better than all others."
    for claim in json.loads(as_json(found))["claims"]:
        apart = MEANS[claim["first"]] - MEANS[claim["second"]]
        assert (claim["by"], claim["verdict"]) == ("mean", "better" if apart > 0 else "worse")
        assert claim["difference"]["estimate"] == pytest.approx(apart)
        assert claim["difference"]["low"] * claim["difference"]["high"] > 0
    told = " ".join(verdicts(found))
    assert "A is better than B by their means (the interquartile means tie): +20.0 points [" in told
    assert "C is better than B by their means (the interquartile means tie): +10.0 points [" in told
    assert "in mean (98.3 % interval)" in told
    assert draw_forest(found, tmp_path / "forest.png").exists()


def test_the_report_agrees_where_interquartile_means_tie():
    for row in pairs_of(TIED):
        assert MEANS[row["A"]] > MEANS[row["B"]]
        assert row["A - B, IQM"].startswith("+")
        assert row["A - B, IQM"].endswith("(means)")
        assert row["shown at 5 %"] == "yes"


def test_a_tie_of_interquartile_means_that_is_not_shown_has_zero_in_its_interval():
    (claim,) = compare([group("a", [1, 1, 1, 1, 1, 1, 1, 0.5]), group("b", [1] * 8)]).claims
    assert (claim.by, claim.verdict) == ("mean", "open")
    assert not claim.difference.excludes(0.0)


def test_the_interval_leaves_out_zero_where_the_test_rejects_on_grids_and_two_humps():
    generator = np.random.default_rng(5)
    agree = []
    for draw in range(80):
        if draw % 2:
            a, b = generator.integers(4, 14, (5, 1)) / 20, generator.integers(0, 11, (5, 1)) / 20
        else:  # learned or not
            a, b = (np.where(generator.random((5, 2)) < share, 0.9, 0.1) for share in (0.85, 0.2))
            a, b = a + generator.integers(0, 3, a.shape) / 20, b + generator.integers(0, 3, b.shape) / 20
        agree.append((difference(a, b).excludes(0.0), p_value(a, b) <= 0.05))
    assert [excluded for excluded, _ in agree] == [rejected for _, rejected in agree]
    assert 10 < sum(rejected for _, rejected in agree) < 70


def test_with_several_pairs_an_interval_leaves_out_zero_where_the_claim_is_made():
    generator = np.random.default_rng(6)
    verdicts_seen = []
    for _ in range(6):
        groups = [group(n, (generator.integers(4 * i, 4 * i + 12, 5) / 20).tolist()) for i, n in enumerate("abc")]
        for claim in compare(groups).claims:
            assert claim.difference.excludes(0.0) == (claim.verdict != "open")
            assert (claim.p_holm <= 0.05) == (claim.verdict != "open")
            verdicts_seen.append((claim.verdict != "open", claim.p <= 0.05))
    assert (False, True) in verdicts_seen  # what one pair alone would show
    assert (True, True) in verdicts_seen


def test_the_least_p_is_corrected_too():
    four = [group(n, [x, x + 0.01, x + 0.02, x + 0.03]) for n, x in (("a", 0.1), ("b", 0.4), ("c", 0.7))]
    for told in verdicts(compare(four)):
        assert "So few seeds can never show a difference: their least p is 0.029, 0.086 after the correction" in told
    assert "never" not in " ".join(verdicts(compare(four[:2])))
    assert {row["least p possible for 3 pairs"] for row in pairs_of(four)} == {"0.086"}


def test_a_pair_of_few_seeds_beside_pairs_of_many_may_still_be_shown():
    many = group("c", [0.7 + 0.01 * i for i in range(10)])
    four = [group(n, [x, x + 0.01, x + 0.02, x + 0.03]) for n, x in (("a", 0.1), ("b", 0.4))]
    found = compare([*four, many])
    assert [c.verdict for c in found.claims] == ["worse"] * 3  # 0.029 is the last of Holm's steps
    assert found.claims[0].interval_level == pytest.approx(0.95)
    assert "never" not in " ".join(verdicts(found))


@pytest.mark.parametrize(("unit", "offset"), [(1e-4, 0.0), (1e4, 0.0), (1.0, 1e6), (1e-9, 0.0), (-1.0, 0.0)])
def test_neither_unit_nor_offset_of_a_return_matter(unit, offset):
    generator = np.random.default_rng(7)
    cases = [(np.arange(5.0, 9)[:, None], np.arange(1.0, 5)[:, None]), *generator.normal(0, 1, (5, 2, 5, 3))]
    for a, b in cases:
        assert p_value(unit * a + offset, unit * b + offset) == p_value(a, b)
        still, moved = difference(a, b), difference(abs(unit) * a + offset, abs(unit) * b + offset)
        assert np.allclose([moved.low, moved.high], [abs(unit) * still.low, abs(unit) * still.high], rtol=1e-3)
    assert p_value(np.full((5, 1), 0.1 + offset), np.full((5, 1), 0.1 + offset)) == 1.0


def test_a_probability_without_spread_or_seeds_has_no_interval():
    def told(a, b):
        groups = [group("a", a), group("b", b)]
        (claim,) = json.loads(as_json(compare(groups)))["claims"]
        return verdicts(compare(groups))[0], pairs_of(groups)[0]["P(A > B)"], claim["improvement"]["low"]

    sentence, cell, low = told([0.8, 0.9, 0.85, 0.95, 0.7], [0.1, 0.2, 0.3, 0.15, 0.25])
    assert "P(a > b) = 1.00 (every run of a above every run of b), permutation" in sentence
    assert (cell, low) == ("1.00 (every run)", None)
    sentence, cell, low = told([0.8, 0.9, 0.2], [0.1, 0.7, 0.3])
    assert "P(a > b) = 0.78 (too few seeds for an interval), permutation" in sentence
    assert (cell, low) == ("0.78 (too few seeds for an interval)", None)
    sentence, cell, low = told([0.8, 0.9, 0.2, 0.5, 0.7], [0.1, 0.7, 0.3, 0.2, 0.4])
    assert "P(a > b) = 0.80 [" in sentence
    assert cell.startswith("0.80 [")
    assert low is not None
