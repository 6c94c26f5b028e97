from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from lpm.errors import InputError
from lpm.model.config import DecoderConfig, ModelConfig, preset
from lpm.model.network.decoder import AutoDecoder, ConditionedLinear, Decoder

SMALL = DecoderConfig(latent_size=5, width=16, layers=3, skip_at=1, output="tanh", frequencies=1)


def test_conditioned_linear_is_a_linear_layer_of_the_concatenation() -> None:
    layer = ConditionedLinear(3, 5, 7)
    features, latent = torch.randn(2, 11, 3), torch.randn(2, 1, 5)
    joint = torch.cat([features, latent.expand(2, 11, 5)], dim=-1)
    expected = joint @ torch.cat([layer.weight, layer.latent_weight], dim=1).T + layer.bias
    torch.testing.assert_close(layer(features, latent), expected)


def test_one_latent_for_all_points_equals_one_a_point() -> None:
    decoder = Decoder(SMALL, 2)
    latent, points = torch.randn(1, 5), torch.randn(13, 3)
    torch.testing.assert_close(decoder(latent, points), decoder(latent.expand(13, 5), points))
    assert not torch.allclose(decoder(latent, points), decoder(latent + 1.0, points))


def test_tanh_output_is_bounded_and_linear_is_not() -> None:
    points = 1e3 * torch.randn(50, 3)
    decoder = Decoder(SMALL, 2)
    assert decoder(torch.zeros(1, 5), points).abs().max() <= 1.0
    linear = Decoder(SMALL.model_copy(update={"output": "linear", "frequencies": 0}), 2)
    assert linear(torch.zeros(1, 5), points).abs().max() > 1.0


def test_signal_survives_depth() -> None:
    """torch's default initialisation makes a deep field constant: its spread would be near 0."""
    decoder = Decoder(DecoderConfig(latent_size=4, width=128, layers=8, output="linear"), 1)
    spread = decoder(torch.zeros(1, 4), torch.rand(500, 3) * 2 - 1).std()
    assert spread > 0.02


def test_first_field_is_no_straight_line_along_a_ray_from_the_middle() -> None:
    """Without biases it would be one along each ray, and two bodies are hardly learnt."""
    torch.manual_seed(0)
    decoder = Decoder(DecoderConfig(latent_size=4, width=64, layers=3, skip_at=0, output="linear"), 1)
    ray = torch.linspace(0.0, 1.0, 21)[:, None] * torch.tensor([0.6, 0.3, -0.2])
    along = decoder(torch.zeros(1, 4), ray)[:, 0].detach()
    assert along.diff(n=2).abs().max() > 0.01 * (along.max() - along.min())


def test_every_kink_of_the_first_layer_lies_within_the_cube() -> None:
    entry = Decoder(DecoderConfig(latent_size=4, width=64, layers=1, skip_at=0), 1).entry
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    heights = corners @ entry.weight.T + entry.bias
    assert (heights.amin(dim=0) < 0).all()
    assert (heights.amax(dim=0) > 0).all()


@pytest.mark.parametrize(
    ("name", "latent", "layers", "width"), [("paper", 256, 8, 1024), ("paper-initial", 64, 4, 512)]
)
def test_paper_presets(name: str, latent: int, layers: int, width: int) -> None:
    decoder = preset(name).decoder
    assert (decoder.latent_size, decoder.layers, decoder.width) == (latent, layers, width)
    assert (decoder.activation, decoder.output) == ("relu", "tanh")
    model = AutoDecoder(decoder, 1, 2, 0.1, generator=torch.Generator().manual_seed(0))
    assert len(model.decoder.hidden) + 1 == layers
    assert model(torch.tensor([0, 1]), torch.zeros(2, 3, 3)).shape == (2, 3, 1)


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(InputError, match=r"preset: 'large'; expected one of"):
        preset("large")


def test_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        ModelConfig.model_validate({"preset": "lite", "depth": 3})
