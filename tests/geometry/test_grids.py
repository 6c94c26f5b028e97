from __future__ import annotations

import numpy as np
import pytest
import trimesh

from lpm.geometry.grids import VoxelGrid, grid_nodes, labels_of, odd_grid, trilinear, voxelise_on
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume


@pytest.fixture
def egg() -> WorldMesh:
    """An ellipsoid that no axis order or flip leaves as it was."""
    ball = trimesh.creation.icosphere(subdivisions=4)
    return WorldMesh(np.asarray(ball.vertices) * (20.0, 30.0, 40.0) + (5.0, -7.0, 11.0), np.asarray(ball.faces))


def inside(volume: Volume) -> np.ndarray:
    places = volume.to_world(np.indices(volume.voxels.shape).reshape(3, -1).T)
    return (((places - (5.0, -7.0, 11.0)) / (20.0, 30.0, 40.0)) ** 2).sum(axis=1).reshape(volume.voxels.shape)


@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_an_oblique_grid_of_either_handedness(egg: WorldMesh, flip: float) -> None:
    turn = trimesh.transformations.euler_matrix(0.3, -0.5, 0.8)
    affine = turn @ np.diag([2.0 * flip, 2.5, 3.0, 1.0])
    affine[:3, 3] = egg.centroid - affine[:3, :3] @ (22.0, 20.0, 18.0)
    volume = Volume(np.zeros((45, 41, 37)), affine)
    found, value = voxelise_on(egg, volume), inside(volume)
    clear = np.abs(value - 1.0) > 0.03
    np.testing.assert_array_equal(found[clear], (value < 1.0)[clear])
    assert found.sum() * volume.voxel_ml == pytest.approx(egg.volume_ml, rel=0.01)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("end", [0, 1])
def test_a_mesh_that_reaches_beyond_the_grid(egg: WorldMesh, axis: int, end: int) -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = egg.centroid - 50.0
    affine[axis, 3] += 48.0 * (1 if end == 0 else -1)
    volume = Volume(np.zeros((50, 50, 50)), affine)
    found, value = voxelise_on(egg, volume), inside(volume)
    clear = np.abs(value - 1.0) > 0.03
    np.testing.assert_array_equal(found[clear], (value < 1.0)[clear])
    assert 0 < found.sum() * volume.voxel_ml < 0.7 * egg.volume_ml


def test_trilinear_is_exact_for_a_linear_field() -> None:
    grid = odd_grid(np.array([-10.0, 0, 5]), np.array([10.0, 20, 30]), 3.0)
    assert all(n % 2 == 1 for n in grid.shape)
    field = grid_nodes(grid) @ (1.0, -2.0, 0.5) + 3.0
    points = np.random.default_rng(0).uniform((-9, 1, 6), (9, 19, 29), (50, 3))
    around = trilinear(points, grid)
    values = (field.ravel()[around.node] * around.weight).sum(axis=1)
    np.testing.assert_allclose(values, points @ (1.0, -2.0, 0.5) + 3.0)
    slopes = np.einsum("ne,nea->na", field.ravel()[around.node], around.slope)
    np.testing.assert_allclose(slopes, np.tile((1.0, -2.0, 0.5), (50, 1)), atol=1e-9)
    assert isinstance(grid, VoxelGrid)


def test_a_voxel_in_two_meshes_belongs_to_the_first(egg: WorldMesh) -> None:
    """One rule for every label map, on a given grid and on one around the meshes."""
    moved = WorldMesh(egg.vertices + np.array([15.0, 0.0, 0.0]), egg.faces)
    for grid in (None, Volume(np.zeros((60, 50, 60)), np.diag([2.0, 2.0, 2.0, 1.0]) + np.eye(4, k=3) * -40.0)):
        for first, second in ((egg, moved), (moved, egg)):
            labels = labels_of({"a": first, "b": second}, grid, 2.0)
            np.testing.assert_array_equal(labels.voxels == 1, voxelise_on(first, labels))
            both = voxelise_on(first, labels) & voxelise_on(second, labels)
            assert both.any()
            np.testing.assert_array_equal(labels.voxels == 2, voxelise_on(second, labels) & ~both)
