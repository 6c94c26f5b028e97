"""Exact distances between points and triangle meshes, by libigl."""

from __future__ import annotations

from dataclasses import dataclass

import igl
import numpy as np
from scipy.ndimage import zoom

from lpm.errors import InputError
from lpm.geometry.arrays import handed_over, read_only_arrays
from lpm.geometry.frames import Floats, as_points
from lpm.geometry.grids import VoxelGrid, grid_nodes
from lpm.geometry.meshes import Indices, Mesh, WorldMesh


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
    order = morton_order(points)
    distance = np.empty(len(points))
    distance[order] = igl.signed_distance(points[order], mesh.vertices, mesh.faces, kind)[0]
    return distance


@read_only_arrays
@dataclass(frozen=True, eq=False)
class ClosestPoints:
    """Closest points on a mesh: distances, places and triangles.

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
    points = as_points(points)
    order = morton_order(points)
    squared, face, closest = igl.point_mesh_squared_distance(points[order], mesh.vertices, mesh.faces)
    back = np.argsort(order)
    distance = np.sqrt(np.maximum(squared, 0.0))
    found = (distance[back], np.asarray(face, dtype=np.int64)[back], np.asarray(closest)[back])
    return ClosestPoints(*map(handed_over, found))


def morton_order(points: Floats) -> Indices:
    """An order in which neighbours in space are mostly neighbours in the array (Morton 1966, 10 bits an axis).

    Looked up in this order, points find the branch of the tree that the point before them needed still in the cache:
    250,000 signed distances to a lung take half to a third of the time.

    Args:
        points: (n, 3).

    Returns:
        (n,) a permutation.
    """
    if len(points) == 0:
        return np.zeros(0, dtype=np.int64)
    low = points.min(axis=0)
    extent = float((points.max(axis=0) - low).max())
    cells = ((points - low) * (1023.0 / extent if extent > 0 else 0.0)).astype(np.int64)
    for shift, kept in ((16, 0x030000FF), (8, 0x0300F00F), (4, 0x030C30C3), (2, 0x09249249)):
        cells = (cells | cells << shift) & kept
    key: Indices = cells @ np.array([1, 2, 4])
    return np.argsort(key, kind="stable")


def spread_apart(points: Floats, n: int) -> Floats:
    """Points as far apart as possible: one after the other the one farthest from those before, and from the middle.

    Args:
        points: (m, 3).
        n: How many of them; all, in this order, if there are fewer.
    """
    nearest, chosen = ((points - points.mean(axis=0)) ** 2).sum(axis=1), np.empty(min(n, len(points)), dtype=np.int64)
    for index in range(len(chosen)):
        chosen[index] = nearest.argmax()
        nearest = np.minimum(nearest, ((points - points[chosen[index]]) ** 2).sum(axis=1))
    return np.asarray(points[chosen])


def sdf_on_grid(mesh: WorldMesh, grid: VoxelGrid) -> Floats:
    """Signed distance on a grid with odd sides: exact near the surface, interpolated between every second node else.

    A distance changes by at most a millimetre a millimetre, so nodes whose interpolated value exceeds the diagonal
    of a coarse cell cannot be close to the surface.
    """
    places = grid_nodes(grid)
    coarse = places[::2, ::2, ::2]
    field = signed_distance(mesh, coarse.reshape(-1, 3)).reshape(coarse.shape[:3])
    field = np.asarray(zoom(field, np.array(grid.shape) / np.array(field.shape), order=1, grid_mode=False))
    is_near = np.abs(field) < 2.0 * np.sqrt(3.0) * grid.spacing_mm
    field[is_near] = signed_distance(mesh, places[is_near])
    return field
