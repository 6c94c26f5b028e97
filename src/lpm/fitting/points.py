"""Lungs from surface points (paper IV.C): by default 5,000 of them, without normals, sides unknown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lpm.errors import InputError
from lpm.files.points import check_extent
from lpm.fitting.config import FitConfig
from lpm.fitting.engine import fit_shape
from lpm.fitting.fit import Fit, extract_fit, structure_indices
from lpm.geometry.frames import as_points
from lpm.model.bundle import ModelBundle

MIN_POINTS = 10


def fit_points(
    model: ModelBundle,
    points_mm: ArrayLike,
    structure: Sequence[str] | None = None,
    *,
    config: FitConfig | None = None,
    spacing_mm: float = 1.5,
) -> Fit:
    """Reconstruct both lungs from points on their surface.

    Args:
        model: Trained.
        points_mm: (n, 3) RAS mm, n >= 10, anywhere on the surfaces.
        structure: Name of the structure of each point, if known.
        config: Prior widths and stopping; default `FitConfig()`.
        spacing_mm: Lattice of the extracted meshes.

    Raises:
        InputError: Fewer than 10 points, NaN, not (n, 3), an extent that is not millimetres, or unknown structures.
    """
    points = as_points(points_mm)
    if len(points) < MIN_POINTS:
        raise InputError("points", f"{len(points)} points", f"at least {MIN_POINTS}", "give more of the surface")
    check_extent(points, "points")
    indices = None
    if structure is not None:
        if len(structure) != len(points):
            raise InputError("points", f"{len(structure)} sides for {len(points)} points", "one side a point")
        indices = structure_indices(structure, model, "points")
    config = config or FitConfig()
    shape = fit_shape(model, points, indices, config)
    extraction = extract_fit(model, shape, model.structures, spacing_mm)
    unseen = [] if structure is None else [name for name in model.structures if name not in set(structure)]
    notes = tuple(f"{name}: no point was given, predicted from the other structures" for name in unseen)
    return Fit(model, config, shape, extraction, f"{len(points)} surface points", notes)


def draw_points(points_mm: ArrayLike, n: int, *, rng: np.random.Generator) -> np.ndarray:
    """Indices of n points drawn without replacement (5,000 of 250,000 in the paper); all of them if there are fewer."""
    count = len(np.asarray(points_mm))
    return np.sort(rng.choice(count, size=min(n, count), replace=False))
