"""From the images of a DICOM series to one volume on a regular grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift

from lpm.errors import FileError, InputError
from lpm.files.dicom.frames import read_pixels
from lpm.files.dicom.series import Series
from lpm.geometry.arrays import handed_over
from lpm.geometry.frames import Floats
from lpm.geometry.volumes import Volume

_RAS_FROM_LPS = np.array([-1.0, -1.0, 1.0])  # left and back are right and front, negative
_AIR_HU = -1024.0  # the least that 12 bits hold: what no slice shows is air
_MOST_MISSING_TOGETHER = 3  # slices that are interpolated in one place; more would be invented
_MOST_MISSING_SHARE = 0.05  # of all slices that are interpolated; more would be invented
_NEGLIGIBLE_PIXELS = 0.25  # that a slice lies beside the first and is left alone
_MOST_SIDEWAYS = 2.0  # image widths that slices lie beside each other: more is no stack
_MOST_VOXELS = 2048**3  # 32 GiB of float32: memory is not taken for more
_NAMED = 5  # places that a message names


@dataclass(frozen=True)
class DicomVolume:
    """A series as one volume.

    Args:
        volume: HU, RAS.
        series: Series that it was made of.
        notes: Notes on what was repaired: missing slices, a tilted gantry.
    """

    volume: Volume
    series: Series
    notes: tuple[str, ...]


def read_series(series: Series, subject: str) -> DicomVolume:
    """Read a series as one volume on a regular grid.

    A few missing slices are interpolated and a tilted gantry is undone, and the notes say so.

    Args:
        series: Series of `find_series`.
        subject: Name for messages.

    Raises:
        InputError: Several images at one place, too many slices missing, or slices that lie beside each other.
        FileError: An image cannot be decoded, or the volume would be too large.
    """
    check_series(series, subject)
    volume, notes = regular(series, read_pixels(series.slices, series.shape), _AIR_HU)
    return DicomVolume(volume, series, (*_joined_notes(series), *notes))


def check_series(series: Series, subject: str) -> None:
    """Refuse slices that make no volume; errors are those of `read_series`."""
    if len(series.slices) < 2:
        raise InputError(subject, f"{len(series.slices)} slice", "a series of slices", "give the folder of all slices")
    if series.repeats_places:
        given = f"several images at the same place in {series}, and no phase, kernel or time that tells them apart"
        raise InputError(subject, given, "one", "separate them into folders")
    if _n_slices(series) * np.prod(series.shape, dtype=object) > _MOST_VOXELS:
        raise FileError(subject, f"{len(series.slices)} slices of {series.shape}", f"at most {_MOST_VOXELS} voxels")
    _check_stack(series, _sideways_mm(series), subject)
    _check_gaps(series, subject)


def regular(series: Series, pixels: NDArray[np.float32], outside: float) -> tuple[Volume, tuple[str, ...]]:
    """Values of slices on a regular grid.

    Args:
        series: The slices.
        pixels: (columns, rows, slices) their values.
        outside: Value beside the slices.

    Returns:
        The volume, and notes on what was mended.
    """
    pixels, origin, notes = _straightened(series, pixels, outside)
    pixels, more = _evenly(series, pixels)
    return Volume(handed_over(pixels), _affine(series, origin)), (*notes, *more)


def series_affine(series: Series) -> Floats | None:
    """(4, 4) affine to RAS mm of a series whose slices need no mending; None of any other."""
    off = np.abs(_sideways_mm(series) / series.pixel_mm[::-1]).max()
    if len(series.slices) < 2 or series.repeats_places or off > _NEGLIGIBLE_PIXELS or not series.distances.is_even:
        return None
    return _affine(series, series.slices[0].position_mm)


def _affine(series: Series, origin_lps: Floats) -> Floats:
    affine = np.eye(4)
    affine[:3, 0] = series.orientation[0] * series.pixel_mm[1]
    affine[:3, 1] = series.orientation[1] * series.pixel_mm[0]
    affine[:3, 2] = series.normal * series.step_mm
    affine[:3, 3] = origin_lps
    affine[:3] *= _RAS_FROM_LPS[:, None]
    return affine


def _joined_notes(series: Series) -> list[str]:
    return [f"slices of {series.n_uids} series UIDs, joined: they make one stack"] if series.n_uids > 1 else []


def _n_slices(series: Series) -> int:
    """Number of slices of the volume, with those that are interpolated."""
    return max(len(series.slices), int(np.rint(np.ptp(series.heights_mm) / series.step_mm)) + 1)


# --- Slices beside each other ----------------------------------------------------------------------------------------


def _sideways_mm(series: Series) -> Floats:
    """(n, 2) how far each slice lies, along rows and along columns, off the normal through the first one."""
    first = series.slices[0].position_mm
    return np.stack([each.position_mm - first for each in series.slices]) @ series.orientation.T


def _check_stack(series: Series, sideways_mm: Floats, subject: str) -> None:
    """Slices that do not stand on each other at all are no tilted stack, whatever their places say."""
    size = np.array(series.shape[::-1]) * series.pixel_mm[::-1]
    if (np.ptp(sideways_mm, axis=0) > _MOST_SIDEWAYS * size).any():
        given = f"slices up to {np.abs(sideways_mm).max():.0f} mm beside each other in {series}"
        raise InputError(subject, given, f"a stack, each image {size.max():.0f} mm wide", "choose another --series")


def _straightened(
    series: Series, pixels: NDArray[np.float32], outside: float
) -> tuple[NDArray[np.float32], Floats, list[str]]:
    """Slices moved within their planes so that they stand on each other, and the first voxel's place.

    What counts is how far a slice lies beside the others: a small angle adds up over a long scan.
    """
    spacing, sideways_mm = series.pixel_mm[::-1], _sideways_mm(series)
    first, pixels_off = series.slices[0].position_mm, sideways_mm / spacing
    if np.abs(pixels_off).max() <= _NEGLIGIBLE_PIXELS:
        return pixels, first, []
    least = np.floor(pixels_off.min(axis=0))
    room = (np.ceil(pixels_off.max(axis=0)) - least).astype(int)
    wide = np.full((*(np.array(pixels.shape[:2]) + room), pixels.shape[2]), outside, dtype=np.float32)
    for k, moved in enumerate(pixels_off - least):
        plane = np.full(wide.shape[:2], outside, dtype=np.float32)
        plane[: pixels.shape[0], : pixels.shape[1]] = pixels[:, :, k]
        wide[:, :, k] = shift(plane, moved, order=1, cval=outside)
    return wide, first + (least * spacing) @ series.orientation, [_why_moved(series, sideways_mm)]


def _why_moved(series: Series, sideways_mm: Floats) -> str:
    """A tilt if the slices follow one line, else how far they lie apart."""
    heights = series.heights_mm - series.heights_mm[0]
    slope = heights @ sideways_mm / (heights @ heights)
    off_line = np.abs(sideways_mm - heights[:, None] * slope) / series.pixel_mm[::-1]
    if off_line.max() <= _NEGLIGIBLE_PIXELS:
        degrees = np.degrees(np.arctan(np.linalg.norm(slope)))
        return f"gantry tilted by {degrees:.1f} degrees, slices moved onto each other"
    return f"slices up to {np.linalg.norm(sideways_mm, axis=1).max():.1f} mm beside each other, moved onto each other"


# --- Slices at uneven distances --------------------------------------------------------------------------------------


def _places(heights_mm: Sequence[float]) -> str:
    named = ", ".join(f"{height:.1f}" for height in heights_mm[:_NAMED])
    return f"{named}, ..." if len(heights_mm) > _NAMED else named


def _check_gaps(series: Series, subject: str) -> None:
    """Few slices may be missing; this is asked before pixels are read."""
    found = series.distances
    if found.is_even:
        return
    missing, step = found.missing_mm, found.step_mm
    widest = found.apart_mm[~found.is_coarser].max()
    together = np.rint(widest / step - 1.0)
    if together > _MOST_MISSING_TOGETHER or len(missing) > _MOST_MISSING_SHARE * len(found.apart_mm):
        where = f"{widest:.1f} mm between neighbours instead of {step:.1f} mm"
        given = f"about {len(missing)} of {len(series.slices) + len(missing)} slices missing, {where}"
        hint = f"copy the series again; missing along the normal at {_places(missing)} mm"
        raise InputError(subject, given, "a whole series", hint)


def _evenly(series: Series, pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[str]]:
    """Slices at even distances; between far ones, interpolated ones."""
    found = series.distances
    if found.is_even:
        return pixels, []
    heights = found.heights_mm - found.heights_mm[0]
    wanted = np.arange(int(np.rint(heights[-1] / found.step_mm)) + 1) * found.step_mm
    above = np.clip(np.searchsorted(heights, wanted), 1, len(heights) - 1)
    share = np.clip((wanted - heights[above - 1]) / (heights[above] - heights[above - 1]), 0.0, 1.0)
    share = share.astype(np.float32)
    even = pixels[:, :, above - 1] * (1 - share) + pixels[:, :, above] * share
    return even, [f"{_how_uneven(series)}: interpolated"]


def _how_uneven(series: Series) -> str:
    found, missing = series.distances, series.distances.missing_mm
    where = f" (at {_places(missing)} mm along the normal)" if missing else ""
    if found.coarser_mm is None:
        return f"slices at uneven distances, {len(missing)} missing{where}"
    lost = f", {len(missing)} missing{where}" if missing else ""
    return f"slices {found.step_mm:.4g} and {found.coarser_mm:.4g} mm apart in one series{lost}"
