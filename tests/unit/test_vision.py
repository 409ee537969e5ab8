import pytest
import torch

from embodied.errors import ConfigError
from embodied.types import Array, Spec
from policies.mlp import MLPRecipe
from policies.parts.encoders import cnn, resnet18, scaled
from policies.vision import VisionRecipe


def spec(**obs):
    named = {name.replace("_", "/"): array for name, array in obs.items()}
    return Spec(obs=named, action_dim=2, num_envs=1, control_hz=10.0)


def picture(size, channels=3):
    return Array((size, size, channels), torch.uint8 if channels == 3 else torch.float32)


def test_color_is_scaled_to_half_a_unit_around_zero():
    assert scaled(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-0.5, 0.5]


def test_depth_is_finer_near_and_finite_far():
    assert scaled(torch.tensor([0.0, 1.0, float("inf")])).tolist() == [0.5, 0.0, -0.5]


@pytest.mark.parametrize("size", [32, 64, 100, 224])
@pytest.mark.parametrize("encoder", ["cnn", "resnet18"])
def test_any_picture_of_32_pixels_or_more_fits(encoder, size):
    policy = VisionRecipe(encoder=encoder, width=2, features=8, hidden=(4,)).build(spec(rgb_top=picture(size)))
    assert policy.value({"rgb/top": torch.zeros(2, size, size, 3, dtype=torch.uint8)}).shape == (2, 1)


def test_the_published_resnet18_has_its_number_of_weights():
    layers, outputs = resnet18(3, 64)
    assert outputs == 512
    assert sum(p.numel() for p in layers.parameters()) == 11_176_512  # torchvision's 11 689 512 less its classifier


def test_a_residual_block_starts_as_its_shortcut():
    layers, _ = resnet18(3, 8)
    x = torch.rand(1, 8, 4, 4)
    torch.testing.assert_close(layers[4](x), x)


def test_the_small_network_halves_a_picture_three_times():
    layers, outputs = cnn(3, 4)
    assert layers(torch.zeros(1, 3, 64, 64)).shape == (1, outputs, 8, 8)


def test_acting_encodes_once():
    calls = []
    policy = VisionRecipe(width=2, features=8, hidden=(4,)).build(spec(rgb_top=picture(32)))
    policy.encoder.register_forward_hook(lambda *_: calls.append(1))
    policy.act({"rgb/top": torch.zeros(1, 32, 32, 3, dtype=torch.uint8)}, explore=False)
    assert calls == [1]


@pytest.mark.parametrize(
    ("obs", "sentence"),
    [
        ({"state": Array((4,))}, "needs pictures `rgb/CAMERA`"),
        ({"rgb_top": picture(16)}, "at least 32 pixels"),
        ({"rgb_top": picture(64), "depth_top": picture(32, 1)}, "one size"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(obs, sentence):
    with pytest.raises(ConfigError, match=sentence):
        VisionRecipe().build(spec(**obs))


def test_the_mlp_refuses_pictures_alone():
    with pytest.raises(ConfigError, match="Use policy=vision"):
        MLPRecipe().build(spec(rgb_top=picture(64)))
