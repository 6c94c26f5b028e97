"""The quality gate: which cases may enter a model. Limits are generous; what they stop is broken, not unusual."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from lpm.calibration import count, number
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume
from lpm.segmentation.chest_wall import LungBeforeRibs
from lpm.segmentation.find import TOTAL_ML

Verdict = Literal["good", "doubtful", "rejected"]
_CUT_CM2 = number("preparation.cut_cm2")
_MUCH_CUT_CM2 = number("preparation.much_cut_cm2")
_COLLAPSED_ML = number("preparation.collapsed_ml")
_COLLAPSED_SHARE = number("preparation.collapsed_share")
_SMALL_SHARE = number("preparation.small_share")
_FEW_SLICES = count("preparation.few_slices")
_THICK_MM = number("preparation.thick_mm")
_GAS_HU = number("preparation.gas_hu")
_GAS_CORE_MM = number("preparation.gas_core_mm")
_GAS_ML = number("preparation.gas_ml")
_MUCH_GAS_ML = number("preparation.much_gas_ml")
_LEAST_COHORT = count("preparation.least_cohort")
_FAR = number("preparation.outlier_spreads")


@dataclass(frozen=True)
class Finding:
    """A finding of the quality gate on a case.

    Args:
        what: Finding in words, with figures.
        rejects: Whether the case must stay out of training.
    """

    what: str
    rejects: bool = False


def verdict(findings: list[Finding]) -> Verdict:
    """Return the verdict of the quality gate on a case: good, doubtful or rejected."""
    if any(finding.rejects for finding in findings):
        return "rejected"
    return "doubtful" if findings else "good"


def judge_case(
    meshes: Mapping[str, WorldMesh], cut_cm2: Mapping[str, Mapping[str, float]], labels: Volume
) -> Iterator[Finding]:
    """Check the lungs of one case: closed meshes, cuts, volumes, slices.

    Args:
        meshes: Meshes by structure.
        cut_cm2: Areas by structure, in the image's outermost slices, by face.
        labels: Clean, cropped, axes nearly along R, A, S.
    """
    for name, mesh in meshes.items():
        if not mesh.is_closed:
            yield Finding(f"{name} mesh is not closed", rejects=True)
        for face, area in cut_cm2[name].items():
            if area > _CUT_CM2:
                yield Finding(f"{name} cut by the image's {face} border ({area:.0f} cm2)", area > _MUCH_CUT_CM2)
    yield from judge_sizes({name: mesh.volume_ml for name, mesh in meshes.items()})
    slices = int((labels.voxels > 0).any(axis=(0, 1)).sum())
    if slices < _FEW_SLICES:
        yield Finding(f"only {slices} slices through the structures", rejects=True)
    elif labels.spacing_mm[2] > _THICK_MM:
        yield Finding(f"slices {labels.spacing_mm[2]:.1f} mm apart")


def implausible_total(volume_ml: Mapping[str, float]) -> str:
    """Why the volume of both lungs cannot be, as of voxel indices taken for mm; empty if it can, or a lung lacks."""
    total, (low, high) = sum(volume_ml.values()), TOTAL_ML
    if set(volume_ml) != {"left_lung", "right_lung"} or low <= total <= high:
        return ""
    return f"total volume {total:,.0f} ml, outside {low:,.0f} to {high:,.0f} ml"


def judge_sizes(volume_ml: Mapping[str, float]) -> Iterator[Finding]:
    """Check the volumes of both lungs, ml by structure: their sum, and whether one is collapsed or small."""
    total = sum(volume_ml.values())
    if set(volume_ml) != {"left_lung", "right_lung"}:
        return
    if implausible := implausible_total(volume_ml):
        yield Finding(implausible, rejects=True)
    for name, own in volume_ml.items():
        if own < _COLLAPSED_ML or own < _COLLAPSED_SHARE * total:
            yield Finding(f"{name} collapsed or missing: {own:,.0f} of {total:,.0f} ml", rejects=True)
        elif own < _SMALL_SHARE * total:
            yield Finding(f"{name} is small: {own:,.0f} of {total:,.0f} ml")


def judge_gas(hu: Volume, labels: Volume) -> Iterator[Finding]:
    """Find gas in the mask that is not lung: trachea, main bronchi or bowel.

    Args:
        hu: The CT.
        labels: Labels on the same grid.
    """
    smooth = ndimage.uniform_filter(hu.voxels, 3)
    gas = (labels.voxels > 0) & (smooth < _GAS_HU)
    if not gas.any():
        return
    core = ndimage.distance_transform_edt(gas, sampling=hu.spacing_mm) > _GAS_CORE_MM
    found, _ = ndimage.label(gas)
    held = np.isin(found, np.unique(found[core])) if core.any() else core
    # the mean over 3 x 3 x 3 voxels took a layer off all around: a quarter of 200 ml in voxels of 3 mm
    held = ndimage.binary_dilation(held, np.ones((3, 3, 3))) & (labels.voxels > 0)
    gas_ml = float(held.sum()) * hu.voxel_ml
    if gas_ml > _GAS_ML:
        yield Finding(f"trachea or bowel included: {gas_ml:.0f} ml of gas in the lungs", gas_ml > _MUCH_GAS_ML)


def judge_hidden(hidden: Mapping[str, LungBeforeRibs]) -> Iterator[Finding]:
    """Find lungs that dense disease hides in part, so that their labels end where air does.

    Args:
        hidden: Tissue between each structure and its ribs, by structure.
    """
    for name, lung in hidden.items():
        if lung.is_hidden:
            yield Finding(f"{name} hidden in part: dense tissue before {lung.hidden_share:.0%} of the ribs at its back")


def judge_cohort(content: Mapping[str, str], sizes: Mapping[str, Floats]) -> Iterator[tuple[str, Finding]]:
    """Compare a cohort's cases with each other: find duplicates, and shapes far from all others.

    Args:
        content: Digests of the lungs by subject.
        sizes: Sizes by subject: positive measures such as volumes and extents.

    Yields:
        Subject and finding. Of duplicates, the first by name is kept.
    """
    same = defaultdict(list)
    for subject in sorted(content):
        same[content[subject]].append(subject)
    for first, *others in same.values():
        for subject in others:
            yield subject, Finding(f"the same lungs as {first}", rejects=True)
    if len(sizes) < _LEAST_COHORT:
        return
    names = sorted(sizes)
    logs = np.log(np.stack([sizes[name] for name in names]))
    middle = np.median(logs, axis=0)
    spread = 1.4826 * np.median(np.abs(logs - middle), axis=0)
    far = np.abs(logs - middle) / np.maximum(spread, 0.02)
    for name, row in zip(names, far, strict=True):
        if row.max() > _FAR:
            yield name, Finding(f"shape outlier: a measure {row.max():.1f} spreads from the cohort's middle")
