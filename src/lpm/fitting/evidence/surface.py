"""Points on the surface, with noise, outliers, and the smooth residual that neighbouring points share.

    e' (K + D)^-1 e

with e the decoder's values in mm at the points, K the covariance of the residual (`residual.py`) and D the noise
(`noise.py`): neighbouring points count for little more than one, from 50 to 50,000. Masks and slices become points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpm.calibration import count, number
from lpm.fitting.config import FitConfig
from lpm.fitting.discrepancy.noise import Noise, estimate_noise
from lpm.fitting.discrepancy.residual import Clusters, ResidualConfig, cells, covariance, spread_evenly
from lpm.fitting.evidence.term import Linearised
from lpm.fitting.posed import PosedModel
from lpm.fitting.state import State
from lpm.geometry.frames import Floats
from lpm.model.bundle import ModelBundle

_FOLLOWED_POINTS = count("fitting.followed_points")
_SETTLES = 2  # noise is estimated once without the residual's help, and once with it
_LEAST_TRUST = number("fitting.far_point")


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Observed points and the structure that each lies on.

    Args:
        points: (n, 3) world, mm, float32.
        structure: (n,) index of the structure, -1 where it is unknown.
    """

    points: Tensor
    structure: Tensor

    @classmethod
    def of(cls, points_mm: Floats, structure: NDArray[np.int64]) -> SurfacePoints:
        """Points as arrays give them."""
        return cls(torch.tensor(points_mm).float(), torch.tensor(structure))

    def __len__(self) -> int:
        """Number of points."""
        return len(self.points)

    def some(self, n: int) -> SurfacePoints:
        """At most n of the points, spread evenly."""
        chosen = torch.from_numpy(spread_evenly(self.points.numpy().astype(np.float64), n))
        return SurfacePoints(self.points[chosen], self.structure[chosen])

    def sides(self, posed: PosedModel, state: State) -> Tensor:
        """(n,) structures: as given, else the one that the point lies in or nearest to (the union's surface)."""
        is_known = self.structure >= 0
        if bool(is_known.all()):
            return self.structure
        return self.structure.where(is_known, posed.values(state, self.points).argmin(dim=1))


class SurfaceTerm:
    """Surface points in a fit.

    Until the search has settled each point counts for itself, with less and less pull the farther it is: among points
    that share their residual an outlier, which has no neighbours, would weigh as much as a dozen of them.

    Args:
        model: Trained.
        every: All points.
        config: Noise, residual and stopping.
    """

    nuisance_sd = torch.zeros(0, dtype=torch.float64)
    posterior_spread = 1.0

    def __init__(self, model: ModelBundle, every: SurfacePoints, config: FitConfig) -> None:
        self.posed, self.every, self.config = PosedModel(model), every, config
        self.seen = every.some(_FOLLOWED_POINTS)
        alone_mm = math.hypot(config.prior_noise_mm, config.residual.short_range_sd_mm)
        self.noise_mm = alone_mm * (1.0 + len(self.seen) / config.prior_points) ** 0.5
        self.noise: Noise | None = None
        self._residual = config.residual.model_copy(update={"sd_mm": 0.0})  # until outliers are known
        self._settled = 0
        self._cells = cells(self.seen.points.double(), config.working_points)

    @property
    def information_share(self) -> float:
        """Lungs differ from the model over longer distances than the residual's length.

        Thousands of points of the upper lungs would make the lower ones certain, if they counted in full. For the prior
        alone, their noise does so already.
        """
        return 1.0 if self.config.prior_only else 1.0 / (1.0 + len(self.seen) / self.config.certain_points)

    def begin(self, state: State) -> None:
        """A search begins: correspondences and robust weights of the state."""
        self.accept(state)

    def accept(self, state: State) -> None:
        """A step was kept."""
        self.sides = self.seen.sides(self.posed, state)
        self.values = self.posed.own_values(state, self.seen.points, self.sides)
        if self._settled == 0:
            self._variance = self._robust()

    def _robust(self) -> Tensor:
        """(n,) noise variances, growing as exp((e / width)^2) with a width that follows the errors down.

        The weight exp(-(e / width)^2) is Welsch's (Holland and Welsch 1977), its width annealed from the median error.
        """
        width = max(2.0, 3.0 * float(self.values.abs().median()))
        variance: Tensor = self.noise_mm**2 * (self.values / width).square().clamp(max=_LEAST_TRUST).exp()
        return variance

    def linearise(self, state: State, nuisance: Tensor) -> Linearised:
        """Whitened errors of clusters of neighbours, and their derivatives."""
        values, jacobian = self.posed.linearise(state, self.seen.points, self.sides)
        self._clusters = self._clustered()
        self._factors = self._covariance_factors(self._clusters)
        whitened = self._whitened(torch.cat([values[:, None], jacobian], dim=1))
        return Linearised(whitened[:, 0], whitened[:, 1:], values.new_zeros(len(whitened), 0))

    def errors(self, state: State, nuisance: Tensor) -> Tensor:
        """Whitened errors at another state, points on the structures as they were."""
        return self._whitened(self.posed.own_values(state, self.seen.points, self.sides)[:, None])[:, 0]

    def _whitened(self, rows: Tensor) -> Tensor:
        """(c, ...) rows of points as those of clusters with independent noise of 1, structure by structure."""
        averages = self._clusters.average(rows)
        if not self._factors:
            return averages / self._clusters.variance.sqrt()[:, None]
        parts = [torch.linalg.solve_triangular(factor, averages[own], upper=False) for own, factor in self._factors]
        return torch.cat(parts)

    def _clustered(self) -> Clusters:
        """Neighbours of one structure that count as one, so that the covariance stays small."""
        n_structures = len(self.posed.model.structures)
        _, member = torch.unique(self._cells * n_structures + self.sides, return_inverse=True)
        return Clusters.of(member, self._variance)

    def _covariance_factors(self, clusters: Clusters) -> list[tuple[Tensor, Tensor]]:
        """Clusters of each structure, and the Cholesky factor of their residual's covariance plus noise.

        None without a residual, for then clusters have nothing in common; structures never have.
        """
        if self._residual.sd_mm == 0:
            return []
        places = clusters.average(self.seen.points.double())
        structure = torch.zeros(len(places), dtype=self.sides.dtype).index_copy_(0, clusters.member, self.sides)
        each = [torch.nonzero(structure == index)[:, 0] for index in structure.unique()]
        return [(own, _residual_factor(places[own], clusters.variance[own], self._residual)) for own in each]

    def settle(self, state: State) -> bool:
        """On a plateau: estimate noise and outliers from the neighbours, then let points share their residual."""
        if self._settled == _SETTLES or self.config.prior_only:
            return False
        self._settled += 1
        points = self.seen.points
        places = self.posed.projected(state, points, self.sides)
        slopes = self.posed.slopes(state, points, self.sides)
        self.noise = estimate_noise(places, self.sides, (self.values, slopes), self.config, self.noise)
        self._variance, self.noise_mm = self.noise.variance, self.noise.sd_mm
        self._residual = self.config.residual
        return True


def _residual_factor(places: Tensor, variance: Tensor, config: ResidualConfig) -> Tensor:
    """(n, n) Cholesky factor of the residual's covariance between (n, 3) places of a structure, plus noise."""
    centred = places - places.mean(dim=0)
    factor: Tensor = torch.linalg.cholesky(covariance(centred, centred, config) + torch.diag(variance))
    return factor
