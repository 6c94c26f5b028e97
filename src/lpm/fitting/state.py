"""What a fit searches for in the model: shape parameters and pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lpm.fitting.pose import Pose, rotation_matrix, rotation_vector
from lpm.model.bundle import ModelBundle

N_POSE = 9  # translation, log axis scales, rotation


@dataclass(frozen=True, eq=False)
class State:
    """Shape parameters and pose, as the search moves them.

    Args:
        beta: (k,) shape parameters.
        translation: (3,) mm.
        log_scale: (3,) logarithms of the axis scales.
        rotation: (3,) rotation vector, rad.
    """

    beta: Tensor
    translation: Tensor
    log_scale: Tensor
    rotation: Tensor

    def moved(self, step: Tensor) -> State:
        """The state a step (k + 9,) away; rotations are composed, not added."""
        k = len(self.beta)
        return State(
            self.beta + step[:k],
            self.translation + step[k : k + 3],
            self.log_scale + step[k + 3 : k + 6],
            rotation_vector(rotation_matrix(step[k + 6 :]) @ rotation_matrix(self.rotation)),
        )

    @classmethod
    def of(cls, beta: Tensor, pose: Pose) -> State:
        """The state of a finished fit."""
        values = (pose.translation_mm, np.log(pose.axis_scale), pose.rotation_rad)
        return cls(beta, *(torch.tensor(np.asarray(value)).float() for value in values))

    @classmethod
    def mean(cls, model: ModelBundle, translation: Tensor, size: float = 1.0) -> State:
        """The mean shape, scaled, its model frame's origin at a place (3,) in mm."""
        log_scale = torch.full((3,), float(np.log(size)))
        return cls(torch.zeros(model.latents.n_modes), translation, log_scale, torch.zeros(3))

    def pose(self) -> Pose:
        """Pose of the state."""
        translation, log_scale, rotation = (
            value.double().numpy() for value in (self.translation, self.log_scale, self.rotation)
        )
        return Pose(translation, np.exp(log_scale), rotation)

    def offsets(self) -> Tensor:
        """(k + 9,) deviations from the prior's mean; 0 for the translation, which is free."""
        return torch.cat([self.beta, torch.zeros(3), self.log_scale, self.rotation])
