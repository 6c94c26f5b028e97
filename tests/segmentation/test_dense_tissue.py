from __future__ import annotations

import numpy as np
import pytest

from lpm.geometry.volumes import Volume
from lpm.segmentation.dense_tissue import settled_border

Half = tuple[Volume, np.ndarray, np.ndarray]


def half_dense(dense_hu: float) -> Half:
    """A ball of lung in tissue of 50 HU, its lower half dense; what holds air, and what does not."""
    grid = Volume(np.zeros((60, 60, 60)), np.diag([2.0, 2.0, 2.0, 1.0]))
    offset = np.indices(grid.voxels.shape) - 29.5
    ball = np.linalg.norm(offset, axis=0) < 20.0
    lung, dense = ball & (offset[2] > 0), ball & (offset[2] <= 0)
    hu = np.where(lung, -850.0, np.where(dense, dense_hu, 50.0)) + np.random.default_rng(0).normal(0, 20, ball.shape)
    return grid.with_voxels(hu.astype(np.float32)), lung, dense


def shifted_guess(dense: np.ndarray, lung: np.ndarray, voxels: int) -> np.ndarray:
    return np.roll(dense, voxels, axis=0) & ~lung


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.mark.parametrize("dense_hu", [20.0, 100.0])
def test_a_border_that_shows_is_followed(dense_hu: float) -> None:
    grid, lung, dense = half_dense(dense_hu)
    guess = shifted_guess(dense, lung, 4)
    assert dice(guess, dense) < 0.87
    assert dice(settled_border(grid, lung, lung, guess), dense) > 0.94


def test_where_nothing_shows_the_guess_stays() -> None:
    grid, lung, dense = half_dense(50.0)
    guess = shifted_guess(dense, lung, 4)
    assert dice(settled_border(grid, lung, lung, guess), guess) > 0.93


def test_organs_of_the_same_density_beside_healthy_lung_stay_outside() -> None:
    grid, lung, dense = half_dense(20.0)
    heart = np.zeros_like(lung)
    heart[:, :, 44:] = True
    hu = np.where(heart & ~lung, 20.0, grid.voxels).astype(np.float32)
    assert not (settled_border(grid.with_voxels(hu), lung, lung, dense) & heart).any()


def test_a_guess_too_thin_to_know_its_density_stays() -> None:
    grid, lung, dense = half_dense(20.0)
    thin = dense & np.roll(lung, -2, axis=2)
    np.testing.assert_array_equal(settled_border(grid, lung, lung, thin), thin)


def test_what_is_no_soft_tissue_is_no_dense_lung() -> None:
    grid, lung, dense = half_dense(20.0)
    bone = np.zeros_like(lung)
    bone[:, :, 10:13] = True
    hu = np.where(bone, 700.0, grid.voxels).astype(np.float32)
    found = settled_border(grid.with_voxels(hu), lung, lung, dense)
    assert not (found & bone).any()
    assert (found & dense).any()
