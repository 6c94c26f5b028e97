"""What a fit minimises: the decoder's values at the observed points, their derivatives, and the priors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpm.fitting.config import FitConfig
from lpm.fitting.pose import Pose, rotation_matrix, rotation_vector
from lpm.fitting.residual import ResidualConfig, ResidualField, covariance
from lpm.geometry.frames import Floats
from lpm.model.bundle import ModelBundle

N_POSE = 9
_FREE = 1e-8
_FIXED = 1e12
_FARTHEST_MM = 25.0
_CHUNK = 16_384


@dataclass(frozen=True)
class State:
    """Shape parameters (k,), translation (3,) mm, log axis scales (3,), rotation vector (3,) rad."""

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
        return cls(beta, *(torch.from_numpy(value).float() for value in values))

    def pose(self) -> Pose:
        """Where the shape lies."""
        translation, log_scale, rotation = (
            value.double().numpy() for value in (self.translation, self.log_scale, self.rotation)
        )
        return Pose(translation, np.exp(log_scale), rotation)

    def offsets(self) -> Tensor:
        """What the prior pulls to zero; the translation is free."""
        return torch.cat([self.beta, torch.zeros(3), self.log_scale, self.rotation])


class Objective:
    """Values, derivatives and prior of one observation.

    Args:
        model: Trained.
        points_mm: (n, 3) RAS mm.
        structure: (n,) index of the structure of each point, or None if unknown.
        config: Prior widths.
    """

    def __init__(
        self, model: ModelBundle, points_mm: Floats, structure: NDArray[np.int64] | None, config: FitConfig
    ) -> None:
        self.model, self.config = model, config
        self.points = torch.from_numpy(points_mm).float()
        self.structure = None if structure is None else torch.from_numpy(structure)
        k = model.latents.n_modes
        self.prior = torch.full((k + N_POSE,), 1.0, dtype=torch.float64)
        self.prior[k : k + 3] = _FREE
        self.prior[k + 3 : k + 6] = config.axis_scale_sd**-2 if config.axis_scale_sd else _FIXED
        self.prior[k + 6 :] = config.rotation_sd**-2 if config.rotation_sd else _FIXED

    def only(self, chosen: NDArray[np.int64]) -> Objective:
        """The same for some of the points."""
        structure = None if self.structure is None else self.structure.numpy()[chosen]
        return Objective(self.model, self.points.numpy()[chosen].astype(np.float64), structure, self.config)

    def _to_model(self, state: State, points: Tensor) -> tuple[Tensor, Tensor]:
        scale = self.model.manifest.scale_mm * state.log_scale.exp()
        return (points - state.translation) @ rotation_matrix(state.rotation) / scale, scale

    def values(self, state: State) -> Tensor:
        """(n, s) the decoder's distances at the points, mm."""
        with torch.no_grad():
            points, scale = self._to_model(state, self.points)
            latent = self.model.latents.to_latent(state.beta)[None]
            distances: Tensor = self.model.decoder(latent, points) * scale.log().mean().exp()
            return distances

    def sides(self, state: State) -> Tensor:
        """(n,) structures: as given, else the one that the point lies in or nearest to (the union's surface)."""
        return self.values(state).argmin(dim=1) if self.structure is None else self.structure

    def errors(self, state: State, sides: Tensor) -> Tensor:
        """(n,) each point's value on its structure, mm, float64."""
        return self.values(state).gather(1, sides[:, None])[:, 0].double()

    def linearise(self, state: State, sides: Tensor) -> tuple[Tensor, Tensor]:
        """Values (n,) and their derivatives (n, k + 9) by beta, translation, log scales and rotation, float64."""
        points, scale = self._to_model(state, self.points)
        points.requires_grad_()
        latent = self.model.latents.to_latent(state.beta).expand(len(points), -1).detach().requires_grad_()
        mean_scale = scale.log().mean().exp()
        values = self.model.decoder(latent, points).gather(1, sides[:, None])[:, 0] * mean_scale
        by_latent, by_point = torch.autograd.grad(values.sum(), (latent, points))
        by_scale = -by_point * points.detach() + values.detach()[:, None] / 3.0
        by_place = (by_point / scale) @ rotation_matrix(state.rotation).T
        by_rotation = -torch.linalg.cross(self.points - state.translation, by_place)
        jacobian = torch.cat([by_latent @ self.model.latents.basis, -by_place, by_scale, by_rotation], dim=1)
        return values.detach().double(), jacobian.double()

    def projected(self, state: State, sides: Tensor, residual: ResidualField | None = None) -> Tensor:
        """(n, 3) where the points would lie on the surface, world mm, float64.

        Residuals are compared there. At the points themselves, noise would pass for a residual that undoes the field
        along its normal: r = -f explains every point, and leaves no surface.
        """
        parts = []
        for chosen in torch.arange(len(self.points)).split(_CHUNK):
            places = self.points[chosen].clone().requires_grad_()
            inside, scale = self._to_model(state, places)
            latent = self.model.latents.to_latent(state.beta)[None]
            values = self.model.decoder(latent, inside).gather(1, sides[chosen][:, None])[:, 0]
            values = values * scale.log().mean().exp()
            (slope,) = torch.autograd.grad(values.sum(), places)
            height = values.detach()
            if residual is not None:
                height = height + residual.at(places.detach(), sides[chosen])
            step = (height / slope.square().sum(dim=1).clamp_min(0.25))[:, None] * slope
            step = step * (_FARTHEST_MM / step.norm(dim=1, keepdim=True).clamp_min(1e-9)).clamp(max=1.0)
            parts.append(places.detach() - step)
        return torch.cat(parts).double()

    def factor(self, sides: Tensor, variance: Tensor) -> Tensor:
        """(n, n) Cholesky factor of the residual's covariance plus noise; a diagonal one for the prior alone."""
        if self.config.prior_only:
            return torch.diag(variance.sqrt())
        prior = residual_covariance(self.points.double(), sides, self.config.residual)
        factor: Tensor = torch.linalg.cholesky(prior + torch.diag(variance))
        return factor

    def energy(self, errors: Tensor, factor: Tensor, state: State) -> float:
        """What the fit minimises: the errors by their covariance, and the prior."""
        whitened = torch.linalg.solve_triangular(factor, errors[:, None], upper=False)
        return float(whitened.square().sum() + (self.prior * state.offsets().double().square()).sum())


def residual_covariance(places: Tensor, sides: Tensor, config: ResidualConfig) -> Tensor:
    """(n, n) covariance of the residual between points on the surface; none between structures."""
    centred = places - places.mean(dim=0)
    return covariance(centred, centred, config) * (sides[:, None] == sides)
