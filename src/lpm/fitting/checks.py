"""Points that cannot be of the model's shapes are refused; a fit that one should not trust says why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from lpm.calibration import count, number
from lpm.errors import InputError
from lpm.files.points import MIN_POINTS, check_extent
from lpm.fitting.evidence.surface import SurfacePoints
from lpm.fitting.initialisation import rough_cost
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats, as_points
from lpm.preparation.gate import implausible_total
from lpm.structures import LUNGS_MM

if TYPE_CHECKING:
    from lpm.fitting.fit import Fit

_LINE_MM = number("fitting.line_mm")
_PLANE_MM = number("fitting.plane_mm")
_MOST_UNEXPLAINED_MM = number("fitting.most_unexplained_mm")
_MOST_SURPRISE = number("fitting.most_surprise")
_MOST_LOG_SCALE = number("fitting.most_log_scale")
_MOST_OUTLIERS = number("fitting.doubtful_outliers")
_MOST_HEARD = number("fitting.contradicting_share")
_MIRROR_POINTS = count("fitting.mirror_points")
_MIRROR_RATIO = number("fitting.mirror_ratio")
_UNLIKE_MM = number("fitting.unlike_mm")
_MIRRORED = "possibly mirrored: the mirror image fits much better; check left and right"
# what takes points to RAS, by what they would then be
_OTHER_AXES = {
    "possibly LPS: turned by 180 degrees about S they fit much better; for point files, --points-space lps": (
        (-1.0, 0.0, 0.0),
        (0.0, -1.0, 0.0),
        (0.0, 0.0, 1.0),
    ),
    "possibly y up: as x, -z, y they fit much better": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)),
    "possibly y down: as x, z, -y they fit much better": ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)),
    "possibly z, y, x: in reverse order they fit much better": ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
}


@read_only_arrays
@dataclass(frozen=True, eq=False)
class CheckedPoints:
    """Points that can be of the model's shapes.

    Args:
        points_mm: (n, 3) each place once.
        structure: (n,) their structures.
        notes: Warnings about them.
    """

    points_mm: Floats
    structure: NDArray[np.int64]
    notes: tuple[str, ...]


def check_points(points_mm: Floats, structure: NDArray[np.int64], whole_mm: float = LUNGS_MM) -> CheckedPoints:
    """Refuse points that cannot be of the model's shapes in mm, and count each place once.

    Args:
        points_mm: (n, 3) RAS mm.
        structure: (n,) structure of each.
        whole_mm: Diagonal of the box that holds all the model's shapes.

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
    check_extent(points, "points", whole_mm)
    if n_twice:
        notes.append(f"{n_twice} points lie exactly on others and were counted once")
    points = points[first]
    spread_mm = np.linalg.svd(points - points.mean(axis=0), compute_uv=False) / len(points) ** 0.5
    if spread_mm[1] < _LINE_MM:
        raise InputError("points", "all on a line", "points over a surface", "give more of the surface")
    if spread_mm[2] < _PLANE_MM:
        notes.append("all points lie in one plane: away from it the shape is what the model expects")
    return CheckedPoints(points, structure[first], tuple(notes))


def doubts(fit: Fit) -> list[str]:
    """Reasons not to trust a fit, in words; none for most shapes.

    The limits lie beyond what 15 training lungs, each fitted by a model of others, reach (docs/fit.md).
    """
    surface, found = fit.shape.surface, list[str]()
    if surface is None:
        return doubts_about_shape(fit)
    outliers, away_mm = surface.n_outliers / len(surface.residuals_mm), surface.unexplained_mm
    if away_mm > _MOST_UNEXPLAINED_MM:
        found.append(f"unlike the model's shapes: the surface lies {away_mm:.1f} mm (rms) from the points")
    found += doubts_about_shape(fit)
    if outliers > _MOST_HEARD:
        found.append(f"unlike the model's shapes: {outliers:.0%} of the points contradict the model; all were kept")
    elif outliers > _MOST_OUTLIERS:
        found.append(f"{outliers:.0%} of the points contradict their neighbours and were given no say")
    return found


def doubts_about_shape(fit: Fit) -> list[str]:
    """Reasons to doubt that the fitted shape is one like those that the model knows, whatever it was fitted to."""
    found = []
    log_scale = np.log(fit.shape.pose.axis_scale)
    surprise = float(np.linalg.norm(fit.beta))
    if surprise > _MOST_SURPRISE:
        found.append(f"unlike the model's shapes: Mahalanobis distance {surprise:.1f} (at most {_MOST_SURPRISE:.0f})")
    if float(np.abs(log_scale).max()) > _MOST_LOG_SCALE:
        factors = ", ".join(f"{factor:.2f}" for factor in fit.shape.pose.axis_scale)
        found.append(f"unlike the model's shapes: the axes had to be scaled by {factors}; is the unit mm?")
    if fit.sized and (implausible := implausible_total({name: mesh.volume_ml for name, mesh in fit.lungs.items()})):
        found.append(f"{implausible}: is the unit mm?")
    return found


def looks_turned(fit: Fit, seen: SurfacePoints) -> list[str]:
    """A note if the points would be much more like the model's shapes as a mirror image, or with other axes.

    Only where each structure has its like on the other side: others may be mirror images of themselves. Axes are
    tried where the points are unlike the model's shapes as they are.
    """
    other_side = other_sides(fit.model.structures)
    if other_side is None:
        return []
    few = seen.some(_MIRROR_POINTS)
    swapped = torch.from_numpy(other_side)[few.structure.clamp_min(0)].where(few.structure >= 0, few.structure)
    mirrored = SurfacePoints(few.points * torch.tensor([-1.0, 1.0, 1.0]), swapped)
    as_is, other = (rough_cost(fit.model, points, fit.config) for points in (few, mirrored))
    costs = {_MIRRORED: other}
    if other < as_is or as_is > _UNLIKE_MM * fit.model.diagonal_mm / LUNGS_MM:
        for note, axes in _OTHER_AXES.items():
            turned = SurfacePoints(few.points @ torch.tensor(axes).T, few.structure)
            costs[note] = rough_cost(fit.model, turned, fit.config)
    best = min(costs, key=lambda note: costs[note])
    return [best] if costs[best] <= _MIRROR_RATIO * as_is else []


def other_sides(structures: Sequence[str]) -> NDArray[np.int64] | None:
    """(s,) index of each structure's like on the other side, by its name; None if one has none."""
    swap = {"left": "right", "right": "left"}
    others = ["_".join(swap.get(word, word) for word in name.split("_")) for name in structures]
    if any(other == name or other not in structures for other, name in zip(others, structures, strict=True)):
        return None
    return np.array([list(structures).index(other) for other in others])
