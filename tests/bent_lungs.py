"""Two lungs that reach lowest and highest at their backs, and are hollow towards the heart: how they lie shows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import trimesh

from lpm.geometry.grids import labels_of
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume

_RADII_MM = (50.0, 75.0, 110.0)
_BEND_MM = 60.0  # by which apex and base lie behind the middle
_HOLLOW_MM = 55.0  # on the side of the heart
_APART_MM = 65.0


def bent_lungs() -> dict[str, WorldMesh]:
    """Left and right lung, RAS mm, upright."""
    return {f"{name}_lung": _lung(side) for name, side in (("left", -1), ("right", 1))}


def _lung(side: int) -> WorldMesh:
    ball = trimesh.creation.icosphere(subdivisions=4)
    across, forward, up = ball.vertices.T
    inwards = np.clip(-across, 0.0, None)  # of the right lung
    x = _RADII_MM[0] * across + _HOLLOW_MM * inwards * np.exp(-((forward / 0.5) ** 2)) + _APART_MM
    y = _RADII_MM[1] * forward - _BEND_MM * up**2
    faces = ball.faces if side > 0 else ball.faces[:, ::-1]
    return WorldMesh(np.stack([side * x, y, _RADII_MM[2] * up], axis=1), np.asarray(faces, dtype=np.int64))


def as_labels(meshes: Mapping[str, WorldMesh]) -> Volume:
    """1 left, 2 right, with a margin."""
    labels = labels_of(meshes, spacing_mm=4.0)
    return labels.with_voxels(np.pad(labels.voxels, 2))
