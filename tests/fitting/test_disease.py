from __future__ import annotations

import numpy as np
import pytest

import lpm
from lpm.fitting.disease import fill_disease
from lpm.fitting.fit import mean_shape
from lpm.geometry.grids import voxelise_on
from lpm.geometry.volumes import Volume
from lpm.model.bundle import ModelBundle
from lpm.preparation.hounsfield import Scan


@pytest.fixture(scope="module")
def model() -> ModelBundle:
    return lpm.load().bundle


@pytest.fixture(scope="module")
def healthy(model: ModelBundle) -> tuple[Scan, Volume]:
    """The model's own mean lungs in a block of tissue."""
    meshes = mean_shape(model, 3.0).meshes
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = np.min([mesh.vertices.min(axis=0) for mesh in meshes.values()], axis=0) - 20.0
    upper = np.max([mesh.vertices.max(axis=0) for mesh in meshes.values()], axis=0) + 20.0
    grid = Volume(np.zeros(np.ceil((upper - affine[:3, 3]) / 3.0).astype(int), dtype=np.uint8), affine)
    labels = np.zeros(grid.voxels.shape, dtype=np.uint8)
    for value, mesh in enumerate(meshes.values(), start=1):
        labels[voxelise_on(mesh, grid)] = value
    hu = np.where(labels > 0, -850.0, 40.0).astype(np.float32)
    return Scan(grid.with_voxels(hu), 0.0), grid.with_voxels(labels)


def test_healthy_lungs_stay_as_they_are(model: ModelBundle, healthy: tuple[Scan, Volume]) -> None:
    scan, labels = healthy
    filled = fill_disease(model, scan, labels, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(filled.labels.voxels, labels.voxels)
    assert filled.added_ml == {"left_lung": 0.0, "right_lung": 0.0}


def test_a_consolidated_base_is_found_again(model: ModelBundle, healthy: tuple[Scan, Volume]) -> None:
    scan, labels = healthy
    right = np.argwhere(labels.voxels == 2)
    depth = labels.to_world(right) @ np.array([0.0, 0.7, 0.7])
    sick = tuple(right[depth < np.quantile(depth, 0.25)].T)
    hu, seen = scan.volume.voxels.copy(), labels.voxels.copy()
    hu[sick], seen[sick] = 35.0, 0
    filled = fill_disease(
        model, Scan(labels.with_voxels(hu), 0.0), labels.with_voxels(seen), rng=np.random.default_rng(0)
    )
    true, found = labels.voxels == 2, filled.labels.voxels == 2

    def dice(mask: np.ndarray) -> float:
        return 2.0 * float((mask & true).sum()) / float(mask.sum() + true.sum())

    assert dice(seen == 2) < 0.88
    assert dice(found) > 0.95
    assert filled.added_ml["right_lung"] > 100.0
