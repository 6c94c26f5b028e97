from __future__ import annotations

import numpy as np
import pytest

import lpm
from lpm.fitting.ct.disease import fill_disease
from lpm.fitting.extraction import mean_shape
from lpm.geometry.grids import voxelise_on
from lpm.geometry.masks import distance_mm
from lpm.geometry.volumes import Volume
from lpm.model.bundle import ModelBundle
from lpm.segmentation.chest_wall import lungs_before_ribs
from lpm.segmentation.hounsfield import Scan


@pytest.fixture(scope="module")
def model() -> ModelBundle:
    return lpm.load().bundle


@pytest.fixture(scope="module")
def healthy(model: ModelBundle) -> tuple[Scan, Volume]:
    """The model's own mean lungs in a block of tissue, with ribs a little outside them."""
    meshes = mean_shape(model, 3.0).meshes
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = np.min([mesh.vertices.min(axis=0) for mesh in meshes.values()], axis=0) - 30.0
    upper = np.max([mesh.vertices.max(axis=0) for mesh in meshes.values()], axis=0) + 30.0
    grid = Volume(np.zeros(np.ceil((upper - affine[:3, 3]) / 3.0).astype(int), dtype=np.uint8), affine)
    labels = np.zeros(grid.voxels.shape, dtype=np.uint8)
    for value, mesh in enumerate(meshes.values(), start=1):
        labels[voxelise_on(mesh, grid)] = value
    hu = np.where(labels > 0, -850.0, 45.0).astype(np.float32)
    apart = distance_mm(labels > 0, grid)
    hu[(apart > 5.0) & (apart < 11.0) & (np.arange(hu.shape[2]) % 8 < 3)] = 400.0
    return Scan(grid.with_voxels(hu), 0.0), grid.with_voxels(labels)


def sick(healthy: tuple[Scan, Volume]) -> tuple[Scan, Volume]:
    """A quarter of the right lung, below and behind, as dense as muscle; and labels of what air is left."""
    scan, labels = healthy
    right = np.argwhere(labels.voxels == 2)
    depth = labels.to_world(right) @ np.array([0.0, 0.7, 0.7])
    part = tuple(right[depth < np.quantile(depth, 0.25)].T)
    hu, seen = scan.volume.voxels.copy(), labels.voxels.copy()
    hu[part], seen[part] = 45.0, 0
    return Scan(labels.with_voxels(hu), 0.0), labels.with_voxels(seen)


def test_healthy_lungs_hide_nothing(healthy: tuple[Scan, Volume]) -> None:
    assert not any(lung.is_hidden for lung in lungs_before_ribs(*healthy).values())


@pytest.mark.slow
def test_a_consolidated_base_as_dense_as_muscle_is_found_again(
    model: ModelBundle, healthy: tuple[Scan, Volume], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lpm.fitting.ct.disease._POINTS", 800)
    scan, seen = sick(healthy)
    hidden = {name: lung for name, lung in lungs_before_ribs(scan, seen).items() if lung.is_hidden}
    assert hidden.keys() == {"right_lung"}
    filled = fill_disease(model, scan, seen, hidden, rng=np.random.default_rng(0))
    true, found = healthy[1].voxels == 2, filled.voxels == 2

    def dice(mask: np.ndarray) -> float:
        return 2.0 * float((mask & true).sum()) / float(mask.sum() + true.sum())

    assert dice(seen.voxels == 2) < 0.88
    assert dice(found) > 0.95
    np.testing.assert_array_equal(filled.voxels == 1, healthy[1].voxels == 1)
