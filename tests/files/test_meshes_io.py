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
