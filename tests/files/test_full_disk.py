"""A disk that is full anywhere in a file, also at its very end: an error that names the file, and no file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from full_disk import room_for
from lpm.errors import FileError
from lpm.files.meshes import write_mesh
from lpm.files.points import write_points
from lpm.files.volumes import write_volume
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume

pytest.importorskip("resource", reason="limits of Unix")


def write_labels(path: Path) -> None:
    """Which end in zeros, as label maps do."""
    write_volume(path, Volume(np.pad(np.ones((9, 8, 7), np.uint8), 30), np.eye(4)))


def write_a_mesh(path: Path) -> None:
    vertices = np.random.default_rng(0).random((300, 3))
    write_mesh(path, WorldMesh(vertices, np.random.default_rng(1).integers(0, 300, (500, 3))))


def write_some_points(path: Path) -> None:
    write_points(path, np.random.default_rng(0).random((500, 3)))


WRITERS = {
    **dict.fromkeys(("x.nii", "x.nii.gz", "x.nrrd", "x.mha"), write_labels),
    **dict.fromkeys(("x.ply", "x.vtp", "x.stl"), write_a_mesh),
    **dict.fromkeys(("p.npy", "p.npz", "p.csv"), write_some_points),
}


@pytest.mark.parametrize(("name", "write"), WRITERS.items())
def test_a_full_disk(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    path = tmp_path / name
    if name.endswith(".vtp"):
        pytest.importorskip("pyvista", reason="extra pictures")
    write(path)
    whole = path.stat().st_size
    path.unlink()
    for most in (20, whole // 2, whole - 9, whole - 1):
        with pytest.raises(FileError, match=name), room_for(most):
            write(path)
        assert not list(tmp_path.iterdir()), most
