"""Smooth displacements of space: leading eigenfunctions of a Gaussian process, and displacements on grids.

A Gaussian process of displacements with a squared exponential covariance is cut to the eigenfunctions that matter most
(Luethi et al. 2018, Gaussian process morphable models), each a sum of kernels that stand on the training surfaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from lpm.geometry.distances import spread_apart
from lpm.geometry.frames import Floats

_LEAST_VARIANCE = 1e-6  # of the largest: what is below is rounding, and is divided by
_ROUNDING = 1e-3  # of a cell: a box of a whole number of cells gets no further one
_INVERSE_STEPS = 15  # of the fixed point that inverts a displacement
_INVERSE_STEP = 0.7  # damping of the fixed point: it converges where space is stretched by up to 2 / 0.7


class WarpScale(NamedTuple):
    """Scale of a smooth displacement: standard deviation, correlation length, number of eigenfunctions."""

    sd_mm: Annotated[float, Field(gt=0)]
    length_mm: Annotated[float, Field(gt=0)]
    functions: Annotated[int, Field(ge=1, le=250)]


@dataclass(frozen=True, eq=False)
class Eigenfunctions:
    """Leading eigenfunctions of a process of displacements, each of standard deviation one over the process's own.

    Args:
        centers: (c, 3) where the kernels stand.
        weights: (c, r) the functions as sums of kernels.
        length: Correlation length, in the unit of the centres.
    """

    centers: Tensor
    weights: Tensor
    length: Tensor

    @classmethod
    def over(cls, vertices_mm: Floats, scale: WarpScale, n_centers: int) -> Eigenfunctions:
        """Eigenfunctions as seen at places spread over surfaces (Nystroem), mm.

        Args:
            vertices_mm: (v, 3) on the surfaces, where displacements matter.
            scale: Scale of the process.
            n_centers: Number of kernels.
        """
        centers = spread_apart(vertices_mm, n_centers)
        squared = ((centers[:, None] - centers) ** 2).sum(axis=-1)
        variance, vectors = np.linalg.eigh(np.exp(-0.5 * squared / scale.length_mm**2))
        first = np.argsort(variance)[::-1][: scale.functions]
        spread = np.sqrt(np.maximum(variance[first], _LEAST_VARIANCE * variance.max()))
        weights = torch.from_numpy(scale.sd_mm * vectors[:, first] / spread).float()
        return cls(torch.from_numpy(centers).float(), weights, torch.tensor(scale.length_mm))

    def kernels(self, points: Tensor) -> Tensor:
        """(p, c) kernels at (p, 3) points."""
        sharpness = -0.5 / self.length.square()
        # in place: at tens of thousands of points these matrices are what takes the time
        exponent = torch.addmm(sharpness * self.centers.square().sum(dim=-1), points, -2.0 * sharpness * self.centers.T)
        return exponent.add_(sharpness * points.square().sum(dim=-1, keepdim=True)).exp_()

    def at(self, points: Tensor) -> Tensor:
        """(p, r) the functions at (p, 3) points."""
        return self.kernels(points) @ self.weights


@dataclass(frozen=True, eq=False)
class Box:
    """A grid's first and last node, (3,) each."""

    lower: Tensor
    upper: Tensor

    def sample(self, field: Tensor, points: Tensor) -> Tensor:
        """(p, c) trilinear values of a (c, i, j, k) field at (p, 3) points; outside the box, those of its border."""
        place = (2.0 * (points - self.lower) / (self.upper - self.lower) - 1.0).flip(-1).reshape(1, -1, 1, 1, 3)
        found = nn.functional.grid_sample(field[None], place, align_corners=True, padding_mode="border")
        return found[0, :, :, 0, 0].T

    def distance(self, field: Tensor, points: Tensor) -> Tensor:
        """(p,) values of a (i, j, k) field of distances, which grow outside the box."""
        inside = torch.minimum(torch.maximum(points, self.lower), self.upper)
        value: Tensor = self.sample(field[None], inside)[:, 0] + (points - inside).norm(dim=-1)
        return value

    def nodes(self, shape: Sequence[int]) -> Tensor:
        """(i * j * k, 3) nodes of a grid of a shape."""
        axes = [torch.linspace(float(a), float(b), n) for a, b, n in zip(self.lower, self.upper, shape, strict=True)]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)

    def shape_at(self, spacing: float) -> tuple[int, int, int]:
        """Nodes along each axis so that they lie at most `spacing` apart."""
        i, j, k = (int(n) + 1 for n in torch.ceil((self.upper - self.lower) / spacing - _ROUNDING))
        return i, j, k

    def wider(self, by: float) -> Box:
        """The box with a margin."""
        return Box(self.lower - by, self.upper + by)


def inverted(displacement: Tensor, box: Box) -> Tensor:
    """(3, i, j, k) the displacement u' that undoes u: y = x + u(x) if and only if x = y + u'(y).

    By a damped fixed point; a displacement that folds space has no inverse, and ends near one.
    """
    shape = displacement.shape[1:]
    to = box.nodes(shape)
    from_ = to.clone()
    for _ in range(_INVERSE_STEPS):
        from_ = (1.0 - _INVERSE_STEP) * from_ + _INVERSE_STEP * (to - box.sample(displacement, from_))
    return (from_ - to).T.reshape(3, *shape)
