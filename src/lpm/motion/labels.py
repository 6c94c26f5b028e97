"""Label maps carried from one fit to another."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

from lpm.calibration import count, number
from lpm.fitting.corresponding import corresponding
from lpm.geometry.arrays import handed_over
from lpm.geometry.frames import Floats
from lpm.geometry.grids import VoxelGrid, grid_around, grid_nodes, labels_of
from lpm.geometry.volumes import Volume
from lpm.motion.carrying import Motion

_NODE_MM = number("motion.node_mm")
_FACES = count("motion.faces")


def carried_labels(labels: Volume, back: Motion) -> Volume:
    """Carry a label map to another fit: each voxel of its lungs takes the label of the place that it came from.

    Args:
        labels: Label map in the frame of the first fit.
        back: Motion from the second fit to the first.

    Returns:
        Label map around the second fit's lungs, with cubic voxels as wide as the given ones are on average; 0 outside
        of the lungs.
    """
    meshes = corresponding(back.source, _FACES).meshes
    spacing_mm = float(np.prod(labels.spacing_mm) ** (1.0 / 3.0))
    whole = labels_of({name: meshes[name] for name in back.smooth}, spacing_mm=spacing_mm)
    found = np.zeros(whole.voxels.shape, dtype=labels.voxels.dtype)
    for index, name in enumerate(back.smooth, start=1):
        inside = np.argwhere(whole.voxels == index)
        grid = grid_around([meshes[name]], _NODE_MM)
        displacement = displacement_on(grid, back, name)
        points = whole.to_world(inside)
        places = ((points - grid.origin_mm) / grid.spacing_mm).T
        moved = points + np.stack([map_coordinates(part, places, order=1, mode="nearest") for part in displacement], 1)
        found[tuple(inside.T)] = _nearest(labels, moved)
    return whole.with_voxels(handed_over(found))


def displacement_on(grid: VoxelGrid, motion: Motion, name: str) -> Floats:
    """(3, i, j, k) by how much the nodes of a grid move with a structure, mm."""
    nodes = grid_nodes(grid).reshape(-1, 3)
    moved = motion.carried(nodes, name) - nodes
    return np.asarray(moved.T.reshape(3, *grid.shape))


def _nearest(labels: Volume, points_mm: Floats) -> Floats:
    """Label of the voxel in which each point lies; 0 beyond the map."""
    voxels = np.rint(labels.to_voxel(points_mm)).astype(np.int64)
    within = ((voxels >= 0) & (voxels < labels.voxels.shape)).all(axis=1)
    values = np.zeros(len(voxels), dtype=labels.voxels.dtype)
    values[within] = labels.voxels[tuple(voxels[within].T)]
    return values
