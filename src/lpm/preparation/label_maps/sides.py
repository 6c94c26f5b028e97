"""Which side of the patient a lung lies on: by its place, and by its shape, which is hollow towards the heart."""

from __future__ import annotations

from typing import Literal

import numpy as np
from skimage.morphology import convex_hull_image

from lpm.calibration import number
from lpm.geometry.masks import Mask, averaged
from lpm.geometry.volumes import Volume, cropped
from lpm.preparation.label_maps.spread import Spread

Side = Literal["left", "right"]
_BLOCKS = 40  # along the longest edge of a lung's box: what is hollow shows
_LEAST_PIXELS = 20  # of an axial slice of so few blocks the hull says nothing
_HOLLOW = number("preparation.hollow_side")
_HOLLOW_SHARE = number("preparation.hollow_share")
_WIDE = number("preparation.wide_image")
_OFF_MIDDLE = number("preparation.off_middle")


def side_by_shape(lung: Volume) -> Side | None:
    """The side on which a lung lies, by where it is hollow: towards the heart and the mediastinum.

    Args:
        lung: bool, upright.

    Returns:
        None if its shape does not tell, as of a few drawn slices.
    """
    small = cropped(lung, lung.voxels, 1)
    block_mm = float((np.array(small.voxels.shape) * small.spacing_mm).max()) / _BLOCKS
    solid = averaged(small.with_voxels(small.voxels.astype(np.float32)), block_mm).voxels >= 0.5
    towards_left, towards_right = np.sum([_hollow(slice_) for slice_ in np.moveaxis(solid, 2, 0)], axis=0)
    if max(towards_left, towards_right) < max(_HOLLOW_SHARE * solid.sum(), 1):
        return None
    if towards_right > _HOLLOW * towards_left:
        return "left"
    return "right" if towards_left > _HOLLOW * towards_right else None


def _hollow(lung: Mask) -> tuple[int, int]:
    """Pixels of an axial slice that its convex hull adds before the first and after the last pixel of each row."""
    if lung.sum() < _LEAST_PIXELS or min(np.ptp(np.argwhere(lung), axis=0)) < 2:
        return 0, 0
    added = convex_hull_image(lung) & ~lung & lung.any(axis=0)
    index = np.arange(len(lung))[:, None]
    first, last = lung.argmax(axis=0), len(lung) - 1 - lung[::-1].argmax(axis=0)
    return int((added & (index < first)).sum()), int((added & (index > last)).sum())


def side_by_place(spread: Spread, values: tuple[int, ...]) -> Side | None:
    """The side of the middle of all labelled organs, or of the image, that a lung lies on.

    Returns:
        None if the image is hardly wider than the lung, or the lung lies at its middle.
    """
    first, last = spread.box_mm(values)
    wide_mm = _WIDE * (last - first)
    organs = spread.box_mm(spread.present)
    low, high = organs if np.ptp(organs) > wide_mm else (spread.across_mm[0], spread.across_mm[-1])
    off_mm = spread.center_mm(values) - 0.5 * (low + high)
    if high - low < wide_mm or abs(off_mm) < _OFF_MIDDLE * (high - low):
        return None
    return "left" if off_mm < 0 else "right"
