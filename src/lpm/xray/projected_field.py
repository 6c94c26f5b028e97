"""The lung field that a frontal radiograph of given lungs would show.

Behind the heart and below the domes of the diaphragm there is lung, but the rays pass little of it: there the picture
is not dark. A pixel belongs to the visible field of a lung where the ray passes lung along most of its way through the
lung's convex hull, that is, through the rib cage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lpm.calibration import number
from lpm.geometry.grids import voxelise_on
from lpm.geometry.masks import largest_piece
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.projection import View
from lpm.geometry.volumes import Volume
from lpm.xray.drr import MarchConfig, path_lengths_of_labels

_VOXEL_MM = number("xray.visible_voxel_mm")
_LEAST_MM = number("xray.visible_least_mm")
_SHARE = number("xray.visible_share")


def visible_field(lungs: Mapping[str, WorldMesh], view: View) -> NDArray[np.bool_]:
    """The visible field of each lung.

    Args:
        lungs: Closed meshes, RAS mm.
        view: Geometry of a frontal picture.

    Returns:
        (s, rows, columns).
    """
    config = MarchConfig(step_mm=_VOXEL_MM)
    fields = []
    for mesh in lungs.values():
        hull = mesh.to_trimesh().convex_hull
        grid = _grid(mesh)
        shapes = (mesh, WorldMesh(np.asarray(hull.vertices), np.asarray(hull.faces)))
        own, rib_cage = (
            path_lengths_of_labels(
                grid.with_voxels(voxelise_on(each, grid).astype(np.uint8)), view, {"lung": (1,)}, config
            )[0]
            for each in shapes
        )
        # without islands: deep in the recesses lung and hull are both thin
        fields.append(largest_piece((own > _SHARE * rib_cage) & (own > _LEAST_MM)))
    return np.stack(fields)


def overlap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Dice of two fields; 0 where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2.0 * int((first & second).sum()) / total if total else 0.0


def coarser(view: View, shape: tuple[int, int]) -> View:
    """The same picture with another number of pixels."""
    steps = np.array(view.shape) / np.array(shape)
    first = view.places_mm((0.5 * steps - 0.5)[None])[0]
    return replace(
        view,
        shape=shape,
        origin_mm=first,
        by_row_mm=steps[0] * view.by_row_mm,
        by_column_mm=steps[1] * view.by_column_mm,
    )


def _grid(mesh: WorldMesh) -> Volume:
    lower, upper = (corner(mesh.vertices, axis=0) for corner in (np.min, np.max))
    affine = np.diag([_VOXEL_MM] * 3 + [1.0])
    affine[:3, 3] = lower - 2 * _VOXEL_MM
    return Volume(np.zeros(np.ceil((upper - lower) / _VOXEL_MM).astype(int) + 5, dtype=np.uint8), affine)
