"""Meshes of lungs whose axes, sides or surfaces are not what they seem."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bent_lungs import bent_lungs
from lpm.errors import InputError
from lpm.files.meshes import write_mesh
from lpm.geometry.meshes import WorldMesh, joined
from lpm.measurement.subjects import Shapes, checked_shapes, find_subjects, read_shapes

LPS = np.diag([-1.0, -1.0, 1.0])
Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
MIRROR = np.diag([-1.0, 1.0, 1.0])


def turned(mesh: WorldMesh, axes: np.ndarray) -> WorldMesh:
    faces = mesh.faces if np.linalg.det(axes) > 0 else mesh.faces[:, ::-1]
    return WorldMesh(mesh.vertices @ axes.T, faces)


def read(tmp_path: Path, meshes: dict[str, WorldMesh]) -> Shapes:
    for name, mesh in meshes.items():
        write_mesh(tmp_path / "case" / f"{name}.ply", mesh)
    (subject,) = find_subjects([tmp_path / "case"])
    return read_shapes(subject)


def test_upright_lungs_are_not_doubted(tmp_path: Path) -> None:
    assert read(tmp_path, bent_lungs()).flags == ()


def test_both_lungs_of_one_file_in_lps_are_doubted(tmp_path: Path) -> None:
    both = turned(joined(bent_lungs().values()), LPS)
    assert any("LPS taken for RAS" in flag for flag in read(tmp_path, {"shape": both}).flags)


def test_lungs_with_y_up_are_doubted(tmp_path: Path) -> None:
    meshes = {name: turned(mesh, Y_UP) for name, mesh in bent_lungs().items()}
    assert any("deeper than high" in flag for flag in read(tmp_path, meshes).flags)


@pytest.mark.parametrize("name", ["left_lung", "right_lung"])
def test_a_single_lung_with_the_shape_of_the_other(tmp_path: Path, name: str) -> None:
    mesh = bent_lungs()[name]
    other = "right" if name == "left_lung" else "left"
    flags = read(tmp_path, {name: turned(mesh, MIRROR)}).flags
    assert flags == (f"the {name.replace('_', ' ')} has the shape of a {other} lung",)


def test_a_single_lung_of_its_own_shape(tmp_path: Path) -> None:
    assert read(tmp_path, {"right_lung": bent_lungs()["right_lung"]}).flags == ()


def test_sheets_that_meet_at_an_edge_are_not_called_open() -> None:
    left = bent_lungs()["left_lung"]
    sheet = np.concatenate([left.faces, left.faces[:1], left.faces[:1, ::-1]])
    with pytest.raises(InputError, match=r"triangles that bound no body \(3 edges of more than two triangles\)"):
        checked_shapes({"left_lung": WorldMesh(left.vertices, sheet)}, "x")
