"""Lungs on the page: meshes and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lpm.apps.viewer.scene.shape_parameters import ShapeParameters
from lpm.fitting.fit import Fit
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.surfaces import decimate

Meshes = Mapping[str, WorldMesh]
_SHOWN_FACES = 16_000


@dataclass(frozen=True)
class ShownLungs:
    """Lungs on the page.

    Args:
        name: Name in words.
        meshes: Closed, outward, by structure; RAS mm.
        shape: Their parameters, if they have any.
        fit: Fit that they come from, if any.
    """

    name: str
    meshes: Meshes
    shape: ShapeParameters | None = None
    fit: Fit | None = None

    @classmethod
    def of(cls, fit: Fit) -> ShownLungs:
        """Make the lungs of a fit."""
        return cls(f"fit to {fit.observed}", fit.lungs, ShapeParameters(fit.beta, fit.shape.pose, fit.sized), fit)

    @property
    def sized(self) -> bool:
        """Whether there is a size to measure."""
        return self.shape is None or self.shape.sized


def decimated_for_display(meshes: Meshes) -> dict[str, WorldMesh]:
    """With as many triangles as a browser moves with ease."""
    return {name: decimate(mesh, _SHOWN_FACES) for name, mesh in meshes.items()}


def middle_mm(meshes: Meshes) -> Floats:
    """(3,) middle of the box around lungs, RAS mm."""
    vertices = np.concatenate([mesh.vertices for mesh in meshes.values()])
    return np.asarray((vertices.min(axis=0) + vertices.max(axis=0)) / 2)


def centred_on(lungs: Meshes, others: Meshes) -> dict[str, WorldMesh]:
    """Other lungs with their middle at that of lungs."""
    step = middle_mm(lungs) - middle_mm(others)
    return {name: WorldMesh(mesh.vertices + step, mesh.faces) for name, mesh in others.items()}


def width_mm(meshes: Meshes) -> float:
    """From the patient's right to the left."""
    return float(np.ptp(np.concatenate([mesh.vertices for mesh in meshes.values()])[:, 0]))
