"""The fit: the decoder is frozen, shape parameters and pose follow the observed points (paper III.D, IV.C).

Gauss-Newton with Levenberg-Marquardt damping on

    E(beta, t, s, w) = e' (K + D)^-1 e + |beta|^2 + |log s / axis_scale_sd|^2 + |w / rotation_sd|^2

with e the decoder's value in mm at the observed points, K the covariance of the smooth residual (`residual.py`) and D
the noise. Neighbouring points share their residual, so that many of them count for little more than one: the balance
of prior and data needs no hand-set weight and no switch, from 50 to 50,000 points. One backward pass gives every
point's derivative by its own copy of the latent, so the whole Jacobian costs one pass.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from lpm.errors import InputError
from lpm.fitting.residual import (
    Noise,
    Observed,
    ResidualConfig,
    ResidualField,
    condition,
    covariance,
    dense_patches,
    estimate_noise,
    spread_evenly,
)
from lpm.geometry.frames import Floats, WorldFromModel
from lpm.model.bundle import ModelBundle
from lpm.preparation.config import StrictModel

StopReason = Literal["plateau", "iteration limit"]
N_POSE = 9
_FREE = 1e-8
_OUTLIER = 5.0
_DOUBTFUL = 4.0
_LEAST_RESIDUAL_SHARE = 0.6
_FARTHEST_MM = 25.0
_PROJECTIONS = 2
_CHUNK = 16_384
_NOISE_MM = (0.15, 0.3, 0.6, 1.0, 1.5, 2.0, 3.0, 5.0)
_STARTS_MM = (0.0, -60.0, 60.0)
_START_SIZES = (1.0, 0.75, 1.2)
_START_STEPS = 6


class FitConfig(StrictModel):
    """How an observation is fitted."""

    max_iterations: int = Field(60, ge=1)
    tolerance: float = Field(1e-3, gt=0, description="relative gain below which the fit has reached its plateau")
    residual: ResidualConfig = ResidualConfig()
    noise_mm: float | None = Field(
        None, gt=0, description="standard deviation of a point about the surface; None to estimate it"
    )
    prior_noise_mm: float = Field(1.0, gt=0, description="a point about the model's best surface, without a residual")
    prior_points: float = Field(
        1500.0, gt=0, description="without a residual, N points count as N / (1 + N / this): their errors go together"
    )
    working_points: int = Field(1200, ge=10, description="points that shape and pose follow; the residual sees all")
    axis_scale_sd: float = Field(0.1, ge=0, description="prior on the log scale of each axis; 0 fixes the scales")
    rotation_sd: float = Field(0.2, ge=0, description="prior on the rotation about each axis, rad; 0 fixes it")

    @property
    def prior_only(self) -> bool:
        """Whether nothing follows the points beyond the model."""
        return self.residual.sd_mm == 0


@dataclass(frozen=True)
class Pose:
    """Where the shape lies, and how its axes are stretched.

    Args:
        translation_mm: (3,) world position of the model's origin.
        axis_scale: (3,) factors along the model's axes on top of its scale.
        rotation_rad: (3,) rotation vector, applied after the scales.
    """

    translation_mm: Floats
    axis_scale: Floats
    rotation_rad: Floats


@dataclass(frozen=True)
class FittedShape:
    """The end of a fit.

    Args:
        beta: (k,) shape parameters.
        pose: Translation, axis scales, rotation.
        residual: The smooth field that takes the decoder's surface to the points.
        residuals_mm: (n,) signed distance of the observed points from the fitted field.
        observed_box_mm: Lower and upper corner of the points that are no outliers.
        structure: (n,) the structure that each point was given to.
        noise_mm: Standard deviation of an ordinary point.
        n_outliers: Points that their neighbours contradict.
        precision: (k + 9, k + 9) Gauss-Newton normal matrix over beta, translation, log scales, rotation.
        iterations: Gauss-Newton steps tried.
        stop_reason: Why it stopped.
    """

    beta: Tensor
    pose: Pose
    residual: ResidualField
    residuals_mm: Floats
    observed_box_mm: tuple[Floats, Floats]
    structure: NDArray[np.int64]
    noise_mm: float
    n_outliers: int
    precision: Tensor
    iterations: int
    stop_reason: StopReason


@dataclass(frozen=True)
class _State:
    beta: Tensor
    translation: Tensor
    log_scale: Tensor
    rotation: Tensor

    def moved(self, step: Tensor) -> _State:
        k = len(self.beta)
        return _State(
            self.beta + step[:k],
            self.translation + step[k : k + 3],
            self.log_scale + step[k + 3 : k + 6],
            rotation_vector(rotation_matrix(step[k + 6 :]) @ rotation_matrix(self.rotation)),
        )

    def offsets(self) -> Tensor:
        """What the prior pulls to zero; the translation is free."""
        return torch.cat([self.beta, torch.zeros(3), self.log_scale, self.rotation])


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


class _Objective:
    """Values, derivatives and prior of one observation."""

    def __init__(
        self, model: ModelBundle, points_mm: Floats, structure: NDArray[np.int64] | None, config: FitConfig
    ) -> None:
        self.model, self.config = model, config
        self.points = torch.from_numpy(points_mm).float()
        self.structure = None if structure is None else torch.from_numpy(structure)
        k = model.latents.n_modes
        self.prior = torch.full((k + N_POSE,), 1.0, dtype=torch.float64)
        self.prior[k : k + 3] = _FREE
        self.prior[k + 3 : k + 6] = config.axis_scale_sd**-2 if config.axis_scale_sd else 1e12
        self.prior[k + 6 :] = config.rotation_sd**-2 if config.rotation_sd else 1e12

    def only(self, chosen: NDArray[np.int64]) -> _Objective:
        """The same for some of the points."""
        structure = None if self.structure is None else self.structure.numpy()[chosen]
        return _Objective(self.model, self.points.numpy()[chosen].astype(np.float64), structure, self.config)

    def _to_model(self, state: _State, points: Tensor) -> tuple[Tensor, Tensor]:
        scale = self.model.manifest.scale_mm * state.log_scale.exp()
        return (points - state.translation) @ rotation_matrix(state.rotation) / scale, scale

    def values(self, state: _State) -> Tensor:
        """(n, s) the decoder's distances at the points, mm."""
        with torch.no_grad():
            points, scale = self._to_model(state, self.points)
            latent = self.model.latents.to_latent(state.beta)[None]
            distances: Tensor = self.model.decoder(latent, points) * scale.log().mean().exp()
            return distances

    def sides(self, state: _State) -> Tensor:
        """(n,) structures: as given, else the one that the point lies in or nearest to (the union's surface)."""
        return self.values(state).argmin(dim=1) if self.structure is None else self.structure

    def errors(self, state: _State, sides: Tensor) -> Tensor:
        """(n,) each point's value on its structure, mm, float64."""
        return self.values(state).gather(1, sides[:, None])[:, 0].double()

    def linearise(self, state: _State, sides: Tensor) -> tuple[Tensor, Tensor]:
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

    def projected(self, state: _State, sides: Tensor, residual: ResidualField | None = None) -> Tensor:
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

    def energy(self, errors: Tensor, factor: Tensor, state: _State) -> float:
        whitened = torch.linalg.solve_triangular(factor, errors[:, None], upper=False)
        return float(whitened.square().sum() + (self.prior * state.offsets().double().square()).sum())


def residual_covariance(places: Tensor, sides: Tensor, config: ResidualConfig) -> Tensor:
    """(n, n) covariance of the residual between points on the surface; none between structures."""
    centred = places - places.mean(dim=0)
    return covariance(centred, centred, config) * (sides[:, None] == sides)


def fit_shape(
    model: ModelBundle, points_mm: Floats, structure: NDArray[np.int64] | None, config: FitConfig
) -> FittedShape:
    """Fit shape parameters, pose and residual to surface points.

    Args:
        model: Trained.
        points_mm: (n, 3) RAS mm, on the surface of the structures.
        structure: (n,) index of the structure of each point, or None if unknown.
        config: Prior widths and stopping.

    Returns:
        The best shape found and why the search stopped.
    """
    everything = _Objective(model, points_mm, structure, config)
    working = everything.only(spread_evenly(points_mm, config.working_points))
    search = _Search(working, _start(working))
    while search.stop_reason is None:
        search.advance()
    return _finish(everything, search)


def _finish(everything: _Objective, search: _Search) -> FittedShape:
    """Give the residual all points, each with the noise that its neighbours leave it."""
    state, config = search.state, everything.config
    sides = everything.sides(state)
    errors = everything.errors(state, sides)
    noise_mm, is_outlier = search.noise_mm, torch.zeros(len(errors), dtype=torch.bool)
    residual = ResidualField(config.residual, (), (), ())
    if not config.prior_only:
        # between working points, detail would pass for noise: patches are as dense as the points are
        noise = _estimate_noise(
            everything.only(dense_patches(everything.points.double().numpy())), state, config.noise_mm
        )
        noise_mm = noise.sd_mm
        sd_mm = max(noise.residual_sd_mm, _LEAST_RESIDUAL_SHARE * config.residual.sd_mm)
        prior = config.residual.model_copy(update={"sd_mm": sd_mm})
        points, places = everything.points.double(), everything.projected(state, sides)
        left_mm, spread_mm = search.left_out(places, sides, errors)
        is_outlier = left_mm.abs() > _OUTLIER * spread_mm
        doubt = (left_mm.abs() / (_DOUBTFUL * spread_mm)).square()
        variance = torch.where(doubt > 1.0, left_mm.square() * doubt + noise_mm**2, noise_mm**2)
        # of a point's distance to the decoder's surface this share is noise, as far as one can say before the fit
        share = noise_mm**2 / (noise_mm**2 + sd_mm**2)
        places = torch.where((doubt > 1.0)[:, None], places, points + share * (places - points))
        n_structures = len(everything.model.structures)
        residual = condition(Observed(places, sides, errors, variance), n_structures, prior)
        for _ in range(_PROJECTIONS):
            places = everything.projected(state, sides, residual)
            residual = condition(Observed(places, sides, errors, variance), n_structures, prior)
    ordinary = everything.points[~is_outlier].double()
    return FittedShape(
        beta=state.beta,
        pose=Pose(
            state.translation.double().numpy(), state.log_scale.exp().double().numpy(), state.rotation.double().numpy()
        ),
        residual=residual,
        residuals_mm=(errors + residual.at(everything.points.double(), sides)).numpy(),
        observed_box_mm=(ordinary.amin(dim=0).numpy(), ordinary.amax(dim=0).numpy()),
        structure=sides.numpy(),
        noise_mm=noise_mm,
        n_outliers=int(is_outlier.sum()),
        precision=search.normal,
        iterations=search.iterations,
        stop_reason=search.stop_reason or "iteration limit",
    )


def _estimate_noise(objective: _Objective, state: _State, known: float | None) -> Noise:
    """Noise of the points of an objective, by what their neighbours predict; outliers alone if it is known."""
    sides = objective.sides(state)
    errors, places = objective.errors(state, sides), objective.projected(state, sides)
    residual = objective.config.residual
    correlation = residual_covariance(places, sides, residual) / residual.sd_mm**2
    return estimate_noise(errors, correlation, residual, (known,) if known else _NOISE_MM)


def _start(objective: _Objective) -> _State:
    """Where the search begins: a few steps from several places, and on from the best.

    Tried: the mean lungs, smaller and larger ones, with their centre (that of the structures seen, or of one structure
    if sides are unknown) at the points' own, and above and below for points that show only a part. The three that lie
    nearest to the points are followed for a few steps on some of the points.
    """
    model, points = objective.model, objective.points
    centers = [model.centers.mean(axis=0), *model.centers]
    if objective.structure is not None:
        centers = [model.centers[objective.structure.numpy()].mean(axis=0)]
    middle = 0.5 * (points.mean(dim=0) + points.median(dim=0).values)
    states = []
    for center, up_mm, size in itertools.product(centers, _STARTS_MM, _START_SIZES):
        offset = size * model.manifest.scale_mm * torch.from_numpy(center).float()
        translation = middle - offset + torch.tensor([0.0, 0.0, up_mm])
        log_scale = torch.full((3,), math.log(size)) if objective.config.axis_scale_sd else torch.zeros(3)
        states.append(_State(torch.zeros(model.latents.n_modes), translation, log_scale, torch.zeros(3)))
    few = objective.only(spread_evenly(points.numpy().astype(np.float64), 300))
    states.sort(key=lambda state: float(few.errors(state, few.sides(state)).abs().mean()))
    searches = [_Search(few, state) for state in states[:3]]
    for search in searches:
        for _ in range(_START_STEPS):
            search.advance()
    return min(searches, key=lambda search: search.cost()).state


class _Search:
    """Levenberg-Marquardt; noise and outliers are estimated once the shape has settled."""

    def __init__(self, objective: _Objective, state: _State) -> None:
        self.objective, self.state = objective, state
        config, n = objective.config, len(objective.points)
        self.noise_mm = config.noise_mm or 1.0
        if config.prior_only:
            self.noise_mm = config.prior_noise_mm * (1.0 + n / config.prior_points) ** 0.5
        self.sides = objective.sides(state)
        self.errors = objective.errors(state, self.sides)
        self.variance = self._robust()
        self.normal = torch.diag(objective.prior)
        self.damping, self.quiet, self.iterations, self.settled = 1e-2, 0, 0, 0
        self.stop_reason: StopReason | None = None

    def cost(self) -> float:
        """Robust cost by which starts are compared: mean error, and what the prior makes of the shape."""
        prior = float((self.objective.prior * self.state.offsets().double().square()).sum())
        return float(self.errors.abs().mean()) + 0.02 * prior

    def _robust(self) -> Tensor:
        """Noise variances by which far points pull less and less; how far that is follows the errors down."""
        width = max(2.0, 3.0 * float(self.errors.abs().median()))
        return self.noise_mm**2 * (self.errors.abs() / width).clamp(min=1.0) ** 4

    def advance(self) -> None:
        """Try one step; keep it if the energy falls."""
        objective, config = self.objective, self.objective.config
        values, jacobian = objective.linearise(self.state, self.sides)
        factor = objective.factor(self.sides, self.variance)
        before = objective.energy(values, factor, self.state)
        if not np.isfinite(before):
            raise InputError("fit", "the energy is not finite", hint="check the points' frame and unit")
        whitened = torch.linalg.solve_triangular(factor, torch.cat([values[:, None], jacobian], dim=1), upper=False)
        error, slope = whitened[:, 0], whitened[:, 1:]
        self.normal = slope.T @ slope + torch.diag(objective.prior)
        gradient = slope.T @ error + objective.prior * self.state.offsets().double()
        gain = self._try(gradient, factor, before)
        self.iterations += 1
        self.quiet = self.quiet + 1 if gain < config.tolerance else 0
        if self.quiet >= 2:
            self._settle()
        elif self.iterations >= config.max_iterations:
            self.stop_reason = "iteration limit"

    def _try(self, gradient: Tensor, factor: Tensor, before: float) -> float:
        """Damp until the energy falls; the relative gain, 0 if it never does."""
        for _ in range(4):
            damped = self.normal + self.damping * torch.diag(self.normal.diagonal())
            candidate = self.state.moved(torch.linalg.solve(damped, -gradient).float())
            errors = self.objective.errors(candidate, self.sides)
            after = self.objective.energy(errors, factor, candidate)
            if np.isfinite(after) and after < before:
                self.damping = max(self.damping / 5.0, 1e-6)
                self._take(candidate)
                return (before - after) / before
            self.damping = min(self.damping * 8.0, 1e6)
        return 0.0

    def _take(self, state: _State) -> None:
        self.state = state
        self.sides = self.objective.sides(state)
        self.errors = self.objective.errors(state, self.sides)
        if self.settled == 0:
            self.variance = self._robust()

    def _settle(self) -> None:
        """On a plateau: estimate noise and outliers from the neighbours, go on, and stop on the next plateau."""
        if self.settled == 2 or self.objective.config.prior_only:
            self.stop_reason = "plateau"
            return
        self.settled, self.quiet = self.settled + 1, 0
        if self.settled == 1:
            few = self.objective.only(spread_evenly(self.objective.points.double().numpy(), 400))
            self.noise_mm = _estimate_noise(few, self.state, self.objective.config.noise_mm).sd_mm
        self.variance = _estimate_noise(self.objective, self.state, self.noise_mm).variance

    def left_out(self, places: Tensor, sides: Tensor, errors: Tensor) -> tuple[Tensor, float]:
        """(n,) how far points lie from what the working points predict, mm, and how far ordinary ones do."""
        objective = self.objective
        seen = Observed(objective.projected(self.state, self.sides), self.sides, self.errors, self.variance)
        found = condition(seen, len(objective.model.structures), objective.config.residual)
        own = self.errors + found.at(seen.places, self.sides)
        return errors + found.at(places, sides), max(self.noise_mm, 1.4826 * float(own.abs().median()), 1.0)


def derivatives(model: ModelBundle, shape: FittedShape, points_mm: Tensor, structure: int) -> Tensor:
    """(n, k + 9) derivatives of a structure's field at (n, 3) world points by beta, translation, scales, rotation."""
    sides = np.full(len(points_mm), structure, dtype=np.int64)
    objective = _Objective(model, points_mm.double().numpy(), sides, FitConfig())
    pose = shape.pose
    state = _State(
        shape.beta,
        torch.from_numpy(pose.translation_mm).float(),
        torch.from_numpy(np.log(pose.axis_scale)).float(),
        torch.from_numpy(pose.rotation_rad).float(),
    )
    return objective.linearise(state, torch.from_numpy(sides))[1]


def world_from_model(model: ModelBundle, pose: Pose) -> WorldFromModel:
    """The pose as a transform."""
    rotation = rotation_matrix(torch.from_numpy(pose.rotation_rad)).numpy()
    return replace(model.world_from_model(pose.translation_mm, pose.axis_scale), rotation=rotation)
