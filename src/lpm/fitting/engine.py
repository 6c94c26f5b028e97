"""The fit: the network is frozen, shape parameters and pose follow the observed points (paper III.D, IV.C).

Gauss-Newton with Levenberg-Marquardt damping on

    E(beta, t, s) = share * sum_i rho(r_i / noise) + |beta|^2 + |log s / axis_scale_sd|^2

with r_i the field's value in mm at observed point i. One backward pass gives every point's derivative by its own
copy of the latent, so the whole Jacobian costs one pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from lpm.errors import InputError
from lpm.geometry.frames import Floats, WorldFromModel
from lpm.model.bundle import ModelBundle
from lpm.preparation.config import StrictModel

StopReason = Literal["plateau", "iteration limit"]


class FitConfig(StrictModel):
    """How an observation is fitted."""

    max_iterations: int = Field(60, ge=1)
    tolerance: float = Field(1e-4, gt=0, description="relative gain below which the fit has reached its plateau")
    noise_mm: float = Field(1.0, gt=0, description="standard deviation of a point about the model's best surface")
    independent_points: float = Field(
        1500.0, gt=0, description="errors of neighbouring points go together: N points count as N / (1 + N / this)"
    )
    axis_scale_sd: float = Field(0.1, ge=0, description="prior on the log scale of each axis; 0 fixes the scales")


@dataclass(frozen=True)
class Pose:
    """Where the shape lies, and how its axes are stretched.

    Args:
        translation_mm: (3,) world position of the model's origin.
        axis_scale: (3,) factors along R, A, S on top of the model's scale.
    """

    translation_mm: Floats
    axis_scale: Floats


@dataclass(frozen=True)
class FittedShape:
    """The end of a fit.

    Args:
        beta: (k,) shape parameters.
        pose: Translation and axis scales.
        residuals_mm: (n,) signed distance of the observed points from the fitted field.
        iterations: Gauss-Newton steps tried.
        stop_reason: Why it stopped.
    """

    beta: Tensor
    pose: Pose
    residuals_mm: Floats
    iterations: int
    stop_reason: StopReason


@dataclass(frozen=True)
class _State:
    beta: Tensor
    translation: Tensor
    log_scale: Tensor

    def moved(self, step: Tensor) -> _State:
        k = len(self.beta)
        return _State(self.beta + step[:k], self.translation + step[k : k + 3], self.log_scale + step[k + 3 :])


class _Objective:
    """Energy, residuals and normal equations of one observation."""

    def __init__(
        self, model: ModelBundle, points_mm: Floats, structure: NDArray[np.int64] | None, config: FitConfig
    ) -> None:
        self.model, self.config = model, config
        self.points = torch.from_numpy(points_mm).float()
        self.structure = None if structure is None else torch.from_numpy(structure)
        self.share = 1.0 / (1.0 + len(points_mm) / config.independent_points)
        self.n_pose = 6 if config.axis_scale_sd > 0 else 3

    def _to_model(self, state: _State) -> tuple[Tensor, Tensor]:
        scale = self.model.manifest.scale_mm * state.log_scale.exp()
        return (self.points - state.translation) / scale, scale

    def _pick(self, distances: Tensor) -> Tensor:
        """A point of unknown side lies on the union's surface; the union is the least distance."""
        if self.structure is None:
            return distances.amin(dim=-1)
        return distances.gather(1, self.structure[:, None]).squeeze(1)

    def residuals(self, state: _State) -> Tensor:
        with torch.no_grad():
            points, scale = self._to_model(state)
            latent = self.model.latents.to_latent(state.beta)[None]
            return self._pick(self.model.decoder(latent, points)) * scale.log().mean().exp()

    def prior(self, state: _State) -> float:
        sd = self.config.axis_scale_sd or 1.0
        return float(state.beta.square().sum() + (state.log_scale / sd).square().sum())

    def energy(self, residuals: Tensor, state: _State, width_mm: float) -> float:
        huber = torch.where(
            residuals.abs() <= width_mm, residuals.square(), 2 * width_mm * residuals.abs() - width_mm**2
        )
        return self.share * float(huber.sum()) / self.config.noise_mm**2 + self.prior(state)

    def linearise(self, state: _State) -> tuple[Tensor, Tensor]:
        """Residuals (n,) and their derivatives (n, k + 6) by beta, translation and log scales."""
        points, scale = self._to_model(state)
        points.requires_grad_()
        latent = self.model.latents.to_latent(state.beta).expand(len(points), -1).detach().requires_grad_()
        mean_scale = scale.log().mean().exp()
        values = self._pick(self.model.decoder(latent, points)) * mean_scale
        by_latent, by_point = torch.autograd.grad(values.sum(), (latent, points))
        by_scale = -by_point * points.detach() + values.detach()[:, None] / 3.0
        jacobian = torch.cat([by_latent @ self.model.latents.basis, -by_point / scale, by_scale], dim=1)
        return values.detach(), jacobian[:, : len(state.beta) + self.n_pose]

    def step(self, state: _State, linear: tuple[Tensor, Tensor], width_mm: float, damping: float) -> Tensor:
        """Solve the damped normal equations in double precision."""
        residuals, jacobian = linear[0].double(), linear[1].double()
        weight = self.share / self.config.noise_mm**2 * (width_mm / residuals.abs().clamp_min(1e-9)).clamp_max(1.0)
        k = len(state.beta)
        precision = torch.zeros(jacobian.shape[1], dtype=torch.float64)
        precision[:k] = 1.0
        offset = torch.zeros_like(precision)
        offset[:k] = state.beta.double()
        if self.n_pose == 6:
            precision[k + 3 :] = self.config.axis_scale_sd**-2
            offset[k + 3 :] = precision[k + 3 :] * state.log_scale.double()
        normal = jacobian.T @ (weight[:, None] * jacobian) + torch.diag(precision)
        normal += damping * torch.diag(normal.diagonal())
        step = torch.linalg.solve(normal, -(jacobian.T @ (weight * residuals) + offset)).float()
        return torch.cat([step, step.new_zeros(k + 6 - len(step))])


def fit_shape(
    model: ModelBundle, points_mm: Floats, structure: NDArray[np.int64] | None, config: FitConfig
) -> FittedShape:
    """Fit shape parameters and pose to surface points.

    Args:
        model: Trained.
        points_mm: (n, 3) RAS mm, on the surface of the structures.
        structure: (n,) index of the structure of each point, or None if unknown.
        config: Prior widths and stopping.

    Returns:
        The best shape found and why the search stopped.
    """
    objective = _Objective(model, points_mm, structure, config)
    search = _Search(objective, _start(model, points_mm, structure))
    while search.stop_reason is None:
        search.advance()
    state = search.state
    pose = Pose(state.translation.double().numpy(), state.log_scale.exp().double().numpy())
    return FittedShape(state.beta, pose, search.residuals.double().numpy(), search.iterations, search.stop_reason)


def _start(model: ModelBundle, points_mm: Floats, structure: NDArray[np.int64] | None) -> _State:
    """The mean shape, placed so that its surface's centre (of the structures seen) lies at the points' centre."""
    seen = model.centers.mean(axis=0) if structure is None else model.centers[structure].mean(axis=0)
    center = points_mm.mean(axis=0) - model.manifest.scale_mm * seen
    return _State(torch.zeros(model.latents.n_modes), torch.from_numpy(center).float(), torch.zeros(3))


class _Search:
    """Levenberg-Marquardt with a Huber width that follows the residuals down."""

    def __init__(self, objective: _Objective, state: _State) -> None:
        self.objective, self.state = objective, state
        self.residuals = objective.residuals(state)
        self.damping, self.quiet, self.iterations = 1e-2, 0, 0
        self.stop_reason: StopReason | None = None

    def advance(self) -> None:
        """Try one step; keep it if the energy falls."""
        config = self.objective.config
        width = max(2.0 * config.noise_mm, 3.0 * float(self.residuals.abs().median()))
        before = self.objective.energy(self.residuals, self.state, width)
        step = self.objective.step(self.state, self.objective.linearise(self.state), width, self.damping)
        candidate = self.state.moved(step)
        trial = self.objective.residuals(candidate)
        after = self.objective.energy(trial, candidate, width)
        if not np.isfinite(before):
            raise InputError("fit", "the energy is not finite", hint="check the points' frame and unit")
        gain = (before - after) / before if np.isfinite(after) else -1.0
        if gain > 0:
            self.state, self.residuals, self.damping = candidate, trial, max(self.damping / 5.0, 1e-6)
        else:
            self.damping = min(self.damping * 8.0, 1e6)
        self.iterations += 1
        self.quiet = self.quiet + 1 if gain < config.tolerance else 0
        if self.quiet >= 3:
            self.stop_reason = "plateau"
        elif self.iterations >= config.max_iterations:
            self.stop_reason = "iteration limit"


def world_from_model(model: ModelBundle, pose: Pose) -> WorldFromModel:
    """The pose as a transform."""
    return model.world_from_model(pose.translation_mm, pose.axis_scale)
