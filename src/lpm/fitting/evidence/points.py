"""Lungs from surface points (paper IV.C): by default 5,000 of them, without normals, sides unknown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lpm.errors import InputError
from lpm.fitting.config import FitConfig
from lpm.fitting.evidence.observation import UNKNOWN, Observation, digest_of
from lpm.fitting.evidence.structure_names import structure_indices
from lpm.fitting.fit import Fit
from lpm.fitting.surfaces import fit_observations
from lpm.geometry.frames import Floats, PointsLike, as_points
from lpm.model.bundle import ModelBundle


def observe_points(model: ModelBundle, points_mm: PointsLike, structure: Sequence[str] | None = None) -> Observation:
    """Take points for what was seen of the lungs.

    Args:
        model: Model with the structures that the points lie on.
        points_mm: (n, 3) RAS mm, anywhere on the surfaces: scattered, or along contours in any plane.
        structure: Name of the structure of each point, if known.

    Raises:
        InputError: NaN, not (n, 3), or structures that the model does not have.
    """
    points = as_points(points_mm)
    indices = np.full(len(points), UNKNOWN, dtype=np.int64)
    if structure is not None:
        if len(structure) != len(points):
            raise InputError("points", f"{len(structure)} sides for {len(points)} points", "one side a point")
        indices = structure_indices(structure, model, "points")
    what = f"{len(points)} surface points"
    return Observation(points, indices, what, notes=_notes(points), source=digest_of(points, indices))


def _notes(points: Floats) -> tuple[str, ...]:
    """A note on points that may be the voxels of an image: none negative, all on a grid of halves."""
    if not len(points) or points.min() < 0 or (2.0 * points != np.round(2.0 * points)).any():
        return ()
    return ("coordinates are whole numbers, none negative: voxel indices? They were taken as mm",)


def fit_points(
    model: ModelBundle,
    points_mm: PointsLike,
    structure: Sequence[str] | None = None,
    *,
    config: FitConfig | None = None,
    spacing_mm: float = 1.5,
) -> Fit:
    """Reconstruct both lungs from points on their surface.

    Args:
        model: Trained.
        points_mm: (n, 3) RAS mm, n >= 10, anywhere on the surfaces: an array or tensor, or a cloud or mesh of trimesh,
            Open3D or pyvista, whose vertices count.
        structure: Name of the structure of each point, if known.
        config: Prior widths and stopping; default `FitConfig()`.
        spacing_mm: Lattice of the extracted meshes.

    Raises:
        InputError: Fewer than 10 points, NaN, not (n, 3), an extent that is not millimetres, or unknown structures.
    """
    return fit_observations(model, [observe_points(model, points_mm, structure)], config=config, spacing_mm=spacing_mm)


def draw_points(points_mm: PointsLike, n: int, *, rng: np.random.Generator) -> np.ndarray:
    """Indices of n points drawn without replacement (5,000 of 250,000 in the paper); all of them if there are fewer."""
    count = len(as_points(points_mm))
    return np.sort(rng.choice(count, size=min(n, count), replace=False))
