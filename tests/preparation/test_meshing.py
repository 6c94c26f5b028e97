from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lpm.errors import NoSurfaceError
from lpm.geometry.meshes import WorldMesh, sample_surface
from lpm.geometry.phantoms import Ellipsoid, to_mask
from lpm.geometry.volumes import Volume
from lpm.preparation.config import MeshingConfig
from lpm.preparation.meshing import mesh_structure

OBLIQUE = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix()


def mean_error_mm(mesh: WorldMesh, shape: Ellipsoid) -> float:
    points = sample_surface(mesh, 5000, rng=np.random.default_rng(0)).points
    return float(np.abs(shape.field(points)).mean())


@pytest.mark.parametrize("shape", [Ellipsoid((3.3, -4.4, 5.5), 40.0), Ellipsoid((0.3, 0.2, 0.1), (30.0, 45.0, 60.0))])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 2.5)])
@pytest.mark.parametrize("directions", [np.eye(3), OBLIQUE])
def test_voxels_give_back_the_shape(
    shape: Ellipsoid, spacing: tuple[float, float, float], directions: np.ndarray
) -> None:
    mesh, report = mesh_structure(to_mask(shape, spacing, directions=directions), MeshingConfig())
    assert mesh.is_closed
    assert mesh.n_pieces == 1
    assert mean_error_mm(mesh, shape) < 0.15
    assert mesh.volume_ml == pytest.approx(shape.volume_ml, rel=0.005)
    np.testing.assert_allclose(mesh.centroid, shape.center_mm, atol=0.1)
    assert abs(report.volume_change_percent) < 0.5
    assert abs(report.smoothing_change_percent) < 0.5
    assert report.mesh_ml == mesh.volume_ml


def test_without_any_smoothing_the_error_is_larger() -> None:
    shape = Ellipsoid(0.0, 40.0)
    mask = to_mask(shape, 1.0)
    rough, _ = mesh_structure(mask, MeshingConfig(sigma_voxels=0, sigma_min_mm=0, smoothing_iterations=0))
    smooth, _ = mesh_structure(mask, MeshingConfig())
    assert mean_error_mm(rough, shape) > 2 * mean_error_mm(smooth, shape)


def test_report_says_how_wide_the_filter_was() -> None:
    _, report = mesh_structure(to_mask(Ellipsoid(0.0, 20.0), (0.7, 0.7, 2.5)), MeshingConfig())
    assert report.sigma_mm == pytest.approx((0.7, 0.7, 1.75))
    assert report.mask_ml == pytest.approx(Ellipsoid(0.0, 20.0).volume_ml, rel=0.02)


def test_triangle_size_is_followed() -> None:
    mask = to_mask(Ellipsoid(0.0, 40.0), 1.0)
    fine, coarse = (mesh_structure(mask, MeshingConfig(face_area_mm2=area))[0] for area in (1.5, 6.0))
    assert fine.face_areas.mean() == pytest.approx(1.5, rel=0.05)
    assert coarse.face_areas.mean() == pytest.approx(6.0, rel=0.05)
    assert coarse.is_closed


def test_a_mask_that_fills_its_image_is_closed() -> None:
    mesh, _ = mesh_structure(Volume(np.ones((20, 20, 20), dtype=bool), np.eye(4)), MeshingConfig())
    assert mesh.is_closed
    assert mesh.volume_ml == pytest.approx(8.0, rel=0.01)


@pytest.mark.parametrize("n", [0, 7])
def test_a_speck_has_no_surface(n: int) -> None:
    voxels = np.zeros((10, 10, 10), dtype=bool)
    voxels.ravel()[:n] = True
    with pytest.raises(NoSurfaceError, match=f"mask: {n} voxels; expected a structure of at least 8 voxels"):
        mesh_structure(Volume(voxels, np.eye(4)), MeshingConfig())
