"""Lungs on the page: meshes and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lpm.apps.viewer.scene.shape_parameters import ShapeParameters
from lpm.fitting.corresponding import corresponding
from lpm.fitting.fit import Fit
from lpm.fitting.fitted_field import FittedField
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.surfaces import decimate

Meshes = Mapping[str, WorldMesh]
OTHER_COLOR = (110, 118, 129)  # of what lungs are compared with
FINE_FACES = 16_000  # of each structure: what a browser moves with ease


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

    @classmethod
    def read(cls, name: str, field: FittedField) -> ShownLungs:
        """Make the lungs of a fit that was read again: in correspondence with all others of its model.

        Raises:
            InputError: The model is a network.
        """
        shape = ShapeParameters(field.beta.double().numpy(), field.pose)
        return cls(name, corresponding(field, FINE_FACES).meshes, shape)

    @cached_property
    def corresponding(self) -> Meshes:
        """With the same triangles for all lungs of an atlas; of a fit they are made on the first call, in seconds.

        Raises:
            InputError: A fit by a network, or of unknown size.
        """
        return self.meshes if self.fit is None else self.fit.corresponding(FINE_FACES).meshes

    @property
    def sized(self) -> bool:
        """Whether there is a size to measure."""
        return self.shape is None or self.shape.sized


def decimated_for_display(meshes: Meshes) -> dict[str, WorldMesh]:
    """With as many triangles as a browser moves with ease."""
    return {name: decimate(mesh, FINE_FACES) for name, mesh in meshes.items()}


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
