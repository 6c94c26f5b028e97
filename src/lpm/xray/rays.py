"""Fit of shape and pose to how much lung each ray of a radiograph passes, by differentiable projection (paper IV.C).

The ray of pixel p passes the length L(p) = integral of s(f / w) through a structure of signed distance f, where s is a
step from 1 inside to 0 outside, softened over w, a few millimetres. Gauss-Newton with Levenberg-Marquardt damping on

    E = d' C^-1 d + |beta|^2 + |log s / axis_scale_sd|^2 + |w / rotation_sd|^2 + |g / gain_sd|^2
    d = (1 + g) L - L_seen

with C the covariance of the errors of what a picture says: they go together over centimetres, so that thousands of
pixels count for no more than they know. What is too long or too short in all of a picture is the factor 1 + g, fitted
too and taken out of the posterior; as a part of C it would draw all lungs to nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpm.errors import InputError
from lpm.fitting.config import FitConfig
from lpm.fitting.pose import world_from_model
from lpm.fitting.posed import Objective, State
from lpm.fitting.residual import ResidualConfig, ResidualField
from lpm.fitting.search import FittedShape, StopReason
from lpm.geometry.frames import Floats, ModelPoints
from lpm.geometry.projection import View
from lpm.model.bundle import ModelBundle
from lpm.xray.drr import Rays, rays_of

_STEP_MM = 6.0
_SOFT_MM = 2.0
# volumes of six training subjects, by an atlas of the others: 1.2 (one view) and 1.1 (two) of the stated sd (rms)
_SPREAD = 1.2
_NEAR_MM = 4.0 * _SOFT_MM
_MARGIN_MM = 25.0
_OWN_SHARE = 0.05
_CHUNK = 16_384
_WARP_MM = 16.0  # nodes of the smooth displacements: the shortest change over 35 mm
_MOST_STEPS = 40
_SIZES = (0.85, 1.0, 1.15)
_DEPTH_WEIGHT = 0.1  # of where the patient should stand, beside where the picture shows that he does


@dataclass(frozen=True)
class SeenPaths:
    """What one radiograph says of the lengths of its rays in the lungs.

    Args:
        view: Geometry of the picture.
        pixels: (n, 2) row and column of the rays.
        paths_mm: (n, c) length in each channel.
        channels: The structures, by index, that each channel adds up.
        sd_mm: (n, c) standard deviation of each length's error. At an outline, where lengths change by 100 mm within a
            few, it must allow for the model's softness, some 4 mm across; else its glow passes for lung.
        reach_mm: Over which errors of neighbouring rays go together, in the patient.
        gain_sd: Standard deviation of g, by which all lengths of the picture are too long or too short.
        patient_detector_mm: From the patient's middle to the detector, where the search starts; of no consequence to
            a parallel beam.
    """

    view: View
    pixels: Floats
    paths_mm: Floats
    channels: tuple[tuple[int, ...], ...]
    sd_mm: Floats
    reach_mm: float
    gain_sd: float
    patient_detector_mm: float | None = None

    @cached_property
    def factor(self) -> Tensor:
        """(n c, n c) Cholesky factor of the covariance C, channel by channel."""
        places = torch.from_numpy(np.array(self.places_mm(self.pixels)))
        kernel = (-torch.cdist(places, places) / self.reach_mm).exp() + _OWN_SHARE * torch.eye(len(places))
        sd = torch.from_numpy(np.array(self.sd_mm, dtype=np.float64)).T
        factors = [torch.linalg.cholesky(kernel * column[:, None] * column) for column in sd]
        factor: Tensor = torch.block_diag(*factors)
        return factor

    @property
    def flat_mm(self) -> Tensor:
        """(n c,) the lengths, channel by channel."""
        return torch.from_numpy(np.array(self.paths_mm, dtype=np.float64)).T.reshape(-1)

    def places_mm(self, pixels: Floats) -> Floats:
        """(n, 3) where the rays of (n, 2) pixels pass the patient's middle; of a parallel beam, meet the detector."""
        places, source = self.view.places_mm(pixels), self.view.source_mm
        if source is None or self.patient_detector_mm is None:
            return places
        share = self.patient_detector_mm / ((places - source) @ self.view.beam)
        return np.asarray(places + share[:, None] * (source - places))

    def middle(self) -> tuple[Floats, Floats]:
        """(r, 3) directions along which it tells where the patient's middle lies, and (r,) where, mm."""
        weight = self.paths_mm.sum(axis=1)
        pixel = (self.pixels * weight[:, None]).sum(axis=0, keepdims=True) / max(float(weight.sum()), 1e-9)
        place, along = self.places_mm(pixel)[0], self.view.directions(pixel)[0]
        rows = np.eye(3) - np.outer(along, along)
        if self.view.source_mm is not None and self.patient_detector_mm is not None:
            rows = np.vstack([rows, _DEPTH_WEIGHT * along])
        return rows, rows @ place


@dataclass(frozen=True)
class FittedPaths(FittedShape):
    """The end of a fit to radiographs.

    Args:
        gains: (v,) g of each radiograph: it shows all lengths 1 + g times as long as they are.
        n_by_view: How many of ``residuals_mm`` are each radiograph's, in their order.
    """

    gains: Floats
    n_by_view: tuple[int, ...]

    def by_view_mm(self) -> list[Floats]:
        """``residuals_mm`` of each radiograph."""
        return np.split(self.residuals_mm, np.cumsum(self.n_by_view)[:-1])


class Projection:
    """The model, seen as one radiograph sees it.

    Args:
        model: Trained.
        seen: The radiograph.
        config: Of the fit.
    """

    def __init__(self, model: ModelBundle, seen: SeenPaths, config: FitConfig) -> None:
        self.model, self.seen, self.config = model, seen, config
        self._at = Objective(model, np.zeros((1, 3)), np.zeros(1, dtype=np.int64), config)
        # the state that was tried last is the one that is linearised next
        self._marched: tuple[State, tuple[Tensor, Tensor, Tensor]] | None = None

    def paths(self, state: State) -> Tensor:
        """(n c,) lengths in mm, channel by channel."""
        values, _, step = self._march(state)
        return self._by_channel(torch.sigmoid(-values / _SOFT_MM).sum(dim=1).T * step)

    def errors(self, state: State, gain: float) -> Tensor:
        """(n c,) lengths, times 1 + gain, less those seen, whitened."""
        return self._whitened(((1.0 + gain) * self.paths(state) - self.seen.flat_mm)[:, None])[:, 0]

    def linearise(self, state: State, gain: float) -> tuple[Tensor, Tensor, Tensor]:
        """Whitened errors (n c,), their derivatives (n c, k + 9) by shape and pose, and (n c,) by the gain."""
        values, places, step = self._march(state)
        paths = self._by_channel(torch.sigmoid(-values / _SOFT_MM).sum(dim=1).T * step)
        slopes = torch.stack([self._slopes(state, s, values[..., s], places, step) for s in range(values.shape[2])])
        errors, slope = (1.0 + gain) * paths - self.seen.flat_mm, (1.0 + gain) * self._by_channel(slopes)
        whitened = self._whitened(torch.cat([errors[:, None], paths[:, None], slope], dim=1))
        return whitened[:, 0], whitened[:, 2:], whitened[:, 1]

    def _slopes(self, state: State, structure: int, values: Tensor, places: Tensor, step: Tensor) -> Tensor:
        """(n, k + 9) derivatives of the lengths in one structure: only what lies near its surface moves them."""
        slopes = torch.zeros(len(values), self.model.latents.n_modes + 9, dtype=torch.float64)
        ray, at = (values.abs() < _NEAR_MM).nonzero(as_tuple=True)
        if len(ray):
            sides = torch.full((len(ray),), structure)
            near = Objective(self.model, places[ray, at].double().numpy(), sides.numpy(), self.config)
            distance, jacobian = near.linearise(state, sides)
            soft = torch.sigmoid(-distance / _SOFT_MM)
            slopes.index_add_(0, ray, (-step[ray] * soft * (1.0 - soft) / _SOFT_MM)[:, None] * jacobian)
        return slopes

    def _march(self, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """Signed distances (n, m, s) at places (n, m, 3) along the rays, and the (n,) steps between them, mm."""
        if self._marched is None or self._marched[0] is not state:
            self._marched = state, self._march_anew(state)
        return self._marched[1]

    def _march_anew(self, state: State) -> tuple[Tensor, Tensor, Tensor]:
        rays = self._rays(state)
        m = rays.n_steps(_STEP_MM)
        places = rays.places((torch.arange(m, dtype=torch.float64) + 0.5) / m).float()
        field = self._at.field(state, *self.model.box, _WARP_MM)
        parts = [field(part) for part in places.reshape(-1, 3).split(_CHUNK)]
        return torch.cat(parts).reshape(len(places), m, -1).double(), places, (rays.far - rays.near) / m

    def _rays(self, state: State) -> Rays:
        """Through a box that holds all that training shapes reached."""
        corners = np.array(list(itertools.product(*zip(*self.model.box, strict=True))))
        placed = world_from_model(self.model, state.pose())(ModelPoints(corners)).xyz_mm
        box = placed.min(axis=0) - _MARGIN_MM, placed.max(axis=0) + _MARGIN_MM
        return rays_of(self.seen.view, box, self.seen.pixels)

    def _by_channel(self, by_structure: Tensor) -> Tensor:
        """(s, n, ...) to (n c, ...): structures that a channel adds up."""
        return torch.cat([by_structure[list(channel)].sum(dim=0) for channel in self.seen.channels])

    def _whitened(self, rows: Tensor) -> Tensor:
        whitened: Tensor = torch.linalg.solve_triangular(self.seen.factor, rows, upper=False)
        return whitened


def fit_paths(model: ModelBundle, seen: Sequence[SeenPaths], config: FitConfig) -> FittedPaths:
    """Fit shape parameters and pose to what radiographs of one patient, at one breath, say.

    Args:
        model: Trained.
        seen: One or more radiographs, placed in one world.
        config: Prior widths and stopping.

    Returns:
        The best shape found; ``residuals_mm`` are the lengths of its rays less those seen. Of parallel views along one
        direction only, the place along it is where the views' own world has its origin.

    Raises:
        InputError: There is no radiograph.
    """
    if not seen:
        raise InputError("fit xray", "no radiograph", "at least one")
    search = _Search([Projection(model, each, config) for each in seen])
    while search.stop_reason is None:
        search.advance()
    return search.shape(search.stop_reason)


class _Search:
    """Levenberg-Marquardt over shape and pose."""

    def __init__(self, projections: Sequence[Projection]) -> None:
        self.projections = projections
        self.config, self.model = projections[0].config, projections[0].model
        self.prior = Objective(self.model, np.zeros((1, 3)), np.zeros(1, dtype=np.int64), self.config).prior
        gain_sd = torch.tensor([projection.seen.gain_sd for projection in projections], dtype=torch.float64)
        self.prior = torch.cat([self.prior, gain_sd.clamp_min(1e-6) ** -2])
        self.gains = torch.zeros(len(projections), dtype=torch.float64)
        self.state = min((self._start(size) for size in _SIZES), key=lambda state: self.energy(state, self.gains))
        self.normal = torch.diag(self.prior)
        self.damping, self.quiet, self.iterations = 1e-2, 0, 0
        self.stop_reason: StopReason | None = None

    def energy(self, state: State, gains: Tensor) -> float:
        """What the fit minimises."""
        pairs = zip(self.projections, gains.tolist(), strict=True)
        data = sum(float(projection.errors(state, gain).square().sum()) for projection, gain in pairs)
        return data + float((self.prior * self._offsets(state, gains).square()).sum())

    @staticmethod
    def _offsets(state: State, gains: Tensor) -> Tensor:
        return torch.cat([state.offsets().double(), gains])

    def _linearised(self) -> tuple[Tensor, Tensor]:
        """Errors of all views, and their derivatives by shape, pose and each view's own gain."""
        errors, slopes = [], []
        for number, (projection, gain) in enumerate(zip(self.projections, self.gains.tolist(), strict=True)):
            error, slope, by_gain = projection.linearise(self.state, gain)
            own = torch.zeros(len(error), len(self.gains), dtype=torch.float64)
            own[:, number] = by_gain
            errors.append(error)
            slopes.append(torch.cat([slope, own], dim=1))
        return torch.cat(errors), torch.cat(slopes)

    def advance(self) -> None:
        """Try one step; keep it if the energy falls."""
        error, slope = self._linearised()
        offsets = self._offsets(self.state, self.gains)
        before = float(error.square().sum() + (self.prior * offsets.square()).sum())
        self.normal = slope.T @ slope + torch.diag(self.prior)
        gain = self._try(slope.T @ error + self.prior * offsets, before)
        self.iterations += 1
        self.quiet = self.quiet + 1 if gain < self.config.tolerance else 0
        if self.quiet >= 2:
            self.stop_reason = "plateau"
        elif self.iterations >= min(self.config.max_iterations, _MOST_STEPS):
            self.stop_reason = "iteration limit"

    def _try(self, gradient: Tensor, before: float) -> float:
        """Damp until the energy falls; the relative gain, 0 if it never does."""
        n_gains = len(self.gains)
        for _ in range(5):
            damped = self.normal + self.damping * torch.diag(self.normal.diagonal())
            step = torch.linalg.solve(damped, -gradient)
            candidate, gains = self.state.moved(step[:-n_gains].float()), self.gains + step[-n_gains:]
            after = self.energy(candidate, gains)
            if np.isfinite(after) and after < before:
                self.state, self.gains, self.damping = candidate, gains, max(self.damping / 5.0, 1e-6)
                return (before - after) / before
            self.damping = min(self.damping * 8.0, 1e6)
        return 0.0

    def _precision(self) -> Tensor:
        """Normal matrix of shape and pose alone, whatever the gains are."""
        n = len(self.prior) - len(self.gains)
        own, cross, gains = self.normal[:n, :n], self.normal[:n, n:], self.normal[n:, n:]
        precision: Tensor = own - cross @ torch.linalg.solve(gains, cross.T)
        return precision / _SPREAD**2

    def _start(self, size: float) -> State:
        """The mean lungs, scaled, their middle where the views show that of what they see."""
        across, places = zip(*(projection.seen.middle() for projection in self.projections), strict=True)
        middle = np.linalg.lstsq(np.concatenate(across), np.concatenate(places), rcond=None)[0]
        middle = middle - size * self.model.manifest.scale_mm * self.model.centers.mean(axis=0)
        log_scale = torch.full((3,), float(np.log(size)))
        return State(
            torch.zeros(self.model.latents.n_modes), torch.from_numpy(middle).float(), log_scale, torch.zeros(3)
        )

    def shape(self, stop_reason: StopReason) -> FittedPaths:
        """The end of the search."""
        found = [(each.paths(self.state) - each.seen.flat_mm).numpy() for each in self.projections]
        residuals: NDArray[np.float64] = np.concatenate(found)
        rms = float(np.sqrt((residuals**2).mean()))
        pose = self.state.pose()
        return FittedPaths(
            beta=self.state.beta,
            pose=pose,
            residual=ResidualField.nothing(ResidualConfig(sd_mm=0.0), len(self.model.structures)),
            residuals_mm=residuals,
            observed_box_mm=(pose.translation_mm, pose.translation_mm),
            structure=np.zeros(len(residuals), dtype=np.int64),
            unexplained_mm=rms,
            noise_mm=rms,
            n_outliers=0,
            precision=self._precision(),
            iterations=self.iterations,
            stop_reason=stop_reason,
            gains=self.gains.numpy(),
            n_by_view=tuple(len(each) for each in found),
        )
