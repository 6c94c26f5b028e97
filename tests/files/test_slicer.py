"""Meshes as 3D Slicer takes them: read by VTK with its rules, laid over labels that ITK reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import trimesh

from lpm.files.mesh_space import Space
from lpm.files.meshes import read_mesh, write_mesh
from lpm.files.points import read_points
from lpm.files.volumes import write_volume
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.phantoms import random_lungs, stored_as, to_labels
from lpm.geometry.surfaces import extract_surface

pyvista = pytest.importorskip("pyvista")
from vtkmodules.util.numpy_support import vtk_to_numpy  # noqa: E402
from vtkmodules.vtkIOGeometry import vtkOBJReader, vtkSTLReader  # noqa: E402
from vtkmodules.vtkIOPLY import vtkPLYReader  # noqa: E402
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader  # noqa: E402


@pytest.fixture
def mesh() -> WorldMesh:
    """Asymmetric on purpose, far from the origin."""
    cone = trimesh.creation.cone(radius=40.0, height=120.0, sections=20)
    return WorldMesh(np.asarray(cone.vertices) * (1.0, 0.5, 1.0) + (-60.0, 20.0, 300.0), np.asarray(cone.faces))


@pytest.mark.parametrize("space", ["RAS", "LPS"])
@pytest.mark.parametrize("suffix", [".ply", ".stl", ".obj", ".vtp"])
def test_headers_say_the_space_and_are_believed(tmp_path: Path, mesh: WorldMesh, suffix: str, space: Space) -> None:
    write_mesh(tmp_path / f"x{suffix}", mesh, space)
    assert read_mesh(tmp_path / f"x{suffix}").centroid == pytest.approx(mesh.centroid, abs=1e-3)
    raw = pyvista.read(tmp_path / f"x{suffix}")
    assert np.asarray(raw.center)[0] * mesh.centroid[0] * (1 if space == "RAS" else -1) > 0


def _as_slicer(path: Path) -> np.ndarray:
    """(n, 3) RAS mm, read by VTK with the rules of 3D Slicer: without a mark in its header a mesh is LPS."""
    reader, header = {
        ".ply": (
            vtkPLYReader(),
            lambda r: " ".join(r.GetComments().GetValue(i) for i in range(r.GetComments().GetNumberOfValues())),
        ),
        ".stl": (vtkSTLReader(), lambda r: r.GetHeader()),
        ".obj": (vtkOBJReader(), lambda r: r.GetComment()),
        ".vtp": (
            vtkXMLPolyDataReader(),
            lambda r: "SPACE=" + r.GetOutput().GetFieldData().GetAbstractArray("SPACE").GetValue(0),
        ),
    }[path.suffix]
    reader.SetFileName(str(path))
    reader.Update()
    points = vtk_to_numpy(reader.GetOutput().GetPoints().GetData()).astype(float)
    return points if "SPACE=RAS" in (header(reader) or "") else points * (-1.0, -1.0, 1.0)


@pytest.mark.parametrize("space", ["RAS", "LPS"])
@pytest.mark.parametrize("suffix", [".ply", ".stl", ".obj", ".vtp"])
def test_slicer_lays_meshes_over_their_labels(tmp_path: Path, suffix: str, space: Space) -> None:
    """A mesh of a label map, read by VTK, lies on the same label map, read by ITK in its own LPS."""
    labels = stored_as(to_labels(random_lungs(rng=np.random.default_rng(3)), 6.0), (1, 0, 2), (True, False, True))
    write_volume(tmp_path / "labels.nii.gz", labels)
    left = extract_surface(labels.with_voxels((labels.voxels == 1).astype(np.float32)), 0.5)
    write_mesh(tmp_path / f"left{suffix}", left, space)
    points = _as_slicer(tmp_path / f"left{suffix}")
    image = sitk.ReadImage(str(tmp_path / "labels.nii.gz"))
    inwards = points + 4.0 * np.sign(left.centroid - points) * (np.abs(left.centroid - points) > 30.0)
    found = [image.GetPixel(image.TransformPhysicalPointToIndex((-x, -y, z))) for x, y, z in inwards.tolist()]
    assert np.mean(np.array(found) == 1) > 0.75
    assert 2 not in found


@pytest.mark.parametrize("kind", ["ascii", "binary"])
def test_points_of_slicer_come_back_to_their_place(tmp_path: Path, mesh: WorldMesh, kind: str) -> None:
    """It saves LPS, and says so in a comment."""
    cloud = trimesh.PointCloud(mesh.vertices * (-1.0, -1.0, 1.0)).export(file_type="ply", encoding=kind)
    (tmp_path / "x.ply").write_bytes(
        cloud.replace(b"element vertex", b"comment 3D Slicer output. SPACE=LPS\nelement vertex", 1)
    )
    assert read_points(tmp_path / "x.ply").points_mm == pytest.approx(mesh.vertices, abs=1e-4)


def test_an_ascii_stl_of_slicer(tmp_path: Path, mesh: WorldMesh) -> None:
    turned = WorldMesh(mesh.vertices * (-1.0, -1.0, 1.0), mesh.faces)
    text = turned.to_trimesh().export(file_type="stl_ascii")
    (tmp_path / "x.stl").write_text("solid 3D Slicer output. SPACE=LPS\n" + text.partition("\n")[2])
    assert read_mesh(tmp_path / "x.stl").centroid == pytest.approx(mesh.centroid, abs=1e-3)
