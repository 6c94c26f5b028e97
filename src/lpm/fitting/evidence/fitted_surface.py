"""After the search: the residual conditioned on all points, and the estimates of noise and outliers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpm.calibration import number
from lpm.fitting.discrepancy.noise import Noise, estimate_noise
from lpm.fitting.discrepancy.residual import Observed, ResidualField, condition
from lpm.fitting.evidence.surface import SurfaceTerm
from lpm.fitting.state import State
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats

_MOST_PROJECTIONS = 8  # noisy points need six, clean ones one (docs/fit.md)
_SETTLED_MM = number("fitting.places_settled_mm")


@read_only_arrays
@dataclass(frozen=True, eq=False)
class FittedSurface:
    """Result of a fit for its surface points: residual, noise, outliers.

    Args:
        residuals_mm: (n,) signed distance of the points from the fitted field.
        box_mm: Lower and upper corner of the points that are no outliers.
        structure: (n,) the structure that each point was given to.
        unexplained_mm: Root mean square of the decoder's value at ordinary points: what the residual makes up for.
        noise_mm: Standard deviation of an ordinary point.
        n_outliers: Points that their neighbours contradict.
    """

    residuals_mm: Floats
    box_mm: tuple[Floats, Floats]
    structure: NDArray[np.int64]
    unexplained_mm: float
    noise_mm: float
    n_outliers: int

    def summary(self) -> dict[str, float]:
        """What `fit.json` says of the points' distances, mm."""
        residuals = np.abs(self.residuals_mm)
        return {
            "mean_absolute": float(residuals.mean()),
            "median_absolute": float(np.median(residuals)),
            "p95_absolute": float(np.percentile(residuals, 95)),
            "n": len(residuals),
            "unexplained_by_the_model": self.unexplained_mm,
            "noise": self.noise_mm,
            "n_outliers": self.n_outliers,
        }


def finish_surface(term: SurfaceTerm, state: State) -> tuple[ResidualField, FittedSurface]:
    """Condition the residual on all points."""
    posed, every, config = term.posed, term.every, term.config
    sides = every.sides(posed, state)
    values = posed.own_values(state, every.points, sides)
    if config.prior_only:
        residual = ResidualField.nothing(config.residual, len(posed.model.structures))
        noise = Noise(term.noise_mm, 0.0, torch.ones(len(every), dtype=torch.float64))
    else:
        residual, noise = _conditioned(term, state, sides, values)
    points, counts = every.points.double(), noise.trust >= 0.5
    ordinary = points[counts].numpy()
    return residual, FittedSurface(
        residuals_mm=(values + residual.at(points, sides)).numpy(),
        box_mm=(ordinary.min(axis=0), ordinary.max(axis=0)),
        structure=sides.numpy(),
        unexplained_mm=float(values[counts].square().mean().sqrt()),
        noise_mm=noise.sd_mm,
        n_outliers=int((noise.ordinary < 0.5).sum()),
    )


def _conditioned(term: SurfaceTerm, state: State, sides: Tensor, values: Tensor) -> tuple[ResidualField, Noise]:
    """The residual given the points, and places on the surface given the residual, in turn until both settle."""
    posed, points, config = term.posed, term.every.points, term.config
    places = posed.projected(state, points, sides)
    slopes = posed.slopes(state, points, sides)
    noise = estimate_noise(places, sides, (values, slopes), config, term.noise)
    prior = config.residual.model_copy(update={"sd_mm": noise.residual_sd_mm})
    # of a point's distance to the decoder's surface this share is noise, as far as one can say before the fit
    share = noise.variance / (noise.variance + noise.residual_sd_mm**2)
    places = points.double() + share[:, None] * (places - points.double())
    errors = values - posed.noise_bias(state, points, sides, noise.sd_mm)
    n_structures = len(posed.model.structures)
    residual = condition(Observed(places, sides, errors, noise.variance), n_structures, prior)
    for _ in range(_MOST_PROJECTIONS):
        before, places = places, posed.projected(state, points, sides, residual)
        if float((places - before).norm(dim=1).mean()) < _SETTLED_MM:
            break
        residual = condition(Observed(places, sides, errors, noise.variance), n_structures, prior)
    return residual, noise
