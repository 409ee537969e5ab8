import pytest
import torch

from embodied.data.normalize import RunningNorm


def test_nothing_is_changed_until_something_was_tracked():
    x = torch.tensor([[3.0, -4.0]])
    assert torch.equal(RunningNorm(2)(x), x)


def test_two_portions_give_the_statistics_of_the_whole():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) * 5 + 2
    norm = RunningNorm(3)
    norm.track(x[:10])
    norm.track(x[10:].view(8, 5, 3))  # any leading dimensions
    torch.testing.assert_close(norm.mean, x.double().mean(dim=0))
    torch.testing.assert_close(norm.variance, x.double().var(dim=0, unbiased=False))
    assert norm.count.item() == 50


def test_what_was_tracked_has_zero_mean_and_unit_variance():
    norm = RunningNorm(1)
    norm.track(torch.tensor([[1.0], [3.0]]))
    assert norm(torch.tensor([[1.0], [2.0], [3.0]])).flatten().tolist() == pytest.approx([-1.0, 0.0, 1.0])


def test_a_strange_entry_is_clipped_at_the_limit():
    norm = RunningNorm(1, limit=4.0)
    norm.track(torch.tensor([[1.0], [3.0]]))
    assert norm(torch.tensor([[1e6], [-1e6]])).flatten().tolist() == [4.0, -4.0]


def test_an_entry_that_never_varies_stays_finite():
    norm = RunningNorm(1)
    norm.track(torch.full((5, 1), 7.0))
    assert norm(torch.full((1, 1), 7.0)).item() == pytest.approx(0.0)


def test_loaded_statistics_normalize_as_the_saved_ones():
    saved, loaded = RunningNorm(2), RunningNorm(2)
    saved.track(torch.randn(20, 2) * 3 + 1)
    loaded.load_state_dict(saved.state_dict())
    x = torch.randn(4, 2)
    assert torch.equal(loaded(x), saved(x))


def test_a_large_offset_does_not_cost_the_variance():
    norm = RunningNorm(1)
    for _ in range(100):
        norm.track(torch.tensor([[1e5 - 1.0], [1e5 + 1.0]]))
    assert norm.variance.item() == pytest.approx(1.0, rel=1e-6)
