"""What a fit minimises: the decoder's values at the observed points, their derivatives, and the priors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpm.fitting.config import FitConfig
from lpm.fitting.pose import Pose, rotation_matrix, rotation_vector
from lpm.fitting.residual import Clusters, ResidualConfig, ResidualField, cells, covariance
from lpm.geometry.frames import Floats
from lpm.model.atlas import AtlasDecoder
from lpm.model.bundle import ModelBundle
from lpm.model.latents import LEAST_SLOPE
from lpm.model.warp import Box

N_POSE = 9
_FREE = 1e-8
_FIXED = 1e12
_FARTHEST_MM = 25.0
_CHUNK = 16_384
_SLOPE_STEP_MM = 4.0


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


def slope_of(field: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """How steep a field of (n, 3) points is, by central differences; at least `LEAST_SLOPE`.

    A mixture of lungs that do not quite lie on each other is flatter than a distance. Noise of a point moves its value
    by as much as the field is steep.
    """
    steps = _SLOPE_STEP_MM * torch.eye(3, dtype=points.dtype)
    differences = [(field(points + step) - field(points - step)) / (2.0 * _SLOPE_STEP_MM) for step in steps]
    slope: Tensor = torch.stack(differences).norm(dim=0).clamp_min(LEAST_SLOPE)
    return slope


class Objective:
    """Values, derivatives and prior of one observation.

    Args:
        model: Trained.
        points_mm: (n, 3) RAS mm.
        structure: (n,) index of the structure of each point, -1 where it is unknown.
        config: Prior widths.
    """

    def __init__(self, model: ModelBundle, points_mm: Floats, structure: NDArray[np.int64], config: FitConfig) -> None:
        self.model, self.config = model, config
        self.points = torch.from_numpy(points_mm).float()
        self.structure = torch.from_numpy(structure)
        k = model.latents.n_modes
        self.prior = torch.full((k + N_POSE,), 1.0, dtype=torch.float64)
        self.prior[k : k + 3] = _FREE
        self.prior[k + 3 : k + 6] = config.axis_scale_sd**-2 if config.axis_scale_sd else _FIXED
        self.prior[k + 6 :] = config.rotation_sd**-2 if config.rotation_sd else _FIXED

    def only(self, chosen: NDArray[np.int64]) -> Objective:
        """The same for some of the points."""
        points = self.points.numpy()[chosen].astype(np.float64)
        return Objective(self.model, points, self.structure.numpy()[chosen], self.config)

    def _to_model(self, state: State, points: Tensor) -> tuple[Tensor, Tensor]:
        scale = self.model.manifest.scale_mm * state.log_scale.exp()
        return (points - state.translation) @ rotation_matrix(state.rotation) / scale, scale

    def values(self, state: State, points: Tensor | None = None) -> Tensor:
        """(n, s) the decoder's values at the observed points, or at others, mm."""
        with torch.no_grad():
            inside, scale = self._to_model(state, self.points if points is None else points)
            latent = self.model.latents.to_latent(state.beta)[None]
            values: Tensor = self.model.decoder(latent, inside) * scale.log().mean().exp()
            return values

    def field(self, state: State, lower: Floats, upper: Floats, spacing_mm: float) -> Callable[[Tensor], Tensor]:
        """The decoder's values at (n, 3) points, mm, in haste: smooth displacements are interpolated (`at_latent`).

        Args:
            state: Of shape and pose.
            lower: (3,) corner of the box in the model frame that holds most of the points.
            upper: (3,) the other corner.
            spacing_mm: Of the displacements' nodes.
        """
        decoder, latent = self.model.decoder, self.model.latents.to_latent(state.beta)[None]
        if not isinstance(decoder, AtlasDecoder):
            return lambda points: self.values(state, points)
        box = Box(torch.from_numpy(lower).float(), torch.from_numpy(upper).float())
        shape = decoder.at_latent(latent, box, spacing_mm / self.model.manifest.scale_mm)

        def values(points: Tensor) -> Tensor:
            with torch.no_grad():
                inside, scale = self._to_model(state, points)
                return shape(inside) * scale.log().mean().exp()

        return values

    def sides(self, state: State) -> Tensor:
        """(n,) structures: as given, else the one that the point lies in or nearest to (the union's surface)."""
        is_known = self.structure >= 0
        return (
            self.structure if bool(is_known.all()) else self.structure.where(is_known, self.values(state).argmin(dim=1))
        )

    def slopes(self, state: State, sides: Tensor) -> Tensor:
        """(n,) how steep the field of each point's structure is there (`slope_of`)."""
        return slope_of(lambda points: self.values(state, points).gather(1, sides[:, None])[:, 0], self.points).double()

    def noise_bias(self, state: State, sides: Tensor, sd_mm: float) -> Tensor:
        """(n,) by how much noise of a standard deviation raises the values, on average, mm.

        Noise in all directions takes more points of a curved surface out of it than into it. The mean of the field over
        the noise is that of six places about the point (cubature, exact up to the third order).
        """
        steps = math.sqrt(3.0) * sd_mm * torch.cat([torch.eye(3), -torch.eye(3)])
        around = [self.values(state, self.points + step).gather(1, sides[:, None])[:, 0] for step in steps]
        return torch.stack(around).double().mean(dim=0) - self.errors(state, sides)

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
            step = (height / slope.square().sum(dim=1).clamp_min(LEAST_SLOPE**2))[:, None] * slope
            step = step * (_FARTHEST_MM / step.norm(dim=1, keepdim=True).clamp_min(1e-9)).clamp(max=1.0)
            parts.append(places.detach() - step)
        return torch.cat(parts).double()

    @cached_property
    def _cells(self) -> Tensor:
        return cells(self.points.double(), self.config.working_points)

    def clusters(self, sides: Tensor, variance: Tensor) -> Clusters:
        """Neighbours of one structure that count as one, so that the covariance stays small."""
        _, member = torch.unique(self._cells * len(self.model.structures) + sides, return_inverse=True)
        return Clusters.of(member, variance)

    def factor(self, sides: Tensor, clusters: Clusters, residual: ResidualConfig) -> Tensor:
        """(c, c) Cholesky factor of the residual's covariance plus noise; a diagonal one for the prior alone."""
        if residual.sd_mm == 0:
            return torch.diag(clusters.variance.sqrt())
        places = clusters.average(self.points.double())
        structure = torch.zeros(len(places), dtype=sides.dtype).index_copy_(0, clusters.member, sides)
        centred = places - places.mean(dim=0)
        prior = covariance(centred, centred, residual) * (structure[:, None] == structure)
        factor: Tensor = torch.linalg.cholesky(prior + torch.diag(clusters.variance))
        return factor

    def energy(self, errors: Tensor, factor: Tensor, state: State) -> float:
        """What the fit minimises: the clusters' errors by their covariance, and the prior."""
        whitened = torch.linalg.solve_triangular(factor, errors[:, None], upper=False)
        return float(whitened.square().sum() + (self.prior * state.offsets().double().square()).sum())
