"""The model at a state: its signed distances in the world, and their derivatives by shape and pose."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lpm.calibration import number
from lpm.fitting.discrepancy.residual import ResidualField
from lpm.fitting.pose import rotation_matrix
from lpm.fitting.state import State
from lpm.geometry.frames import Floats
from lpm.model.bundle import ModelBundle
from lpm.model.latents import LEAST_SLOPE

_FARTHEST_MM = 25.0  # longest step of a projection: beyond it the field is no longer a distance
_CHUNK = 16_384  # points a pass; bounds memory
_SLOPE_STEP_MM = number("fitting.slope_step_mm")


def slope_of(field: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """How steep a field of (n, 3) points is, by central differences; at least `LEAST_SLOPE`.

    A mixture of lungs that do not quite lie on each other is flatter than a distance. Noise of a point moves its value
    by as much as the field is steep.
    """
    steps = _SLOPE_STEP_MM * torch.eye(3, dtype=points.dtype)
    differences = [(field(points + step) - field(points - step)) / (2.0 * _SLOPE_STEP_MM) for step in steps]
    slope: Tensor = torch.stack(differences).norm(dim=0).clamp_min(LEAST_SLOPE)
    return slope


@dataclass(frozen=True, eq=False)
class PosedModel:
    """Signed distances of a model's structures at any state.

    Args:
        model: Trained; its decoder stays as it is (paper III.D).
    """

    model: ModelBundle

    def _to_model(self, state: State, points: Tensor) -> tuple[Tensor, Tensor]:
        scale = self.model.manifest.scale_mm * state.log_scale.exp()
        return (points - state.translation) @ rotation_matrix(state.rotation) / scale, scale

    def values(self, state: State, points: Tensor) -> Tensor:
        """(n, s) signed distances at (n, 3) world points, mm."""
        with torch.no_grad():
            inside, scale = self._to_model(state, points)
            latent = self.model.latents.to_latent(state.beta)[None]
            values: Tensor = self.model.decoder(latent, inside) * scale.log().mean().exp()
            return values

    def own_values(self, state: State, points: Tensor, sides: Tensor) -> Tensor:
        """(n,) each point's value on its own structure, mm, float64."""
        return self.values(state, points).gather(1, sides[:, None])[:, 0].double()

    def interpolated(self, state: State, lower: Floats, upper: Floats, spacing_mm: float) -> Callable[[Tensor], Tensor]:
        """The values as a function of (n, 3) points, faster: an atlas's smooth displacements are interpolated.

        Args:
            state: Shape and pose.
            lower: (3,) corner of the box in the model frame that holds most of the points.
            upper: (3,) the other corner.
            spacing_mm: Spacing of the displacements' nodes.
        """
        shape = self.model.shape_field(state.beta, lower, upper, spacing_mm)

        def values(points: Tensor) -> Tensor:
            with torch.no_grad():
                inside, scale = self._to_model(state, points)
                return shape(inside) * scale.log().mean().exp()

        return values

    def linearise(self, state: State, points: Tensor, sides: Tensor) -> tuple[Tensor, Tensor]:
        """Values (n,) on each point's structure, and their derivatives (n, k + 9) by the state, float64.

        One backward pass gives every point's derivative by its own copy of the latent.
        """
        inside, scale = self._to_model(state, points)
        inside.requires_grad_()
        latent = self.model.latents.to_latent(state.beta).expand(len(points), -1).detach().requires_grad_()
        values = self.model.decoder(latent, inside).gather(1, sides[:, None])[:, 0] * scale.log().mean().exp()
        by_latent, by_point = torch.autograd.grad(values.sum(), (latent, inside))
        by_scale = -by_point * inside.detach() + values.detach()[:, None] / 3.0
        by_place = (by_point / scale) @ rotation_matrix(state.rotation).T
        by_rotation = -torch.linalg.cross(points - state.translation, by_place)
        jacobian = torch.cat([by_latent @ self.model.latents.basis, -by_place, by_scale, by_rotation], dim=1)
        return values.detach().double(), jacobian.double()

    def slopes(self, state: State, points: Tensor, sides: Tensor) -> Tensor:
        """(n,) how steep the field of each point's structure is there (`slope_of`), float64."""
        return slope_of(lambda at: self.values(state, at).gather(1, sides[:, None])[:, 0], points).double()

    def noise_bias(self, state: State, points: Tensor, sides: Tensor, sd_mm: float) -> Tensor:
        """(n,) by how much noise of a standard deviation raises the values, on average, mm.

        Noise in all directions takes more points of a curved surface out of it than into it. The mean of the field over
        the noise is that of six places about the point (cubature, exact up to the third order).
        """
        steps = math.sqrt(3.0) * sd_mm * torch.cat([torch.eye(3), -torch.eye(3)])
        around = [self.own_values(state, points + step, sides) for step in steps]
        return torch.stack(around).mean(dim=0) - self.own_values(state, points, sides)

    def projected(
        self,
        state: State,
        points: Tensor,
        sides: Tensor,
        residual: ResidualField | None = None,
        level_mm: Tensor | None = None,
    ) -> Tensor:
        """(n, 3) where the points would lie on the surface, world mm, float64: one Newton step along the gradient.

        In place of the surface, each point can have a level (n,) of the field, in mm, to which it goes.

        Residuals are compared there. At the points themselves, noise would pass for a residual that undoes the field
        along its normal: r = -f explains every point, and leaves no surface.
        """
        parts = []
        for chosen in torch.arange(len(points)).split(_CHUNK):
            places = points[chosen].clone().requires_grad_()
            inside, scale = self._to_model(state, places)
            latent = self.model.latents.to_latent(state.beta)[None]
            values = self.model.decoder(latent, inside).gather(1, sides[chosen][:, None])[:, 0]
            values = values * scale.log().mean().exp()
            (slope,) = torch.autograd.grad(values.sum(), places)
            height = values.detach()
            if residual is not None:
                height = height + residual.at(places.detach(), sides[chosen])
            if level_mm is not None:
                height = height - level_mm[chosen]
            step = (height / slope.square().sum(dim=1).clamp_min(LEAST_SLOPE**2))[:, None] * slope
            step = step * (_FARTHEST_MM / step.norm(dim=1, keepdim=True).clamp_min(1e-9)).clamp(max=1.0)
            parts.append(places.detach() - step)
        return torch.cat(parts).double()
