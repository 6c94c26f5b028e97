"""A label map in which only a few slices were drawn: their contours are what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.measure import find_contours

from lpm.calibration import count, number
from lpm.geometry.frames import Floats
from lpm.geometry.volumes import Volume

_EXPLAINED = number("fitting.slices_explained")
_LEAST_VOXELS = count("fitting.slice_voxels")
_LEAST_SHARE = number("fitting.slice_share")
_SIGMA_PIXELS = number("fitting.outline_sigma_px")
_STEP_MM = number("fitting.outline_step_mm")


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


def contours(drawn: DrawnSlices, structures: Mapping[str, tuple[int, ...]]) -> tuple[Floats, NDArray[np.str_]]:
    """Points along the outlines in all drawn slices.

    Where an outline runs along the image's border, nothing was seen, and no point is given.

    Args:
        drawn: The slices.
        structures: Label values of each structure.

    Returns:
        (n, 3) RAS mm, and the structure of each.
    """
    points: list[Floats] = [np.zeros((0, 3))]
    names: list[str] = []
    for axis, index in drawn.planes:
        for name, values in structures.items():
            mask = np.isin(drawn.labels.voxels.take(index, axis=axis), values)
            for line in _outlines(mask):
                voxels = np.insert(line, axis, index, axis=1)
                points.append(_evenly(drawn.labels.to_world(voxels)))
                names.extend([name] * len(points[-1]))
    return np.concatenate(points), np.array(names, dtype=str)


def _outlines(mask: NDArray[np.bool_]) -> Iterator[Floats]:
    """Outlines in pixels, open where the mask meets the border."""
    if not mask.any() or min(mask.shape) < 2:
        return
    smooth = gaussian_filter(mask.astype(np.float32), _SIGMA_PIXELS, mode="nearest")
    yield from find_contours(smooth, 0.5)


def _evenly(line_mm: Floats) -> Floats:
    """Points along a line, `_STEP_MM` apart; of a closed one the first is not repeated as the last."""
    is_closed = bool(np.allclose(line_mm[0], line_mm[-1]))
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line_mm, axis=0), axis=1))])
    at = np.linspace(0.0, along[-1], max(int(along[-1] / _STEP_MM), 2), endpoint=not is_closed)
    return np.stack([np.interp(at, along, column) for column in line_mm.T], axis=1)
