"""From a label map to surfaces that measure as the voxels do: in a second, without cleaning or decimation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lpm.calibration import number
from lpm.errors import InputError
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.masks import block_means
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.surfaces import extract_surface, level_that_keeps_volume, smooth_mask
from lpm.geometry.volumes import Volume, cropped
from lpm.measurement.structure import Box
from lpm.preparation.label_maps.found import found_structures

_MARGIN = 3  # voxels around a mask, so that the Gaussian ends within the picture
_FINE_MM = number("measurement.label_block_mm")
_SIGMA_VOXELS = number("measurement.label_sigma_voxels")
_LEAST_VOXELS = 64  # fewer have no shape that could be measured
_FLAT = number("measurement.flat_end")
_ALONG = 1e-3  # of a unit vector: less than this off, an image's axis is the patient's


@read_only_arrays
@dataclass(frozen=True, eq=False)
class LabelSurfaces:
    """Surfaces of a label map's structures.

    Args:
        meshes: Meshes by structure, RAS mm, of as many pieces as the labels have.
        boxes_mm: Lowest and highest corner of each structure, more exactly than its mesh knows.
        flags: Warnings.
    """

    meshes: dict[str, WorldMesh]
    boxes_mm: dict[str, Box]
    flags: tuple[str, ...]


def surfaces_of_labels(labels: Volume, structures: Mapping[str, tuple[int, ...]] | None, subject: str) -> LabelSurfaces:
    """Closed surfaces of the structures that a label map holds.

    Args:
        labels: Any axes.
        structures: Label values by structure; None for those of lungs, see `found_structures`.
        subject: Name for messages.

    Raises:
        InputError: What `found_structures` refuses, or a structure of hardly any voxel.
    """
    found = found_structures(labels, structures, subject)
    small = cropped(found.labels, found.labels.voxels > 0, _MARGIN)
    masks = {name: _mask(small, values, f"{subject}, {name}") for name, values in found.values.items()}
    boxes = {name: box for name, mask in masks.items() if (box := box_of_mask(mask)) is not None}
    n = 0 if found.drawn is None else len(found.drawn.planes)
    drawn = (f"only {n} drawn slice{'s'[: n != 1]}, which are no whole lungs: fit them",) if n else ()
    return LabelSurfaces({name: _surface(mask) for name, mask in masks.items()}, boxes, (*found.notes, *drawn))


def _mask(labels: Volume, values: tuple[int, ...], subject: str) -> Volume:
    mask = labels.with_voxels(np.isin(labels.voxels, values))
    n_voxels = int(np.count_nonzero(mask.voxels))
    if n_voxels < _LEAST_VOXELS:
        raise InputError(subject, f"{n_voxels} voxels", f"at least {_LEAST_VOXELS}", "check the label values")
    return cropped(mask, mask.voxels, _MARGIN)


def _surface(mask: Volume) -> WorldMesh:
    coarse = _gathered(mask)
    field = smooth_mask(coarse, _SIGMA_VOXELS * coarse.spacing_mm)
    whole = np.count_nonzero(mask.voxels) * mask.voxel_ml / coarse.voxel_ml
    return extract_surface(field, level_that_keeps_volume(field, whole))


def box_of_mask(mask: Volume) -> Box | None:
    """Lowest and highest corner of a shape, from its mask.

    A round end that lies between two slices leaves no voxel in the second. The areas of the last two slices show where
    it is: those of a round end fall in proportion to the distance from it. A flat end is half a voxel past its slice.

    Args:
        mask: Canonical; a voxel is inside if its centre is.

    Returns:
        (3,) and (3,) RAS mm, or None where the voxels' axes are not the world's.
    """
    directions = mask.world_from_voxel[:3, :3] / mask.spacing_mm
    if not np.allclose(directions, np.eye(3), atol=_ALONG):
        return None
    ends = np.array([_ends(mask.voxels.sum(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)])
    lower, upper = mask.to_world(ends.T)
    return lower, upper


def _ends(areas: NDArray[np.int64]) -> tuple[float, float]:
    """Where a shape begins and ends along an axis, in slices, from its area in each."""
    inside = np.flatnonzero(areas)
    first, last = int(inside[0]), int(inside[-1])
    return first - _reach(areas[first], areas[first + 1]), last + _reach(areas[last], areas[last - 1])


def _reach(outermost: int, next_to_it: int) -> float:
    """How far past its outermost slice a shape goes, in slices."""
    share = outermost / max(next_to_it - outermost, 1e-9)
    return min(share, 1.0) if share < _FLAT else 0.5


def _gathered(mask: Volume) -> Volume:
    """Shares of fine voxels in blocks of about `_FINE_MM`: as exact, and several times fewer."""
    n = np.maximum(np.floor(_FINE_MM / mask.spacing_mm + 1e-3).astype(int), 1)
    padding = [(0, int(-size % k) + k * _MARGIN) for size, k in zip(mask.voxels.shape, n, strict=True)]
    return block_means(mask.with_voxels(np.pad(mask.voxels, padding)), n)
