"""Meshes on disk, RAS mm as they are: ply, stl, obj, glb through trimesh, vtp through pyvista (extra)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from lpm.errors import FileError, MissingExtraError
from lpm.extras import import_extra
from lpm.files.atomic import atomic_file
from lpm.geometry.meshes import WorldMesh

MESH_SUFFIXES = (".ply", ".stl", ".obj", ".glb", ".vtp")


def check_mesh_name(path: Path) -> None:
    """Refuse a file name whose ending no mesh writer knows.

    Raises:
        FileError: The ending is not one of `MESH_SUFFIXES`.
    """
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise FileError(str(path), f"unknown kind {path.suffix!r}", f"one of {', '.join(MESH_SUFFIXES)}")


def write_mesh(path: Path, mesh: WorldMesh) -> None:
    """Write a mesh whole or not at all, in the format that the name ends in.

    Raises:
        FileError: Unknown ending, or the disk refuses.
        MissingExtraError: .vtp without the extra ``pictures``.
    """
    check_mesh_name(path)
    with atomic_file(path) as temporary:
        if path.suffix.lower() == ".vtp":
            _write_vtp(temporary, mesh)
        else:
            mesh.to_trimesh().export(str(temporary))


def _write_vtp(path: Path, mesh: WorldMesh) -> None:
    pyvista = import_extra("pyvista", "pictures", str(path), ", or write .ply")
    pyvista.PolyData.from_regular_faces(mesh.vertices, mesh.faces.astype(int)).save(str(path))


def read_mesh(path: Path) -> WorldMesh:
    """Read a triangle mesh; coordinates are taken as RAS mm.

    Raises:
        FileError: Missing, of an unknown kind, damaged, or without triangles.
    """
    check_mesh_name(path)
    if not path.is_file():
        raise FileError(str(path), "no such file", f"a mesh ({', '.join(MESH_SUFFIXES)})")
    try:
        if path.suffix.lower() == ".vtp":
            return _read_vtp(path)
        loaded = trimesh.load_mesh(str(path), process=False)
        if path.suffix.lower() == ".stl":
            loaded.merge_vertices()
        return WorldMesh(np.asarray(loaded.vertices), np.asarray(loaded.faces))
    except MissingExtraError:
        raise
    except Exception as error:
        raise FileError(str(path), f"cannot be read as a mesh ({error})", "an intact triangle mesh") from error


def _read_vtp(path: Path) -> WorldMesh:
    pyvista = import_extra("pyvista", "pictures", str(path), ", or convert to .ply")
    data = pyvista.read(str(path)).triangulate()
    return WorldMesh(np.asarray(data.points, dtype=np.float64), np.asarray(data.regular_faces))
