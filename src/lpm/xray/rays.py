"""Rays of a radiograph in a fit: how much lung each passes, by differentiable projection (paper IV.C).

The ray of pixel p passes the length L(p) = integral of s(f / w) through a structure of signed distance f, where s is a
step from 1 inside to 0 outside, softened over w, a few millimetres. The term's energy is

    d' C^-1 d + |g / gain_sd|^2,    d = (1 + g) L - L_seen

with C the covariance of the errors of what a picture says: they go together over centimetres, so that thousands of
pixels count for no more than they know. What is too long or too short in all of a picture is the gain 1 + g, a nuisance
parameter; as a part of C it would draw all lungs to nothing. A picture whose place in the patient is unknown has the
parameters of its placement as well (`placement.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lpm.calibration import number, several
from lpm.fitting.evidence.term import Linearised
from lpm.fitting.pose import world_from_model
from lpm.fitting.posed import PosedModel
from lpm.fitting.state import N_POSE, State
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats, ModelPoints
from lpm.geometry.projection import View
from lpm.model.bundle import ModelBundle
from lpm.xray.drr import Rays, rays_of
from lpm.xray.placement import ViewPlacement

_STEP_MM = number("xray.ray_step_mm")
_SOFT_MM = number("xray.softness_mm")
_SPREAD = number("xray.interval_spread")
_NEAR_MM = 4.0 * _SOFT_MM  # beyond four times the softness a step is 1 or 0 to 2 %, and does not move
_MARGIN_MM = 25.0  # around the box of the training shapes, in which rays are marched
_OWN_SHARE = number("xray.own_share")
_CHUNK = 16_384  # points at a time: bounds memory, changes nothing
_WARP_MM = number("xray.ray_warp_mm")
_SIZES = several("xray.start_sizes")
_DEPTH_WEIGHT = number("xray.depth_weight")


@read_only_arrays
@dataclass(frozen=True, eq=False)
class SeenPaths:
    """Path lengths of one radiograph's rays in the lungs, with their covariance.

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


@read_only_arrays
@dataclass(frozen=True, eq=False)
class FittedRays:
    """Result of a fit for one radiograph: errors of path lengths, gain, geometry.

    Args:
        path_errors_mm: (n c,) lengths of the fitted lungs along its rays, less those seen, channel by channel; mm of
            the patient, whatever the picture's own scale.
        gain: g; it shows all lengths 1 + g times as long as they are.
        view: Geometry of the picture in the patient's world.
    """

    path_errors_mm: Floats
    gain: float
    view: View


class RayTerm:
    """One radiograph in a fit.

    Args:
        model: Trained.
        seen: Path lengths of the picture.
        placement: Placement of a picture whose place in the patient is unknown; None where the view knows it.
    """

    information_share = 1.0
    posterior_spread = _SPREAD

    def __init__(self, model: ModelBundle, seen: SeenPaths, placement: ViewPlacement | None = None) -> None:
        self.model, self.seen, self.placement = model, seen, placement
        self._posed = PosedModel(model)
        # what was tried last is what is linearised next
        self._marched: tuple[State, Tensor, _March] | None = None

    @property
    def nuisance_sd(self) -> Tensor:
        """(m,) of the gain, and of the placement's parameters."""
        gain = torch.tensor([max(self.seen.gain_sd, 1e-6)], dtype=torch.float64)
        return gain if self.placement is None else torch.cat([gain, self.placement.sd])

    def begin(self, state: State) -> None:
        """A search begins: a picture without a place is laid onto what the state shows of it."""
        if self.placement is not None:
            self.placement = self.placement.aligned(_middle_mm(self.model, state), *self.seen.middle())

    def accept(self, state: State) -> None:
        """Nothing depends on the state but what is computed from it."""

    def settle(self, state: State) -> bool:
        """The errors of a picture are those that its reader states: there is nothing to estimate."""
        return False

    def paths(self, state: State, nuisance: Tensor) -> Tensor:
        """(n c,) lengths in mm of the picture's world, channel by channel."""
        march = self._march(state, nuisance[1:])
        return self._by_channel(torch.sigmoid(-march.values / _SOFT_MM).sum(dim=1).T * march.step)

    def errors(self, state: State, nuisance: Tensor) -> Tensor:
        """(n c,) lengths, times 1 + gain, less those seen, whitened."""
        return self._whitened(((1.0 + nuisance[0]) * self.paths(state, nuisance) - self.seen.flat_mm)[:, None])[:, 0]

    def linearise(self, state: State, nuisance: Tensor) -> Linearised:
        """Whitened errors and their derivatives by shape and pose, by the gain, and by the placement."""
        march = self._march(state, nuisance[1:])
        paths, gain = self.paths(state, nuisance), nuisance[0]
        slopes = torch.stack([self._slopes(march, structure) for structure in range(march.values.shape[2])])
        slope = (1.0 + gain) * self._by_channel(slopes)
        errors = (1.0 + gain) * paths - self.seen.flat_mm
        by_state, by_place = slope, slope.new_zeros(len(slope), 0)
        if self.placement is not None:
            by_state, by_place = self.placement.chained(slope, march.state, nuisance[1:])
        whitened = self._whitened(torch.cat([errors[:, None], paths[:, None], by_place, by_state], dim=1))
        n_own = 1 + by_place.shape[1]
        return Linearised(whitened[:, 0], whitened[:, 1 + n_own :], whitened[:, 1 : 1 + n_own])

    def finished(self, state: State, nuisance: Tensor) -> FittedRays:
        """Return the picture's result at the end of a fit."""
        errors, gain = (self.paths(state, nuisance) - self.seen.flat_mm).numpy(), float(nuisance[0])
        if self.placement is None:
            return FittedRays(errors, gain, self.seen.view)
        view = self.placement.in_world(self.seen.view, nuisance[1:])
        return FittedRays(errors / self.placement.scale(nuisance[1:]), gain, view)

    def _slopes(self, march: _March, structure: int) -> Tensor:
        """(n, k + 9) derivatives of the lengths in one structure: only what lies near its surface moves them."""
        values, places, step = march.values[..., structure], march.places, march.step
        slopes = torch.zeros(len(values), self.model.latents.n_modes + N_POSE, dtype=torch.float64)
        ray, at = (values.abs() < _NEAR_MM).nonzero(as_tuple=True)
        if len(ray):
            sides = torch.full((len(ray),), structure)
            distance, jacobian = self._posed.linearise(march.state, places[ray, at], sides)
            soft = torch.sigmoid(-distance / _SOFT_MM)
            slopes.index_add_(0, ray, (-step[ray] * soft * (1.0 - soft) / _SOFT_MM)[:, None] * jacobian)
        return slopes

    def _march(self, state: State, place: Tensor) -> _March:
        known = self._marched
        if known is None or known[0] is not state or not torch.equal(known[1], place):
            there = state if self.placement is None else self.placement.seen_from(state, place)
            known = self._marched = (state, place, self._march_anew(there))
        return known[2]

    def _march_anew(self, state: State) -> _March:
        """Sample the field along all rays that pass the model's box."""
        rays = self._rays(state)
        m = rays.n_steps(_STEP_MM)
        places = rays.places((torch.arange(m, dtype=torch.float64) + 0.5) / m).float()
        field = self._posed.interpolated(state, *self.model.box, _WARP_MM)
        parts = [field(part) for part in places.reshape(-1, 3).split(_CHUNK)]
        values = torch.cat(parts).reshape(len(places), m, -1).double()
        return _March(state, values, places, (rays.far - rays.near) / m)

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


@dataclass(frozen=True, eq=False)
class _March:
    """The field along the rays.

    Args:
        state: State of the model, in the picture's world.
        values: (n, m, s) signed distances, mm.
        places: (n, m, 3) where.
        step: (n,) mm between places.
    """

    state: State
    values: Tensor
    places: Tensor
    step: Tensor


def _middle_mm(model: ModelBundle, state: State) -> Floats:
    """(3,) middle of the model's structures at a state, world mm."""
    return np.asarray(world_from_model(model, state.pose())(ModelPoints(model.centers)).xyz_mm.mean(axis=0))


def initial_states(model: ModelBundle, seen: Sequence[SeenPaths]) -> list[State]:
    """The mean lungs at several sizes, their middle where the pictures show that of what they see.

    Args:
        model: Trained.
        seen: Radiographs placed in one world.
    """
    across, places = zip(*(each.middle() for each in seen), strict=True)
    middle = np.linalg.lstsq(np.concatenate(across), np.concatenate(places), rcond=None)[0]
    center = model.manifest.scale_mm * model.centers.mean(axis=0)
    return [State.mean(model, torch.from_numpy(middle - size * center).float(), size) for size in _SIZES]
