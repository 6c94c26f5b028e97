"""Labels on the slices of a series, as one label map on the grid that the series itself is read on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lpm.files.dicom.series import Series, Slice
from lpm.files.dicom.volume import check_series, regular, series_affine
from lpm.geometry.arrays import handed_over
from lpm.geometry.frames import Floats
from lpm.geometry.volumes import Volume

_OFF_SLICE = 0.25  # of a step, or of a pixel: what lies farther off lies on no slice
_SAME_DIRECTION = 1e-3  # of unit vectors: what was rounded off, 0.3 mm over 300 mm
_SAME_PIXEL = 1e-3  # of a pixel's size: what was rounded off
_SAME_PLANE_MM = 0.05  # between images of one plane
_PADDING = 3  # empty slices at each end: files leave them out, and a lung must not seem cut where the file ends
_HALF = 0.5  # of a voxel between slices: more is inside


def slice_numbers(series: Series, heights_mm: Floats) -> NDArray[np.int64] | None:
    """Index of the slice at each height along a series' normal; None if there is no slice at one of them."""
    own = series.heights_mm
    nearest = np.abs(own[None] - heights_mm[:, None]).argmin(axis=1)
    is_off = np.abs(own[nearest] - heights_mm) > _OFF_SLICE * series.step_mm
    return None if is_off.any() else nearest


def slices_of(series: Series, images: Sequence[Series]) -> NDArray[np.int64] | None:
    """Index of the slice that each image lies on, pixel on pixel; None if one lies on none."""
    first, places = images[0], np.array([image.slices[0].position_mm for image in images])
    turned = np.abs(first.orientation - series.orientation).max()
    if (
        series.shape != first.shape
        or turned > _SAME_DIRECTION
        or not np.allclose(first.pixel_mm, series.pixel_mm, 1e-3)
    ):
        return None
    found = slice_numbers(series, places @ series.normal)
    if found is None:
        return None
    beside = (places - np.array([each.position_mm for each in series.slices])[found]) @ series.orientation.T
    return None if (np.abs(beside) > _OFF_SLICE * series.pixel_mm.min()).any() else found


def series_through(like: Series, places_mm: Floats) -> Series:
    """A series of slices at places, with empty ones at its ends.

    Args:
        like: Orientation, pixels and shape.
        places_mm: (n, 3) centre of the first voxel of slices, LPS; of one plane several may be the same.
    """
    heights = places_mm @ like.normal
    order = np.argsort(heights)
    apart = np.concatenate([[True], np.diff(heights[order]) > _SAME_PLANE_MM])
    kept = places_mm[order][apart]
    series = replace(like, slices=tuple(Slice(like.slices[0].path, place, 0) for place in kept), parts=(), n_uids=1)
    step = series.step_mm if len(kept) > 1 else max(like.thickness_mm, 1.0)
    rise = np.ptp(series.heights_mm)
    along = (kept[-1] - kept[0]) / rise if rise > 0 else like.normal
    before = [kept[0] - n * step * along for n in range(_PADDING, 0, -1)]
    after = [kept[-1] + n * step * along for n in range(1, _PADDING + 1)]
    return replace(series, slices=tuple(Slice(like.slices[0].path, place, 0) for place in (*before, *kept, *after)))


def label_volume(series: Series, labels: NDArray[np.uint16], subject: str) -> tuple[Volume, tuple[str, ...]]:
    """Labels as one volume, on the grid that `read_series` gives the series.

    Args:
        series: Its slices may be tilted, or lie at two distances.
        labels: (slices, rows, columns) values.
        subject: Name for messages.

    Returns:
        It, and notes on what was mended.

    Raises:
        InputError: The slices make no volume.
    """
    check_series(series, subject)
    affine = series_affine(series)
    if affine is not None:
        return Volume(handed_over(labels.transpose(2, 1, 0)), affine), ()
    found: Volume | None = None
    notes: tuple[str, ...] = ()
    for value in np.unique(labels):
        share, notes = regular(series, (labels == value).astype(np.float32).transpose(2, 1, 0), float(value == 0))
        voxels = np.zeros(share.voxels.shape, np.uint16) if found is None else found.voxels.copy()
        voxels[share.voxels >= _HALF] = value
        found = share.with_voxels(handed_over(voxels))
    if found is None:
        raise ValueError("no labels")
    return found, notes
