from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lpm.errors import InputError
from lpm.geometry.phantoms import stored_as
from lpm.geometry.volumes import Volume, canonical, cropped

ORIENTATIONS = [(o, f) for o in permutations(range(3)) for f in product((False, True), repeat=3)]


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    """Any rotation or mirror, any spacing, every voxel with its own value."""
    shape = tuple(draw(st.integers(1, 4)) for _ in range(3))
    spacing = np.array([draw(st.floats(0.3, 6.0)) for _ in range(3)])
    rotation = Rotation.random(None, np.random.default_rng(draw(st.integers(0, 999)))).as_matrix()
    mirror = np.diag([draw(st.sampled_from([-1.0, 1.0])), 1.0, 1.0])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ mirror * spacing
    affine[:3, 3] = [draw(st.floats(-500, 500)) for _ in range(3)]
    return Volume(np.arange(np.prod(shape)).reshape(shape), affine)


def positions_by_value(volume: Volume) -> np.ndarray:
    """World position of each voxel, sorted by the voxel's value."""
    indices = np.argwhere(np.ones(volume.voxels.shape, dtype=bool))
    return volume.to_world(indices)[np.argsort(volume.voxels.ravel())]


@given(volumes())
def test_canonical_moves_no_voxel_in_the_world(volume: Volume) -> None:
    np.testing.assert_allclose(positions_by_value(canonical(volume)), positions_by_value(volume), atol=1e-9)


@given(volumes())
def test_canonical_is_idempotent(volume: Volume) -> None:
    once = canonical(volume)
    twice = canonical(once)
    np.testing.assert_array_equal(twice.voxels, once.voxels)
    np.testing.assert_array_equal(twice.world_from_voxel, once.world_from_voxel)


@given(volumes())
def test_voxel_and_world_are_inverse(volume: Volume) -> None:
    indices = np.argwhere(np.ones(volume.voxels.shape, dtype=bool)).astype(float)
    np.testing.assert_allclose(volume.to_voxel(volume.to_world(indices)), indices, atol=1e-9)


@pytest.mark.parametrize(("order", "flips"), ORIENTATIONS)
def test_48_ways_of_storing_an_image_become_one(order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> None:
    affine = np.diag([0.5, 1.0, 2.0, 1.0])
    affine[:3, 3] = (-7.0, 11.0, 3.0)
    volume = Volume(np.arange(2 * 3 * 4).reshape(2, 3, 4), affine)
    stored = stored_as(volume, order, flips)
    np.testing.assert_allclose(positions_by_value(stored), positions_by_value(volume), atol=1e-12)
    back = canonical(stored)
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    np.testing.assert_allclose(back.world_from_voxel, affine, atol=1e-12)


def test_the_48_ways_differ_before() -> None:
    volume = Volume(np.arange(24).reshape(2, 3, 4), np.eye(4))
    stored = {stored_as(volume, *how).voxels.tobytes() for how in ORIENTATIONS}
    assert len(stored) == 48


def test_spacing_and_voxel_volume_of_an_oblique_mirrored_grid() -> None:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix() * [-0.7, 0.7, 2.5]
    volume = Volume(np.zeros((2, 2, 2)), affine)
    np.testing.assert_allclose(volume.spacing_mm, [0.7, 0.7, 2.5])
    assert volume.voxel_ml == pytest.approx(0.7 * 0.7 * 2.5 / 1000)


def test_cropping_keeps_world_positions_and_pads_with_zeros() -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = (10.0, 20.0, 30.0)
    voxels = np.zeros((5, 6, 7), dtype=int)
    voxels[0, 2, 6] = 9
    small = cropped(Volume(voxels, affine), voxels > 0, margin=2)
    assert small.voxels.shape == (5, 5, 5)
    assert np.argwhere(small.voxels).tolist() == [[2, 2, 2]]
    np.testing.assert_allclose(small.to_world(np.array([[2.0, 2.0, 2.0]])), [[10.0, 26.0, 54.0]])


def test_cropping_to_nothing_is_refused() -> None:
    volume = Volume(np.zeros((2, 2, 2)), np.eye(4))
    with pytest.raises(InputError, match="cropped: an empty mask; expected at least one voxel set"):
        cropped(volume, volume.voxels > 0, margin=1)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4, 2)])
def test_2d_and_4d_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"volume: {len(shape)}-D image of shape .* expected 3-D"):
        Volume(np.zeros(shape), np.eye(4))


def test_an_image_without_voxels_is_refused() -> None:
    with pytest.raises(InputError, match=r"no voxels \(shape \(0, 2, 2\)\)"):
        Volume(np.zeros((0, 2, 2)), np.eye(4))


@pytest.mark.parametrize("affine", [np.eye(3), np.full((4, 4), np.nan), np.ones((4, 4))])
def test_matrices_that_are_no_affines_are_refused(affine: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected a finite 4 x 4 matrix with last row 0 0 0 1"):
        Volume(np.zeros((2, 2, 2)), affine)


@pytest.mark.parametrize("column", [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
def test_affines_that_cannot_be_inverted_are_refused(column: list[float]) -> None:
    affine = np.eye(4)
    affine[:3, 1] = column
    with pytest.raises(InputError, match="cannot be inverted; expected independent axes"):
        Volume(np.zeros((2, 2, 2)), affine)


def test_stored_as_is_not_the_identity() -> None:
    volume = Volume(np.arange(8).reshape(2, 2, 2), np.eye(4))
    assert not np.array_equal(stored_as(volume, (0, 1, 2), (True, False, False)).voxels, volume.voxels)
    assert stored_as(volume, (0, 1, 2), (True, False, False)).world_from_voxel[0, 0] == -1.0
