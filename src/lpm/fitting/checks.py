"""Points that cannot be lungs are refused; a fit that one should not trust says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lpm.errors import InputError
from lpm.files.points import MIN_POINTS, check_extent
from lpm.fitting.engine import rough_cost
from lpm.fitting.residual import spread_evenly
from lpm.geometry.frames import Floats, as_points

if TYPE_CHECKING:
    from lpm.fitting.fit import Fit

_LINE_MM = 2.0
_PLANE_MM = 2.0
_MOST_UNEXPLAINED_MM = 5.0
_MOST_SURPRISE = 9.0
_MOST_LOG_SCALE = 0.45
_MOST_OUTLIERS, _MOST_HEARD = 0.15, 0.5
_MIRROR_POINTS = 300
_MIRROR_RATIO = 0.9


@dataclass(frozen=True)
class CheckedPoints:
    """Points that can be lungs.

    Args:
        points_mm: (n, 3) each place once.
        structure: (n,) their structures.
        notes: What was odd about them.
    """

    points_mm: Floats
    structure: NDArray[np.int64]
    notes: tuple[str, ...]


def check_points(points_mm: Floats, structure: NDArray[np.int64]) -> CheckedPoints:
    """Refuse points that cannot be lungs in mm, and count each place once.

    Raises:
        InputError: Fewer than `MIN_POINTS` different points, not finite, of another unit, or all on a line.
    """
    points = as_points(points_mm)
    _, first = np.unique(points, axis=0, return_index=True)
    first.sort()
    notes, n_twice = [], len(points) - len(first)
    if len(first) < MIN_POINTS:
        given = f"{len(points)} points" + (f", {len(first)} of them different" if n_twice else "")
        raise InputError("points", given, f"at least {MIN_POINTS}", "give more of the surface")
    check_extent(points, "points")
    if n_twice:
        notes.append(f"{n_twice} points lie exactly on others and were counted once")
    points = points[first]
    spread_mm = np.linalg.svd(points - points.mean(axis=0), compute_uv=False) / len(points) ** 0.5
    if spread_mm[1] < _LINE_MM:
        raise InputError("points", "all on a line", "points over the surface of lungs", "give more of the surface")
    if spread_mm[2] < _PLANE_MM:
        notes.append("all points lie in one plane: away from it the lungs are what the model expects")
    return CheckedPoints(points, structure[first], tuple(notes))


def doubts(fit: Fit) -> list[str]:
    """Reasons not to trust a fit, in words; none for most lungs.

    The limits lie beyond what 15 training lungs, each fitted by a model of others, reach (docs/fit.md).
    """
    shape, found = fit.shape, []
    outliers = shape.n_outliers / len(shape.residuals_mm)
    if shape.unexplained_mm > _MOST_UNEXPLAINED_MM:
        found.append(f"unlike lungs: the model's surface lies {shape.unexplained_mm:.1f} mm (rms) from the points")
    found += doubts_about_shape(fit)
    if outliers > _MOST_HEARD:
        found.append(f"unlike lungs: {outliers:.0%} of the points contradict the model; all were kept")
    elif outliers > _MOST_OUTLIERS:
        found.append(f"{outliers:.0%} of the points contradict their neighbours and were given no say")
    return found


def doubts_about_shape(fit: Fit) -> list[str]:
    """Reasons to doubt that the fitted shape is that of lungs, whatever it was fitted to."""
    found = []
    log_scale = np.log(fit.shape.pose.axis_scale)
    surprise = float(np.linalg.norm(fit.beta))
    if surprise > _MOST_SURPRISE:
        found.append(f"unlike lungs: Mahalanobis distance {surprise:.1f} (up to {_MOST_SURPRISE:.0f} for lungs)")
    if float(np.abs(log_scale).max()) > _MOST_LOG_SCALE:
        factors = ", ".join(f"{factor:.2f}" for factor in fit.shape.pose.axis_scale)
        found.append(f"unlike lungs: the axes had to be scaled by {factors}; is the unit mm?")
    return found


def looks_mirrored(fit: Fit, points_mm: Floats, structure: NDArray[np.int64]) -> list[str]:
    """A note if the points' mirror image is much more like lungs than the points are."""
    if len(fit.model.structures) != 2:
        return []
    chosen = spread_evenly(points_mm, _MIRROR_POINTS)
    points, sides = points_mm[chosen], structure[chosen]
    mirrored = points * np.array([-1.0, 1.0, 1.0])
    swapped = np.where(sides >= 0, 1 - sides, sides)
    as_is = rough_cost(fit.model, points, sides, fit.config)
    other = rough_cost(fit.model, mirrored, swapped, fit.config)
    if other > _MIRROR_RATIO * as_is:
        return []
    return ["possibly mirrored: the mirror image fits much better; check left and right (heart on the patient's left?)"]
