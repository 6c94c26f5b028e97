"""Triangles of a mesh that run through one another."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from lpm.geometry.frames import Floats
from lpm.geometry.meshes import Indices, Mesh

_SLACK = 1e-9  # of barycentric coordinates: triangles that only touch do not cross


def crossing_faces(mesh: Mesh) -> Indices:
    """Triangles that another one, with which they share no vertex, runs through.

    Args:
        mesh: Any mesh.

    Returns:
        (n,) indices of faces, sorted.
    """
    first, second = _near_pairs(mesh)
    crossed = np.zeros(len(first), dtype=bool)
    corners = mesh.corners
    for start in range(3):
        end = (start + 1) % 3
        crossed |= _pierced(corners[first, start], corners[first, end], corners[second])
        crossed |= _pierced(corners[second, start], corners[second, end], corners[first])
    return np.unique(np.concatenate([first[crossed], second[crossed]]))


def _near_pairs(mesh: Mesh) -> tuple[Indices, Indices]:
    """Pairs of triangles whose boxes overlap and that share no vertex."""
    corners = mesh.corners
    centres = corners.mean(axis=1)
    radius = np.linalg.norm(corners - centres[:, None], axis=2).max(axis=1)
    # each looks for those that are no larger than itself, so that one long sliver does not make all of them look far
    found = cKDTree(centres).query_ball_point(centres, 2.0 * radius)
    first = np.repeat(np.arange(len(found)), [len(each) for each in found])
    second = np.concatenate([np.asarray(each, dtype=np.int64) for each in found])
    ordered = (radius[first] > radius[second]) | ((radius[first] == radius[second]) & (first < second))
    first, second = first[ordered], second[ordered]
    lower, upper = corners.min(axis=1), corners.max(axis=1)
    overlap = ((lower[first] <= upper[second]) & (lower[second] <= upper[first])).all(axis=1)
    first, second = first[overlap], second[overlap]
    shares = (mesh.faces[first][:, :, None] == mesh.faces[second][:, None, :]).any(axis=(1, 2))
    return first[~shares], second[~shares]


def _pierced(start: Floats, end: Floats, corners: Floats) -> np.ndarray:
    """(n,) whether segments pass through triangles (n, 3, 3) (Moeller and Trumbore 1997)."""
    along, u, v = end - start, corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = np.cross(along, v)
    determinant = np.einsum("ij,ij->i", u, p)
    inverse = np.divide(1.0, determinant, out=np.zeros_like(determinant), where=np.abs(determinant) > 0)
    to = start - corners[:, 0]
    q = np.cross(to, u)
    a, b = np.einsum("ij,ij->i", to, p) * inverse, np.einsum("ij,ij->i", along, q) * inverse
    t = np.einsum("ij,ij->i", v, q) * inverse
    inside = (a > _SLACK) & (b > _SLACK) & (a + b < 1.0 - _SLACK) & (t > 0) & (t < 1)
    return np.asarray(inside & (inverse != 0))
