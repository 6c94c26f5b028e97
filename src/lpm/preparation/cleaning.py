"""From labels as they come to one clean mask a structure, with a report of what was taken away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, center_of_mass, find_objects

from lpm.errors import InputError
from lpm.geometry.masks import Mask, pieces
from lpm.geometry.sides import is_exchanged, split_mask
from lpm.geometry.volumes import Volume, canonical, cropped
from lpm.preparation.cuts import Cut, find_cuts
from lpm.structures import DEFAULT_STRUCTURES

_SAMPLES = 1_000_000  # voxels, at least, that tell labels from a scan
_MOST_LABELS = 256  # different values of a label map, at most: more are those of a scan
_LARGEST_LABEL = 65535  # what 16 bits hold


@dataclass(frozen=True)
class CleaningReport:
    """Report of cleaning one structure.

    Args:
        removed_islands: Number of pieces taken away.
        removed_ml: Their volume.
        filled_ml: Volume of the holes that were filled.
        cuts: Planes that end the structure because the image or its labels do.
    """

    removed_islands: int
    removed_ml: float
    filled_ml: float
    cuts: tuple[Cut, ...]

    @property
    def cut_cm2(self) -> dict[str, float]:
        """Area of the structure in the image's outermost slices, by face; empty if it is not cut."""
        return {cut.face: cut.area_cm2 for cut in self.cuts if cut.at_border}


@dataclass(frozen=True)
class CleanLabels:
    """Clean masks of a subject on one canonical grid, cropped to the structures with a margin.

    Args:
        masks: Structure name to mask; a grid shared by all.
        labels: Volume of 0 (background), 1, 2, ... in the order of ``masks``.
        reports: Report of the cleaning, by structure.
    """

    masks: dict[str, Volume]
    labels: Volume
    reports: dict[str, CleaningReport]


def integer_labels(volume: Volume, subject: str) -> Volume:
    """Check that an image is a label map and give it a small integer type.

    Raises:
        InputError: Values are not whole numbers, negative, or too many to be labels (a CT, not its mask).
    """
    values = np.unique(volume.voxels)
    if not _are_labels(values):
        given = f"{len(values)} values from {values[0]:g} to {values[-1]:g}"
        raise InputError(subject, given, "a label map of a few whole numbers", "give the mask, not the scan")
    return volume.with_voxels(volume.voxels.astype(np.uint16))


def is_label_map(volume: Volume) -> bool:
    """Whether an image is a label map and no scan, by a sample of its values."""
    return _are_labels(np.unique(volume.voxels.ravel()[:: max(volume.voxels.size // _SAMPLES, 1)]))


def _are_labels(values: NDArray[Any]) -> bool:
    """Whether sorted unique values are label values: few whole numbers, none negative."""
    is_whole = bool(np.array_equal(values, np.round(values)))
    return is_whole and len(values) <= _MOST_LABELS and float(values[0]) >= 0 and float(values[-1]) <= _LARGEST_LABEL


def clean_labels(
    volume: Volume,
    structures: Mapping[str, tuple[int, ...]],
    subject: str,
    *,
    need_all: bool = True,
    plain: bool = True,
) -> CleanLabels:
    """Turn a label map, or a plain mask of both lungs, into one clean mask a structure.

    The largest piece of each structure is kept, its holes are filled, and everything is reported.

    Args:
        volume: Labels with any axis order and flips.
        structures: Label values of each structure.
        subject: Case name for messages.
        need_all: Refuse a case that lacks a structure; otherwise it has fewer masks.
        plain: Whether one value may stand for both lungs, to be told apart by side; a segmenter's does not.

    Raises:
        InputError: Empty, a structure missing, label values that no structure claims, or sides exchanged.
    """
    labels = upright_labels(volume, subject)
    labels = told_apart(labels, structures, subject) if plain else labels
    return cleaned(labels, structures, subject, need_all=need_all)


def upright_labels(volume: Volume, subject: str) -> Volume:
    """A label map with a small integer type and its axes along R, A, S.

    Raises:
        InputError: No label map; see `integer_labels`.
    """
    return canonical(integer_labels(volume, subject))


def cleaned(
    labels: Volume, structures: Mapping[str, tuple[int, ...]], subject: str, *, need_all: bool = False
) -> CleanLabels:
    """One clean mask a structure of upright labels; arguments and errors are those of `clean_labels`."""
    check_values(labels, structures, subject, need_all=need_all)
    masks: dict[str, Mask] = {}
    reports: dict[str, CleaningReport] = {}
    for name, values in structures.items():
        mask = np.isin(labels.voxels, values)
        if mask.any():
            masks[name], reports[name] = _clean_mask(labels.with_voxels(mask))
    check_sides(labels, masks, subject)
    return _crop_together(labels, masks, reports)


def told_apart(labels: Volume, structures: Mapping[str, tuple[int, ...]], subject: str) -> Volume:
    """A mask of one value that holds two large separate pieces is both lungs: tell them apart by their side.

    Raises:
        InputError: One piece, of a value that no structure claims.
    """
    values = set(np.unique(labels.voxels).tolist()) - {0}
    if set(structures) != set(DEFAULT_STRUCTURES) or len(values) != 1:
        return labels
    sides = split_mask(labels.voxels > 0)
    if sides is not None:
        meant = np.array([0, structures["left_lung"][0], structures["right_lung"][0]], dtype=labels.voxels.dtype)
        return labels.with_voxels(meant[sides])
    if values & {value for claimed in structures.values() for value in claimed}:
        return labels
    raise InputError(
        subject, f"one piece of value {values.pop()}", "left and right apart", "name the value with --labels"
    )


def check_values(labels: Volume, structures: Mapping[str, tuple[int, ...]], subject: str, *, need_all: bool) -> None:
    """Check that labels have values of the structures, and no others.

    Raises:
        InputError: Empty, a structure missing, or label values that no structure claims.
    """
    present = set(np.unique(labels.voxels).tolist()) - {0}
    if not present:
        raise InputError(subject, "an empty mask (all voxels are 0)", "labels of the structures")
    claimed = {value for values in structures.values() for value in values}
    if extra := sorted(present - claimed):
        known = ", ".join(f"{name}={'+'.join(map(str, values))}" for name, values in structures.items())
        hint = "name the values of each structure, as in --labels left_lung=1+2,right_lung=3+4+5"
        raise InputError(subject, f"label values {extra} belong to no structure", known, hint)
    missing = [name for name, values in structures.items() if not present & set(values)]
    if missing and need_all:
        raise InputError(
            subject, f"no {' and no '.join(missing)}", f"all of {', '.join(structures)}", "leave this case out"
        )


def _clean_mask(mask: Volume) -> tuple[Mask, CleaningReport]:
    numbers, sizes = pieces(mask.voxels)
    largest = int(sizes.argmax())
    box = find_objects(numbers)[largest - 1]
    kept = np.zeros(mask.voxels.shape, dtype=bool)
    kept[box] = binary_fill_holes(numbers[box] == largest)
    removed = int(sizes.sum() - sizes[largest])
    filled = int(np.count_nonzero(kept)) - int(sizes[largest])
    cuts = tuple(find_cuts(mask.with_voxels(kept)))
    report = CleaningReport(len(sizes) - 2, removed * mask.voxel_ml, filled * mask.voxel_ml, cuts)
    return kept, report


def check_sides(labels: Volume, masks: Mapping[str, Mask], subject: str) -> None:
    """Check that the left lung lies on the patient's left.

    Args:
        labels: Label map that gives the grid of the masks.
        masks: Masks by structure.
        subject: Case name for messages.

    Raises:
        InputError: Sides are exchanged.
    """
    lungs = {name: masks[name] for name in DEFAULT_STRUCTURES if name in masks and masks[name].any()}
    across = {name: labels.to_world(np.array([center_of_mass(mask)]))[0, 0] for name, mask in lungs.items()}
    if is_exchanged(across):
        raise InputError(
            subject,
            "the left lung lies on the patient's right",
            "left at smaller R than right",
            "exchange the values (--labels left_lung=2,right_lung=1) or mend the affine",
        )


def _crop_together(labels: Volume, masks: Mapping[str, Mask], reports: dict[str, CleaningReport]) -> CleanLabels:
    voxels = np.zeros(labels.voxels.shape, dtype=np.uint8)
    for value, mask in enumerate(masks.values(), start=1):
        voxels[mask] = value
    small = cropped(labels.with_voxels(voxels), voxels > 0, margin=6)
    return CleanLabels(
        {name: small.with_voxels(small.voxels == value) for value, name in enumerate(masks, start=1)}, small, reports
    )
