"""Where a fitted shape lies in the world: translation, rotation, axis scales."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lpm.geometry.arrays import ComparedByContent, read_only_arrays
from lpm.geometry.frames import Floats, WorldFromModel
from lpm.model.bundle import ModelBundle


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Pose(ComparedByContent):
    """Pose of a shape: translation, rotation and axis scales.

    Args:
        translation_mm: (3,) world position of the model's origin.
        axis_scale: (3,) factors along the model's axes on top of its scale.
        rotation_rad: (3,) rotation vector, applied after the scales.
    """

    translation_mm: Floats
    axis_scale: Floats
    rotation_rad: Floats

    @classmethod
    def nothing(cls) -> Pose:
        """The identity: at the world's origin, not scaled and not rotated."""
        return cls(np.zeros(3), np.ones(3), np.zeros(3))


def rotation_matrix(vector: Tensor) -> Tensor:
    """(3, 3) rotation about a vector by its length in rad."""
    x, y, z = vector
    zero = torch.zeros_like(x)
    rotation: Tensor = torch.linalg.matrix_exp(torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3))
    return rotation


def rotation_vector(rotation: Tensor) -> Tensor:
    """(3,) rotation vector of a rotation by less than a half turn."""
    skew = torch.stack(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    sine, cosine = 0.5 * skew.norm(), 0.5 * (rotation.trace() - 1.0)
    angle = torch.atan2(sine, cosine)
    return skew * torch.where(sine > 1e-6, angle / (2.0 * sine).clamp_min(1e-12), torch.tensor(0.5))


def world_from_model(model: ModelBundle, pose: Pose) -> WorldFromModel:
    """Return the pose as a transform from the model frame to the world."""
    rotation = rotation_matrix(torch.tensor(pose.rotation_rad)).numpy()
    return replace(model.world_from_model(pose.translation_mm, pose.axis_scale), rotation=rotation)
