"""Points on disk. Coordinates are RAS mm unless a file says LPS, and what cannot be mm is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from lpm.apart.reading import read_apart
from lpm.errors import FileError, InputError, LpmError, MisuseError
from lpm.files.atomic import atomic_file
from lpm.files.clouds.cloud import Cloud
from lpm.files.clouds.markups import read_markups
from lpm.files.clouds.pcd import read_pcd
from lpm.files.clouds.table import MIN_POINTS, read_table
from lpm.files.clouds.vtk import read_vtk_points
from lpm.files.mesh_space import Space, in_space, mark_of
from lpm.files.meshes import read_mesh
from lpm.files.zips import check_unpacked
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats, as_points
from lpm.structures import LUNGS_MM

__all__ = ["MIN_POINTS", "POINT_SUFFIXES", "PointFile", "check_extent", "read_points", "write_points"]

_MOST_BYTES = 4 * 1024**3  # of arrays, unpacked: 170 million points
_LEAST = 0.06  # of the whole's extent: a part of it in mm, at least
_MOST = 2.0  # of the whole's extent: the whole in mm, at most
_USUAL = (0.3, 1.4)  # of the whole's extent: the whole, usually, by which another unit is guessed
_MOST_CM = 0.11  # of the whole's extent in mm: the whole in cm, at most
_WRITTEN = (".ply", ".xyz", ".txt", ".csv", ".npy", ".npz")
_SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
_UNITS = {"metres": 1000.0, "decimetres": 100.0, "inches": 25.4, "centimetres": 10.0, "microns": 0.001}
_TYPICAL = 0.5  # of the most usual extent: an adult's lungs, one or both
_STRAY = 0.05  # of the points, at most, that can be stray ones


@read_only_arrays
@dataclass(frozen=True, eq=False)
class PointFile:
    """Points of one file.

    Args:
        points_mm: (n, 3) RAS mm.
        structure: (n,) structure or side that each lies on, as written, or None if the file does not say.
        notes: What was assumed or left out.
    """

    points_mm: Floats
    structure: NDArray[np.str_] | None
    notes: tuple[str, ...] = ()


@read_apart
def read_points(path: str | Path, space: Space | None = None) -> PointFile:
    """Read points; coordinates are RAS mm unless the file says LPS, or the caller does.

    Args:
        path: .ply (vertices of a cloud or mesh), .stl, .obj (vertices of a mesh), .pcd, .vtk; .fcsv or .mrk.json of 3D
            Slicer; .npy, or .npz (array ``points_mm``, ``points`` or its only one); .csv, .xyz or .txt (three numbers
            a line, or columns named x, y, z, or R, A, S, or L, P, S, and, if it is there, ``structure``, ``side`` or
            ``lung``).
        space: Space of the coordinates, for files that do not say it.

    Returns:
        At least `MIN_POINTS` finite points.

    Raises:
        FileError: Missing, of an unknown kind, damaged, or an npz without a clear choice of array.
        InputError: Not (n, 3), NaN, too few points, or a table that can be read in two ways.
        MisuseError: The file says another space.
    """
    path = Path(path)
    reader = _reader(path)
    if not path.is_file():
        raise FileError(str(path), "no such file", f"points ({', '.join(_READERS)})")
    try:
        cloud = reader(path)
    except LpmError:
        raise
    except Exception as error:  # every reader has exceptions of its own for damaged bytes
        raise FileError(str(path), f"cannot be read as points ({_reason(error)})", "an intact file") from error
    if space and cloud.space and cloud.space != space:
        given = f"{space}, and {path.name} says {cloud.space}"
        raise MisuseError("points_space", given, "what the file says", "leave it out")
    points = as_points(cloud.points, str(path), at_least=MIN_POINTS)
    return PointFile(in_space(points, space or cloud.space or "RAS"), cloud.structure, cloud.notes)


def _reason(error: Exception) -> str:
    """Numpy advises to unpickle what it cannot read; that would run whatever code the file brings."""
    return "it holds Python objects, not numbers" if "pickle" in str(error) else str(error)


def check_extent(points_mm: Floats, subject: str, whole_mm: float = LUNGS_MM) -> None:
    """Refuse points whose extent betrays another unit than the millimetre.

    Whole lungs in centimetres extend over 25 to 55, which as millimetres could be a part of a lung. They are told
    apart by this: whole lungs are plump, a small part of their surface is flat.

    Args:
        points_mm: (n, 3); a part passes.
        subject: Name of the points in an error, such as their file.
        whole_mm: Diagonal of the box that holds all the shapes that the points could be of, by default lungs.

    Raises:
        InputError: The diagonal of the bounding box is too small or too large in mm; names the likely unit.
    """
    if len(as_points(points_mm, subject)) == 0:
        raise InputError(subject, "no points", f"at least {MIN_POINTS}")
    if _could_be_mm(points_mm, whole_mm):
        return
    points_mm = _without_strays(points_mm, subject, whole_mm)
    extent = _extent(points_mm)
    low, high = (share * whole_mm for share in _USUAL)
    expected = f"{low:.0f} to {high:.0f} mm for the model's shapes"
    raise InputError(subject, f"points extend over {extent:.4g}", expected, _unit_hint(extent, (low, high)))


def _extent(points: Floats) -> float:
    return float(np.linalg.norm(np.ptp(points, axis=0)))


def _could_be_mm(points: Floats, whole_mm: float) -> bool:
    extent = _extent(points)
    could_be = _LEAST * whole_mm <= extent <= _MOST * whole_mm
    return could_be and not (extent < _MOST_CM * whole_mm and _are_plump(points))


def _without_strays(points: Floats, subject: str, whole_mm: float) -> Floats:
    """The points but for a few that lie far from all others.

    Raises:
        InputError: Without them the points can be mm: these few are what is wrong.
    """
    away: Floats = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    usual = float(np.quantile(away, 1.0 - _STRAY))
    is_stray = away > 4.0 * usual  # the farthest part of any shape lies within twice that
    kept: Floats = points[~is_stray]
    if not is_stray.any() or not _could_be_mm(kept, whole_mm):
        return kept
    first = int(np.flatnonzero(is_stray)[0])
    given = f"{is_stray.sum()} of {len(points)} points lie far from all others, the first "
    given += f"at {', '.join(f'{x:.5g}' for x in points[first])} (point {first + 1})"
    limit = f"{4.0 * usual:.0f}"
    hint = f"leave them out: points[np.linalg.norm(points - np.median(points, axis=0), axis=1) <= {limit}]"
    raise InputError(subject, given, "points of one surface", hint)


def _are_plump(points: Floats) -> bool:
    """Whether the convex hull is rounder than that of a part of a lung's surface.

    By the isoperimetric quotient 36 pi V^2 / A^3 (1 for a ball): whole real lungs, single or both, have 0.64 to 0.81;
    of small parts cut out of their surface 99 in 100 have less than 0.63, and half less than 0.06.
    """
    try:
        hull = ConvexHull(points)
    except QhullError:  # all points in one plane
        return False
    return bool(36.0 * np.pi * hull.volume**2 > 0.6 * hull.area**3)


def _unit_hint(extent: float, usual_mm: tuple[float, float]) -> str:
    """The units in which an extent is a usual one, the likeliest first."""
    usual = {unit: factor for unit, factor in _UNITS.items() if usual_mm[0] <= extent * factor <= usual_mm[1]}
    if not usual:
        return "give the points in millimetres (metres x 1000, inches x 25.4, centimetres x 10, microns x 0.001)"
    typical_mm = _TYPICAL * usual_mm[1]
    likely = sorted(usual.items(), key=lambda item: abs(np.log(extent * item[1] / typical_mm)))
    others = "".join(f"; by {factor:g}, if they are {unit}" for unit, factor in likely[1:])
    return f"multiply by {likely[0][1]:g}, they look like {likely[0][0]}{others}"


def write_points(path: Path, points_mm: Floats) -> None:
    """Write points whole or not at all, in the format that the name ends in.

    Args:
        path: .ply, .xyz, .txt, .csv, .npy or .npz.
        points_mm: (n, 3) RAS mm.

    Raises:
        FileError: Unknown ending, or the disk refuses.
        InputError: Not (n, 3), or NaN.
    """
    if path.suffix.lower() not in _WRITTEN:
        raise FileError(str(path), f"unknown kind {path.suffix!r}", f"one of {', '.join(_WRITTEN)}")
    points = as_points(points_mm)
    with atomic_file(path) as temporary:
        match path.suffix.lower():
            case ".ply":
                import trimesh  # slow to import: only when it is needed

                trimesh.PointCloud(points).export(str(temporary))
            case ".npy":
                np.save(content := BytesIO(), points, allow_pickle=False)
                temporary.write_bytes(content.getvalue())  # NumPy itself says nothing of a disk that is full at the end
            case ".npz":
                np.savez(temporary, points_mm=points)
            case ".csv":
                np.savetxt(temporary, points, fmt="%.9g", delimiter=",", header="x,y,z", comments="")
            case _:
                np.savetxt(temporary, points, fmt="%.9g")


def _reader(path: Path) -> Callable[[Path], Cloud]:
    suffix = path.suffix.lower()
    if suffix in _READERS:
        return _READERS[suffix]
    hint = "save the sheet as .csv, columns x, y, z" if suffix in _SPREADSHEETS else ""
    raise FileError(str(path), f"unknown kind {path.suffix!r}", f"one of {', '.join(_READERS)}", hint)


def _read_ply(path: Path) -> Cloud:
    import trimesh  # slow to import: only when it is needed

    loaded: Any = trimesh.load(str(path), process=False)
    return Cloud(np.asarray(loaded.vertices), space=mark_of(path))


def _read_mesh_vertices(path: Path) -> Cloud:
    """Vertices of a mesh, each once, as they stand in the file."""
    space = mark_of(path)
    return Cloud(in_space(read_mesh(path).vertices, space or "RAS"), space=space)


def _read_npy(path: Path) -> Cloud:
    return Cloud(_unstructured(np.load(path, allow_pickle=False)))


def _read_npz(path: Path) -> Cloud:
    with np.load(path, allow_pickle=False) as archive:
        check_unpacked(path, archive.zip.infolist(), _MOST_BYTES)
        names = archive.files
        name = next((n for n in ("points_mm", "points") if n in names), names[0] if len(names) == 1 else None)
        if name is None:
            raise FileError(str(path), f"holds {sorted(names)}", "an array points_mm or points", "rename the array")
        return Cloud(_unstructured(archive[name]))


def _unstructured(array: NDArray[Any]) -> NDArray[Any]:
    """(n, 3) of an array of records with fields x, y and z; others as they are."""
    if not {"x", "y", "z"} <= set(array.dtype.names or ()):
        return array
    return np.stack([array[name] for name in "xyz"], axis=-1)


_READERS: dict[str, Callable[[Path], Cloud]] = {
    ".ply": _read_ply,
    ".xyz": read_table,
    ".txt": read_table,
    ".csv": read_table,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".fcsv": read_table,
    ".json": read_markups,
    ".stl": _read_mesh_vertices,
    ".obj": _read_mesh_vertices,
    ".pcd": read_pcd,
    ".vtk": read_vtk_points,
}
POINT_SUFFIXES = tuple(_READERS)
