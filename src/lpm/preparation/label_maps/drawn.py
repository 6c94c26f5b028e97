"""A label map in which only a few slices were drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lpm.calibration import count, number
from lpm.geometry.volumes import Volume

_EXPLAINED = number("preparation.slices_explained")
_LEAST_VOXELS = count("preparation.slice_voxels")
_LEAST_SHARE = number("preparation.slice_share")


@dataclass(frozen=True)
class DrawnSlices:
    """Slices of an image that hold labels, while the slices beside them hold none.

    Args:
        labels: The image.
        planes: (axis, index) of each.
    """

    labels: Volume
    planes: tuple[tuple[int, int], ...]


def drawn_slices(labels: Volume) -> DrawnSlices | None:
    """Find the slices of a label map that were drawn; None for a map that is labelled through and through."""
    filled = labels.voxels > 0
    explained = np.zeros_like(filled)
    planes: list[tuple[int, int]] = []
    for axis in range(3):
        lines = np.moveaxis(filled, axis, 0)
        has_neighbour = np.zeros_like(lines)
        has_neighbour[1:] |= lines[:-1]
        has_neighbour[:-1] |= lines[1:]
        thin = (lines & ~has_neighbour).sum(axis=(1, 2))
        found = np.flatnonzero(thin >= max(_LEAST_VOXELS, _LEAST_SHARE * thin.max()))
        planes.extend((axis, int(index)) for index in found)
        np.moveaxis(explained, axis, 0)[found] = True
    n_explained = int((filled & explained).sum())
    return DrawnSlices(labels, tuple(planes)) if planes and n_explained >= _EXPLAINED * filled.sum() else None
