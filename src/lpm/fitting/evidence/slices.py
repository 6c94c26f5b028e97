"""Contours of the slices that were drawn in a label map: what was seen of the lungs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.measure import find_contours

from lpm.calibration import number
from lpm.geometry.frames import Floats
from lpm.preparation.label_maps.drawn import DrawnSlices

_SIGMA_PIXELS = number("fitting.outline_sigma_px")
_STEP_MM = number("fitting.outline_step_mm")


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
