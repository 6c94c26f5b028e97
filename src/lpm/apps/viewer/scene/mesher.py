"""From shape parameters to lungs on the page: coarse ones while a slider is dragged, fine ones when it rests."""

from __future__ import annotations

import threading
from functools import cached_property

import torch

from lpm.apps.viewer.scene.following import FollowingSurfaces, Warps
from lpm.apps.viewer.scene.shape_parameters import N_SLIDERS, ShapeParameters
from lpm.apps.viewer.scene.shown_lungs import FINE_FACES
from lpm.fitting.corresponding import average_surfaces
from lpm.fitting.extraction import placed_shape
from lpm.fitting.pose import world_from_model
from lpm.geometry.meshes import WorldMesh
from lpm.model.atlas import AtlasDecoder
from lpm.model.bundle import ModelBundle
from lpm.model.correspondence import TemplateSurfaces

_COARSE_FACES = 2000
_COARSE_MM, _FINE_MM = 10.0, 3.0


class Mesher:
    """Meshes of a model's shapes, for all clients; one at a time, as each takes all cores.

    An atlas carries the same triangles to every shape; of a network the surface has to be looked for, which is slower.

    Args:
        model: Trained.
    """

    def __init__(self, model: ModelBundle) -> None:
        self._model, self._lock, self._warps = model, threading.Lock(), Warps()

    def coarse(self, shape: ShapeParameters) -> dict[str, WorldMesh]:
        """Coarse meshes, for while a slider is dragged."""
        with self._lock:
            return self._carried(self._coarse, shape) if self.is_atlas else self._searched(shape, _COARSE_MM)

    def fine(self, shape: ShapeParameters) -> dict[str, WorldMesh]:
        """Fine meshes, for viewing."""
        with self._lock:
            return self._carried(self._fine, shape) if self.is_atlas else self._searched(shape, _FINE_MM)

    @property
    def n_modes(self) -> int:
        """Shape parameters of the model."""
        return self._model.latents.n_modes

    def mean(self) -> dict[str, WorldMesh]:
        """The mean lungs, to look at."""
        return self.fine(ShapeParameters.mean(self.n_modes))

    def warm(self) -> None:
        """Make what the first meshes need, before anyone asks for them."""
        self.coarse(ShapeParameters.mean(self.n_modes))
        self.mean()
        if self.is_atlas:
            self._learn_sliders()

    def _learn_sliders(self) -> None:
        beta, to_latent = torch.zeros(self.n_modes), self._model.latents.to_latent
        for mode in range(min(N_SLIDERS, self.n_modes)):
            with self._lock:
                self._coarse.learn(to_latent(beta.index_fill(0, torch.tensor(mode), 1.0)) - to_latent(beta))

    @property
    def is_atlas(self) -> bool:
        """Whether meshes take tens of milliseconds, and not seconds."""
        return isinstance(self._model.decoder, AtlasDecoder)

    @cached_property
    def _coarse(self) -> FollowingSurfaces:
        surfaces = average_surfaces(self._model, _COARSE_FACES)
        return FollowingSurfaces.like(surfaces, self._warps, is_resting=False)

    @cached_property
    def _fine(self) -> FollowingSurfaces:
        return FollowingSurfaces.like(average_surfaces(self._model, FINE_FACES), self._warps, is_resting=True)

    def _carried(self, surfaces: TemplateSurfaces, shape: ShapeParameters) -> dict[str, WorldMesh]:
        latent = self._model.latents.to_latent(torch.tensor(shape.beta).float())
        return surfaces.meshes(latent, world_from_model(self._model, shape.pose), self._model.structures)

    def _searched(self, shape: ShapeParameters, spacing_mm: float) -> dict[str, WorldMesh]:
        pose = world_from_model(self._model, shape.pose)
        return placed_shape(self._model, torch.tensor(shape.beta).float(), pose, spacing_mm).meshes
