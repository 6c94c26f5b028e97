"""Drawn slices: told from full masks, and their outlines lie on the surface."""

from __future__ import annotations

import numpy as np
import pytest

from lpm.fitting.evidence.slices import contours
from lpm.geometry.volumes import Volume
from lpm.preparation.label_maps.drawn import drawn_slices

STRUCTURES = {"left_lung": (1,), "right_lung": (2,)}
AFFINE = np.array([[2.0, 0.3, 0.0, -60.0], [-0.3, 2.0, 0.0, -50.0], [0.0, 0.0, 3.0, 10.0], [0.0, 0.0, 0.0, 1.0]])
CENTERS = {1: np.array([14.0, 20.0, 20.0]), 2: np.array([36.0, 21.0, 19.0])}
RADIUS_MM = 20.0


@pytest.fixture(scope="module")
def balls() -> Volume:
    """Two balls, in a world that is turned against the voxels."""
    empty = Volume(np.zeros((50, 42, 40), dtype=np.uint8), AFFINE)
    world = empty.to_world(np.indices(empty.voxels.shape).reshape(3, -1).T)
    voxels = np.zeros(len(world), dtype=np.uint8)
    for value, center in CENTERS.items():
        voxels[np.linalg.norm(world - empty.to_world(center[None]), axis=1) < RADIUS_MM] = value
    return empty.with_voxels(voxels.reshape(empty.voxels.shape))


def only(balls: Volume, *planes: tuple[int, int]) -> Volume:
    kept = np.zeros(balls.voxels.shape, dtype=bool)
    for axis, index in planes:
        np.moveaxis(kept, axis, 0)[index] = True
    return balls.with_voxels(np.where(kept, balls.voxels, 0).astype(np.uint8))


@pytest.mark.parametrize(
    "planes",
    [((2, 20),), ((0, 14),), ((2, 15), (2, 20), (2, 25)), ((0, 36), (1, 20), (2, 19))],
)
def test_outlines_of_drawn_slices_lie_on_the_surface(balls: Volume, planes: tuple[tuple[int, int], ...]) -> None:
    drawn = drawn_slices(only(balls, *planes))
    assert drawn is not None
    assert set(drawn.planes) == set(planes)
    points, names = contours(drawn, STRUCTURES)
    for value, name in ((1, "left_lung"), (2, "right_lung")):
        apart = np.linalg.norm(points[names == name] - balls.to_world(CENTERS[value][None]), axis=1) - RADIUS_MM
        if len(apart):
            assert abs(apart.mean()) < 0.4
            assert np.abs(apart).max() < 1.6  # a voxel is 2 to 3 mm wide
    assert len(points) > 40
    assert len(np.unique(points, axis=0)) == len(points)


def test_a_full_mask_is_not_drawn_slices(balls: Volume) -> None:
    assert drawn_slices(balls) is None
    two_beside = only(balls, (2, 20), (2, 21))
    assert drawn_slices(two_beside) is None


def test_where_the_image_ends_there_is_no_outline(balls: Volume) -> None:
    half = Volume(np.ascontiguousarray(balls.voxels[:14, :, 20:21]), AFFINE)
    drawn = drawn_slices(half)
    assert drawn is not None
    points, _ = contours(drawn, STRUCTURES)
    assert len(points) > 10
    beyond = half.to_voxel(points)[:, 0]
    assert (np.abs(beyond - 13.5) > 0.5).sum() > 0.9 * len(points)
