"""A fitted shape as a field: what is needed to place points on the lungs of a fit, and to carry them to another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lpm.calibration import count
from lpm.errors import InputError
from lpm.fitting.discrepancy.residual import ResidualField
from lpm.fitting.fitted_shape import FittedShape
from lpm.fitting.pose import Pose, world_from_model
from lpm.fitting.posed import PosedModel
from lpm.fitting.state import State
from lpm.geometry.frames import Floats
from lpm.model.bundle import ModelBundle

_STEPS = count("fitting.corresponding_steps")


@dataclass(frozen=True, eq=False)
class FittedField:
    """Signed distances of fitted lungs, residual included.

    Args:
        model: The model that was fitted.
        beta: (k,) shape parameters.
        pose: Translation, axis scales, rotation.
        residual: The smooth field that takes the decoder's surface to the points.
        structures: Names of the structures that the fit gives, in the model's order.
    """

    model: ModelBundle
    beta: torch.Tensor
    pose: Pose
    residual: ResidualField
    structures: tuple[str, ...]

    @classmethod
    def of(cls, model: ModelBundle, shape: FittedShape, structures: tuple[str, ...]) -> FittedField:
        """The field of a fitted shape."""
        return cls(model, shape.beta, shape.pose, shape.residual, structures)

    @property
    def digest(self) -> bytes:
        """Shape parameters and pose, which no two fits of different scans share."""
        pose = (self.pose.translation_mm, self.pose.axis_scale, self.pose.rotation_rad)
        return np.concatenate([self.beta.double().numpy(), *pose]).tobytes()

    def index(self, name: str) -> int:
        """The structure's place among the model's outputs.

        Raises:
            InputError: The fit does not give the structure.
        """
        if name not in self.structures:
            raise InputError("fit", f"no {name}", f"one of {', '.join(self.structures)}", "fit it, or --complete")
        return self.model.structures.index(name)

    def distances_mm(self, points_mm: Floats, name: str) -> Floats:
        """(n,) signed distances of points (n, 3) in RAS mm to a structure's surface, negative inside."""
        index = self.index(name)
        decoded = self.model.distances_mm(self.beta, world_from_model(self.model, self.pose), points_mm)[:, index]
        followed: Floats = decoded + self.residual(torch.tensor(points_mm), index).double().numpy()
        return followed

    def onto_surface(self, points_mm: Floats, name: str) -> Floats:
        """(n, 3) points near a structure's surface put onto it, RAS mm, by Newton steps along the field's gradient."""
        return self.onto_level(points_mm, name, np.zeros(len(points_mm)))

    def onto_level(self, points_mm: Floats, name: str, level_mm: Floats) -> Floats:
        """(n, 3) points put where their signed distance to a structure's surface is (n,) a given one, RAS mm."""
        posed, state = PosedModel(self.model), State.of(self.beta, self.pose)
        places, level = torch.tensor(points_mm).float(), torch.tensor(level_mm).float()
        sides = torch.full((len(places),), self.index(name))
        for _ in range(_STEPS):
            places = posed.projected(state, places, sides, self.residual, level).float()
        moved: Floats = places.double().numpy()
        return moved
