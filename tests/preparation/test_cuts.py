"""Planes that cut a mask: the image's border, or a flat face in it."""

from __future__ import annotations

import numpy as np
import pytest

from lpm.geometry.phantoms import random_lungs, to_labels
from lpm.geometry.volumes import Volume
from lpm.preparation.cuts import find_cuts


@pytest.fixture(scope="module")
def left() -> Volume:
    labels = to_labels(random_lungs(rng=np.random.default_rng(5)), 3.0)
    return labels.with_voxels(labels.voxels == 1)


def test_a_whole_lung_is_not_cut(left: Volume) -> None:
    assert find_cuts(left) == []


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("lower", [True, False])
def test_a_border_cuts_on_its_own_side(left: Volume, axis: int, *, lower: bool) -> None:
    filled = np.flatnonzero(left.voxels.any(axis=tuple(a for a in range(3) if a != axis)))
    middle = int(filled.mean())
    kept = np.moveaxis(left.voxels, axis, 0)[middle:] if lower else np.moveaxis(left.voxels, axis, 0)[:middle]
    affine = left.world_from_voxel.copy()
    if lower:
        affine[:3, 3] = left.to_world(np.eye(3)[axis : axis + 1] * middle)[0]
    cut = Volume(np.ascontiguousarray(np.moveaxis(kept, 0, axis)), affine)
    (found,) = find_cuts(cut)
    faces = ("left", "right", "posterior", "anterior", "inferior", "superior")
    assert found.face == faces[2 * axis + (not lower)]
    assert found.at_border
    plane = left.to_world(np.eye(3)[axis : axis + 1] * (middle - 0.5))[0, axis]
    inside = left.to_world(np.argwhere(cut.voxels) + (np.eye(3)[axis] * middle if lower else 0))
    assert found.offset_mm == pytest.approx(-plane if lower else plane)
    assert found.beyond_mm(inside).max() == pytest.approx(-1.5)


def test_a_blanked_part_is_a_cut_within_the_image(left: Volume) -> None:
    voxels = left.voxels.copy()
    filled = np.flatnonzero(voxels.any(axis=(0, 1)))
    voxels[:, :, : int(filled.mean())] = False
    (found,) = find_cuts(left.with_voxels(voxels))
    assert (found.face, found.at_border) == ("inferior", False)
    assert found.area_cm2 > 10
