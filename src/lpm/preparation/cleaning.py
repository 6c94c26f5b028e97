"""From labels as they come to one clean mask a structure, with a report of what was taken away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import binary_fill_holes, find_objects

from lpm.errors import InputError
from lpm.geometry.masks import Mask, pieces
from lpm.geometry.volumes import Volume, cropped
from lpm.preparation.cuts import Cut, find_cuts
from lpm.preparation.label_maps.found import found_structures
from lpm.structures import DEFAULT_STRUCTURES


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
        notes: Notes on what was taken for what in the label map.
    """

    masks: dict[str, Volume]
    labels: Volume
    reports: dict[str, CleaningReport]
    notes: tuple[str, ...] = ()


def clean_labels(
    volume: Volume, structures: Mapping[str, tuple[int, ...]] | None, subject: str, *, need_all: bool = True
) -> CleanLabels:
    """Turn a label map, or a plain mask of both lungs, into one clean mask a structure.

    The largest piece of each structure is kept, its holes are filled, and everything is reported.

    Args:
        volume: Labels with any axis order and flips.
        structures: Label values of each structure; None for those of lungs, see `found_structures`.
        subject: Case name for messages.
        need_all: Refuse a case that lacks a structure; otherwise it has fewer masks.

    Raises:
        InputError: Empty, a structure missing, or what `found_structures` refuses.
    """
    found = found_structures(volume, structures, subject)
    numbers = {name: (n,) for n, name in enumerate(structures or DEFAULT_STRUCTURES, start=1)}
    clean = cleaned(found.labels, numbers, subject, need_all=need_all)
    return replace(clean, notes=found.notes)


def cleaned(
    labels: Volume, structures: Mapping[str, tuple[int, ...]], subject: str, *, need_all: bool = False
) -> CleanLabels:
    """One clean mask a structure of upright labels; arguments are those of `clean_labels`.

    Raises:
        InputError: Empty, or a structure missing.
    """
    found = {name: mask for name, own in structures.items() if (mask := np.isin(labels.voxels, own)).any()}
    if not found:
        raise InputError(subject, "an empty mask (all voxels are 0)", "labels of the structures")
    if need_all and (missing := [name for name in structures if name not in found]):
        given, expected = f"no {' and no '.join(missing)}", f"all of {', '.join(structures)}"
        raise InputError(subject, given, expected, "leave this case out")
    masks: dict[str, Mask] = {}
    reports: dict[str, CleaningReport] = {}
    for name, mask in found.items():
        masks[name], reports[name] = _clean_mask(labels.with_voxels(mask))
    return _crop_together(labels, masks, reports)


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


def _crop_together(labels: Volume, masks: Mapping[str, Mask], reports: dict[str, CleaningReport]) -> CleanLabels:
    voxels = np.zeros(labels.voxels.shape, dtype=np.uint8)
    for value, mask in enumerate(masks.values(), start=1):
        voxels[mask] = value
    small = cropped(labels.with_voxels(voxels), voxels > 0, margin=6)
    return CleanLabels(
        {name: small.with_voxels(small.voxels == value) for value, name in enumerate(masks, start=1)}, small, reports
    )
