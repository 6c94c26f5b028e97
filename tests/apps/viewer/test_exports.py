from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from lpm.apps.viewer.exports import labels_nii, meshes_zip, picture_png
from lpm.apps.viewer.measurement_table import measurement_table
from lpm.apps.viewer.scene.shown_lungs import ShownLungs
from lpm.errors import InputError
from lpm.files.volumes import read_volume
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume


def box(x: float) -> WorldMesh:
    solid = trimesh.creation.box((20.0, 30.0, 40.0))
    return WorldMesh(np.asarray(solid.vertices) + np.array([x, 0.0, 0.0]), np.asarray(solid.faces))


LUNGS = ShownLungs("two <boxes>", {"left_lung": box(-30.0), "right_lung": box(30.0)})


@pytest.mark.parametrize("mesh_format", ["ply", "stl", "obj"])  # glb has axes and a unit of its own
def test_meshes_are_read_back_where_they_were(mesh_format: str) -> None:
    with zipfile.ZipFile(io.BytesIO(meshes_zip(LUNGS, mesh_format))) as archive:
        assert archive.namelist() == [f"left_lung.{mesh_format}", f"right_lung.{mesh_format}"]
        content = io.BytesIO(archive.read(f"right_lung.{mesh_format}"))
    read = trimesh.load_mesh(content, file_type=mesh_format)
    assert np.asarray(read.bounds) == pytest.approx(np.array([[20, -15, -20], [40, 15, 20]]))


def test_another_format_is_refused() -> None:
    with pytest.raises(InputError, match="meshes: 'exe'; expected one of ply"):
        meshes_zip(LUNGS, "exe")


AFFINE = np.array([[-4.0, 0, 0, 78.0], [0, 4.0, 0, -38.0], [0, 0, 3.0, -43.5], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("grid", [None, Volume(np.zeros((40, 20, 30)), AFFINE)])
def test_labels_are_read_back(grid: Volume | None, tmp_path: Path) -> None:
    content = labels_nii(LUNGS.meshes, grid)
    assert gzip.decompress(content)
    (tmp_path / "l.nii.gz").write_bytes(content)
    labels = read_volume(tmp_path / "l.nii.gz")
    if grid is not None:
        assert labels.voxels.shape == grid.voxels.shape
        assert labels.world_from_voxel == pytest.approx(grid.world_from_voxel)
    for value, x in ((1, -30.0), (2, 30.0)):
        inside = labels.to_world(np.argwhere(labels.voxels == value))
        assert inside.mean(axis=0) == pytest.approx([x, 0.0, 0.0], abs=1.0)


def test_what_is_transparent_becomes_white() -> None:
    pixels = np.zeros((2, 2, 4), dtype=np.uint8)
    pixels[0, 0] = [255, 0, 0, 255]
    read = np.asarray(Image.open(io.BytesIO(picture_png(pixels))))
    assert read[0, 0].tolist() == [255, 0, 0]
    assert read[1, 1].tolist() == [255, 255, 255]


def test_the_table_tells_values_with_units_and_no_name_becomes_markup() -> None:
    values = {"left_lung_volume_ml": 24.04, "total_volume_ml": 2404.0, "left_lung_sphericity": 0.7}
    table = measurement_table(LUNGS, values, {"left_lung_volume_ml": 12.3})
    assert "two &lt;boxes&gt;" in table
    assert "<td>left lung volume</td><td>24 ml</td><td>12</td>" in table
    assert "<td>total volume</td><td>2,404 ml</td>" in table
    assert "<td>left lung sphericity</td><td>0.7 </td>" in table
