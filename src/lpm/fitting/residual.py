"""What the shape parameters cannot follow: a smooth residual field r ~ GP(0, K) about the decoder's own.

The true field is f(x) = decoder(beta, pose; x) + r(x), one independent r a structure, with a Matern 3/2 covariance.
A surface point says f(x) = 0 up to noise, so r(x) = -decoder(x) + noise there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lpm.geometry.distances import morton_order
from lpm.geometry.frames import Floats
from lpm.preparation.config import StrictModel

_CHUNK = 512
_DEGREES_OF_FREEDOM = 4.0
_RESIDUAL_SHARES = (1.0, 0.6, 0.35, 0.2)


class ResidualConfig(StrictModel):
    """The residual's prior; the same for every structure and every amount of evidence."""

    sd_mm: float = Field(5.0, ge=0, description="standard deviation; 0 for the prior alone, which follows no point")
    length_mm: float = Field(18.0, gt=0, description="correlation length of the Matern 3/2 covariance")
    most_points: int = Field(
        3000, ge=50, le=20_000, description="points of a structure; more are merged with their neighbours first"
    )


def covariance(first: Tensor, second: Tensor, config: ResidualConfig) -> Tensor:
    """(n, m) Matern 3/2 covariance between the residual at (n, 3) and at (m, 3) points, mm^2."""
    return config.sd_mm**2 * _matern(torch.cdist(first, second) * (math.sqrt(3.0) / config.length_mm))


def _matern(scaled: Tensor) -> Tensor:
    """Matern 3/2 correlation at distances in lengths over the root of 3."""
    decay = torch.exp(-scaled)
    return decay.addcmul_(scaled, decay)


@dataclass(frozen=True)
class ResidualField:
    """The residual given observed points.

    Args:
        config: Its prior.
        points: By structure, (n, 3) observed points, world mm, float64.
        factors: By structure, (n, n) Cholesky factor of covariance plus noise.
        weights: By structure, (n,) so that r(x) = covariance(x, points) @ weights.
    """

    config: ResidualConfig
    points: tuple[Tensor, ...]
    factors: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]

    @classmethod
    def nothing(cls, config: ResidualConfig, n_structures: int) -> ResidualField:
        """A residual that is zero everywhere: no point was seen."""
        none = torch.zeros(0, dtype=torch.float64)
        return cls(
            config, (none.reshape(0, 3),) * n_structures, (none.reshape(0, 0),) * n_structures, (none,) * n_structures
        )

    def __call__(self, points_mm: Tensor, structure: int) -> Tensor:
        """(m,) mean residual of a structure at (m, 3) points, mm."""
        observed = self.points[structure]
        if len(observed) == 0:
            return points_mm.new_zeros(len(points_mm))
        center, unit = observed.mean(dim=0), math.sqrt(3.0) / self.config.length_mm
        there = ((observed - center) * unit).float()
        squares, minus_twice = there.square().sum(dim=1), (-2.0 * there).T.contiguous()
        weights = self.weights[structure].float() * self.config.sd_mm**2
        parts = []
        for part in ((points_mm - center) * unit).float().split(_CHUNK):  # small enough for the cache
            offset = squares + part.square().sum(dim=1, keepdim=True)
            scaled = torch.addmm(offset, part, minus_twice).clamp_min_(0.0).sqrt_()
            parts.append(_matern(scaled) @ weights)
        return torch.cat(parts).to(points_mm)

    def at(self, points_mm: Tensor, structure: Tensor) -> Tensor:
        """(m,) mean residual of each point's own structure at (m, 3) points, mm."""
        total = points_mm.new_zeros(len(points_mm))
        for index in range(len(self.points)):
            own = structure == index
            total[own] = self(points_mm[own], index)
        return total

    def add_to(self, distances_mm: Floats, points_mm: Floats) -> Floats:
        """Add the residual to a decoder's distances (n, s), where the surface can be.

        Far from a structure's surface, by five standard deviations, the residual cannot change the sign.
        """
        total = distances_mm.copy()
        for structure in range(total.shape[1]):
            near = np.flatnonzero(np.abs(total[:, structure]) < 5.0 * self.config.sd_mm)
            if len(near):
                there = torch.from_numpy(np.ascontiguousarray(points_mm[near]))
                total[near, structure] += self(there, structure).numpy()
        return total


@dataclass(frozen=True)
class Observed:
    """What a residual is conditioned on.

    Args:
        places: (n, 3) observed points, moved onto the surface, world mm, float64.
        structure: (n,) the structure of each.
        errors: (n,) the decoder's value at the points themselves, mm, float64.
        variance: (n,) noise variance of each, mm^2.
    """

    places: Tensor
    structure: Tensor
    errors: Tensor
    variance: Tensor


def condition(observed: Observed, n_structures: int, config: ResidualConfig) -> ResidualField:
    """Fit the residual to what the decoder gets wrong.

    Args:
        observed: Where, and by how much.
        n_structures: Number of structures.
        config: The prior.
    """
    kept, factors, weights = [], [], []
    for index in range(n_structures):
        own = observed.structure == index
        parts = (observed.places[own], observed.errors[own], observed.variance[own])
        merged, error, noise = merge_points(*parts, config.most_points)
        factor = torch.linalg.cholesky(covariance(merged, merged, config) + torch.diag(noise))
        kept.append(merged)
        factors.append(factor)
        weights.append(torch.cholesky_solve(-error[:, None], factor)[:, 0])
    return ResidualField(config, tuple(kept), tuple(factors), tuple(weights))


def merge_points(points: Tensor, errors: Tensor, variance: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Merge neighbours until at most `most` points are left, each as precise as those it stands for.

    Cells of a cubic grid grow until few enough are taken; a cell's points are averaged by their precision.
    """
    if len(points) <= most:
        return points, errors, variance
    cell_mm = 1.0
    while True:
        cells = torch.floor(points / cell_mm).long()
        _, member = torch.unique(cells, dim=0, return_inverse=True)
        n_cells = int(member.max()) + 1
        if n_cells <= most:
            break
        cell_mm *= 1.1
    precision = variance.reciprocal()
    total = torch.zeros(n_cells, dtype=points.dtype).index_add_(0, member, precision)

    def average(values: Tensor) -> Tensor:
        out = torch.zeros(n_cells, values.shape[1], dtype=values.dtype)
        return out.index_add_(0, member, values * precision[:, None]) / total[:, None]

    return average(points), average(errors[:, None])[:, 0], total.reciprocal()


def spread_evenly(points_mm: Floats, n: int) -> np.ndarray:
    """Indices of at most n points, spread evenly along a curve that visits neighbours together; no randomness."""
    if len(points_mm) <= n:
        return np.arange(len(points_mm))
    order = morton_order(points_mm)
    return np.sort(order[np.linspace(0, len(order) - 1, n).astype(np.int64)])


def dense_patches(points_mm: Floats, n_patches: int = 6, n_each: int = 150) -> np.ndarray:
    """Indices of patches of neighbouring points, as dense as the points are: there noise can be told from shape."""
    order = morton_order(points_mm)
    starts = np.linspace(0, max(len(order) - n_each, 0), n_patches).astype(np.int64)
    return np.unique(np.concatenate([order[start : start + n_each] for start in starts]))


@dataclass(frozen=True)
class Noise:
    """What the points' own neighbours say of them.

    Args:
        sd_mm: Standard deviation of an ordinary point's noise.
        residual_sd_mm: Standard deviation of the residual that goes with it.
        variance: (n,) noise variance of each point; an outlier's is large.
    """

    sd_mm: float
    residual_sd_mm: float
    variance: Tensor


def estimate_noise(
    errors: Tensor, correlation: Tensor, config: ResidualConfig, candidates_mm: Sequence[float]
) -> Noise:
    """Choose noise and residual by leave-one-out prediction: what explains each point best from the others.

    The predictive density is Student's t, so that outliers decide nothing; a point that the others contradict gets a
    larger variance, and the choice is made again.

    Args:
        errors: (n,) decoder's values at the observed points, mm, float64.
        correlation: (n, n) the residual's correlation between them.
        config: The residual's prior; its standard deviation may be lowered, not raised.
        candidates_mm: Standard deviations of the noise to choose from.
    """
    spread = 1.4826 * float((errors - errors.median()).abs().median())
    inflation = ((errors - errors.median()).abs() / max(6.0 * spread, 10.0)).clamp(min=1.0) ** 4
    choice = (-math.inf, candidates_mm[0], config.sd_mm)
    for _ in range(3):
        choice = (-math.inf, candidates_mm[0], config.sd_mm)
        z = torch.zeros_like(errors)
        for share in _RESIDUAL_SHARES:
            for noise_mm in candidates_mm:
                sd_mm = share * config.sd_mm
                score, left_out = _leave_one_out(errors, correlation * sd_mm**2, noise_mm**2 * inflation)
                if score > choice[0]:
                    choice, z = (score, noise_mm, sd_mm), left_out
        ordinary = max(1.0, 1.4826 * float(z.abs().median()))  # else a noise chosen too small blames every point
        inflation = inflation * (z.abs() / (3.5 * ordinary)).clamp(min=1.0).pow(4)
    return Noise(choice[1], choice[2], choice[1] ** 2 * inflation)


def _leave_one_out(errors: Tensor, prior: Tensor, variance: Tensor) -> tuple[float, Tensor]:
    """Log density of every point under the prediction by the others (Student's t), and its standardised error.

    Both follow from the inverse covariance alone (Rasmussen and Williams 2006, eq. 5.12).
    """
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(prior + torch.diag(variance)))
    precision = inverse.diagonal()
    z = (inverse @ errors) / precision.sqrt()
    nu = _DEGREES_OF_FREEDOM
    density = 0.5 * precision.log() - 0.5 * (nu + 1.0) * torch.log1p(z.square() / nu)
    return float(density.sum()), z
