"""Advantages, against numbers worked out by hand and the golden vectors of the algorithm sheet."""

import pytest
import torch

from embodied.algorithms.returns import (
    Units,
    episode_share,
    fold,
    gae,
    group_relative,
    per_decision,
    spread,
    units,
    until_done,
)
from embodied.distributed import whiten
from tests.made import trajectory


def column(*numbers):
    return torch.tensor(numbers)[:, None]


def golden(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0.0)


def rows(steps, **named):
    zeros = torch.zeros(steps, 1)
    no = zeros.bool()
    fields = {"reward": zeros, "value": zeros, "next_value": zeros, "terminated": no, "truncated": no, "valid": ~no}
    return Units(**(fields | named))


def test_gae_has_the_golden_values_g1():
    value = column(0.5, 0.6, 0.7, 0.2, 0.3, 0.4)
    done = column(False, False, True, False, False, True)
    u = rows(
        6,
        reward=column(0.0, 0.0, 1.0, 0.0, 0.0, 1.0),
        value=value,
        next_value=column(0.6, 0.7, 0.2, 0.3, 0.4, 0.9),
        terminated=done,
    )
    advantage = gae(u, gamma=0.99, lam=0.95)
    golden(advantage, column(0.446829, 0.375150, 0.300000, 0.718012, 0.660300, 0.600000))
    golden(advantage + value, column(0.946829, 0.975150, 1.0, 0.918012, 0.960300, 1.0))
    golden(whiten(advantage, u.valid), column(-0.417681, -0.846072, -1.295211, 1.203064, 0.858144, 0.497757))


def test_gae_with_lambda_one_is_the_discounted_return_minus_the_value():
    advantage = gae(rows(3, reward=column(1.0, 2.0, 4.0), terminated=column(False, False, True)), gamma=0.5, lam=1.0)
    assert advantage[:, 0].tolist() == [3.0, 4.0, 4.0]


def test_gae_bootstraps_through_a_time_limit_but_not_through_termination():
    end, after = column(True), column(10.0)
    assert gae(rows(1, truncated=end, next_value=after), gamma=0.5, lam=1.0).item() == 5.0
    assert gae(rows(1, terminated=end, next_value=after), gamma=0.5, lam=1.0).item() == 0.0


def test_bootstrap_always_values_a_terminated_episode_as_if_it_went_on_and_still_cuts_the_trace():
    u = rows(
        2,
        reward=column(1.0, 8.0),
        value=column(0.0, 2.0),
        next_value=column(10.0, 0.0),
        terminated=column(True, True),
    )
    advantage = gae(u, gamma=0.5, lam=1.0, through_termination=True)
    assert advantage[:, 0].tolist() == [6.0, 6.0]  # 1 + 0.5 * 10; nothing of the next episode's 6


def test_a_lost_decision_counts_for_nothing_and_leaks_nothing_into_its_neighbors():
    r = trajectory(
        3,
        1,
        reward=torch.tensor([1.0, 0.0, 4.0]).view(3, 1, 1),
        value=torch.tensor([0.0, 2.0, 0.0]).view(3, 1, 1),
        next_value=column(0.0, 100.0, 0.0),
        valid=torch.tensor([True, False, True]).view(3, 1, 1),
        truncated=column(False, True, False),
        terminated=torch.tensor([False, False, True]).view(3, 1, 1),
    )
    for per in ("decision", "action"):
        advantage = gae(units(r, per), gamma=0.5, lam=1.0)
        assert advantage[:, 0].tolist() == [2.0, 0.0, 4.0]  # 1 + 0.5 * V(2), nothing, 4


def test_a_chunk_is_one_row_of_decisions_or_k_rows_of_actions():
    r = trajectory(
        1,
        1,
        chunk=3,
        reward=torch.tensor([[[1.0, 2.0, 4.0]]]),
        value=torch.tensor([[[10.0, 20.0, 30.0]]]),
        next_value=torch.tensor([[40.0]]),
        truncated=torch.tensor([[True]]),
    )
    assert units(r, "decision").reward.tolist() == [[7.0]]
    by_action = units(r, "action")
    assert by_action.reward[:, 0].tolist() == [1.0, 2.0, 4.0]
    assert by_action.next_value[:, 0].tolist() == [20.0, 30.0, 40.0]
    assert by_action.truncated[:, 0].tolist() == [False, False, True]


def test_actions_after_a_termination_inside_a_chunk_do_not_count():
    no = torch.zeros(2, 1, 3, dtype=torch.bool)
    terminated, valid = no.clone(), ~no
    terminated[0, 0, 0] = True
    valid[0, 0, 1:] = False
    r = trajectory(
        2, 1, chunk=3, reward=torch.ones(2, 1, 3), value=torch.ones(2, 1, 3), terminated=terminated, valid=valid
    )
    assert units(r, "decision").reward[:, 0].tolist() == [1.0, 3.0]
    advantage = gae(units(r, "action"), gamma=1.0, lam=1.0)
    assert advantage[:, 0].tolist() == [0.0, 0.0, 0.0, 2.0, 1.0, 0.0]  # 1 - 1, unseen twice, then 3, 2, 1 minus 1


def test_rows_of_actions_come_back_as_decisions():
    by_action = torch.arange(12.0).view(6, 2)  # (T * K, N), T = 2, K = 3
    folded = per_decision(by_action, steps=2)
    assert folded.shape == (2, 2, 3)
    assert folded[1, 0].tolist() == [6.0, 8.0, 10.0]


def test_whitening_leaves_out_what_is_masked():
    x, mask = torch.tensor([1.0, 3.0, 1000.0]), torch.tensor([True, True, False])
    torch.testing.assert_close(whiten(x, mask), torch.tensor([-0.70710, 0.70710, 0.0]), atol=1e-4, rtol=0.0)


def test_group_relative_has_the_golden_values_g2():
    score = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0])
    expected = [0.724567, -1.207612, -1.207612, 0.724567, 0.724567, 0.724567, -1.207612, 0.724567]
    golden(group_relative(score, group_size=8), torch.tensor(expected))


def test_one_success_in_a_group_of_eight_stands_out_as_in_g2():
    golden(group_relative(torch.eye(8)[0], group_size=8), torch.tensor([2.474867] + [-0.353552] * 7))


def test_group_relative_is_zero_where_every_sibling_scores_the_same():
    assert group_relative(torch.ones(4), group_size=4).abs().max() < 1e-5


def test_groups_that_do_not_divide_the_rollouts_are_refused():
    with pytest.raises(ValueError, match="5 rollouts do not split into groups of 2"):
        group_relative(torch.ones(5), group_size=2)


def test_the_mask_until_done_is_golden_g3():
    done = column(0, 0, 0, 1, 0, 0, 1, 0)
    assert until_done(done)[:, 0].tolist() == [True, True, True, False, False, False, False]


def test_the_mean_over_units_and_the_mean_over_episodes_are_golden_g4():
    loss = torch.tensor([[1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 0.0, 0.0]])
    valid = torch.tensor([[True, True, True, True], [True, True, False, False]])
    per_unit = valid.float() / valid.sum()
    assert (per_unit * loss).sum().item() == pytest.approx(1.33333, abs=1e-5)
    share = episode_share(valid[None], torch.tensor([[7, 9]]))[0]  # (N, W), T = 1
    assert (share / share.sum() * loss).sum().item() == pytest.approx(1.5)


def test_an_episode_spread_over_several_decisions_has_one_share():
    valid = torch.ones(3, 1, 2, dtype=torch.bool)
    share = episode_share(valid, torch.tensor([[4], [4], [5]]))
    assert share.flatten().tolist() == [0.25, 0.25, 0.25, 0.25, 0.5, 0.5]


def test_units_are_summed_to_coarser_ones_and_coarser_ones_repeated():
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert fold(x, 2).tolist() == [[3.0, 7.0]]
    assert fold(x, 1).tolist() == [[10.0]]
    assert spread(torch.tensor([[1.0, 2.0]]), 4).tolist() == [[1.0, 1.0, 2.0, 2.0]]
