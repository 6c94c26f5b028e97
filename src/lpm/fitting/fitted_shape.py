"""The end of a fit, in numbers: shape, pose, what follows the points, and how sure all that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lpm.fitting.config import FitConfig
from lpm.fitting.discrepancy.residual import ResidualConfig, ResidualField
from lpm.fitting.evidence.fitted_surface import FittedSurface, finish_surface
from lpm.fitting.evidence.surface import SurfacePoints, SurfaceTerm
from lpm.fitting.initialisation import initial_state
from lpm.fitting.pose import Pose
from lpm.fitting.search import Found, StopReason, search
from lpm.geometry.frames import Floats
from lpm.model.bundle import ModelBundle


@dataclass(frozen=True, eq=False)
class FittedShape:
    """Shape and pose that explain the evidence.

    Args:
        beta: (k,) shape parameters.
        pose: Translation, axis scales, rotation.
        residual: The smooth field that takes the decoder's surface to the points; zero without points.
        precision: (k + 9, k + 9) of the posterior over beta, translation, log scales, rotation.
        iterations: Steps tried.
        stop_reason: Why the search stopped.
        surface: Result of the surface points; None if there were none.
    """

    beta: Tensor
    pose: Pose
    residual: ResidualField
    precision: Tensor
    iterations: int
    stop_reason: StopReason
    surface: FittedSurface | None = None

    @classmethod
    def of(cls, found: Found, model: ModelBundle, term: SurfaceTerm | None) -> FittedShape:
        """The shape of a search, and the residual of its surface points."""
        surface, residual = None, ResidualField.nothing(ResidualConfig(sd_mm=0.0), len(model.structures))
        if term is not None:
            residual, surface = finish_surface(term, found.state)
        return cls(
            beta=found.state.beta,
            pose=found.state.pose(),
            residual=residual,
            precision=found.precision,
            iterations=found.iterations,
            stop_reason=found.stop_reason,
            surface=surface,
        )


def fit_shape(model: ModelBundle, points_mm: Floats, structure: NDArray[np.int64], config: FitConfig) -> FittedShape:
    """Fit shape parameters, pose and residual to surface points.

    Args:
        model: Trained.
        points_mm: (n, 3) RAS mm, on the surface of the structures.
        structure: (n,) index of the structure of each point, -1 where it is unknown.
        config: Prior widths and stopping.

    Returns:
        The best shape found and why the search stopped.

    Raises:
        InputError: The energy is not finite.
    """
    term = SurfaceTerm(model, SurfacePoints.of(points_mm, structure), config)
    found = search(model, [term], config, initial_state(model, term.seen, config))
    return FittedShape.of(found, model, term)
