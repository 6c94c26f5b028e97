from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from lpm.geometry.masks import (
    averaged,
    block_means,
    distance_mm,
    grown,
    largest_piece,
    nearest_on,
    pieces,
    pieces_touching,
    refined,
    shrunk,
    signed_distance_mm,
)
from lpm.geometry.phantoms import stored_as
from lpm.geometry.volumes import Volume, as_stored, canonical

SPACING = (1.0, 2.0, 3.0)


def grid(shape: tuple[int, int, int] = (20, 16, 12)) -> Volume:
    return Volume(np.zeros(shape, dtype=bool), np.diag([*SPACING, 1.0]))


def test_pieces_are_numbered_and_counted() -> None:
    mask = np.array([[1, 1, 0, 1], [0, 0, 0, 1], [1, 0, 0, 1]], dtype=bool)
    found, sizes = pieces(mask)
    assert sizes.tolist() == [0, 2, 3, 1]
    assert found[0].tolist() == [1, 1, 0, 2]
    np.testing.assert_array_equal(largest_piece(mask), [[0, 0, 0, 1]] * 3)


def test_an_empty_mask_has_no_largest_piece() -> None:
    assert not largest_piece(np.zeros((3, 4), dtype=bool)).any()


def test_pieces_that_touch_and_are_large_enough_stay() -> None:
    mask = np.array([[1, 1, 0, 1, 0, 1, 1]], dtype=bool)
    other = np.array([[0, 0, 1, 0, 0, 0, 0]], dtype=bool)
    assert pieces_touching(mask, other).astype(int).tolist() == [[1, 1, 0, 1, 0, 0, 0]]
    assert pieces_touching(mask, other, 2).astype(int).tolist() == [[1, 1, 0, 0, 0, 0, 0]]


def with_a_point() -> Volume:
    whole = grid()
    voxels = whole.voxels.copy()
    voxels[10, 8, 6] = True
    return whole.with_voxels(voxels)


def test_distances_are_millimetres_along_each_axis() -> None:
    mask = with_a_point()
    found = distance_mm(mask.voxels, mask)
    assert (found[13, 8, 6], found[10, 10, 6], found[10, 8, 8]) == (3.0, 4.0, 6.0)
    assert signed_distance_mm(~mask.voxels, mask.spacing_mm)[10, 8, 6] == 1.0
    assert signed_distance_mm(mask.voxels, mask.spacing_mm)[10, 8, 6] == -1.0


def test_growing_and_shrinking_are_balls() -> None:
    point = with_a_point()
    ball = grown(point.voxels, 6.0, point)
    assert ball.sum(axis=0).any()
    assert np.flatnonzero(ball[:, 8, 6]).tolist() == list(range(4, 17))
    assert np.flatnonzero(ball[10, :, 6]).tolist() == list(range(5, 12))
    assert np.flatnonzero(ball[10, 8]).tolist() == [4, 5, 6, 7, 8]
    np.testing.assert_array_equal(np.argwhere(shrunk(ball, 6.0, point)), [[10, 8, 6]])
    assert not grown(grid().voxels, 6.0, point).any()


def test_averaging_keeps_the_place() -> None:
    volume = Volume(np.arange(7 * 8 * 5, dtype=np.float32).reshape(7, 8, 5), np.diag([1.0, 1.0, 4.0, 1.0]))
    small = averaged(volume, 2.0)
    assert small.voxels.shape == (4, 4, 5)
    assert small.voxels[0, 0, 0] == volume.voxels[:2, :2, 0].mean()
    np.testing.assert_allclose(small.to_world(np.zeros((1, 3)))[0], (0.5, 0.5, 0.0))


def test_block_means_of_a_mask_are_shares() -> None:
    voxels = np.zeros((6, 4, 2), dtype=bool)
    voxels[0, 0, 0] = True
    mask = Volume(voxels, np.eye(4))
    shares = block_means(mask, np.array([3, 2, 2]))
    assert shares.voxels.shape == (2, 2, 1)
    assert shares.voxels[0, 0, 0] == pytest.approx(1.0 / 12.0)
    np.testing.assert_allclose(shares.to_world(np.zeros((1, 3)))[0], (1.0, 0.5, 0.5))


def test_labels_of_a_coarser_grid() -> None:
    voxels = np.zeros((6, 6, 6), dtype=np.uint8)
    voxels[4:, :, :3] = 2
    labels = Volume(voxels, np.eye(4))
    found = nearest_on(labels, averaged(labels, 2.0))
    assert found.shape == (3, 3, 3)
    assert (found[2, :, 0] == 2).all()
    assert (found[:2] == 0).all()


def test_refined_labels_lie_where_the_coarse_ones_did() -> None:
    fine = Volume(np.zeros((24, 24, 24), dtype=np.float32), np.eye(4))
    coarse = averaged(fine, 2.0)
    labels = np.zeros(coarse.voxels.shape, dtype=np.uint8)
    labels[2:6, 3:9, 3:9], labels[7:10, 3:9, 3:9] = 1, 7
    found = refined(coarse.with_voxels(labels), fine)
    assert set(np.unique(found.voxels)) == {0, 1, 7}
    assert np.flatnonzero(found.voxels[:, 12, 12] == 1).tolist() == list(range(4, 12))
    assert np.flatnonzero(found.voxels[:, 12, 12] == 7).tolist() == list(range(14, 20))


def test_a_canonical_image_goes_back_to_how_it_was_stored() -> None:
    volume = Volume(np.random.default_rng(0).uniform(size=(4, 5, 6)), np.diag([1.0, 1.5, 2.0, 1.0]))
    for order, flips in product(permutations(range(3)), product((False, True), repeat=3)):
        stored = stored_as(volume, order, flips)
        back = as_stored(canonical(stored), stored)
        np.testing.assert_array_equal(back.voxels, stored.voxels)
        np.testing.assert_array_equal(back.world_from_voxel, stored.world_from_voxel)
