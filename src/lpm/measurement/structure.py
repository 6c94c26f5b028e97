"""What can be measured on one closed structure."""

from __future__ import annotations

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from lpm.calibration import count, number, span
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.sections import outline, section_area_cm2, volume_below_ml

LEVELS_PERCENT = (10, 30, 50, 70, 90)  # of the height; they are part of the attributes' names
Box = tuple[Floats, Floats]
"""Lowest and highest corner, (3,) each, RAS mm."""

_FACING_DOWN = number("measurement.facing_down")
_BASE_SHARE = number("measurement.base_share")
_DOME_SHARE = number("measurement.dome_share")
_APEX_MM = number("measurement.apex_mm")
_NOTCH_SHARES = np.linspace(*span("measurement.notch_range"), count("measurement.notch_sections"))
_LEAST_OUTLINE = 8  # points: a section of fewer is a crumb, and has no hollow


def measure_structure(mesh: WorldMesh, box_mm: Box | None = None) -> dict[str, float]:
    """Measure one structure (docs/measure.md says what each name means).

    Args:
        mesh: Closed and outward, RAS mm.
        box_mm: Its lowest and highest corner, where they are known better than by its vertices.

    Returns:
        Values by name; the unit is the name's end.
    """
    volume, area = mesh.volume_ml, mesh.area_cm2
    lower, upper = box_of(mesh) if box_mm is None else box_mm
    width, depth, height = (upper - lower).tolist()
    return {
        "volume_ml": volume,
        "area_cm2": area,
        "height_mm": height,
        "width_mm": width,
        "depth_mm": depth,
        "sphericity": float(np.pi ** (1 / 3) * (6.0 * volume) ** (2 / 3) / area),
        **_by_level(mesh),
        **_base(mesh),
        "apex_radius_mm": _apex_radius_mm(mesh),
        "notch_depth_mm": _notch_depth_mm(mesh),
    }


def box_of(mesh: WorldMesh) -> Box:
    """Lowest and highest corner of a mesh, (3,) each, RAS mm."""
    return mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)


def _levels(mesh: WorldMesh, shares: Floats) -> Floats:
    low, high = float(mesh.vertices[:, 2].min()), float(mesh.vertices[:, 2].max())
    return np.asarray(low + shares * (high - low))


def _by_level(mesh: WorldMesh) -> dict[str, float]:
    """Areas of sections, and volumes of the thirds of the height."""
    levels = _levels(mesh, np.array(LEVELS_PERCENT) / 100.0)
    found = {
        f"section_{percent}_cm2": section_area_cm2(mesh, float(level))
        for percent, level in zip(LEVELS_PERCENT, levels, strict=True)
    }
    low, high = (volume_below_ml(mesh, float(level)) for level in _levels(mesh, np.array([1 / 3, 2 / 3])))
    return found | {"lower_third_ml": low, "middle_third_ml": high - low, "upper_third_ml": mesh.volume_ml - high}


def _base(mesh: WorldMesh) -> dict[str, float]:
    """The surface low down that faces down: its area seen from below, its dome and its slope."""
    lowest, top = (float(level) for level in _levels(mesh, np.array([0.0, _BASE_SHARE])))
    centers, down = mesh.corners.mean(axis=1), -mesh.face_normals[:, 2]
    chosen = (down > _FACING_DOWN) & (centers[:, 2] < top)
    if np.count_nonzero(chosen) < 3:
        return {"base_area_cm2": 0.0, "dome_height_mm": 0.0, "base_tilt_deg": 0.0}
    places, seen = centers[chosen], (mesh.face_areas * down)[chosen]
    return {
        "base_area_cm2": float(seen.sum()) / 100.0,
        "dome_height_mm": _quantile(places[:, 2], seen, _DOME_SHARE) - lowest,
        "base_tilt_deg": _tilt_deg(places, seen),
    }


def _quantile(values: Floats, weight: Floats, share: float) -> float:
    order = np.argsort(values)
    below = np.cumsum(weight[order]) - 0.5 * weight[order]
    return float(np.interp(share * weight.sum(), below, values[order]))


def _tilt_deg(places: Floats, weight: Floats) -> float:
    """Slope of the plane through the base from front to back; positive where the back lies lower."""
    centred = (places - np.average(places, axis=0, weights=weight)) * np.sqrt(weight)[:, None]
    slope, *_ = np.linalg.lstsq(centred[:, :2], centred[:, 2], rcond=None)
    return float(np.degrees(np.arctan(slope[1])))


def _apex_radius_mm(mesh: WorldMesh) -> float:
    """Radius of the sphere whose section, 40 mm below its top, is as large as the structure's."""
    below = min(_APEX_MM, 0.5 * float(np.ptp(mesh.vertices[:, 2])))
    area_mm2 = 100.0 * section_area_cm2(mesh, float(mesh.vertices[:, 2].max()) - below)
    return area_mm2 / (2.0 * np.pi * below) + 0.5 * below


def _notch_depth_mm(mesh: WorldMesh) -> float:
    """How hollow sections are, from three to seven tenths of the height: the mean of their deepest places."""
    return float(np.mean([_concavity_mm(outline(mesh, level)) for level in _levels(mesh, _NOTCH_SHARES).tolist()]))


def _concavity_mm(segments: Floats) -> float:
    """How far the outline's points lie from the edge of its convex hull, at most."""
    points = segments[:, 0]
    if len(points) < _LEAST_OUTLINE:
        return 0.0
    try:
        edges = ConvexHull(points).equations
    except QhullError:  # all on a line: nothing is hollow
        return 0.0
    return float((-(points @ edges[:, :2].T + edges[:, 2])).min(axis=1).max())
