"""What the shape parameters cannot follow: a smooth residual field r ~ GP(0, K) about the decoder's own.

The true field is f(x) = decoder(beta, pose; x) + r(x), one independent r a structure, with a Matern 3/2 covariance. A
share of its variance may go together over longer distances: points of one part of a lung then say less of shape and
pose, and so of the rest. A surface point says f(x) = 0 up to noise, so r(x) = -decoder(x) + noise there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lpm.calibration import number
from lpm.geometry.distances import morton_order
from lpm.geometry.frames import Floats
from lpm.records import StrictModel

_CHUNK = 512  # points at a time: what they need fits the processor's cache
_REACH_MM = number("fitting.residual_reach_mm")
_MARGIN = number("fitting.residual_reach_factor")
_WAVES = 1024  # random Fourier features of a draw: their sum is nearly Gaussian
_CELLS_ACROSS = 1e6  # at most, along each axis: the number of a cell stays an exact integer


class ResidualConfig(StrictModel):
    """The residual's prior; the same for every structure and every amount of evidence."""

    sd_mm: float = Field(
        number("fitting.residual_sd_mm"),
        ge=0,
        description="standard deviation; 0 for the prior alone, which follows no point",
    )
    length_mm: float = Field(
        number("fitting.residual_length_mm"), gt=0, description="correlation length of the Matern 3/2 covariance"
    )
    long_range_share: float = Field(0.0, ge=0, lt=1, description="share of the variance that is long-range")
    long_range_length_mm: float = Field(
        number("fitting.residual_long_range_length_mm"), gt=0, description="correlation length of that share"
    )
    most_points: int = Field(
        3000, ge=50, le=20_000, description="points of a structure; more are merged with their neighbours first"
    )

    @property
    def short_range_sd_mm(self) -> float:
        """Standard deviation of the residual without its long-range share."""
        return self.sd_mm * math.sqrt(1.0 - self.long_range_share)


def correlation(first: Tensor, second: Tensor, config: ResidualConfig) -> Tensor:
    """(..., n, m) correlation of the residual between (..., n, 3) and (..., m, 3) points."""
    return _correlation(torch.cdist(first, second) * (math.sqrt(3.0) / config.length_mm), config)


def covariance(first: Tensor, second: Tensor, config: ResidualConfig) -> Tensor:
    """(..., n, m) covariance of the residual, mm^2."""
    return config.sd_mm**2 * correlation(first, second, config)


def _correlation(scaled: Tensor, config: ResidualConfig) -> Tensor:
    """Correlation at distances in lengths over the root of 3."""
    if config.long_range_share == 0:
        return _matern(scaled)
    long_range = _matern(scaled * (config.length_mm / config.long_range_length_mm))
    return torch.lerp(_matern(scaled), long_range, config.long_range_share)


def _matern(scaled: Tensor) -> Tensor:
    """Matern 3/2 correlation at distances in lengths over the root of 3."""
    decay = torch.exp(-scaled)
    return decay.addcmul_(scaled, decay)


@dataclass(frozen=True, eq=False)
class Waves:
    """A draw from the residual's prior as a sum of waves (Rahimi and Recht 2007, random Fourier features).

    Args:
        frequencies: (w, 3) rad / mm.
        phases: (w,) rad.
        height_mm: Height of each wave.
    """

    frequencies: Tensor
    phases: Tensor
    height_mm: float

    @classmethod
    def draw(cls, config: ResidualConfig, *, rng: np.random.Generator) -> Waves:
        """Frequencies of a Matern 3/2 process follow Student's t with 3 degrees of freedom, over its length."""
        normal = rng.standard_normal((_WAVES, 3))
        length_mm = np.full((_WAVES, 1), config.length_mm)
        length_mm[: round(config.long_range_share * _WAVES)] = config.long_range_length_mm
        frequencies = normal / np.sqrt(rng.chisquare(3.0, (_WAVES, 1)) / 3.0) / length_mm
        phases = rng.uniform(0.0, 2.0 * math.pi, _WAVES)
        height_mm = config.sd_mm * math.sqrt(2.0 / _WAVES)
        return cls(torch.from_numpy(frequencies).float(), torch.from_numpy(phases).float(), height_mm)

    def __call__(self, points_mm: Tensor) -> Tensor:
        """(m,) values at (m, 3) points, mm."""
        parts = [torch.addmm(self.phases, part.float(), self.frequencies.T).cos_() for part in points_mm.split(_CHUNK)]
        return self.height_mm * torch.cat([part.sum(dim=1) for part in parts]).to(points_mm)


@dataclass(frozen=True, eq=False)
class ResidualField:
    """Posterior mean (or a draw) of the residual, given observed points.

    Args:
        config: Its prior.
        points: Observed points by structure, (n, 3), world mm, float64.
        factors: Cholesky factors by structure, (n, n), of covariance plus noise.
        weights: Weights by structure, (n,), such that r(x) = covariance(x, points) @ weights.
        waves: Waves by structure: a draw from the prior that is added; none for the mean.
    """

    config: ResidualConfig
    points: tuple[Tensor, ...]
    factors: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    waves: tuple[Waves, ...] = ()

    @classmethod
    def nothing(cls, config: ResidualConfig, n_structures: int) -> ResidualField:
        """A residual that is zero everywhere: no point was seen."""
        none = torch.zeros(0, dtype=torch.float64)
        return cls(
            config, (none.reshape(0, 3),) * n_structures, (none.reshape(0, 0),) * n_structures, (none,) * n_structures
        )

    def __call__(self, points_mm: Tensor, structure: int) -> Tensor:
        """(m,) residual of a structure at (m, 3) points, mm."""
        drawn = self.waves[structure](points_mm) if self.waves else points_mm.new_zeros(len(points_mm))
        observed = self.points[structure]
        if len(observed) == 0:
            return drawn
        center, unit = observed.mean(dim=0), math.sqrt(3.0) / self.config.length_mm
        there = ((observed - center) * unit).float()
        squares, minus_twice = there.square().sum(dim=1), (-2.0 * there).T.contiguous()
        weights = self.weights[structure].float() * self.config.sd_mm**2
        parts = []
        for part in ((points_mm - center) * unit).float().split(_CHUNK):  # small enough for the cache
            offset = squares + part.square().sum(dim=1, keepdim=True)
            scaled = torch.addmm(offset, part, minus_twice).clamp_min_(0.0).sqrt_()
            parts.append(_correlation(scaled, self.config) @ weights)
        return torch.cat(parts).to(points_mm) + drawn

    def at(self, points_mm: Tensor, structure: Tensor) -> Tensor:
        """(m,) residual of each point's own structure at (m, 3) points, mm."""
        total = points_mm.new_zeros(len(points_mm))
        for index in range(len(self.points)):
            own = structure == index
            total[own] = self(points_mm[own], index)
        return total

    @property
    def reach_mm(self) -> float:
        """How far from the decoder's surface the residual can move it: beyond its largest value at the points."""
        if self.waves:
            return _REACH_MM
        largest = 0.0
        for factor, weights in zip(self.factors, self.weights, strict=True):
            noise = factor.square().sum(dim=1) - self.config.sd_mm**2
            values = factor @ (factor.T @ weights) - noise * weights
            largest = max(largest, float(values.abs().max())) if len(values) else largest
        return min(_MARGIN * largest + self.config.sd_mm, _REACH_MM)


@dataclass(frozen=True, eq=False)
class Observed:
    """Observed values that a residual is conditioned on.

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
        observed: Observed places and values.
        n_structures: Number of structures.
        config: The prior.
    """
    kept, factors, weights = [], [], []
    for index in range(n_structures):
        own = observed.structure == index
        places = observed.places[own]
        clusters = Clusters.of(cells(places, config.most_points), observed.variance[own])
        merged, error = clusters.average(places), clusters.average(observed.errors[own])
        factor = torch.linalg.cholesky(covariance(merged, merged, config) + torch.diag(clusters.variance))
        kept.append(merged)
        factors.append(factor)
        weights.append(torch.cholesky_solve(-error[:, None], factor)[:, 0])
    return ResidualField(config, tuple(kept), tuple(factors), tuple(weights))


def cells(points: Tensor, most: int) -> Tensor:
    """(n,) the cell of a cubic grid that each point lies in, numbered; cells grow until at most `most` are taken."""
    if len(points) <= most:
        return torch.arange(len(points))
    points = points - points.amin(dim=0)
    cell_mm = max(1.0, float(points.max()) / _CELLS_ACROSS)
    while True:
        cell = torch.floor(points / cell_mm).long()
        i, j, k = cell.unbind(dim=1)
        _, j_cells, k_cells = (cell.amax(dim=0) + 1).unbind()
        numbers = (i * j_cells + j) * k_cells + k  # many times faster to sort than rows
        member: Tensor = torch.unique(numbers, return_inverse=True)[1]
        if int(member.max()) < most:
            return member
        cell_mm *= 1.1


@dataclass(frozen=True, eq=False)
class Clusters:
    """Neighbouring points that count as one, as precise as those it stands for.

    Args:
        member: (n,) the cluster of each point.
        share: (n,) its part in the cluster's average, by precision.
        variance: (c,) noise variance of the averages, mm^2.
    """

    member: Tensor
    share: Tensor
    variance: Tensor

    @classmethod
    def of(cls, member: Tensor, variance: Tensor) -> Clusters:
        """Clusters of points of given noise variances (n,)."""
        precision = variance.reciprocal()
        n_clusters = int(member.max()) + 1 if len(member) else 0
        total = precision.new_zeros(n_clusters).index_add_(0, member, precision)
        return cls(member, precision / total[member], total.reciprocal())

    def average(self, values: Tensor) -> Tensor:
        """(c, ...) averages of (n, ...) values."""
        if len(self.variance) == len(self.member):  # each point is its own cluster
            return torch.empty_like(values).index_copy_(0, self.member, values)
        weighted = values * self.share.reshape(-1, *[1] * (values.ndim - 1))
        total: Tensor = values.new_zeros(len(self.variance), *values.shape[1:]).index_add_(0, self.member, weighted)
        return total


def spread_evenly(points_mm: Floats, n: int) -> np.ndarray:
    """Indices of at most n points, spread evenly along a curve that visits neighbours together; no randomness."""
    if len(points_mm) <= n:
        return np.arange(len(points_mm))
    order = morton_order(points_mm)
    return np.sort(order[np.linspace(0, len(order) - 1, n).astype(np.int64)])
