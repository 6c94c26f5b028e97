"""A header whose axes are not the body's is refused, or doubted where the view is cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lpm.errors import InputError
from lpm.geometry.phantom_scans import PhantomScan, render_scan
from lpm.geometry.phantoms import random_lungs
from lpm.geometry.volumes import Volume
from lpm.segmentation.axes import axes_doubts
from lpm.segmentation.find import LungPolicy, find_lungs
from lpm.segmentation.hounsfield import hounsfield

SIGNS = ((1, 1, 1), (-1, 1, -1), (1, -1, 1))


@pytest.fixture(scope="module")
def chest() -> tuple[Volume, Volume]:
    rng = np.random.default_rng(0)
    return render_scan(PhantomScan(random_lungs(rng=rng), spacing_mm=(4.0, 4.0, 4.0)), rng=rng)


def with_axes(ct: Volume, axes: tuple[int, ...], signs: tuple[int, ...], size: float = 1.0) -> Volume:
    """A scan whose header takes its axes for others."""
    affine = ct.world_from_voxel.copy()
    affine[:3, :3] = size * ct.world_from_voxel[:3, axes] * signs
    return Volume(ct.voxels, affine)


def doubts(ct: Volume) -> list[str]:
    return axes_doubts(hounsfield(ct, "ct").adult_sized, "ct")


@pytest.mark.parametrize("size", [1.0, 0.5])
@pytest.mark.parametrize("axes", [axes for axes in itertools.permutations(range(3)) if axes[2] != 2])
def test_a_body_along_another_axis_is_refused(chest: tuple[Volume, Volume], axes: tuple[int, ...], size: float) -> None:
    for signs in SIGNS:
        with pytest.raises(InputError, match=r"ct: the spine goes on along the header's (R-L|A-P), not along S-I, and"):
            doubts(with_axes(chest[0], axes, signs, size))


def test_the_right_axes_are_not_doubted_whatever_their_direction(chest: tuple[Volume, Volume]) -> None:
    for signs in SIGNS:
        assert doubts(with_axes(chest[0], (0, 1, 2), signs)) == []


@pytest.mark.parametrize(("signs", "side"), [((1, 1, 1), "left"), ((1, -1, 1), "right")])
def test_a_spine_beside_the_lungs_is_doubted(chest: tuple[Volume, Volume], signs: tuple[int, ...], side: str) -> None:
    (doubt,) = doubts(with_axes(chest[0], (1, 0, 2), signs))
    assert doubt == f"the spine seems to lie at the {side} of the lungs: the header's R and A seem to be exchanged"


@pytest.mark.parametrize("axes", [(0, 2, 1), (2, 1, 0), (1, 2, 0)])
def test_axes_of_a_narrow_view_are_doubted(chest: tuple[Volume, Volume], axes: tuple[int, ...]) -> None:
    ct, true = chest
    places = np.argwhere(true.voxels > 0)
    low, high = places.min(axis=0) - 4, places.max(axis=0) + 5  # as far as the ribs and the spine
    low[2], high[2] = 0, ct.voxels.shape[2]
    box = tuple(slice(max(a, 0), b) for a, b in zip(low, high, strict=True))
    cut = Volume(np.ascontiguousarray(ct.voxels[box]), ct.world_from_voxel)
    assert doubts(cut) == []
    (doubt,) = doubts(with_axes(cut, axes, (1, 1, 1)))
    assert doubt.endswith("not along S-I: its axes seem to be exchanged")


def test_lungs_in_front_of_each_other_in_a_narrow_view_are_told_of(chest: tuple[Volume, Volume]) -> None:
    ct, true = chest
    places = np.argwhere(true.voxels > 0)
    low, high = np.maximum(places.min(axis=0) - 1, 0), places.max(axis=0) + 2
    cut = Volume(np.ascontiguousarray(ct.voxels[low[0] : high[0], low[1] : high[1]]), ct.world_from_voxel)
    told = "two lungs seem to lie in front of each other: the header's R and A may be exchanged"
    assert told in find_lungs(hounsfield(with_axes(cut, (1, 0, 2), (1, 1, 1)), "ct"), LungPolicy()).notes
    assert told not in find_lungs(hounsfield(cut, "ct"), LungPolicy()).notes


def test_one_lung_in_view_is_not_doubted(chest: tuple[Volume, Volume]) -> None:
    ct, true = chest
    places = np.argwhere(true.voxels == 1)
    low, high = places.min(axis=0) - 1, places.max(axis=0) + 8
    cut = Volume(np.ascontiguousarray(ct.voxels[low[0] : high[0], low[1] - 6 : high[1]]), ct.world_from_voxel)
    assert doubts(cut) == []


def test_find_lungs_tells(chest: tuple[Volume, Volume]) -> None:
    found = find_lungs(hounsfield(with_axes(chest[0], (1, 0, 2), (1, 1, 1)), "ct"), LungPolicy())
    assert found.notes[0].startswith("the spine seems to lie at the left")
    with pytest.raises(InputError, match="the spine goes on along the header's A-P"):
        find_lungs(hounsfield(with_axes(chest[0], (0, 2, 1), (1, 1, 1)), "ct"), LungPolicy())
