"""Values of label maps: whole numbers, or what scaling and resampling made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpm.calibration import number
from lpm.errors import InputError
from lpm.geometry.arrays import handed_over
from lpm.geometry.volumes import Volume

_SAMPLES = 1_000_000  # voxels, at least, that tell labels from a scan
_MOST_LABELS = 256  # different values of a label map, at most: more are those of a scan
_LARGEST_LABEL = 65535  # what 16 bits hold
_FEW_LABELS = 20  # so few different values no scan has, and a grey picture seldom
_OFF = number("preparation.whole_number_off")
_PATCHY = number("preparation.label_neighbours")


def integer_labels(volume: Volume, subject: str) -> Volume:
    """A label map with a small integer type; errors are those of `whole_labels`."""
    return whole_labels(volume, subject)[0]


def whole_labels(volume: Volume, subject: str) -> tuple[Volume, tuple[str, ...]]:
    """A label map with a small integer type, and notes on what its values were.

    Values within 0.05 of whole numbers are those numbers: the scaling of NIfTI files and resampling make 1.0000153 or
    1.004 of 1. Where there is no 0, -1 is the background; signed bytes beside 0 that are all negative are those of
    unsigned ones, -1 of 255.

    Raises:
        InputError: Values between whole numbers, several negative ones, or too many to be labels.
    """
    values, notes = values_of(volume.voxels), list[str]()
    if volume.voxels.dtype == np.int8 and len(values) > 1 and values[-1] == 0:
        volume = volume.with_voxels(handed_over(volume.voxels.view(np.uint8)))
        notes.append(f"signed bytes were read as unsigned ones: {values[0]} as {int(values[0]) + 256}")
        values = values_of(volume.voxels)
    whole = np.round(values)
    if not _are_labels(values):
        raise InputError(subject, *_no_labels(values))
    off = np.abs(values - whole)
    if off.any():
        worst = float(values[off.argmax()])
        notes.append(f"values such as {worst:.7g} were rounded to whole numbers (scaled or resampled labels)")
    voxels = np.round(volume.voxels) if off.any() else volume.voxels
    if whole[0] < 0:
        notes.append("the background is -1, not 0")
        voxels = np.where(voxels == -1, 0, voxels)
    return volume.with_voxels(handed_over(voxels.astype(np.uint16))), tuple(notes)


def is_label_map(volume: Volume) -> bool:
    """Whether an image is a label map and no scan, by a sample of its values."""
    values = np.unique(volume.voxels.ravel()[:: max(volume.voxels.size // _SAMPLES, 1)])
    return _are_labels(values) and (len(values) <= _FEW_LABELS or _is_patchy(volume.voxels))


def values_of(voxels: NDArray[Any]) -> NDArray[Any]:
    """Different values of an image, sorted; of 8 and 16 bits by counting, which takes a tenth of the time."""
    if voxels.dtype in (np.uint8, np.uint16):
        return np.flatnonzero(np.bincount(voxels.ravel(order="K"))).astype(np.int64)
    return np.unique(voxels)


def _are_labels(values: NDArray[Any]) -> bool:
    """Whether sorted values are few, about whole, and none negative but a background in place of 0."""
    whole = np.round(values)
    has_background = whole[0] >= 0 or (whole[0] == -1 and len(values) > 1 and whole[1] > 0)
    is_whole = bool((np.abs(values - whole) <= _OFF).all())
    return is_whole and bool(has_background) and len(values) <= _MOST_LABELS and float(values[-1]) <= _LARGEST_LABEL


def _is_patchy(voxels: NDArray[Any]) -> bool:
    """Whether voxels mostly have the value of their neighbour: in a label map of many organs, not in a grey picture."""
    step = max(voxels.shape[2] // 50, 1)
    here, beside = voxels[:-1, :, ::step], voxels[1:, :, ::step]
    inside = here > 0
    return bool(inside.any()) and float(np.mean(here[inside] == beside[inside])) > _PATCHY


def _no_labels(values: NDArray[Any]) -> tuple[str, str, str]:
    """What was given in place of labels, what was expected, what to try."""
    low, high = float(values[0]), float(values[-1])
    given, expected = f"{len(values)} values from {low:g} to {high:g}", "a label map of a few whole numbers"
    if low < 0 and len(values) <= _FEW_LABELS and (len(values) < 2 or values[1] >= 0) and high <= _FEW_LABELS:
        return given, "0 as the background", f"set what is {low:g} to 0, and see that 0 is no label"
    if low >= 0 and high <= 1:
        return f"{given}, probabilities", expected, "a mask of them: values from 0.5 on set to 1"
    is_between = bool((np.abs(values - np.round(values)) > _OFF).any())
    if low >= 0 and high <= _MOST_LABELS and is_between:
        hint = "resample labels to the nearest neighbour, not by interpolation"
        return f"{given}, between whole numbers", expected, hint
    return given, expected, "give the mask, not the scan"
