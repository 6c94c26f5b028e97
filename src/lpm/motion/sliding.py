"""The smoothest displacement that takes one surface onto another, along which it may slide.

Surfaces say nothing of how far a lung slides along its pleura. The displacement is therefore held by distances along
normals alone, of each surface to the other, and by its prior: as little bending over as long lengths as the distances
allow. Gauss-Newton; the distances count for little at first, while surfaces are far apart. Both surfaces are smoothed
before: thin rims fill and empty with the breath, and do not move as the lung does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from lpm.calibration import count, number
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.distances import sdf_on_grid, spread_apart
from lpm.geometry.frames import Floats
from lpm.geometry.grids import VoxelGrid, odd_grid
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.surfaces import surface_on_grid
from lpm.motion.smooth import USUAL, Basis, SmoothDisplacement

_POINTS = count("motion.surface_points")
_CONTROLS = count("motion.controls")
_NOISE_MM = number("motion.noise_mm")
_FIRST_NOISE_MM = number("motion.first_noise_mm")
_STEPS = count("motion.steps")
_SPACING_MM = number("motion.surface_spacing_mm")
_SMOOTH_MM = number("motion.surface_smooth_mm")
_MARGIN_MM = 25.0  # around a surface in which its distances are known; farther away they are carried on
_SHRINK = 0.6  # of the noise, a step: from the first to the last in four
_INVERSE_STEPS = 8  # of the fixed point that finds where a place came from: it starts at the last one
_INVERSE_STEP = 0.8  # damping of the fixed point: it converges where space is stretched by up to 2 / 0.8


@read_only_arrays
@dataclass(frozen=True, eq=False)
class SmoothedSurface:
    """A closed surface without its thin rims, and the distances around it.

    Args:
        grid: Nodes, mm.
        distances: (i, j, k) signed, mm, negative inside.
        mesh: Where they are zero.
    """

    grid: VoxelGrid
    distances: Floats
    mesh: WorldMesh

    @classmethod
    def of(cls, mesh: WorldMesh) -> SmoothedSurface:
        """Smooth a closed outward mesh, RAS mm."""
        grid = odd_grid(mesh.vertices.min(axis=0) - _MARGIN_MM, mesh.vertices.max(axis=0) + _MARGIN_MM, _SPACING_MM)
        distances = gaussian_filter(sdf_on_grid(mesh, grid), _SMOOTH_MM / _SPACING_MM)
        return cls(grid, distances, surface_on_grid(distances, grid).largest_piece())

    def seen_from(self, points_mm: Floats) -> tuple[Floats, Floats]:
        """(n,) signed distances of points (n, 3), and (n, 3) the direction in which they grow."""
        distance = self._distance(points_mm)
        steps = self.grid.spacing_mm * np.eye(3)
        slope = np.stack(
            [self._distance(points_mm + step) - self._distance(points_mm - step) for step in steps], axis=1
        )
        return distance, slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), np.finfo(float).tiny)

    def _distance(self, points_mm: Floats) -> Floats:
        """Trilinear; beyond the grid, the distance to it is added."""
        places = (points_mm - self.grid.origin_mm) / self.grid.spacing_mm
        inside = np.clip(places, 0.0, np.array(self.grid.shape) - 1.0)
        beyond = self.grid.spacing_mm * np.linalg.norm(places - inside, axis=1)
        return np.asarray(map_coordinates(self.distances, inside.T, order=1) + beyond)


def slide(source: WorldMesh, target: WorldMesh) -> SmoothDisplacement:
    """Find the smooth displacement that takes a closed surface onto another one.

    Args:
        source: Closed and outward, RAS mm.
        target: Closed and outward, RAS mm.
    """
    here, there = SmoothedSurface.of(source), SmoothedSurface.of(target)
    ours, theirs = (spread_apart(each.mesh.vertices, _POINTS) for each in (here, there))
    basis = Basis.over(here.mesh.vertices, _CONTROLS, USUAL)
    weights = np.zeros((basis.size, 3))
    weights[0] = (target.centroid - source.centroid) / USUAL.shift_mm
    functions, origins = basis(ours), theirs - weights[0] * USUAL.shift_mm
    for step in range(_STEPS):
        found = SmoothDisplacement(basis, weights)
        distance, normal = there.seen_from(found(ours))
        forward = _equations(functions, normal, -distance, weights)
        origins = _undone(found, theirs, origins)
        distance, normal = here.seen_from(origins)
        back = _equations(basis(origins), normal, distance, weights)
        rows, values = (np.concatenate(pair) for pair in zip(forward, back, strict=True))
        noise = max(_NOISE_MM, _FIRST_NOISE_MM * _SHRINK**step)
        whole = rows.T @ rows / noise**2 + np.eye(rows.shape[1])
        weights = np.asarray(np.linalg.solve(whole, rows.T @ values / noise**2).reshape(-1, 3))
    return SmoothDisplacement(basis, weights)


def _equations(functions: Floats, normal: Floats, gap: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Rows and right sides: along each normal, places must move on by the gap."""
    rows = (functions[:, :, None] * normal[:, None, :]).reshape(len(normal), -1)
    return rows, gap + rows @ weights.ravel()


def _undone(displacement: SmoothDisplacement, to: Floats, first: Floats) -> Floats:
    """(n, 3) points that come to lie at the given ones, by a damped fixed point from a first guess."""
    points = first
    for _ in range(_INVERSE_STEPS):
        points = points + _INVERSE_STEP * (to - displacement(points))
    return points
