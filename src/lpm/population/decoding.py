"""From shape parameters to meshes, as fast as the model allows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from lpm.calibration import count, number
from lpm.fitting.extraction import shape_of
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.model.atlas import AtlasDecoder
from lpm.model.bundle import ModelBundle
from lpm.model.correspondence import TemplateSurfaces

_FACES_EACH = count("population.faces_each")
_NETWORK_SPACING_MM = number("population.network_spacing_mm")


@dataclass(frozen=True)
class ShapeDecoder:
    """Meshes of shape parameters about the world's origin.

    Args:
        model: An atlas carries its average's surfaces, in tens of milliseconds; a network's are extracted, in seconds.
    """

    model: ModelBundle

    def __call__(self, beta: Floats) -> dict[str, WorldMesh]:
        """Closed outward meshes by structure, RAS mm, of (k,) shape parameters."""
        model, parameters = self.model, torch.tensor(beta).float()
        if self._template is None:
            return shape_of(model, parameters, _NETWORK_SPACING_MM).meshes
        pose = model.world_from_model(np.zeros(3))
        return self._template.meshes(model.latents.to_latent(parameters), pose, model.structures)

    @cached_property
    def _template(self) -> TemplateSurfaces | None:
        decoder = self.model.decoder
        return TemplateSurfaces.of(decoder, _FACES_EACH) if isinstance(decoder, AtlasDecoder) else None
