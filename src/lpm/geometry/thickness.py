"""How thick a body is at each place of its surface."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from lpm.geometry.frames import Floats
from lpm.geometry.meshes import Mesh

_ROUNDS = 40  # at most; balls only shrink, and those that have settled are left alone
_SETTLED = 1e-3  # of a radius: less shrinking is none
_LEAST_ANGLE = np.deg2rad(32.0)  # two places nearer to each other, seen from the ball's centre, are one place and noise


def thickness(mesh: Mesh) -> Floats:
    """Diameter of the largest ball inside that touches the surface at each vertex.

    Balls that touch at a vertex shrink until no other vertex lies inside (Ma, Bae and Choi 2012); one that would
    shrink for a vertex close beside the first keeps its size.

    Args:
        mesh: Closed and outward.

    Returns:
        (v,) in the mesh's unit.
    """
    points, inward = mesh.vertices, -vertex_normals(mesh)
    tree = cKDTree(points)
    radius = np.full(len(points), 0.5 * float(np.linalg.norm(np.ptp(points, axis=0))))
    moving = np.arange(len(points))
    for _ in range(_ROUNDS):
        own, toward = points[moving], inward[moving]
        centers = own + radius[moving, None] * toward
        distance, nearest = tree.query(centers, workers=-1)
        other = points[nearest] - own
        along = np.maximum(np.einsum("ij,ij->i", other, toward), 1e-9)
        smaller = 0.5 * np.einsum("ij,ij->i", other, other) / along
        new_centers = own + smaller[:, None] * toward
        shrinks = (distance < radius[moving] * (1.0 - _SETTLED)) & (
            _angle(own - new_centers, points[nearest] - new_centers) > _LEAST_ANGLE
        )
        moving = moving[shrinks]
        radius[moving] = smaller[shrinks]
        if len(moving) == 0:
            break
    return 2.0 * radius


def vertex_normals(mesh: Mesh) -> Floats:
    """(v, 3) outward unit normals, of the triangles around each vertex by their area."""
    total = np.zeros_like(mesh.vertices)
    weighted = mesh.face_normals * mesh.face_areas[:, None]
    for corner in range(3):
        np.add.at(total, mesh.faces[:, corner], weighted)
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12))


def _angle(first: Floats, second: Floats) -> Floats:
    """(n,) between two vectors each, rad."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosine = np.einsum("ij,ij->i", first, second) / np.maximum(lengths, 1e-12)
    return np.asarray(np.arccos(np.clip(cosine, -1.0, 1.0)))
