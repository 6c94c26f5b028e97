"""The spine in a CT: bone that goes on through all slices behind the lungs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lpm.calibration import number, span
from lpm.geometry.frames import Floats
from lpm.geometry.masks import Mask
from lpm.geometry.volumes import Volume
from lpm.segmentation.body import chest_slices

_BONE_HU = span("segmentation.spine_hu")
_WIDTH_MM = number("segmentation.spine_mm")
_SLICES = number("segmentation.spine_slices")
_AIR_HU = number("segmentation.air_hu")
_BESIDE_MM = number("segmentation.spine_beside_mm")
_LEAST_HU = number("segmentation.spine_least_hu")


@dataclass(frozen=True)
class Spine:
    """Where bone goes on through the slices of a chest, behind the lungs' middle and in front of it.

    Args:
        across_mm: Its middle along the first axis from the image's first voxel, mm; None if no spine is seen behind.
        behind_hu: How dense such bone is behind the lungs' middle, HU above soft tissue.
        before_hu: The same in front of it.
    """

    across_mm: float | None
    behind_hu: float
    before_hu: float


def find_spine(ct: Volume, body: Mask) -> Spine:
    """Find the spine.

    Contrast medium makes the heart as dense, but not in every slice; the descending aorta lies beside the spine.

    Args:
        ct: CT in HU, its axes along R, A, S.
        body: The patient in it.
    """
    slices = chest_slices(ct, body)
    chest, hu = body[:, :, slices], ct.voxels[:, :, slices]
    if not chest.any():
        return Spine(None, 0.0, 0.0)
    bone = np.where(chest, np.clip(hu, *_BONE_HU) - _BONE_HU[0], 0.0).astype(np.float32)
    width = [*(_WIDTH_MM / ct.spacing_mm[:2]), 0.0]
    smooth = ndimage.gaussian_filter(bone, width, mode="constant")  # a mirrored border would draw the maximum to it
    through: Floats = np.quantile(smooth, _SLICES, axis=2)
    columns, rows, _ = np.nonzero(chest & (hu < _AIR_HU))
    if not len(columns):
        return Spine(None, 0.0, 0.0)
    reach, middle = round(_BESIDE_MM / float(ct.spacing_mm[0])), round(float(rows.mean()))
    first = max(int(columns.min()) - reach, 0)
    through = through[first : int(columns.max()) + reach + 1]  # farther out are the arms
    behind, before = (float(part.max()) if part.size else 0.0 for part in (through[:, :middle], through[:, middle:]))
    if behind < _LEAST_HU:
        return Spine(None, behind, before)
    across = int(np.unravel_index(through[:, :middle].argmax(), through[:, :middle].shape)[0])
    return Spine((first + across) * float(ct.spacing_mm[0]), behind, before)
