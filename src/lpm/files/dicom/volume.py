"""From the images of a DICOM series to one volume on a regular grid.

Pixels are read by GDCM through SimpleITK (JPEG, JPEG-LS, JPEG 2000 and RLE included), slice by slice, so that each
slice's own slope and intercept apply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import shift

from lpm.errors import FileError, InputError
from lpm.files.dicom.series import Series
from lpm.geometry.arrays import handed_over
from lpm.geometry.frames import Floats
from lpm.geometry.volumes import Volume

_RAS_FROM_LPS = np.array([-1.0, -1.0, 1.0])  # left and back are right and front, negative
_AIR_HU = -1024.0  # the least that 12 bits hold: what no slice shows is air
_UNEVEN = 0.1  # of a step: slices farther off their even place are interpolated
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
    if len(series.slices) < 2:
        raise InputError(subject, f"{len(series.slices)} slice", "a series of slices", "is it a multi-frame file?")
    if series.repeats_places:
        raise InputError(subject, f"several images at the same place in {series}", "one", "separate the phases")
    if len(series.slices) * np.prod(series.shape, dtype=object) > _MOST_VOXELS:
        raise FileError(subject, f"{len(series.slices)} slices of {series.shape}", f"at most {_MOST_VOXELS} voxels")
    sideways = _sideways_mm(series)
    _check_stack(series, sideways, subject)
    _check_gaps(series, subject)
    pixels = np.stack([_pixels(each.path, series.shape) for each in series.slices], axis=2)
    pixels, origin, notes = _straightened(series, pixels, sideways)
    pixels, more = _evenly(series, pixels)
    affine = np.eye(4)
    affine[:3, 0] = series.orientation[0] * series.pixel_mm[1]
    affine[:3, 1] = series.orientation[1] * series.pixel_mm[0]
    affine[:3, 2] = series.normal * series.step_mm
    affine[:3, 3] = origin
    affine[:3] *= _RAS_FROM_LPS[:, None]
    return DicomVolume(Volume(handed_over(pixels), affine), series, (*notes, *more))


def _pixels(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """(columns, rows) values of one image, slope and intercept applied."""
    try:
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()[:200]
        given = f"cannot be decoded ({_stored_as(path)}: {reason})"
        raise FileError(path.name, given, "an intact image", "copy it again") from error
    if image.size != shape[0] * shape[1]:
        raise FileError(path.name, f"an image of {image.shape}", f"one of {shape}", "multi-frame files are not read")
    return np.ascontiguousarray(image.reshape(shape).T.astype(np.float32))


def _stored_as(path: Path) -> str:
    """The transfer syntax by name, such as JPEG 2000 Image Compression."""
    syntax = pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID")
    return "no transfer syntax" if syntax is None else str(syntax.name)


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
    series: Series, pixels: NDArray[np.float32], sideways_mm: Floats
) -> tuple[NDArray[np.float32], Floats, list[str]]:
    """Slices moved within their planes so that they stand on each other, and the first voxel's place.

    What counts is how far a slice lies beside the others: a small angle adds up over a long scan.
    """
    spacing = series.pixel_mm[::-1]
    first, pixels_off = series.slices[0].position_mm, sideways_mm / spacing
    if np.abs(pixels_off).max() <= _NEGLIGIBLE_PIXELS:
        return pixels, first, []
    least = np.floor(pixels_off.min(axis=0))
    room = (np.ceil(pixels_off.max(axis=0)) - least).astype(int)
    wide = np.full((*(np.array(pixels.shape[:2]) + room), pixels.shape[2]), _AIR_HU, dtype=np.float32)
    for k, moved in enumerate(pixels_off - least):
        plane = np.full(wide.shape[:2], _AIR_HU, dtype=np.float32)
        plane[: pixels.shape[0], : pixels.shape[1]] = pixels[:, :, k]
        wide[:, :, k] = shift(plane, moved, order=1, cval=_AIR_HU)
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


def _is_even(series: Series) -> bool:
    heights = series.heights_mm - series.heights_mm[0]
    return bool(np.abs(heights / series.step_mm - np.arange(len(heights))).max() < _UNEVEN)


def _missing_mm(series: Series) -> list[float]:
    """Where slices are missing, along the normal."""
    heights, step = series.heights_mm, series.step_mm
    missing = np.rint(np.diff(heights) / step - 1.0).clip(min=0).astype(int)
    return [float(below + step * n) for below, many in zip(heights, missing, strict=False) for n in range(1, many + 1)]


def _places(heights_mm: Sequence[float]) -> str:
    named = ", ".join(f"{height:.1f}" for height in heights_mm[:_NAMED])
    return f"{named}, ..." if len(heights_mm) > _NAMED else named


def _check_gaps(series: Series, subject: str) -> None:
    """Few slices may be missing; this is asked before pixels are read."""
    if _is_even(series):
        return
    apart, step = np.diff(series.heights_mm), series.step_mm
    missing = _missing_mm(series)
    together = np.rint(apart.max() / step - 1.0)
    if together > _MOST_MISSING_TOGETHER or len(missing) > _MOST_MISSING_SHARE * len(apart):
        where = f"{apart.max():.1f} mm between neighbours instead of {step:.1f} mm"
        given = f"about {len(missing)} of {len(apart) + 1 + len(missing)} slices missing, {where}"
        hint = f"copy the series again; missing along the normal at {_places(missing)} mm"
        raise InputError(subject, given, "a whole series", hint)


def _evenly(series: Series, pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[str]]:
    """Slices at even distances; between far ones, interpolated ones."""
    if _is_even(series):
        return pixels, []
    heights, step = series.heights_mm - series.heights_mm[0], series.step_mm
    wanted = np.arange(int(np.rint(heights[-1] / step)) + 1) * step
    above = np.clip(np.searchsorted(heights, wanted), 1, len(heights) - 1)
    share = np.clip((wanted - heights[above - 1]) / (heights[above] - heights[above - 1]), 0.0, 1.0)
    share = share.astype(np.float32)
    even = pixels[:, :, above - 1] * (1 - share) + pixels[:, :, above] * share
    missing = _missing_mm(series)
    where = f" (at {_places(missing)} mm along the normal)" if missing else ""
    return even, [f"slices at uneven distances, {len(missing)} missing{where}: interpolated"]
