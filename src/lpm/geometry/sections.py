"""Horizontal sections of closed meshes, exactly: outlines, areas, and what lies below a level."""

from __future__ import annotations

import numpy as np

from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh


def outline(mesh: WorldMesh, level_mm: float) -> Floats:
    """Segments in which a plane of constant S cuts a mesh.

    Args:
        mesh: Closed and outward.
        level_mm: S of the plane.

    Returns:
        (n, 2, 2) start and end of each segment, along R and A in mm; with the inside on their left, seen from above.
    """
    corners, is_above = _with_lone_corner_first(mesh, level_mm)
    ends = _crossings(corners, level_mm)[..., :2]
    return np.where(is_above[:, None, None], ends, ends[:, ::-1])


def section_area_cm2(mesh: WorldMesh, level_mm: float) -> float:
    """Area of a horizontal section, square centimetres."""
    start, end = outline(mesh, level_mm).transpose(1, 2, 0)
    return float(0.5 * (start[0] * end[1] - start[1] * end[0]).sum()) / 100.0


def volume_below_ml(mesh: WorldMesh, level_mm: float) -> float:
    """Volume of what lies below a plane of constant S, ml.

    The mesh's part below the plane is closed by the section, which encloses nothing with a point of the plane.
    """
    whole = mesh.corners[(mesh.corners[..., 2] < level_mm).all(axis=1)]
    corners, is_above = _with_lone_corner_first(mesh, level_mm)
    p, q = _crossings(corners, level_mm).transpose(1, 0, 2)
    a, b, c = corners.transpose(1, 0, 2)
    tips = np.stack([a, p, q], axis=1)[~is_above]
    stumps = [np.stack(each, axis=1)[is_above] for each in ((p, b, c), (p, c, q))]
    parts = np.concatenate([whole, tips, *stumps]) - np.array([0.0, 0.0, level_mm])
    return float(np.einsum("ij,ij->", parts[:, 0], np.cross(parts[:, 1], parts[:, 2]))) / 6000.0


def _with_lone_corner_first(mesh: WorldMesh, level_mm: float) -> tuple[Floats, np.ndarray]:
    """(n, 3, 3) corners of the triangles that the plane cuts, turned so that the one alone on its side comes first."""
    above = mesh.corners[..., 2] >= level_mm
    n_above = above.sum(axis=1)
    cut = (n_above == 1) | (n_above == 2)
    above, is_above = above[cut], n_above[cut] == 1
    lone = np.argmax(above == is_above[:, None], axis=1)
    order = (lone[:, None] + np.arange(3)) % 3
    return np.take_along_axis(mesh.corners[cut], order[..., None], axis=1), is_above


def _crossings(corners: Floats, level_mm: float) -> Floats:
    """(n, 2, 3) where the two edges from the first corner meet the plane."""
    first, others = corners[:, :1], corners[:, 1:]
    share = (level_mm - first[..., 2:]) / (others[..., 2:] - first[..., 2:])
    return np.asarray(first + share * (others - first))
