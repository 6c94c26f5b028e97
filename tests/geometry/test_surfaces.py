from __future__ import annotations

import numpy as np
import pytest

from lpm.errors import NoSurfaceError
from lpm.geometry import surfaces
from lpm.geometry.distances import closest_points
from lpm.geometry.grids import VoxelGrid, grid_nodes, odd_grid
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.phantoms import Ellipsoid, to_mask
from lpm.geometry.surfaces import (
    adaptive_sigma_mm,
    decimate,
    extract_surface,
    level_that_keeps_volume,
    smooth_mask,
    smooth_surface,
    surface_on_grid,
)
from lpm.geometry.volumes import Volume


def distance_field(directions: np.ndarray) -> Volume:
    """Exact signed distance to an ellipsoid on an 8 mm grid."""
    grid = to_mask(Ellipsoid(0.0, (50.0, 40.0, 60.0)), 8.0, directions=directions)
    points = grid.to_world(np.argwhere(np.ones(grid.voxels.shape, dtype=bool)))
    return grid.with_voxels(Ellipsoid(0.0, (50.0, 40.0, 60.0)).field(points).reshape(grid.voxels.shape))


@pytest.mark.parametrize("mirror", [1.0, -1.0])
@pytest.mark.parametrize("inside_is_above", [True, False])
def test_surface_is_outward_for_either_sign_and_handedness(mirror: float, inside_is_above: bool) -> None:
    field = distance_field(np.diag([mirror, 1.0, 1.0]))
    field = field.with_voxels(-field.voxels) if inside_is_above else field
    mesh = extract_surface(field, 0.0, inside_is_above=inside_is_above)
    assert mesh.is_closed
    assert mesh.enclosed_volume > 0
    assert mesh.volume_ml == pytest.approx(Ellipsoid(0.0, (50.0, 40.0, 60.0)).volume_ml, rel=0.02)


def test_the_wrong_sign_gives_an_inward_surface() -> None:
    mesh = extract_surface(distance_field(np.eye(3)), 0.0, inside_is_above=True)
    assert mesh.enclosed_volume < 0


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_a_field_that_never_crosses_has_no_surface(value: float) -> None:
    with pytest.raises(NoSurfaceError, match=r"surface: values from .* never cross 0.5"):
        extract_surface(Volume(np.full((4, 4, 4), value), np.eye(4)), 0.5)


def test_a_mask_that_touches_the_border_gives_an_open_mesh_unless_padded() -> None:
    voxels = np.zeros((6, 6, 6))
    voxels[:3] = 1.0
    volume = Volume(voxels, np.eye(4))
    assert not extract_surface(volume, 0.5).is_closed
    assert extract_surface(volume.with_voxels(np.pad(voxels, 1)), 0.5).is_closed


def test_gaussian_follows_the_voxel() -> None:
    sigma = adaptive_sigma_mm(np.array([0.7, 0.7, 2.5]), 0.7, 0.7)
    np.testing.assert_allclose(sigma, [0.7, 0.7, 1.75])
    assert adaptive_sigma_mm(np.array([0.2, 0.2, 0.2]), 0.7, 0.7).tolist() == pytest.approx([0.4] * 3)


def test_level_keeps_the_volume() -> None:
    mask = to_mask(Ellipsoid(0.0, (12.0, 20.0, 30.0)), 2.0)
    n = int(mask.voxels.sum())
    field = smooth_mask(mask, np.full(3, 4.0))
    level = level_that_keeps_volume(field, n)
    assert extract_surface(field, level).volume_ml == pytest.approx(n * mask.voxel_ml, rel=0.003)
    assert extract_surface(field, 0.5).volume_ml < 0.99 * n * mask.voxel_ml


def test_level_stays_within_bounds() -> None:
    field = smooth_mask(to_mask(Ellipsoid(0.0, 20.0), 2.0), np.full(3, 4.0))
    assert level_that_keeps_volume(field, 1_000_000) == 0.35
    assert level_that_keeps_volume(field, 1) == 0.65


def test_a_speck_that_reaches_no_level_is_left_at_the_middle() -> None:
    assert level_that_keeps_volume(Volume(np.linspace(0, 0.1, 27).reshape(3, 3, 3), np.eye(4)), 5) == 0.5


def stairs() -> WorldMesh:
    mask = to_mask(Ellipsoid(0.0, 40.0), 4.0)
    return extract_surface(mask.with_voxels(mask.voxels.astype(float)), 0.5)


def test_smoothing_takes_the_stairs_and_keeps_the_volume() -> None:
    rough = stairs()
    smooth = smooth_surface(rough, 10)
    ball = Ellipsoid(0.0, 40.0)
    assert np.abs(ball.field(smooth.vertices)).mean() < 0.6 * np.abs(ball.field(rough.vertices)).mean()
    assert smooth.volume_ml == pytest.approx(rough.volume_ml, rel=0.01)
    assert smooth_surface(rough, 0) is rough


def test_decimation_comes_as_near_as_a_closed_surface_can(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = extract_surface(distance_field(np.eye(3)), 0.0, inside_is_above=False)
    target = len(fine.faces) // 8
    reduced = surfaces._reduced

    def stalls(mesh: WorldMesh, wanted: int, aggressiveness: float) -> WorldMesh:
        """As on large meshes: in haste sheets touch below some number, with care it stops at once."""
        if aggressiveness < 5.0:
            return mesh
        found = reduced(mesh, wanted, aggressiveness)
        return WorldMesh(found.vertices, found.faces[1:]) if wanted <= target else found

    monkeypatch.setattr(surfaces, "_reduced", stalls)
    assert target < len(decimate(fine, target).faces) <= 2 * target


def test_decimation_reduces_and_stays_closed_and_close() -> None:
    fine = extract_surface(distance_field(np.eye(3)), 0.0, inside_is_above=False)
    coarse = decimate(fine, len(fine.faces) // 2)
    assert len(coarse.faces) <= len(fine.faces) // 2 + 2
    assert coarse.is_closed
    assert closest_points(fine, coarse.vertices).distance.max() < 1.0
    assert decimate(fine, len(fine.faces)) is fine


def ball_on_grid(radius_mm: float) -> tuple[np.ndarray, VoxelGrid]:
    grid = odd_grid(np.full(3, -10.0), np.full(3, 10.0), 2.0)
    return np.linalg.norm(grid_nodes(grid) - (0.5, 0.0, -0.5), axis=-1) - radius_mm, grid


def test_a_field_on_a_grid_has_its_surface_where_it_vanishes() -> None:
    mesh = surface_on_grid(*ball_on_grid(7.0))
    assert mesh.is_closed
    assert mesh.enclosed_volume > 0
    assert np.linalg.norm(mesh.vertices - (0.5, 0.0, -0.5), axis=1) == pytest.approx(7.0, abs=0.2)


def test_a_shape_that_leaves_its_grid_is_still_closed() -> None:
    mesh = surface_on_grid(*ball_on_grid(12.0))
    assert mesh.is_closed
    assert mesh.volume_ml > 0
    within = mesh.vertices[(np.abs(mesh.vertices) < 9.9).all(axis=1)]
    assert np.linalg.norm(within - (0.5, 0.0, -0.5), axis=1) == pytest.approx(12.0, abs=0.2)
    assert surface_on_grid(*ball_on_grid(40.0)).is_closed


def test_a_field_that_is_negative_nowhere_is_refused() -> None:
    _, grid = ball_on_grid(7.0)
    with pytest.raises(NoSurfaceError, match="never cross"):
        surface_on_grid(np.ones(grid.shape), grid)
