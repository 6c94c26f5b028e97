from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh

from lpm.errors import FileError, InputError, MissingExtraError
from lpm.files.meshes import MESH_SUFFIXES, MeshFiles, check_mesh_name, read_mesh, write_mesh
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.phantoms import random_lungs, to_labels
from lpm.geometry.surfaces import extract_surface


@pytest.fixture
def mesh() -> WorldMesh:
    """Asymmetric on purpose, far from the origin."""
    cone = trimesh.creation.cone(radius=40.0, height=120.0, sections=20)
    return WorldMesh(np.asarray(cone.vertices) * (1.0, 0.5, 1.0) + (-60.0, 20.0, 300.0), np.asarray(cone.faces))


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_round_trip_keeps_place_side_and_direction(tmp_path: Path, mesh: WorldMesh, suffix: str) -> None:
    if suffix == ".vtp":
        pytest.importorskip("pyvista")
    path = tmp_path / f"left_lung{suffix}"
    write_mesh(path, mesh)
    back = read_mesh(path)
    assert back.is_closed
    assert back.volume_ml == pytest.approx(mesh.volume_ml, rel=1e-5)
    np.testing.assert_allclose(back.centroid, mesh.centroid, atol=1e-3)
    np.testing.assert_allclose(back.vertices.min(axis=0), mesh.vertices.min(axis=0), atol=1e-4)
    assert len(back.faces) == len(mesh.faces)
    assert list(tmp_path.iterdir()) == [path]


def test_vtp_says_how_sure_a_fit_is_of_each_vertex(tmp_path: Path, mesh: WorldMesh) -> None:
    pyvista = pytest.importorskip("pyvista")
    lungs, sigma_at = {"left_lung": mesh, "lobe": mesh}, {"left_lung": lambda at: at[:, 2] / 100}
    MeshFiles(".vtp", "LPS").write(tmp_path, lungs, sigma_at)
    shown = pyvista.read(tmp_path / "left_lung.vtp")
    np.testing.assert_allclose(shown["sigma_mm"], mesh.vertices[:, 2] / 100, rtol=1e-6)
    assert "sigma_mm" not in pyvista.read(tmp_path / "lobe.vtp").array_names
    assert read_mesh(tmp_path / "left_lung.vtp").volume_ml == pytest.approx(mesh.volume_ml, rel=1e-5)


def test_glb_stands_upright_in_metres(tmp_path: Path, mesh: WorldMesh) -> None:
    write_mesh(tmp_path / "x.glb", mesh)
    shown = trimesh.load_mesh(str(tmp_path / "x.glb"))
    middle = mesh.vertices.mean(axis=0)
    assert shown.vertices.mean(axis=0) == pytest.approx(
        [-middle[0] / 1000, middle[2] / 1000, middle[1] / 1000], abs=1e-6
    )
    assert shown.volume == pytest.approx(mesh.volume_ml * 1e-6, rel=1e-4)


def test_printed_lungs_are_closed_outward_and_light(tmp_path: Path) -> None:
    labels = to_labels(random_lungs(rng=np.random.default_rng(3)), 6.0)
    left = extract_surface(labels.with_voxels((labels.voxels == 1).astype(np.float32)), 0.5)
    MeshFiles(".stl", faces=1500).write(tmp_path, {"left_lung": left})
    back = read_mesh(tmp_path / "left_lung.stl")
    assert back.is_closed
    assert 1000 < len(back.faces) <= 1500
    assert back.volume_ml == pytest.approx(left.volume_ml, rel=0.01)


def test_too_few_triangles_for_a_closed_mesh(tmp_path: Path, mesh: WorldMesh) -> None:
    with pytest.raises(InputError, match="3 for the cone; expected enough to keep it closed"):
        MeshFiles(faces=3).write(tmp_path, {"cone": mesh})


def test_ply_keeps_the_order_of_vertices(tmp_path: Path, mesh: WorldMesh) -> None:
    write_mesh(tmp_path / "x.ply", mesh)
    back = read_mesh(tmp_path / "x.ply")
    np.testing.assert_allclose(back.vertices, mesh.vertices, atol=2e-5)
    np.testing.assert_array_equal(back.faces, mesh.faces)
    assert not np.array_equal(back.faces, mesh.flipped().faces)


def test_unknown_kind(tmp_path: Path, mesh: WorldMesh) -> None:
    for act in (check_mesh_name, read_mesh, lambda path: write_mesh(path, mesh)):
        with pytest.raises(FileError, match=r"unknown kind '.doc'; expected one of .ply"):
            act(tmp_path / "x.doc")


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"x.ply: no such file; expected a mesh"):
        read_mesh(tmp_path / "x.ply")


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_garbage(tmp_path: Path, suffix: str) -> None:
    if suffix == ".vtp":
        pytest.importorskip("pyvista")
    (tmp_path / f"x{suffix}").write_bytes(b"\x00garbage\xff" * 100)
    with pytest.raises(FileError, match=f"x{suffix}: "):
        read_mesh(tmp_path / f"x{suffix}")


def test_truncated(tmp_path: Path, mesh: WorldMesh) -> None:
    path = tmp_path / "x.ply"
    write_mesh(path, mesh)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(FileError, match="cannot be read as a mesh"):
        read_mesh(path)


def test_a_cloud_is_not_a_mesh(tmp_path: Path) -> None:
    trimesh.PointCloud(np.random.default_rng(0).random((20, 3))).export(str(tmp_path / "x.ply"))
    with pytest.raises(FileError, match=r"cannot be read as a mesh .* expected an intact triangle mesh"):
        read_mesh(tmp_path / "x.ply")


def test_vtp_without_pyvista(tmp_path: Path, mesh: WorldMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvista", None)
    with pytest.raises(
        MissingExtraError, match=r"x.vtp: needs pyvista .* Try: pip install .*\[pictures\]', or write .ply"
    ):
        write_mesh(tmp_path / "x.vtp", mesh)
    (tmp_path / "y.vtp").write_text("x")
    with pytest.raises(
        MissingExtraError, match=r"y.vtp: needs pyvista .* Try: pip install .*\[pictures\]', or convert to .ply"
    ):
        read_mesh(tmp_path / "y.vtp")
    assert not (tmp_path / "x.vtp").exists()


def test_a_glb_in_millimetres_is_refused(tmp_path: Path, mesh: WorldMesh) -> None:
    mesh.to_trimesh().export(str(tmp_path / "x.glb"))
    with pytest.raises(FileError, match=r"120 m: in mm\?; expected metres, as glTF has them. Try: export it in metres"):
        read_mesh(tmp_path / "x.glb")


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("version", ["4.2", "5.1"])
@pytest.mark.parametrize("space", ["RAS", "LPS"])
def test_legacy_vtk(tmp_path: Path, mesh: WorldMesh, binary: bool, version: str, space: str) -> None:
    """As VTK itself writes it, with quads."""
    pytest.importorskip("pyvista")
    from vtkmodules.vtkIOLegacy import vtkPolyDataWriter

    turned = WorldMesh(mesh.vertices * ((-1.0, -1.0, 1.0) if space == "LPS" else 1.0), mesh.faces)
    writer = vtkPolyDataWriter()
    writer.SetInputData(turned.to_pyvista())
    writer.SetFileName(str(tmp_path / "x.vtk"))
    writer.SetHeader(f"3D Slicer output. SPACE={space}")
    writer.SetFileVersion(42 if version == "4.2" else 51)
    (writer.SetFileTypeToBinary if binary else writer.SetFileTypeToASCII)()
    writer.Write()
    back = read_mesh(tmp_path / "x.vtk")
    assert back.is_closed
    assert back.volume_ml == pytest.approx(mesh.volume_ml, rel=1e-4)
    np.testing.assert_allclose(back.centroid, mesh.centroid, atol=1e-2)


def test_polygons_and_strips_of_legacy_vtk(tmp_path: Path) -> None:
    corners = "0 0 0 90 0 0 90 90 0 0 90 0 0 0 90 90 0 90 90 90 90 0 90 90"
    sides = "4 0 1 5 4\n4 1 2 6 5\n4 2 3 7 6\n4 3 0 4 7\n"
    head = f"# vtk DataFile Version 3.0\nx\nASCII\nDATASET POLYDATA\nPOINTS 8 float\n{corners}\n"
    (tmp_path / "x.vtk").write_text(f"{head}POLYGONS 4 20\n{sides}TRIANGLE_STRIPS 2 10\n4 0 3 1 2\n4 4 5 7 6\n")
    back = read_mesh(tmp_path / "x.vtk")
    assert back.is_closed
    assert back.volume_ml == pytest.approx(729.0)


@pytest.mark.parametrize("kept", [0.4, 0.9])
def test_a_legacy_vtk_that_is_cut_off(tmp_path: Path, mesh: WorldMesh, kept: float) -> None:
    text = f"# vtk DataFile Version 3.0\nx\nASCII\nDATASET POLYDATA\nPOINTS {len(mesh.vertices)} float\n"
    text += "\n".join("{:.3f} {:.3f} {:.3f}".format(*vertex) for vertex in mesh.vertices)
    text += f"\nPOLYGONS {len(mesh.faces)} {4 * len(mesh.faces)}\n"
    text += "\n".join("3 {} {} {}".format(*face) for face in mesh.faces)
    (tmp_path / "x.vtk").write_text(text[: round(kept * len(text))])
    with pytest.raises(FileError, match=r"of \d+ numbers; expected an intact file"):
        read_mesh(tmp_path / "x.vtk")


@pytest.mark.parametrize("suffix", ["stl_ascii", "obj", "ply"])
def test_decimal_commas_of_a_mesh_are_named(tmp_path: Path, suffix: str) -> None:
    ball = trimesh.creation.icosphere(subdivisions=1, radius=50.0)
    options = {"encoding": "ascii"} if suffix == "ply" else {}
    content = ball.export(file_type=suffix, **options)
    text = content if isinstance(content, str) else content.decode("ascii")
    path = tmp_path / f"left_lung.{suffix.removesuffix('_ascii')}"
    path.write_text(text.replace(".", ","))
    with pytest.raises(FileError, match=r"decimal commas \(.*\); expected decimal points"):
        read_mesh(path)
