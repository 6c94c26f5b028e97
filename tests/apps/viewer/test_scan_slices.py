from __future__ import annotations

import numpy as np
import pytest
import trimesh

from lpm.apps.viewer.scene.scan_slices import PLANES, ScanSlices
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.phantoms import stored_as
from lpm.geometry.volumes import Volume
from lpm.reports.scenes import rgb, structure_color

MARK_MM = np.array([30.0, 20.0, -10.0])  # to the patient's right, in front, below
SIZE = (60, 50, 40)


def marked() -> Volume:
    """A CT of soft tissue, 2 mm, with one bright voxel, about the origin."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -np.array(SIZE) + 1.0
    voxels = np.full(SIZE, -300.0)
    place = np.rint(Volume(np.zeros(SIZE), affine).to_voxel(MARK_MM[None])[0]).astype(int)
    voxels[tuple(place)] = 3000.0
    return Volume(voxels, affine)


def ball(radius: float, center: np.ndarray) -> WorldMesh:
    solid = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    return WorldMesh(np.asarray(solid.vertices) + center, np.asarray(solid.faces))


def where_bright(slices: ScanSlices, plane: str) -> np.ndarray:
    """World place of the brightest pixel over all slices of a plane, from the picture's own geometry."""
    cuts = [slices.at(plane, index) for index in range(slices.n(plane))]
    best = max(cuts, key=lambda cut: int(cut.picture.max()))
    rows, columns = best.picture.shape[:2]
    row, column = np.unravel_index(int(best.picture[..., 0].argmax()), (rows, columns))
    right = ((column + 0.5) / columns - 0.5) * best.size_mm[0]
    down = ((row + 0.5) / rows - 0.5) * best.size_mm[1]
    return best.center_mm + best.axes[:, 0] * right + best.axes[:, 1] * down


@pytest.mark.parametrize("plane", list(PLANES))
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True)])
def test_a_mark_lies_where_it_is_in_the_patient(
    plane: str, order: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> None:
    slices = ScanSlices(stored_as(marked(), order, flips), is_ct=True, meshes={})
    assert where_bright(slices, plane) == pytest.approx(MARK_MM, abs=1.01)


@pytest.mark.parametrize("plane", list(PLANES))
def test_pictures_are_right_handed(plane: str) -> None:
    axes = ScanSlices(marked(), is_ct=True, meshes={}).at(plane, 3).axes
    assert axes.T @ axes == pytest.approx(np.eye(3), abs=1e-9)
    assert np.linalg.det(axes) == pytest.approx(1.0)


def test_the_patients_right_is_left_in_the_frontal_picture_and_the_head_is_up() -> None:
    axes = ScanSlices(marked(), is_ct=True, meshes={}).at("coronal", 0).axes
    assert axes[:, 0] == pytest.approx([-1.0, 0.0, 0.0])
    assert axes[:, 1] == pytest.approx([0.0, 0.0, -1.0])


def test_outlines_run_where_the_lungs_end() -> None:
    slices = ScanSlices(marked(), is_ct=True, meshes={"left_lung": ball(20.0, np.zeros(3))})
    cut = slices.at("axial", slices.n("axial") // 2)
    drawn = (cut.picture == rgb(structure_color(0))).all(axis=2)
    rows, columns = np.nonzero(drawn)
    radius_mm = 2.0 * np.hypot(rows - (drawn.shape[0] - 1) / 2, columns - (drawn.shape[1] - 1) / 2)
    assert len(rows) > 30
    assert radius_mm.min() > 16.0
    assert radius_mm.max() < 22.0


def test_large_scans_are_thinned() -> None:
    slices = ScanSlices(Volume(np.zeros((700, 20, 20)), np.eye(4)), is_ct=True, meshes={})
    assert slices.shown.voxels.shape == (175, 20, 20)
    assert slices.shown.spacing_mm == pytest.approx([4.0, 1.0, 1.0])
