import pytest
import torch

from embodied.algorithms.bc import BC
from embodied.data.augment import jittered, offsets, shifted
from embodied.types import Chunks

PICTURES = torch.randint(0, 256, (30, 12, 9, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def moved(picture, down, right):
    """What is at (y, x) comes from (y + down, x + right), or from the nearest pixel there is."""
    rows = (torch.arange(picture.shape[0]) + down).clamp(0, picture.shape[0] - 1)
    columns = (torch.arange(picture.shape[1]) + right).clamp(0, picture.shape[1] - 1)
    return picture[rows][:, columns]


def test_each_picture_is_moved_by_its_own_number_of_pixels_and_its_edge_repeated():
    found = shifted(PICTURES, offsets(len(PICTURES), 2, generator()))
    seen = set()
    for before, after in zip(PICTURES, found, strict=True):
        fits = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if torch.equal(after, moved(before, down, right))
        ]
        assert len(fits) == 1
        seen |= set(fits)
    assert len(seen) > 10


def test_brightness_and_contrast_change_by_the_picture_not_by_the_pixel():
    gray = torch.full((50, 4, 4, 3), 100, dtype=torch.uint8)
    gray[:, 0] = 200
    found = jittered(gray, 0.1, generator()).float()
    assert (found.flatten(1).unique(dim=1).shape[1]) <= 4
    change = found[:, 1, 0, 0] - 100
    assert change.std().item() == pytest.approx(0.1 * (100**2 + 255**2) ** 0.5, rel=0.3)
    assert ((found[:, 0] - found[:, 1]).flatten() != 100).any()


def test_what_is_too_bright_or_too_dark_stays_in_range():
    extreme = torch.tensor([0, 255], dtype=torch.uint8).repeat(300).view(100, 1, 2, 3)
    found = jittered(extreme, 1.0, generator())
    assert found.dtype == torch.uint8
    assert {0, 255} <= set(found.flatten().tolist())


@pytest.mark.parametrize("change", [lambda x, g: shifted(x, offsets(len(x), 3, g)), lambda x, g: jittered(x, 0.2, g)])
def test_the_generator_decides_and_the_input_stays(change):
    before = PICTURES.clone()
    first, second, other = (change(PICTURES, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert (first != other).any()
    assert torch.equal(PICTURES, before)


def test_nothing_is_done_when_nothing_is_asked():
    assert shifted(PICTURES, offsets(len(PICTURES), 0, generator())) is PICTURES
    assert jittered(PICTURES, 0.0, generator()) is PICTURES


def test_color_and_depth_of_one_camera_move_together_and_only_color_is_lit():
    depth = PICTURES[..., :1].float()
    obs = {"state": torch.ones(len(PICTURES), 2), "rgb/front": PICTURES, "depth/front": depth}
    batch = Chunks(obs, torch.zeros(len(PICTURES), 1, 1), torch.ones(len(PICTURES), 1))
    found = BC(shift=2, jitter=0.0).augmented(batch, generator()).obs
    assert not torch.equal(found["rgb/front"], PICTURES)
    assert torch.equal(found["rgb/front"][..., :1].float(), found["depth/front"])
    assert torch.equal(found["state"], obs["state"])
    lit = BC(shift=0, jitter=0.3).augmented(batch, generator()).obs
    assert torch.equal(lit["depth/front"], depth)
    assert not torch.equal(lit["rgb/front"], PICTURES)
