"""Both lungs in one value: told apart by their side, cut along the seam where they touch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lpm.calibration import number, span
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.masks import Mask, averaged, largest_piece, nearest_on
from lpm.geometry.seam import cheapest_way, cut_along, grown_within
from lpm.geometry.sides import LEFT, RIGHT, split_at_middle, split_mask
from lpm.geometry.volumes import Volume, cropped, on_grid

_MAYBE_WIDE, _SURELY_WIDE = span("preparation.two_lungs_wide")
_LEAST_LUNG = number("preparation.cut_lung_share")
_MOST_CUT = number("preparation.cut_area")
_SIDE_BY_SIDE = number("preparation.side_by_side")
_WIDE_BOX = number("preparation.wide_box")
_NEAR = number("preparation.seam_reach")
_BLOCKS = 100  # across both lungs: blocks of 2.6 mm in adults


@read_only_arrays
@dataclass(frozen=True, eq=False)
class ToldApart:
    """The lungs of a mask of one value.

    Args:
        how: ``one lung``, ``apart`` (two pieces), ``cut`` (one piece, cut along its seam), or ``joined``: as wide as
            two lungs, and no seam parts it.
        sides: 1 in the left and 2 in the right lung, where there are two; smaller pieces are 0.
        cut_cm2: Area of the cut.
    """

    how: Literal["one lung", "apart", "cut", "joined"]
    sides: NDArray[np.uint8]
    cut_cm2: float = 0.0


def told_apart(mask: Volume) -> ToldApart:
    """Tell the lungs of a mask of one value apart.

    Args:
        mask: bool, upright.
    """
    small = cropped(mask, mask.voxels, 1)
    sides = split_mask(small.voxels)
    if sides is not None and _are_side_by_side(sides):
        return ToldApart("apart", on_grid(small.with_voxels(sides), mask).voxels)
    coarse = averaged(small.with_voxels(small.voxels.astype(np.float32)), _block_mm(small))
    lungs = coarse.voxels > 0
    width = _width(coarse.with_voxels(largest_piece(coarse.voxels >= 0.5)))
    if width < _MAYBE_WIDE:
        return ToldApart("one lung", sides=np.zeros(0, np.uint8))
    parted = grown_within(cut_along(lungs, _seam(lungs)), lungs, coarse)
    cm2 = _cut_cm2(coarse, parted)
    if cm2 is None:
        return ToldApart("joined" if width > _SURELY_WIDE else "one lung", np.zeros(0, np.uint8))
    return ToldApart("cut", np.where(mask.voxels, nearest_on(coarse.with_voxels(parted), mask), 0), cm2)


def told_apart_in_slices(mask: Volume) -> ToldApart:
    """Tell the lungs of a few drawn slices of one value apart: at the middle of a box that is as wide as high.

    Args:
        mask: bool, upright.
    """
    occupied = [np.flatnonzero(mask.voxels.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    edges_mm = np.array([np.ptp(each) + 1 for each in occupied]) * mask.spacing_mm
    if edges_mm[0] < _WIDE_BOX * edges_mm[1:].max():
        return ToldApart("one lung", np.zeros(0, np.uint8))
    return ToldApart("apart", split_at_middle(mask.voxels, 0.5 * (occupied[0][0] + occupied[0][-1])))


def _block_mm(small: Volume) -> float:
    return float(max(small.voxels.shape[0] * small.spacing_mm[0] / _BLOCKS, small.spacing_mm.max()))


def _are_side_by_side(sides: NDArray[np.uint8]) -> bool:
    """Whether two pieces lie beside each other, as lungs do, and not above or behind each other."""
    profiles = np.array([[np.count_nonzero(each == side) for each in sides] for side in (LEFT, RIGHT)])
    left, right = (np.average(np.arange(len(sides)), weights=own) for own in profiles)
    across = np.flatnonzero(profiles.sum(axis=0))
    return bool(right - left >= _SIDE_BY_SIDE * (across[-1] - across[0] + 1))


def _width(piece: Volume) -> float:
    """The width of a piece, in edges of a cube of its volume."""
    if not piece.voxels.any():
        return 0.0
    across = np.flatnonzero(piece.voxels.any(axis=(1, 2)))
    width_mm = (across[-1] - across[0] + 1) * piece.spacing_mm[0]
    return float(width_mm / np.cbrt(piece.voxels.sum() * piece.voxel_ml * 1000.0))


def _seam(lungs: Mask) -> NDArray[np.int64]:
    """(1, j, k) where left ends along the first axis: the way through the least of the lungs near their middle."""
    across = np.flatnonzero(lungs.any(axis=(1, 2)))
    reach = max(round(_NEAR * len(across)), 1)
    first = max(round(float(across.mean())) - reach, 0)
    near = lungs[first : first + 2 * reach].astype(np.float64)
    cost = ndimage.uniform_filter1d(near, 3, axis=2) + ndimage.gaussian_filter(0.02 * near, 2.0)
    return cheapest_way(cost) + first


def _cut_cm2(coarse: Volume, parted: NDArray[np.uint8]) -> float | None:
    """Area of a cut that parted two lungs, both of some size and joined by little of their surface; None of another."""
    sizes_ml = np.array([np.sum(coarse.voxels[parted == side]) for side in (LEFT, RIGHT)]) * coarse.voxel_ml
    is_lung = coarse.voxels >= 0.5
    area_cm2 = 0.0
    for axis, face_mm2 in enumerate(coarse.voxel_ml * 1000.0 / coarse.spacing_mm):
        here, beside = (np.moveaxis(np.where(is_lung, parted, 0), axis, 0)[part] for part in (np.s_[:-1], np.s_[1:]))
        area_cm2 += float(np.count_nonzero((here > 0) & (beside > 0) & (here != beside))) * face_mm2 / 100.0
    is_pair = sizes_ml.min() >= _LEAST_LUNG * sizes_ml.sum()
    return area_cm2 if is_pair and area_cm2 <= _MOST_CUT * sizes_ml.sum() ** (2.0 / 3.0) else None
