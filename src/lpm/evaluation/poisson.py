"""Screened Poisson reconstruction of both lungs from points: the baseline that knows no lungs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from lpm.errors import InputError, NoSurfaceError
from lpm.extras import import_extra
from lpm.files.points import MIN_POINTS
from lpm.geometry.distances import sdf_on_grid
from lpm.geometry.frames import Floats, as_points
from lpm.geometry.grids import grid_nodes, odd_grid
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.surfaces import surface_on_grid

Meshes = dict[str, WorldMesh]


class PoissonReconstruction:
    """Screened Poisson reconstruction by open3d, with normals estimated from the points alone, or the true ones.

    Args:
        structures: Two names, the one that lies towards smaller R (the left lung) first.
        depth: Depth of the octree.
        cut_mm: Spacing of the grid on which merged lungs are cut apart.
        true_normals: Whether it is told the true normals.

    Raises:
        InputError: Not two structures.
        MissingExtraError: open3d cannot be imported.
    """

    def __init__(
        self, structures: tuple[str, ...], depth: int = 8, cut_mm: float = 3.0, *, true_normals: bool = False
    ) -> None:
        self.name = "Poisson, true normals" if true_normals else "Poisson"
        self._true_normals = true_normals
        if len(structures) != 2:
            raise InputError(self.name, f"structures {structures}", "two, a left and a right one")
        libraries = " (and apt-get install libusb-1.0-0 libgl1 libgomp1)"
        self._open3d = import_extra("open3d", "benchmarks", self.name, libraries)
        self._structures, self._depth, self._cut_mm = structures, depth, cut_mm

    def reconstruct(self, points_mm: Floats, normals: Floats | None = None) -> Meshes:
        """Reconstruct one surface through all points, then tell the lungs apart by side.

        The largest piece on either side of the gap between the lungs is a lung. Where one piece runs through both, it
        is cut at the gap. Poisson promises no closed surface: normals of one lung that were estimated inside out put
        a sheet between the lungs that leaves the box, and then the meshes are open.

        Raises:
            InputError: Fewer than 10 points, or no normals for a reconstruction that is to be told them.
            NoSurfaceError: One side stays empty.
        """
        points = as_points(points_mm, self.name, at_least=MIN_POINTS)
        if self._true_normals and normals is None:
            raise InputError(self.name, "no normals", "one a point")
        gap_mm = gap_between(points[:, 0])
        surface = self._surface(points, normals if self._true_normals else None)
        large = [piece for piece in pieces_of(surface) if _area(piece) > 0.1 * _area(surface)]
        left = [piece for piece in large if piece.vertices[:, 0].mean() <= gap_mm]
        right = [piece for piece in large if piece.vertices[:, 0].mean() > gap_mm]
        if left and right:
            pair = max(left, key=_area).outward(), max(right, key=_area).outward()
        else:
            pair = cut_at(surface, gap_mm, self._cut_mm)
        return dict(zip(self._structures, pair, strict=True))

    def reconstruct_sides(self, points_mm: Mapping[str, Floats]) -> Meshes:
        """Reconstruct each structure from its own (n, 3) points, RAS mm: the sides are known."""
        return {
            name: self._surface(as_points(points, f"{self.name} {name}", at_least=MIN_POINTS)).largest_piece().outward()
            for name, points in points_mm.items()
        }

    def _surface(self, points: Floats, normals: Floats | None = None) -> WorldMesh:
        o3d = self._open3d
        cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
        if normals is None:
            neighbours = min(30, len(points) - 1)
            cloud.estimate_normals(o3d.geometry.KDTreeSearchParamKNN(neighbours))
            cloud.orient_normals_consistent_tangent_plane(neighbours)
        else:
            cloud.normals = o3d.utility.Vector3dVector(normals)
        # one thread: with several, open3d's result differs from run to run
        mesh, _ = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=self._depth, n_threads=1)
        if len(mesh.triangles) == 0:
            raise NoSurfaceError(self.name, f"no surface through {len(points)} points", "points on a surface")
        return WorldMesh(np.asarray(mesh.vertices), np.asarray(mesh.triangles)).outward()


def _area(mesh: WorldMesh) -> float:
    return float(mesh.face_areas.sum())


def pieces_of(mesh: WorldMesh) -> list[WorldMesh]:
    """Split a mesh into pieces that share no vertex."""
    n = len(mesh.vertices)
    start, end = mesh.faces[:, [0, 1, 2]].ravel(), mesh.faces[:, [1, 2, 0]].ravel()
    graph = coo_matrix((np.ones(len(start), dtype=bool), (start, end)), shape=(n, n))
    piece_of_face = connected_components(graph, directed=False)[1][mesh.faces[:, 0]]
    return [mesh.with_faces(mesh.faces[piece_of_face == piece]) for piece in np.unique(piece_of_face)]


def gap_between(x_mm: Floats) -> float:
    """Place between two groups along R: halfway between their means (k-means of two, from the two ends)."""
    gap = 0.5 * float(x_mm.min() + x_mm.max())
    for _ in range(20):
        is_right = x_mm > gap
        if is_right.all() or not is_right.any():
            break
        gap = 0.5 * float(x_mm[is_right].mean() + x_mm[~is_right].mean())
    return gap


def cut_at(mesh: WorldMesh, x_mm: float, spacing_mm: float) -> tuple[WorldMesh, WorldMesh]:
    """Cut a mesh along a sagittal plane.

    A closed mesh gives two closed ones, by way of its signed distance on a grid; an open mesh has no inside, and its
    triangles are shared out by their centres.

    Args:
        mesh: RAS mm.
        x_mm: Position of the plane along R.
        spacing_mm: Spacing of the grid; detail below it is lost.

    Returns:
        What lies towards smaller R, and towards larger R; of a closed mesh the largest piece.

    Raises:
        NoSurfaceError: One side is empty.
    """
    is_larger = mesh.corners[..., 0].mean(axis=1) > x_mm
    if is_larger.all() or not is_larger.any():
        raise NoSurfaceError("cut", f"a surface on one side of R = {x_mm:.1f} mm", "lungs on both sides of it")
    if not mesh.is_closed:
        return mesh.with_faces(mesh.faces[~is_larger]), mesh.with_faces(mesh.faces[is_larger])
    lower, upper = mesh.vertices.min(axis=0) - 2.0 * spacing_mm, mesh.vertices.max(axis=0) + 2.0 * spacing_mm
    grid = odd_grid(lower, upper, spacing_mm)
    field, beyond = sdf_on_grid(mesh, grid), grid_nodes(grid)[..., 0] - x_mm
    smaller, larger = (surface_on_grid(np.maximum(field, side), grid) for side in (beyond, -beyond))
    return smaller.largest_piece(), larger.largest_piece()
