"""Noise and outliers, told from shape by what a point's neighbours predict of it.

The points are cut into blocks of neighbours. In a block, each point is predicted from the others by the residual's
Gaussian process (Rasmussen and Williams 2006, eq. 5.12). An ordinary point differs from that by the noise and by what
the prediction does not know; an outlier lies anywhere. Standard deviations of noise and residual are those that make
the points most probable under this mixture; the mixture then says how probably each point is ordinary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lpm.calibration import count, number
from lpm.fitting.config import FitConfig
from lpm.fitting.discrepancy.residual import ResidualConfig, correlation
from lpm.geometry.distances import morton_order

_BLOCK = count("fitting.block")
_CHOOSING_BLOCKS = count("fitting.choosing_blocks")
_ROUNDS = 4  # in which sizes and outliers are found in turn
_OUTLIER_RANGE_MM = number("fitting.outlier_range_mm")
_OUTLIER_SHARE = number("fitting.outlier_share")
_PRIOR_POINTS = number("fitting.outlier_prior_points")
_MOST_OUTLIERS = number("fitting.most_outliers")
_LEAST_ORDINARY = 1e-6  # a variance a million times the noise's is that of no evidence, and matrices stay regular
_LEAST_SHARE = number("fitting.least_trusted")
_NOISE_STEP = 1.25  # ratio of neighbouring noises that are tried
_SD_STEP = 0.8  # ratio of neighbouring sizes of the residual that are tried
_NOISE_STEPS = range(-9, 9)  # 0.13 to 6.0 mm
_SD_STEPS = range(8)  # a fifth of the config's to all of it: noise lowers it, nothing raises it
_FIRST_NOISE_MM = number("fitting.first_noise_mm")
_SD_PRIOR = number("fitting.residual_sd_prior")


@dataclass(frozen=True, eq=False)
class Noise:
    """Noise of surface points, estimated from their neighbours (leave-one-out).

    Args:
        sd_mm: Standard deviation of an ordinary point's noise along the surface's normal.
        residual_sd_mm: Standard deviation of the residual that goes with it.
        ordinary: (n,) probability that a point is ordinary, and no outlier.
    """

    sd_mm: float
    residual_sd_mm: float
    ordinary: Tensor

    @property
    def trust(self) -> Tensor:
        """(n,) weights of the points: the probability that each is no outlier.

        All weights are 1 if most points look like outliers: then the model is wrong, and not the points.
        """
        share = float((self.ordinary >= 0.5).double().mean())
        return self.ordinary if share >= _LEAST_SHARE else torch.ones_like(self.ordinary)

    @property
    def variance(self) -> Tensor:
        """(n,) noise variance of each point, mm^2; an outlier's is large."""
        return self.sd_mm**2 / self.trust.clamp_min(_LEAST_ORDINARY)


@dataclass(frozen=True)
class _Sizes:
    """Standard deviations in steps of a fixed ratio, and the share of outliers."""

    noise: int
    sd: int
    outliers: float
    config: FitConfig

    @classmethod
    def first(cls, config: FitConfig, known: Noise | None) -> _Sizes:
        """Where the search begins: at what was found before, if anything was."""
        if known is None:
            return cls(0, 1, _OUTLIER_SHARE, config)
        noise = math.log(known.sd_mm / _FIRST_NOISE_MM) / math.log(_NOISE_STEP)
        sd = math.log(known.residual_sd_mm / config.residual.sd_mm) / math.log(_SD_STEP)
        return cls(0 if config.noise_mm else round(noise), round(sd), _OUTLIER_SHARE, config)

    @property
    def noise_mm(self) -> float:
        return self.config.noise_mm or _FIRST_NOISE_MM * _NOISE_STEP**self.noise

    @property
    def sd_mm(self) -> float:
        return self.config.residual.sd_mm * _SD_STEP**self.sd

    @property
    def log_prior(self) -> float:
        return -0.5 * (self.sd * math.log(_SD_STEP) / _SD_PRIOR) ** 2

    def near(self) -> list[_Sizes]:
        """What lies a step away."""
        steps = [(0, 1), (0, -1)] + ([] if self.config.noise_mm else [(1, 0), (-1, 0)])
        found = [(self.noise + noise, self.sd + sd) for noise, sd in steps]
        return [replace(self, noise=n, sd=s) for n, s in found if n in _NOISE_STEPS and s in _SD_STEPS]


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Neighbouring points, b blocks of at most m; places that hold no point are padded.

    Args:
        member: (b, m) index of the point, or -1.
        correlation: (b, m, m) of the residual; a padded place goes with nothing.
        errors: (b, m) mm; 0 where padded.
        slopes: (b, m) how steep the field is; 1 where padded.
    """

    member: Tensor
    correlation: Tensor
    errors: Tensor
    slopes: Tensor

    @classmethod
    def of(cls, places: Tensor, structure: Tensor, values: tuple[Tensor, Tensor], config: ResidualConfig) -> _Blocks:
        parts = []
        for index in structure.unique():
            own = torch.nonzero(structure == index)[:, 0].numpy()
            own = own[morton_order(places.numpy()[own])]
            parts.extend(np.array_split(own, math.ceil(len(own) / _BLOCK)))
        member = torch.full((len(parts), max(map(len, parts))), -1)
        for row, part in zip(member, parts, strict=True):
            row[: len(part)] = torch.from_numpy(part)
        is_point, index = member >= 0, member.clamp_min(0)
        there = places[index] - places[index].mean(dim=1, keepdim=True)
        found = correlation(there, there, config) * (is_point[:, :, None] & is_point[:, None])
        found.diagonal(dim1=1, dim2=2).fill_(1.0)
        errors, slopes = (value[index] for value in values)
        return cls(member, found, errors * is_point, slopes)

    def some(self, n: int) -> _Blocks:
        """At most n of the blocks, spread evenly."""
        if len(self.member) <= n:
            return self
        chosen = torch.linspace(0, len(self.member) - 1, n).long()
        return _Blocks(self.member[chosen], self.correlation[chosen], self.errors[chosen], self.slopes[chosen])

    def first_guess(self) -> Tensor:
        """(b, m) how probably each point is ordinary, by its error alone."""
        errors = self.errors[self.member >= 0]
        spread_mm = 1.4826 * float((errors - errors.median()).abs().median())
        return (self.errors.abs() / max(4.0 * spread_mm, 5.0)).clamp_min(1.0).pow(-4.0)

    def explain(self, sizes: _Sizes, ordinary: Tensor) -> tuple[Tensor, Tensor]:
        """Log density of each point given the others of its block, and how probably it is ordinary.

        Args:
            sizes: Sizes of noise, residual and share of outliers.
            ordinary: (b, m) how probably each is ordinary, as far as known; by it the others trust it.
        """
        noise = (sizes.noise_mm * self.slopes).square()
        own = noise / ordinary.clamp_min(_LEAST_ORDINARY)
        factor = torch.linalg.cholesky(sizes.sd_mm**2 * self.correlation + torch.diag_embed(own))
        whitening = torch.linalg.solve_triangular(factor, torch.eye(factor.shape[1], dtype=factor.dtype), upper=False)
        precision = whitening.square().sum(dim=1)
        apart = (whitening.mT @ (whitening @ self.errors[:, :, None]))[:, :, 0] / precision
        variance = (precision.reciprocal() - own).clamp_min(0.0) + noise
        likely = math.log1p(-sizes.outliers) - 0.5 * (apart.square() / variance + (2.0 * math.pi * variance).log())
        outlier = torch.full_like(likely, math.log(sizes.outliers / _OUTLIER_RANGE_MM))
        return torch.logaddexp(likely, outlier), torch.sigmoid(likely - outlier)

    def climb(self, sizes: _Sizes, ordinary: Tensor) -> _Sizes:
        """The sizes from which no single step makes the points more probable."""
        is_point, scores = self.member >= 0, dict[tuple[int, int], float]()

        def score(sizes: _Sizes) -> float:
            key = (sizes.noise, sizes.sd)
            if key not in scores:
                scores[key] = float(self.explain(sizes, ordinary)[0][is_point].sum()) + sizes.log_prior
            return scores[key]

        while True:
            best = max([sizes, *sizes.near()], key=score)
            if best == sizes:
                return sizes
            sizes = best


def _share_of_outliers(ordinary: Tensor) -> float:
    """Share of outliers, as if `_PRIOR_POINTS` more points had been seen of which `_OUTLIER_SHARE` were outliers."""
    n_outliers = float((1.0 - ordinary).sum()) + _PRIOR_POINTS * _OUTLIER_SHARE
    return min(n_outliers / (len(ordinary) + _PRIOR_POINTS), _MOST_OUTLIERS)


def estimate_noise(
    places: Tensor, structure: Tensor, values: tuple[Tensor, Tensor], config: FitConfig, known: Noise | None = None
) -> Noise:
    """Estimate noise, the residual's size and outliers.

    Args:
        places: (n, 3) where the points would lie on the surface, world mm, float64.
        structure: (n,) the structure of each.
        values: (n,) decoder's values at the points, mm, float64, and (n,) how steep its field is there.
        config: The noise if it is known, and the residual's prior; its standard deviation may be lowered, not raised.
        known: An earlier estimate, to begin from.
    """
    every = _Blocks.of(places, structure, values, config.residual)
    some, sizes = every.some(_CHOOSING_BLOCKS), _Sizes.first(config, known)
    ordinary = some.first_guess()
    for _ in range(_ROUNDS):
        sizes = some.climb(sizes, ordinary)
        _, ordinary = some.explain(sizes, ordinary)
        sizes = replace(sizes, outliers=_share_of_outliers(ordinary[some.member >= 0]))
    found = every.first_guess()
    for _ in range(_ROUNDS):
        _, found = every.explain(sizes, found)
    whole, is_point = torch.zeros_like(values[0]), every.member >= 0
    whole[every.member[is_point]] = found[is_point]
    return Noise(sizes.noise_mm, sizes.sd_mm, whole)
