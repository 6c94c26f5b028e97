"""Points, meshes and label maps carried from the lungs of one fit to those of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lpm.calibration import number
from lpm.errors import InputError
from lpm.fitting.corresponding import extracted
from lpm.fitting.fitted_field import FittedField
from lpm.geometry.frames import Floats, PointsLike, as_points
from lpm.geometry.meshes import WorldMesh
from lpm.motion.sliding import slide
from lpm.motion.smooth import SmoothDisplacement

_SPACING_MM = number("motion.surface_spacing_mm")
_REACH_MM = number("motion.surface_reach_mm")
_OUTSIDE_MM = number("motion.outside_mm")
_LEAST_SHARE = 1e-3  # of what smooth motion leaves: below it, none is some micrometres
_NAMED = 10  # rows that a message names


@dataclass(frozen=True, eq=False)
class SmoothMotion:
    """How lungs move, as far as smooth displacements say.

    Args:
        smooth: By structure, a smooth displacement.
    """

    smooth: Mapping[str, SmoothDisplacement]

    def carried(self, points_mm: Floats, name: str) -> Floats:
        """(n, 3) where points of a structure come to lie, RAS mm."""
        return self.smooth[name](points_mm)


@dataclass(frozen=True, eq=False)
class Motion:
    """How the lungs of one fit become those of another.

    Args:
        source: Fitted lungs that move.
        target: Fitted lungs that they become.
        smooth: By structure, the smoothest displacement that takes one surface onto the other.
    """

    source: FittedField
    target: FittedField
    smooth: Mapping[str, SmoothDisplacement]

    @classmethod
    def between(cls, source: FittedField, target: FittedField) -> Motion:
        """The motion of the structures that both fits give.

        Raises:
            InputError: Fits of different models, without a structure in common, or of a network.
        """
        if source.model.digest != target.model.digest:
            raise InputError("motion", "fits of two models", "fits of one model", "fit both with the same --model")
        names = [name for name in source.structures if name in target.structures]
        if not names:
            given = f"fits of the {' and '.join(source.structures)} and of the {' and '.join(target.structures)}"
            raise InputError("motion", given, "a lung in common", "fit the same lungs, or both (--complete)")
        ours, theirs = extracted(source, _SPACING_MM), extracted(target, _SPACING_MM)
        return cls(source, target, {name: slide(ours[name], theirs[name]) for name in names})

    def carried(self, points_mm: Floats, name: str) -> Floats:
        """(n, 3) where points of a structure come to lie, RAS mm.

        They move smoothly; near the surface they also keep their distance to it, so that points on the one surface come
        to lie on the other, residuals included.

        Args:
            points_mm: (n, 3) RAS mm, on, in or near the structure.
            name: The structure.
        """
        depth = self.source.distances_mm(points_mm, name)
        moved = self.smooth[name](points_mm)
        share = np.exp(-0.5 * (depth / _REACH_MM) ** 2)
        near = share > _LEAST_SHARE
        there = self.target.distances_mm(moved[near], name)
        moved[near] = self.target.onto_level(moved[near], name, there + share[near] * (depth[near] - there))
        return moved

    def assigned(self, points_mm: Floats) -> tuple[NDArray[np.int64], Floats]:
        """(n,) the structure of each point, by its place among those that move, and (n,) its distance to it in mm."""
        distances = np.stack([self.source.distances_mm(points_mm, name) for name in self.smooth], axis=1)
        nearest = distances.argmin(axis=1)
        return nearest, distances[np.arange(len(nearest)), nearest]

    def points(self, points_mm: PointsLike) -> Floats:
        """(n, 3) where points come to lie, RAS mm; NaN for those outside of all structures.

        Args:
            points_mm: (n, 3) RAS mm.

        Raises:
            InputError: Not (n, 3) finite numbers.
        """
        given = as_points(points_mm, "points")
        nearest, distance = self.assigned(given)
        carried = np.full_like(given, np.nan)
        for index, name in enumerate(self.smooth):
            own = (nearest == index) & (distance <= _OUTSIDE_MM)
            if own.any():
                carried[own] = self.carried(given[own], name)
        return carried

    def mesh(self, mesh: WorldMesh) -> WorldMesh:
        """A mesh on or in the lungs, carried.

        Raises:
            InputError: Vertices lie outside of the lungs.
        """
        return WorldMesh(refuse_outside(self.points(mesh.vertices), "mesh"), mesh.faces)


def map_points(points_mm: PointsLike, source: FittedField, target: FittedField) -> Floats:
    """Carry points on or in the lungs of one fit to those of another.

    Args:
        points_mm: (n, 3) RAS mm, in the frame of the first fit.
        source: Fitted lungs that the points belong to: ``fit.field``, or `LungModel.read_fit`.
        target: Fitted lungs that they are carried to.

    Returns:
        (n, 3) RAS mm, in the frame of the second fit.

    Raises:
        InputError: Fits of different models, or points outside of all lungs (named by their rows).
    """
    return refuse_outside(Motion.between(source, target).points(points_mm), "points")


def refuse_outside(carried: Floats, subject: str) -> Floats:
    """Return carried points; refuse those that lay outside.

    Raises:
        InputError: Some lay outside of all lungs; their rows, counted from 0, are named.
    """
    rows = outside_rows(carried)
    if len(rows):
        given = f"{len(rows)} of {len(carried)} points outside of the lungs: {named(rows)}"
        raise InputError(subject, given, f"at most {_OUTSIDE_MM:g} mm outside", "leave these rows out")
    return carried


def outside_rows(carried: Floats) -> NDArray[np.int64]:
    """Rows of carried points that lay outside of all lungs, counted from 0."""
    return np.flatnonzero(np.isnan(carried[:, 0]))


def named(rows: NDArray[np.int64]) -> str:
    """The first rows, in words."""
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return f"row{'s'[: len(rows) != 1]} {', '.join(str(row) for row in rows[:_NAMED])}{more}"
