"""A smooth displacement of space: a shift, a linear part, and Gaussian kernels of one long correlation length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lpm.calibration import number
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.distances import spread_apart
from lpm.geometry.frames import Floats

_JITTER = 1e-4  # of a kernel's height: controls close together would make the matrix singular


@dataclass(frozen=True)
class Smoothness:
    """Prior of a smooth displacement; its unknowns are N(0, I).

    Args:
        shift_mm: Standard deviation of the shift.
        stretch: Standard deviation of each entry of the linear part.
        bend_mm: Standard deviation of what bends.
        length_mm: Its correlation length.
    """

    shift_mm: float
    stretch: float
    bend_mm: float
    length_mm: float


USUAL = Smoothness(
    shift_mm=number("motion.shift_mm"),
    stretch=number("motion.stretch"),
    bend_mm=number("motion.bend_mm"),
    length_mm=number("motion.length_mm"),
)


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Basis:
    """Functions whose mixture is a displacement.

    Args:
        prior: How smooth it is.
        center_mm: (3,) about which the linear part stretches.
        controls_mm: (c, 3) where kernels stand.
        whitening: (c, c) inverse of the Cholesky factor of the kernels among themselves.
    """

    prior: Smoothness
    center_mm: Floats
    controls_mm: Floats
    whitening: Floats

    @classmethod
    def over(cls, points_mm: Floats, n_controls: int, prior: Smoothness) -> Basis:
        """A basis with controls spread over points (n, 3), RAS mm."""
        controls = spread_apart(points_mm, n_controls)
        own = _kernels(controls, controls, prior.length_mm) + _JITTER * np.eye(len(controls))
        return cls(prior, points_mm.mean(axis=0), controls, np.linalg.inv(np.linalg.cholesky(own)))

    @property
    def size(self) -> int:
        """Number of functions."""
        return 4 + len(self.controls_mm)

    def __call__(self, points_mm: Floats) -> Floats:
        """(n, size) the functions at points (n, 3)."""
        kernels = _kernels(points_mm, self.controls_mm, self.prior.length_mm) @ self.whitening.T
        shift = np.full((len(points_mm), 1), self.prior.shift_mm)
        stretch = self.prior.stretch * (points_mm - self.center_mm)
        return np.concatenate([shift, stretch, self.prior.bend_mm * kernels], axis=1)

    def slopes(self, points_mm: Floats) -> Floats:
        """(n, size, 3) derivatives of the functions by the point, 1/mm."""
        length, n = self.prior.length_mm, len(points_mm)
        away = (points_mm[:, None] - self.controls_mm) / length**2
        kernels = -_kernels(points_mm, self.controls_mm, length)[..., None] * away
        bends = self.prior.bend_mm * np.einsum("dc,nck->ndk", self.whitening, kernels)
        stretch = np.broadcast_to(self.prior.stretch * np.eye(3), (n, 3, 3))
        return np.concatenate([np.zeros((n, 1, 3)), stretch, bends], axis=1)


@read_only_arrays
@dataclass(frozen=True, eq=False)
class SmoothDisplacement:
    """A displacement: a basis and its weights.

    Args:
        basis: The functions.
        weights: (size, 3) of each, along R, A, S.
    """

    basis: Basis
    weights: Floats

    def __call__(self, points_mm: Floats) -> Floats:
        """(n, 3) where points (n, 3) come to lie, RAS mm."""
        return np.asarray(points_mm + self.basis(points_mm) @ self.weights)

    def shifted(self, shift_mm: Floats) -> SmoothDisplacement:
        """The same and a shift (3,), mm."""
        weights = self.weights.copy()
        weights[0] += shift_mm / self.basis.prior.shift_mm
        return SmoothDisplacement(self.basis, weights)

    def volume_change(self, points_mm: Floats) -> Floats:
        """(n,) by which factor volume grows at points (n, 3): the determinant of the derivative (Jacobian)."""
        slopes = np.einsum("nbk,bc->nck", self.basis.slopes(points_mm), self.weights)
        return np.asarray(np.linalg.det(np.eye(3) + slopes))


def _kernels(points: Floats, controls: Floats, length_mm: float) -> Floats:
    """(n, c) Gaussians."""
    squares = ((points[:, None] - controls) ** 2).sum(axis=2)
    return np.asarray(np.exp(-0.5 * squares / length_mm**2))
