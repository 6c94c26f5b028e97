"""The patient in a CT: the largest dense piece with all that its skin encloses, without table, sheets and arms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lpm.calibration import number
from lpm.geometry.masks import Mask, grown, largest_piece, pieces, shrunk
from lpm.geometry.volumes import Volume

_DENSE_HU = number("segmentation.dense_hu")
_TABLE_MM = number("segmentation.table_mm")
_THIN_HU = number("segmentation.thin_hu")
_THIN_SHARE = number("segmentation.thin_share")
_AIR_HU = number("segmentation.air_hu")
_HELD_SHARE = number("segmentation.held_share")
_HELD_ML = number("segmentation.held_ml")
_CHEST_SHARE = number("segmentation.chest_share")
_ADULT_DIAMETER_MM = number("segmentation.adult_diameter_mm")
_ADULT_WIDTH_MM = number("segmentation.adult_width_mm")
_ADULT_DEPTH_MM = number("segmentation.adult_depth_mm")


def find_body(ct: Volume, padding: Mask | None = None) -> Mask:
    """Find the patient, with all that the skin encloses; without table, sheets and arms that lie apart.

    Lung that the field of view cuts sideways counts as enclosed.

    Args:
        ct: CT in HU, third axis along the body.
        padding: Voxels outside the scanner's circle; None if there are none.
    """
    solid = ct.voxels > _DENSE_HU
    core = shrunk(solid, 0.5 * _TABLE_MM, ct)
    if not core.any():
        return solid
    body = solid & grown(largest_piece(core), 0.5 * _TABLE_MM + max(ct.spacing_mm), ct)
    enclosed = np.stack([ndimage.binary_fill_holes(body[:, :, k]) for k in range(body.shape[2])], axis=2)
    enclosed |= ndimage.binary_fill_holes(body)
    beside = lateral_border(enclosed.shape, padding)
    if not (enclosed & beside).any():
        return np.asarray(enclosed)
    open_air = ~(enclosed | solid) if padding is None else ~(enclosed | solid | padding)
    return _with_cut_lungs(ct, enclosed, open_air)


def lateral_border(shape: tuple[int, ...], padding: Mask | None) -> Mask:
    """The voxels in which the field of view ends sideways: the image's outer rows and columns, and beside padding."""
    border = np.zeros(shape, dtype=bool)
    border[[0, -1]] = border[:, [0, -1]] = True
    if padding is not None:
        border |= ndimage.binary_dilation(padding, np.ones((3, 3, 1), dtype=bool)) & ~padding
    return border


def _with_cut_lungs(ct: Volume, enclosed: Mask, open_air: Mask) -> Mask:
    """Add pieces of open air that are as dense as lung and bounded by the body, but for where the view ends."""
    found, sizes = pieces(open_air)
    boxes, kept = ndimage.find_objects(found), np.zeros_like(enclosed)
    for n in np.flatnonzero(sizes * ct.voxel_ml > _HELD_ML):
        box = tuple(slice(max(each.start - 1, 0), each.stop + 1) for each in boxes[n - 1])
        piece = found[box] == n
        shell = ndimage.binary_dilation(piece) & ~piece
        inner = ct.voxels[box][shrunk(piece, max(ct.spacing_mm), ct)]
        is_lung = len(inner) > 0 and float((inner < _THIN_HU).mean()) < _THIN_SHARE
        if is_lung and enclosed[box][shell].mean() > _HELD_SHARE:
            kept[box] |= piece
    whole = enclosed | kept
    for k in np.flatnonzero(kept.any(axis=(0, 1))):
        whole[:, :, k] = ndimage.binary_fill_holes(whole[:, :, k])
    return whole


def chest_slices(ct: Volume, body: Mask) -> slice:
    """From the lowest to the highest axial slice with much air in the body; none if there is no air."""
    air = (body & (ct.voxels < _AIR_HU)).sum(axis=(0, 1))
    found = np.flatnonzero(air > _CHEST_SHARE * air.max())
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)


def adult_share(ct: Volume, body: Mask) -> float:
    """Size of the patient in a slim adult's, 1 at most: by the chest's section, or by what is in view of it.

    Args:
        ct: CT in HU, third axis along the body.
        body: The patient in it.
    """
    chest = body[:, :, chest_slices(ct, body)]
    if not chest.any():
        return 1.0
    area_mm2 = float(np.median(chest.sum(axis=(0, 1)))) * float(np.prod(ct.spacing_mm[:2]))
    share = 2.0 * np.sqrt(area_mm2 / np.pi) / _ADULT_DIAMETER_MM
    in_view = _extents(chest) * ct.spacing_mm[:2] / (_ADULT_WIDTH_MM, _ADULT_DEPTH_MM)
    if (chest & lateral_border(chest.shape, None)).any():
        share = max(share, *in_view)
    return float(min(share, 1.0))


def _extents(mask: Mask) -> NDArray[np.float64]:
    """(2,) median over the slices of how many columns and rows the mask takes."""
    return np.array([np.median(mask.any(axis=axis).sum(axis=0)) for axis in (1, 0)])
