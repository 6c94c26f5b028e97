"""Which side of the patient a lung lies on: by its place, and by its shape, which is hollow towards the heart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from skimage.morphology import convex_hull_image

from lpm.calibration import number
from lpm.geometry.masks import Mask, averaged
from lpm.geometry.volumes import Volume, cropped
from lpm.preparation.label_maps.meaning import LEFT_LUNG, RIGHT_LUNG
from lpm.preparation.label_maps.spread import Spread

Side = Literal["left", "right"]
_BLOCKS = 40  # along the longest edge of a lung's box: what is hollow shows
_LEAST_PIXELS = 20  # of an axial slice of so few blocks the hull says nothing
_HOLLOW = number("preparation.hollow_side")
_HOLLOW_SHARE = number("preparation.hollow_share")
_WIDE = number("preparation.wide_image")
_OFF_MIDDLE = number("preparation.off_middle")
_BLOCKS_ACROSS = 90  # both lungs: blocks of 3 mm in adults
_FRONT = 0.45  # of the lungs' depth from the back: what lies in front of it is the heart's
_LOW = 0.6  # of their height from below: the heart's
_HEART = number("preparation.heart_shift")
_SHARE = number("preparation.right_share_spread")
_MIRRORED = number("preparation.mirrored_score")


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


def looks_mirrored(labels: Volume, values: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether two lungs look like each other's mirror image: the heart on the right, and the left lung the larger one.

    Args:
        labels: Upright, the left lung on the left.
        values: Label values of the left and the right lung.
    """
    wanted = np.isin(labels.voxels, [value for own in values.values() for value in own])
    small = cropped(labels, wanted, 1)
    block_mm = small.voxels.shape[0] * small.spacing_mm[0] / _BLOCKS_ACROSS
    masks = (np.isin(small.voxels, values[name]).astype(np.float32) for name in (LEFT_LUNG, RIGHT_LUNG))
    left, right = (averaged(small.with_voxels(mask), block_mm).voxels >= 0.5 for mask in masks)
    shift = _heart_shift(left, right)
    if shift is None:
        return False
    share = float(right.sum() / (left.sum() + right.sum()))
    return (share - 0.5) / _SHARE - shift / _HEART < -_MIRRORED


def _heart_shift(left: Mask, right: Mask) -> float | None:
    """How far the gap between the lungs lies right of their middle, in front and below, in widths of both lungs.

    Returns:
        None where no row there has both lungs, the left one first.
    """
    both, n = left | right, len(left)
    first, ends = left.argmax(axis=0), n - left[::-1].argmax(axis=0)
    starts, last = right.argmax(axis=0), n - right[::-1].argmax(axis=0)
    is_pair = left.any(axis=0) & right.any(axis=0) & (starts >= ends)
    rows, slices = np.flatnonzero(both.any(axis=(0, 2))), np.flatnonzero(both.any(axis=(0, 1)))
    is_front = np.arange(both.shape[1])[:, None] > rows[0] + _FRONT * (rows[-1] - rows[0])
    is_low = np.arange(both.shape[2]) < slices[0] + _LOW * (slices[-1] - slices[0])
    gap = np.where(is_pair & is_front & is_low, starts - ends, 0)
    if not gap.any():
        return None
    middle = np.average(0.5 * (starts + ends), weights=gap)
    outer = (0.5 * (first + last))[is_pair].mean()
    return float((middle - outer) / np.ptp(np.flatnonzero(both.any(axis=(1, 2)))))
