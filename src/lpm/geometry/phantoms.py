"""Shapes with known geometry: lung-like pairs for the demo, and exact spheres, ellipsoids and boxes for the tests.

A phantom is a function of the world (RAS, mm) that is negative inside, so it can be sampled on any grid. Real lungs
are not needed to try LPM, and what comes out can be compared with what went in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lpm.errors import InputError
from lpm.geometry.frames import Floats, as_points
from lpm.geometry.volumes import Volume

PHANTOM_STRUCTURES = ("left_lung", "right_lung")
_ROUNDING_MM = 3.0  # radius-like width of every edge where two surfaces meet


class Shape(Protocol):
    """Interface of shapes that can be voxelised: an inside test and a bounding box."""

    @property
    def bounds_mm(self) -> tuple[Floats, Floats]:
        """Lower and upper corner of a box that holds the shape, RAS mm."""

    def contains(self, points_mm: Floats) -> NDArray[np.bool_]:
        """(n,) whether (n, 3) world points lie inside."""


# --- Exact shapes ----------------------------------------------------------------------------------------------------


def _triple(value: ArrayLike) -> Floats:
    return np.broadcast_to(np.asarray(value, dtype=np.float64), (3,))


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid along the world axes with its exact signed distance; equal radii make a sphere.

    Args:
        center_mm: (3,) world position.
        radii_mm: (3,) half axes, or one number for a sphere.
    """

    center_mm: ArrayLike
    radii_mm: ArrayLike

    @property
    def bounds_mm(self) -> tuple[Floats, Floats]:
        """Lower and upper corner, RAS mm."""
        return _triple(self.center_mm) - _triple(self.radii_mm), _triple(self.center_mm) + _triple(self.radii_mm)

    @property
    def volume_ml(self) -> float:
        """Exact volume in millilitres."""
        return float(4.0 / 3.0 * np.pi * np.prod(_triple(self.radii_mm))) / 1000.0

    def contains(self, points_mm: Floats) -> NDArray[np.bool_]:
        """(n,) whether (n, 3) world points lie inside."""
        ratios = (as_points(points_mm) - _triple(self.center_mm)) / _triple(self.radii_mm)
        return np.asarray((ratios**2).sum(axis=1) < 1.0)

    def field(self, points_mm: Floats) -> Floats:
        """Exact signed distance in mm, negative inside (Eberly 2013, bisection on the normal through the point)."""
        order = np.argsort(_triple(self.radii_mm))
        radii = _triple(self.radii_mm)[order]
        # A point in a plane of symmetry has a closest point off that plane; a hair's breadth settles on which side.
        offset = np.maximum(np.abs(as_points(points_mm) - _triple(self.center_mm))[:, order], 1e-9 * radii)
        scaled, excess = radii * offset, radii**2 - radii[0] ** 2
        low, high = scaled[:, 0], np.linalg.norm(scaled, axis=1)
        for _ in range(60):
            middle = np.sqrt(low * high)
            outside = ((scaled / (middle[:, None] + excess)) ** 2).sum(axis=1) > 1.0
            low, high = np.where(outside, middle, low), np.where(outside, high, middle)
        closest = radii * scaled / (np.sqrt(low * high)[:, None] + excess)
        sign = np.where(self.contains(points_mm), -1.0, 1.0)
        return np.asarray(sign * np.linalg.norm(offset - closest, axis=1))


@dataclass(frozen=True)
class Box:
    """A box along the world axes with its exact signed distance.

    Args:
        center_mm: (3,) world position.
        half_sizes_mm: (3,) half edges, or one number for a cube.
    """

    center_mm: ArrayLike
    half_sizes_mm: ArrayLike

    @property
    def bounds_mm(self) -> tuple[Floats, Floats]:
        """Lower and upper corner, RAS mm."""
        half = _triple(self.half_sizes_mm)
        return _triple(self.center_mm) - half, _triple(self.center_mm) + half

    @property
    def volume_ml(self) -> float:
        """Exact volume in millilitres."""
        return float(8.0 * np.prod(_triple(self.half_sizes_mm))) / 1000.0

    def contains(self, points_mm: Floats) -> NDArray[np.bool_]:
        """(n,) whether (n, 3) world points lie inside."""
        return self.field(points_mm) < 0

    def field(self, points_mm: Floats) -> Floats:
        """Exact signed distance in mm, negative inside."""
        beyond = np.abs(as_points(points_mm) - _triple(self.center_mm)) - _triple(self.half_sizes_mm)
        return np.asarray(np.linalg.norm(np.maximum(beyond, 0.0), axis=1) + np.minimum(beyond.max(axis=1), 0.0))


# --- Lungs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PhantomLungs:
    """A pair of lung-like shapes: a rib cage on each side, minus diaphragm, mediastinum, heart, spine and hilum.

    Every number moves the surfaces smoothly, so a shape model can learn the family. The right lung is larger, its
    diaphragm stands higher, and the heart takes a notch out of the left one.

    Args:
        center_mm: (3,) world position of the point between the lungs at half height.
        height_mm: Height from the deepest recess to the apex, roughly.
        half_width_mm: Distance from the midline to the ribs at the side.
        half_depth_mm: Distance from the middle to the ribs in front or behind.
        gap_mm: Least distance between the lungs.
        dome: Height of the right diaphragm's dome, as a share of the height.
        dome_drop: Difference in height by which the left dome is lower, as a share of the height.
        heart: Size of the heart, 1 is usual.
        mediastinum: Half width of what lies between the lungs, as a share of the half width.
        left_narrowing: Share by which the left side is narrower.
        fullness: Squareness of the shoulders: 2 is an ellipsoid, more is fuller.
        lean: Distance of the apex behind the base, as a share of the half depth.
    """

    center_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    height_mm: float = 240.0
    half_width_mm: float = 138.0
    half_depth_mm: float = 92.0
    gap_mm: float = 12.0
    dome: float = 0.30
    dome_drop: float = 0.05
    heart: float = 1.0
    mediastinum: float = 0.22
    left_narrowing: float = 0.04
    fullness: float = 2.3
    lean: float = 0.25

    @property
    def bounds_mm(self) -> tuple[Floats, Floats]:
        """Lower and upper corner of a box that holds both lungs, RAS mm."""
        half = np.array([1.08 * self.half_width_mm, 1.08 * self.half_depth_mm, 0.0])
        half[1] += self.lean * self.half_depth_mm / 2.0
        half[2] = 0.62 * self.height_mm
        return np.array(self.center_mm) - half, np.array(self.center_mm) + half

    def implicit(self, structure: str, points_mm: Floats) -> Floats:
        """Field of one lung: negative inside, about the distance in mm near the surface.

        Args:
            structure: ``left_lung`` or ``right_lung``.
            points_mm: (n, 3) RAS mm.

        Returns:
            (n,) values whose zero level is the lung's surface.

        Raises:
            InputError: Another structure.
        """
        if structure not in PHANTOM_STRUCTURES:
            raise InputError("phantom lungs", f"structure {structure!r}", " or ".join(PHANTOM_STRUCTURES))
        side = 1.0 if structure == "right_lung" else -1.0
        local = as_points(points_mm) - np.array(self.center_mm) + [0.0, 0.0, 0.5 * self.height_mm]
        taken_away = (self._mediastinum(local), self._heart(local), self._spine(local), self._hilum(local, side))
        return _smooth_maximum(
            self._cage(local, side),
            self._dome(local, side),
            0.5 * self.gap_mm - side * local[:, 0],
            *(-field for field in taken_away),
        )

    def field(self, points_mm: Floats) -> Floats:
        """Field of both lungs together, negative inside either."""
        return np.minimum(*(self.implicit(structure, points_mm) for structure in PHANTOM_STRUCTURES))

    def contains(self, points_mm: Floats) -> NDArray[np.bool_]:
        """(n,) whether (n, 3) world points lie inside a lung."""
        return self.field(points_mm) < 0

    def _middle_mm(self, side: float) -> float:
        """How far from the midline the lung's axis runs."""
        return 0.44 * self.half_width_mm * (1.0 if side > 0 else 1.0 - self.left_narrowing)

    def _cage(self, local: Floats, side: float) -> Floats:
        """A bullet: a cylinder that widens a little downwards, closed by a superellipsoid cap whose top is the apex."""
        cap_mm = 0.80 * self.height_mm
        above = local[:, 2] - (self.height_mm - cap_mm)
        flare = 1.0 + 0.6 * np.clip(-above / self.height_mm, 0.0, 1.0) ** 2
        narrowing = 1.0 if side > 0 else 1.0 - self.left_narrowing
        lean_in = 0.10 * self.half_width_mm * np.clip(above / cap_mm, 0.0, 1.0)
        x = side * local[:, 0] - self._middle_mm(side) + lean_in
        to_side, to_middle = 0.56 * narrowing, 0.62
        wide = self.half_width_mm * np.where(x > 0, to_side, to_middle) * flare
        y = local[:, 1] + self.lean * self.half_depth_mm * (local[:, 2] / self.height_mm - 0.5)
        return _bullet(
            np.stack([x / wide, y / (self.half_depth_mm * flare), np.maximum(above, 0.0) / cap_mm], axis=1),
            np.stack([wide, self.half_depth_mm * flare, np.full(len(x), cap_mm)], axis=1),
            self.fullness,
        )

    def _dome_top_mm(self, side: float) -> float:
        return self.height_mm * (self.dome - (self.dome_drop if side < 0 else 0.0))

    def _dome(self, local: Floats, side: float) -> Floats:
        """Above the diaphragm: a paraboloid, highest in front, deepest behind and at the side (the recesses)."""
        top = self._dome_top_mm(side)
        x = (side * local[:, 0] - self._middle_mm(side)) / (0.62 * self.half_width_mm)
        y = (local[:, 1] - 0.30 * self.half_depth_mm) / (1.30 * self.half_depth_mm)
        bend_x = np.where(x > 0, 1.05, 0.30) * self.dome * self.height_mm
        bend_y = np.where(y > 0, 0.70, 1.0) * self.dome * self.height_mm
        height = top - bend_x * x**2 - bend_y * y**2
        slope_x = 2.0 * bend_x * x / (0.62 * self.half_width_mm)
        slope_y = 2.0 * bend_y * y / (1.30 * self.half_depth_mm)
        return np.asarray((height - local[:, 2]) / np.sqrt(1.0 + slope_x**2 + slope_y**2))

    def _mediastinum(self, local: Floats) -> Floats:
        """A column between the lungs that narrows upwards; what it leaves is the concave medial side."""
        narrowing = 1.0 - 0.35 * np.clip(local[:, 2] / self.height_mm, 0.0, 1.0)
        half_width = self.mediastinum * self.half_width_mm * narrowing
        flat = local * np.array([1.0, 1.0, 0.0])
        radii = np.stack([half_width, np.full(len(local), 0.62 * self.half_depth_mm), np.ones(len(local))], axis=1)
        return _ellipsoid(flat, radii)

    def _heart(self, local: Floats) -> Floats:
        """An ellipsoid whose apex points to the left, down and forward: the cardiac notch of the left lung."""
        center = np.array([-0.20, 0.50, 0.0]) * [self.half_width_mm, self.half_depth_mm, 0.0]
        center[2] = self._dome_top_mm(-1.0) + 0.09 * self.height_mm
        long = np.array([-0.78, 0.28, -0.56])
        across = np.cross(long, (0.0, 1.0, 0.0))
        axes = np.stack([v / np.linalg.norm(v) for v in (long, across, np.cross(across, long))], axis=1)
        radii = self.heart * np.array([0.54 * self.half_width_mm, 0.21 * self.height_mm, 0.66 * self.half_depth_mm])
        return _ellipsoid((local - center) @ axes, np.broadcast_to(radii, local.shape))

    def _spine(self, local: Floats) -> Floats:
        """A cylinder behind the mediastinum, between the two paravertebral gutters."""
        y = local[:, 1] + self.lean * self.half_depth_mm * (local[:, 2] / self.height_mm - 0.5)
        return np.asarray(np.hypot(local[:, 0], y + 0.80 * self.half_depth_mm) - 0.21 * self.half_width_mm)

    def _hilum(self, local: Floats, side: float) -> Floats:
        """A dent of the medial side at half height, where vessels and bronchus enter."""
        center = np.array([0.24 * side, -0.12, 0.58]) * [self.half_width_mm, self.half_depth_mm, self.height_mm]
        radii = np.array([0.15, 0.30, 0.13]) * [self.half_width_mm, self.half_depth_mm, self.height_mm]
        return _ellipsoid(local - center, np.broadcast_to(radii, local.shape))


def _ellipsoid(offsets: Floats, radii: Floats) -> Floats:
    """About the distance to an ellipsoid at the origin: value over gradient, exact to first order at the surface."""
    ratio = np.linalg.norm(offsets / radii, axis=1)
    return np.asarray(ratio * (ratio - 1.0) / np.maximum(np.linalg.norm(offsets / radii**2, axis=1), 1e-9))


def _bullet(ratios: Floats, radii: Floats, power: float) -> Floats:
    """About the distance to a superellipsoid: round across, ``power`` between across and along its third axis."""
    across = np.maximum(np.hypot(ratios[:, 0], ratios[:, 1]), 1e-9)
    along = ratios[:, 2]
    value = (across**power + along**power) ** (1.0 / power)
    gradient_across = across ** (power - 2.0) * np.hypot(ratios[:, 0] / radii[:, 0], ratios[:, 1] / radii[:, 1])
    gradient = value ** (1.0 - power) * np.hypot(gradient_across, along ** (power - 1.0) / radii[:, 2])
    return np.asarray((value - 1.0) / np.maximum(gradient, 1e-3))


def _smooth_maximum(*fields: Floats) -> Floats:
    """Intersect shapes and round the edges where they meet; never less than the plain maximum."""
    return np.asarray(_ROUNDING_MM * np.logaddexp.reduce(np.stack(fields) / _ROUNDING_MM, axis=0))


def random_lungs(*, rng: np.random.Generator) -> PhantomLungs:
    """Draw a pair of lungs of adult size (1 to 3.5 l each): size, proportions and asymmetry vary smoothly.

    Args:
        rng: Source of randomness.
    """
    size = rng.uniform(0.89, 1.03)
    return PhantomLungs(
        center_mm=(rng.uniform(-15, 15), rng.uniform(-40, 40), rng.uniform(-150, 150)),
        height_mm=size * rng.uniform(220, 258),
        half_width_mm=size * rng.uniform(128, 146),
        half_depth_mm=size * rng.uniform(85, 99),
        gap_mm=rng.uniform(8, 18),
        dome=rng.uniform(0.20, 0.34),
        dome_drop=rng.uniform(0.01, 0.07),
        heart=rng.uniform(0.85, 1.15),
        mediastinum=rng.uniform(0.16, 0.23),
        left_narrowing=rng.uniform(0.02, 0.09),
        fullness=rng.uniform(2.1, 2.8),
        lean=rng.uniform(0.10, 0.40),
    )


# --- Voxels ----------------------------------------------------------------------------------------------------------


def to_labels(
    lungs: PhantomLungs, spacing_mm: ArrayLike, *, directions: ArrayLike | None = None, margin_mm: float = 12.0
) -> Volume:
    """Voxelise both lungs into labels, 1 = left and 2 = right, on a grid that holds them.

    Args:
        lungs: The shapes.
        spacing_mm: Voxel size along each voxel axis, or one number.
        directions: (3, 3) orthogonal; column a is the world direction of voxel axis a. Axis order, flips and
            oblique grids in one; the default runs along R, A, S.
        margin_mm: Least background on each side.

    Returns:
        uint8 labels.

    Raises:
        InputError: The directions are not orthogonal, or the spacing is not positive.
    """
    grid = _grid_around(lungs, spacing_mm, directions, margin_mm)

    def label(points_mm: Floats) -> Floats:
        left, right = (lungs.implicit(structure, points_mm) < 0 for structure in PHANTOM_STRUCTURES)
        return left + 2.0 * right

    return grid.with_voxels(_sample(grid, label).astype(np.uint8))


def to_mask(
    shape: Shape, spacing_mm: ArrayLike, *, directions: ArrayLike | None = None, margin_mm: float = 12.0
) -> Volume:
    """Voxelise a shape into a mask: a voxel is inside if its centre is. Arguments as in `to_labels`."""
    grid = _grid_around(shape, spacing_mm, directions, margin_mm)
    return grid.with_voxels(_sample(grid, shape.contains).astype(bool))


def stored_as(volume: Volume, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Volume:
    """Store the same image with other voxel axes: no voxel moves in the world.

    Args:
        volume: Any volume.
        order: Old axis of each new axis.
        flips: New axes that run backwards.
    """
    voxels, affine = volume.voxels.transpose(order), volume.world_from_voxel.copy()
    affine[:3, :3] = affine[:3, list(order)]
    for axis in (a for a in range(3) if flips[a]):
        affine[:3, 3] += affine[:3, axis] * (voxels.shape[axis] - 1)
        affine[:3, axis] *= -1.0
        voxels = np.flip(voxels, axis)
    return Volume(np.ascontiguousarray(voxels), affine)


def _grid_around(shape: Shape, spacing_mm: ArrayLike, directions: ArrayLike | None, margin_mm: float) -> Volume:
    spacing, axes = _triple(spacing_mm), np.eye(3) if directions is None else np.asarray(directions, dtype=np.float64)
    if not (spacing > 0).all():
        raise InputError("phantom grid", f"spacing {spacing} mm", "positive")
    if axes.shape != (3, 3) or not np.allclose(axes.T @ axes, np.eye(3), atol=1e-6):
        raise InputError("phantom grid", f"directions {axes.tolist()}", "a (3, 3) orthogonal matrix")
    lower, upper = shape.bounds_mm
    corners = np.stack(np.meshgrid(*zip(lower, upper, strict=True), indexing="ij"), axis=-1).reshape(-1, 3) @ axes
    start, end = corners.min(axis=0) - margin_mm, corners.max(axis=0) + margin_mm
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes * spacing, axes @ start
    return Volume(np.zeros(np.ceil((end - start) / spacing).astype(int) + 1, dtype=bool), affine)


def _sample(grid: Volume, field: Callable[[Floats], NDArray[Any]]) -> NDArray[np.float32]:
    """Evaluate a field at every voxel centre, slab by slab: a fine grid's points would not fit in memory."""
    n_i, n_j, n_k = grid.voxels.shape
    plane = np.stack(np.meshgrid([0], np.arange(n_j), np.arange(n_k), indexing="ij"), axis=-1).reshape(-1, 3)
    values = np.empty(grid.voxels.shape, dtype=np.float32)
    for i in range(n_i):
        values[i] = field(grid.to_world(plane + np.array([i, 0, 0]))).reshape(n_j, n_k)
    return values
