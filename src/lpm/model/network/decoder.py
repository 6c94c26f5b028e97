"""The network f(z, x): a latent and a point in, the signed distance to each structure out (paper III.A)."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from lpm.calibration import number
from lpm.model.config import DecoderConfig

_FIRST_SLOPE = number("model.first_slope")


def he_linear(n_in: int, n_out: int) -> nn.Linear:
    """A linear layer whose outputs keep their variance through a ReLU (He et al. 2015).

    torch's own default loses 5/6 of it a layer: six layers on, the field is a constant and the loss stays flat.
    """
    layer = nn.Linear(n_in, n_out)
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer


class ConditionedLinear(nn.Module):
    """A linear layer of [features, z] that never builds the concatenation.

    One latent usually serves many points: its share of the product is computed once and added to all of them.
    """

    def __init__(self, n_features: int, latent_size: int, width: int) -> None:
        super().__init__()
        joint = he_linear(n_features + latent_size, width)
        self.weight = nn.Parameter(joint.weight[:, :n_features].detach().clone())
        self.latent_weight = nn.Parameter(joint.weight[:, n_features:].detach().clone())
        self.bias = nn.Parameter(joint.bias.detach().clone())

    def spread_kinks(self) -> None:
        """Begin with ReLUs whose kinks lie all over the cube [-1, 1] of the points, not all of them at its middle.

        Without biases each layer is linear along every ray from the origin: two lungs that stand apart are learnt as a
        field of 0 everywhere, for hundreds of epochs. Latents are small at first, so that points alone set the scale.
        """
        places = 2 * torch.rand_like(self.weight) - 1
        with torch.no_grad():
            nn.init.uniform_(self.weight, -_FIRST_SLOPE, _FIRST_SLOPE)
            self.bias.copy_(-(self.weight * places).sum(dim=1))

    def forward(self, features: Tensor, latent: Tensor) -> Tensor:
        """Take (..., p, n) features and (..., 1 or p, latent_size) latents to (..., p, width)."""
        from_latent = nn.functional.linear(latent, self.latent_weight, self.bias)
        return nn.functional.linear(features, self.weight) + from_latent


class Decoder(nn.Module):
    """Signed distance to every structure, in model units, negative inside.

    Args:
        config: Size and kind of the network.
        n_structures: Number of outputs: one a structure, so that left and right cannot merge.
    """

    def __init__(self, config: DecoderConfig, n_structures: int) -> None:
        super().__init__()
        self.config, self.n_structures = config, n_structures
        n_input = 3 * (1 + 2 * config.frequencies)
        self.entry = ConditionedLinear(n_input, config.latent_size, config.width)
        if not config.frequencies:  # sines and cosines of the coordinates vary all over the cube already
            self.entry.spread_kinks()
        self.hidden = nn.ModuleList(
            ConditionedLinear(config.width + n_input, config.latent_size, config.width)
            if layer == config.skip_at
            else he_linear(config.width, config.width)
            for layer in range(1, config.layers)
        )
        self.exit = nn.Linear(config.width, n_structures)

    def forward(self, latent: Tensor, points: Tensor) -> Tensor:
        """Evaluate the field.

        Args:
            latent: (..., 1, latent_size) for all points of a shape, or (..., p, latent_size) for one a point.
            points: (..., p, 3) in the model frame.

        Returns:
            (..., p, s) signed distances in model units.
        """
        inputs = self._encode(points)
        features = self._activate(self.entry(inputs, latent))
        for layer in self.hidden:
            if isinstance(layer, ConditionedLinear):
                features = self._activate(layer(torch.cat([features, inputs], dim=-1), latent))
            else:
                features = self._activate(layer(features))
        distance = cast(Tensor, self.exit(features))
        return torch.tanh(distance) if self.config.output == "tanh" else distance

    def _encode(self, points: Tensor) -> Tensor:
        octaves = [math.pi * 2.0**k * points for k in range(self.config.frequencies)]
        return torch.cat([points, *(wave(octave) for octave in octaves for wave in (torch.sin, torch.cos))], dim=-1)

    def _activate(self, features: Tensor) -> Tensor:
        if self.config.activation == "relu":
            return torch.relu(features)
        return nn.functional.softplus(features, beta=100.0)


class AutoDecoder(nn.Module):
    """The decoder and one latent a training shape, trained together (paper III.A; Park et al. 2019).

    Args:
        config: The decoder's.
        n_structures: Number of outputs.
        n_shapes: Number of training shapes; each is assigned its own latent.
        latent_spread: Standard deviation of the first latents.
        generator: Source of randomness of the latents.
    """

    def __init__(
        self,
        config: DecoderConfig,
        n_structures: int,
        n_shapes: int,
        latent_spread: float,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.decoder = Decoder(config, n_structures)
        self.codes = nn.Parameter(latent_spread * torch.randn(n_shapes, config.latent_size, generator=generator))

    def forward(self, shapes: Tensor, points: Tensor) -> Tensor:
        """Evaluate the fields of shapes (b,) at their points (b, p, 3): (b, p, s)."""
        return cast(Tensor, self.decoder(self.codes[shapes][:, None, :], points))
