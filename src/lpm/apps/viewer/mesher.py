"""From shape parameters to lungs on the page: coarse ones while a slider is dragged, fine ones when it rests."""

from __future__ import annotations

import threading

import torch

from lpm.apps.viewer.shape import Shape
from lpm.fitting.fit import shape_of
from lpm.geometry.meshes import WorldMesh
from lpm.model.bundle import ModelBundle

_COARSE_MM, _FINE_MM = 10.0, 5.0


class Mesher:
    """Meshes of a model's shapes, for all clients; one at a time, as each takes all cores.

    Args:
        model: Trained.
    """

    def __init__(self, model: ModelBundle) -> None:
        self._model, self._lock = model, threading.Lock()

    def coarse(self, shape: Shape) -> dict[str, WorldMesh]:
        """While a slider is dragged."""
        return self._meshes(shape, _COARSE_MM)

    def fine(self, shape: Shape) -> dict[str, WorldMesh]:
        """To look at."""
        return self._meshes(shape, _FINE_MM)

    def _meshes(self, shape: Shape, spacing_mm: float) -> dict[str, WorldMesh]:
        with self._lock:
            return shape_of(self._model, torch.from_numpy(shape.beta).float(), spacing_mm).meshes
