"""Whether a header's axes are the body's: the spine goes on along S, and lies behind the lungs."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lpm.calibration import number, span
from lpm.errors import InputError
from lpm.geometry.frames import Floats
from lpm.geometry.masks import nearest_on
from lpm.geometry.volumes import Volume
from lpm.segmentation.hounsfield import BONE_GRID_MM, Scan

_BONE_HU = span("segmentation.spine_hu")
_TISSUE_HU = number("segmentation.dense_hu")
_AIR_HU = number("segmentation.air_hu")
_WIDTH_MM = number("segmentation.axis_spine_mm")
_SLICES = number("segmentation.axis_spine_slices")
_RATIO = number("segmentation.axis_spine_ratio")
_LEAST_HU = number("segmentation.axis_spine_least_hu")
_MIDDLE = number("segmentation.axis_middle_share")
_RUNS, _ENDS = number("segmentation.axis_runs"), number("segmentation.axis_ends")
_BESIDE_MM = number("segmentation.axis_beside_mm")
_ASIDE = 2.0  # times as far beside the lungs' middle as behind it: the spine lies at a side
_NAMES = ("R-L", "A-P", "S-I")
_ALONG = 2  # the axis that a body lies along


def axes_doubts(scan: Scan, subject: str) -> list[str]:
    """Doubts whether the header's axes are the body's.

    Args:
        scan: Scan in HU.
        subject: Case name for messages.

    Raises:
        InputError: They are exchanged: the spine goes on along another axis than S, and so does the body, from border
            to border, while it ends in view along S.
    """
    coarse = scan.averaged(BONE_GRID_MM)
    bone = [_bone_along(coarse, axis) for axis in range(3)]
    found = int(np.argmax([each.max() for each in bone]))
    strongest = float(bone[found].max())
    if strongest < _LEAST_HU:
        return []
    if found != _ALONG:
        if strongest < _RATIO * float(bone[_ALONG].max()):
            return []
        what = f"the spine goes on along the header's {_NAMES[found]}, not along {_NAMES[_ALONG]}"
        if _runs(coarse, found) and _ends(coarse, _ALONG):
            hint = "give the DICOM series, or exchange the axes of the array"
            raise InputError(subject, f"{what}, and so does the body", "a header whose third axis is the body's", hint)
        return [f"{what}: its axes seem to be exchanged"]
    return [] if len(scan.cut_sides) > 1 else _beside(scan, coarse, bone[_ALONG])


def _bone_along(ct: Volume, axis: int) -> Floats:
    """How dense bone is that goes on along an axis through nearly all of the body, HU above soft tissue."""
    hu = np.moveaxis(ct.voxels, axis, 2)
    tissue = (hu > _TISSUE_HU).sum(axis=(0, 1))
    slices = np.flatnonzero(tissue > _MIDDLE * tissue.max())
    width = [*(_WIDTH_MM / np.delete(ct.spacing_mm, axis)), 0.0]
    bone = np.clip(hu[:, :, slices[0] : slices[-1] + 1], *_BONE_HU).astype(np.float32) - np.float32(_BONE_HU[0])
    return np.asarray(np.quantile(ndimage.gaussian_filter(bone, width, mode="constant"), _SLICES, axis=2))


def _runs(ct: Volume, axis: int) -> bool:
    """Whether the body goes on beyond both ends of the image."""
    return min(_at_ends(ct, axis)) > _RUNS


def _ends(ct: Volume, axis: int) -> bool:
    """Whether the body ends before both ends of the image."""
    return max(_at_ends(ct, axis)) < _ENDS


def _at_ends(ct: Volume, axis: int) -> tuple[float, float]:
    """Tissue in the first and in the last slice, as a share of the slice with most."""
    tissue = (np.moveaxis(ct.voxels, axis, 2) > _TISSUE_HU).sum(axis=(0, 1))
    return float(tissue[0] / tissue.max()), float(tissue[-1] / tissue.max())


def _beside(scan: Scan, coarse: Volume, bone: Floats) -> list[str]:
    """A line if the spine lies beside all air in the body, and not behind it; in a view of one lung it does."""
    air = np.argwhere(nearest_on(scan.body, coarse) & (coarse.voxels < _AIR_HU))
    if not len(air):
        return []
    spine = np.array(np.unravel_index(bone.argmax(), bone.shape))
    across_mm, along_mm = (spine - air[:, :2].mean(axis=0)) * coarse.spacing_mm[:2]
    if abs(across_mm) < max(_BESIDE_MM, _ASIDE * abs(along_mm)):
        return []
    side = "left" if across_mm < 0 else "right"
    return [f"the spine seems to lie at the {side} of the lungs: the header's R and A seem to be exchanged"]
