"""Exact distances between points and triangle meshes, by libigl."""

from __future__ import annotations

from dataclasses import dataclass

import igl
import numpy as np

from lpm.errors import InputError
from lpm.geometry.frames import Floats, as_points
from lpm.geometry.meshes import Indices, Mesh


def signed_distance(mesh: Mesh, points: Floats) -> Floats:
    """Signed distance from points to a closed mesh, negative inside.

    The sign comes from the angle-weighted pseudonormal at the closest point (Baerentzen and Aanaes 2005), which is
    exact on a closed mesh. libigl's fast winding number is not used: its magnitudes are off by up to 0.38 mm.

    Args:
        mesh: Closed and outward.
        points: (n, 3) in the mesh's frame.

    Returns:
        (n,) in the mesh's unit.

    Raises:
        InputError: The mesh is open, so that inside and outside are not defined.
    """
    if not mesh.is_closed:
        raise InputError("signed_distance", "an open mesh", "a closed one", "pad the mask before meshing, or repair it")
    points = as_points(points)
    if len(points) == 0:
        return np.zeros(0)
    kind = igl.SignedDistanceType.SIGNED_DISTANCE_TYPE_PSEUDONORMAL
    return np.asarray(igl.signed_distance(points, mesh.vertices, mesh.faces, kind)[0])


@dataclass(frozen=True)
class ClosestPoints:
    """Where points are closest to a mesh.

    Args:
        distance: (n,) unsigned, in the mesh's unit.
        face: (n,) the triangle.
        point: (n, 3) the point on it.
    """

    distance: Floats
    face: Indices
    point: Floats


def closest_points(mesh: Mesh, points: Floats) -> ClosestPoints:
    """Exact point-to-triangle distance, for meshes open or closed.

    Args:
        mesh: Any mesh.
        points: (n, 3) in the mesh's frame.
    """
    squared, face, closest = igl.point_mesh_squared_distance(as_points(points), mesh.vertices, mesh.faces)
    return ClosestPoints(np.sqrt(np.maximum(squared, 0.0)), np.asarray(face, dtype=np.int64), np.asarray(closest))
