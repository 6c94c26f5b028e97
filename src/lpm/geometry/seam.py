"""Lungs that touch: the seam between them, and the cut along it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import watershed

from lpm.geometry.frames import Floats
from lpm.geometry.masks import Mask, distance_mm, largest_piece
from lpm.geometry.sides import LEFT, RIGHT
from lpm.geometry.volumes import Volume

_STEP_COST = 0.01  # of a step to the side: as much as half of the lightest voxel of a lung, so that ways are straight


def cheapest_way(cost: Floats) -> NDArray[np.int64]:
    """The cheapest way from back to front in each axial slice.

    Args:
        cost: (i, j, k) of each voxel, with axes along R, A, S.

    Returns:
        (1, j, k) index along the first axis.
    """
    best, came = cost[:, 0], []
    for j in range(1, cost.shape[1]):
        padded = np.pad(best, ((1, 1), (0, 0)), constant_values=np.inf)
        steps = np.stack([padded[:-2] + _STEP_COST, padded[1:-1], padded[2:] + _STEP_COST])
        came.append(steps.argmin(axis=0) - 1)
        best = steps.min(axis=0) + cost[:, j]
    at, slices = best.argmin(axis=0), np.arange(cost.shape[2])
    way = [at]
    for step in reversed(came):
        at = at + step[at, slices]
        way.append(at)
    return np.stack(way[::-1])[None]


def cut_along(lungs: Mask, way: NDArray[np.int64]) -> NDArray[np.int32]:
    """Lungs cut where a way leads: the largest piece of each side is sure, smaller ones are left open.

    Args:
        lungs: (i, j, k) with axes along R, A, S.
        way: (1, j, k) where left ends along the first axis.

    Returns:
        1 in the left and 2 in the right lung, 0 where it is open.
    """
    is_left = np.arange(lungs.shape[0])[:, None, None] < way
    sure = np.zeros(lungs.shape, dtype=np.int32)
    for side, part in ((LEFT, is_left), (RIGHT, ~is_left)):
        sure[largest_piece(lungs & part)] = side
    return sure


def grown_within(sides: NDArray[np.int32], lungs: Mask, grid: Volume) -> NDArray[np.uint8]:
    """Sides grown into what is open between them, from the depth of the lungs outwards.

    Args:
        sides: 1 left, 2 right, 0 open.
        lungs: What is to be filled.
        grid: Grid of both.
    """
    depth = distance_mm(~lungs, grid)
    return np.asarray(watershed(-depth, sides, mask=lungs), dtype=np.uint8)
