"""Meshes on disk, RAS mm unless their header says LPS: ply, stl, obj, glb through trimesh, vtp by pyvista (extra)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from lpm.apart.reading import read_apart
from lpm.errors import FileError, MissingExtraError, MisuseError
from lpm.extras import import_extra
from lpm.files.atomic import atomic_file, inside
from lpm.files.clouds.vtk import read_vtk_surface
from lpm.files.mesh_space import Space, in_space, marked, space_of, space_of_fields
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.surfaces import decimate
from lpm.geometry.welding import welded

MESH_SUFFIXES = (".ply", ".stl", ".obj", ".glb", ".vtp")
READ_SUFFIXES = (*MESH_SUFFIXES, ".vtk")
# glTF is in metres, y up, z to the front
GLTF_FROM_RAS_MM = 0.001 * np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1000]])

_VTP_COUNT = re.compile(rb'NumberOf(Components|Points|Polys|Verts|Lines|Strips|Cells)\s*=\s*"\s*([+-]?\d+)')
_TEXT_SUFFIXES = (".stl", ".obj", ".ply", ".vtk")
_HEAD = 65536  # bytes in which a text shows its numbers
_DECIMAL_COMMAS = re.compile(rb"(?m)^[ \t]*(?:vertex|v)?[ \t]*[-+]?\d+,\d+[ \t]+[-+]?\d+,\d+[ \t]+[-+]?\d+,\d+")
_MOST_INFLATED = 1032  # times that zlib makes data smaller, at most
_MOST_COMPONENTS = 64  # numbers of an array for each point
_MOST_GLTF_M = 10.0  # no part of a person is longer
_NONE: Mapping[str, Callable[[Floats], Floats]] = MappingProxyType({})


def check_mesh_name(path: Path) -> None:
    """Refuse a file name whose ending no mesh writer knows.

    Raises:
        FileError: The ending is not one of `MESH_SUFFIXES`.
    """
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise FileError(str(path), f"unknown kind {path.suffix!r}", f"one of {', '.join(MESH_SUFFIXES)}")


def write_mesh(path: str | Path, mesh: WorldMesh, space: Space = "RAS") -> None:
    """Write a mesh whole or not at all, in the format that the name ends in.

    Args:
        path: .ply, .stl, .obj and .vtp say in their header which space they are in, as 3D Slicer reads it. A .glb is
            upright and in metres, as glTF wants it, whatever the space.
        mesh: RAS mm.
        space: Space of the coordinates in the file.

    Raises:
        FileError: Unknown ending, or the disk refuses.
        MissingExtraError: .vtp without the extra ``pictures``.
    """
    _write(Path(path), mesh, space, {})


def _write(path: Path, mesh: WorldMesh, space: Space, values: Mapping[str, Floats]) -> None:
    """Write a mesh, and into a .vtp what its vertices have besides: arrays (v,) by name."""
    check_mesh_name(path)
    suffix = path.suffix.lower()
    placed = WorldMesh(in_space(mesh.vertices, space), mesh.faces)
    with atomic_file(path) as temporary:
        match suffix:
            case ".vtp":
                _write_vtp(temporary, placed, space, values)
            case ".glb":
                _write_glb(temporary, mesh)
            case _:
                content: Any = placed.to_trimesh().export(file_type=suffix[1:])
                data = content.encode() if isinstance(content, str) else content
                temporary.write_bytes(marked(data, suffix, space))


@dataclass(frozen=True)
class MeshFiles:
    """How meshes are written.

    Args:
        suffix: .ply, .stl, .obj, .glb or .vtp.
        space: Space of the coordinates, as their headers say.
        faces: Most triangles of each; None leaves them as they are.
    """

    suffix: str = ".ply"
    space: Space = "RAS"
    faces: int | None = None

    def write(
        self, folder: Path, meshes: Mapping[str, WorldMesh], sigma_at: Mapping[str, Callable[[Floats], Floats]] = _NONE
    ) -> None:
        """Write meshes into a folder, each under its name.

        Args:
            folder: Folder that is there.
            meshes: By name, RAS mm.
            sigma_at: By name, how sure a fit is of the surface at points (n, 3) of it, mm: `sigma_mm` of a .vtp.

        Raises:
            InputError: One cannot be closed and of so few triangles.
            FileError: Unknown ending, or the disk refuses.
        """
        for name, mesh in meshes.items():
            shown, values = self._reduced(name, mesh), {}
            if self.suffix.lower() == ".vtp" and name in sigma_at:
                values["sigma_mm"] = sigma_at[name](shown.vertices)
            _write(inside(folder, f"{name}{self.suffix}"), shown, self.space, values)

    def _reduced(self, name: str, mesh: WorldMesh) -> WorldMesh:
        if self.faces is None:
            return mesh
        reduced = decimate(mesh, max(self.faces, 4))
        if len(reduced.faces) > self.faces:
            raise MisuseError("--faces", f"{self.faces} for the {name}", "enough to keep it closed", "more triangles")
        return reduced


def _write_vtp(path: Path, mesh: WorldMesh, space: Space, values: Mapping[str, Floats]) -> None:
    import_extra("pyvista", "pictures", str(path), ", or write .ply")
    writer = import_extra("vtkmodules.vtkIOXML", "pictures", str(path)).vtkXMLPolyDataWriter()
    data = mesh.to_pyvista()
    data.field_data["SPACE"] = [space]
    for name, numbers in values.items():
        data.point_data[name] = numbers
    writer.SetInputData(data)
    writer.SetDataModeToBinary()
    writer.WriteToOutputStringOn()  # VTK itself says nothing of a full disk, or crashes
    writer.Write()
    path.write_text(writer.GetOutputString(), encoding="ascii")


def _write_glb(path: Path, mesh: WorldMesh) -> None:
    """Vertices stay RAS mm; the node that holds them stands them up and scales them."""
    import trimesh  # slow to import: only when it is needed

    scene = trimesh.Scene()
    scene.add_geometry(mesh.to_trimesh(), node_name="RAS mm", transform=GLTF_FROM_RAS_MM)
    scene.export(str(path))


@read_apart
def read_mesh(path: str | Path) -> WorldMesh:
    """Read a triangle mesh; coordinates are taken as RAS mm unless its header says LPS; a .glb's as glTF's.

    Vertices that the file splits, along textures or normals or by rounding, are merged where that closes the surface.

    Raises:
        FileError: Missing, of an unknown kind, damaged, or without triangles.
    """
    path = Path(path)
    if path.suffix.lower() not in READ_SUFFIXES:
        raise FileError(str(path), f"unknown kind {path.suffix!r}", f"one of {', '.join(READ_SUFFIXES)}")
    if not path.is_file():
        raise FileError(str(path), "no such file", f"a mesh ({', '.join(READ_SUFFIXES)})")
    _refuse_decimal_commas(path)
    try:
        return welded(_as_stored(path))
    except (MissingExtraError, FileError):
        raise
    except Exception as error:
        raise FileError(str(path), f"cannot be read as a mesh ({error})", "an intact triangle mesh") from error


def _refuse_decimal_commas(path: Path) -> None:
    """Refuse text of an .stl, .obj, .ply or .vtk whose numbers have commas, as a program of another language writes."""
    with path.open("rb") as file:
        found = _DECIMAL_COMMAS.search(file.read(_HEAD))
    if found and path.suffix.lower() in _TEXT_SUFFIXES:
        given = f"decimal commas ({found[0].decode('ascii').strip()})"
        raise FileError(str(path), given, "decimal points", "export it with decimal points, or replace the commas")


def _as_stored(path: Path) -> WorldMesh:
    """RAS mm, with the file's own vertices."""
    match path.suffix.lower():
        case ".vtp":
            return _read_vtp(path)
        case ".vtk":
            vertices, faces, space = read_vtk_surface(path)
            return WorldMesh(in_space(vertices, space), faces)
    import trimesh  # slow to import: only when it is needed

    loaded = trimesh.load_mesh(str(path), process=False)
    if path.suffix.lower() == ".glb":
        size_m = float(np.ptp(loaded.vertices, axis=0).max())
        if size_m > _MOST_GLTF_M:
            hint = "export it in metres with +y up, or as .ply"
            raise FileError(str(path), f"{size_m:.4g} m: in mm?", "metres, as glTF has them", hint)
        loaded.apply_transform(np.linalg.inv(GLTF_FROM_RAS_MM))
    return WorldMesh(in_space(np.asarray(loaded.vertices), space_of(path)), np.asarray(loaded.faces))


def _read_vtp(path: Path) -> WorldMesh:
    pyvista = import_extra("pyvista", "pictures", str(path), ", or convert to .ply")
    _check_vtp(path)
    data = pyvista.read(str(path)).triangulate()
    points = in_space(np.asarray(data.points, dtype=np.float64), space_of_fields(data))
    return WorldMesh(points, np.asarray(data.regular_faces))


def _check_vtp(path: Path) -> None:
    """Refuse counts that the file cannot hold: VTK takes memory on their word, and ends the process on odd ones."""
    content = path.read_bytes()
    most = _MOST_INFLATED * len(content)
    for name, value in _VTP_COUNT.findall(content):
        low, high = (1, _MOST_COMPONENTS) if name == b"Components" else (0, most)
        if len(value) > 20 or not low <= int(value) <= high:
            given = f"NumberOf{name.decode()} {value[:20].decode()!r}"
            raise FileError(str(path), given, f"{low} to {high}", "an intact file")
