"""Points on disk: ply, xyz, txt, csv, npy, npz. Coordinates are taken as RAS mm, and what cannot be that is refused."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from lpm.errors import FileError, InputError, LpmError
from lpm.files.atomic import atomic_file
from lpm.files.mesh_space import Space, in_space, space_of
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats, as_points
from lpm.structures import LUNGS_MM

MIN_POINTS = 10  # fewer fix neither place nor size
_LEAST = 0.06  # of the whole's extent: a part of it in mm, at least
_MOST = 2.0  # of the whole's extent: the whole in mm, at most
_USUAL = (0.3, 1.4)  # of the whole's extent: the whole, usually, by which another unit is guessed
_MOST_CM = 0.11  # of the whole's extent in mm: the whole in cm, at most
_SIDE_COLUMNS = ("structure", "side", "lung")
_AXES: tuple[tuple[str, Space], ...] = (("xyz", "RAS"), ("ras", "RAS"), ("lps", "LPS"))


@read_only_arrays
@dataclass(frozen=True, eq=False)
class PointFile:
    """Points of one file.

    Args:
        points_mm: (n, 3) RAS mm.
        structure: (n,) structure or side that each lies on, as written, or None if the file does not say.
    """

    points_mm: Floats
    structure: NDArray[np.str_] | None


def read_points(path: Path) -> PointFile:
    """Read points; coordinates are taken as RAS mm unless a .ply says LPS, as those of 3D Slicer do.

    Args:
        path: .ply (vertices of a cloud or mesh), .xyz or .txt (three numbers a line), .csv (columns x, y, z,
            or R, A, S, or L, P, S, and, if it is there, ``structure``, ``side`` or ``lung``; without a header three
            columns), .npy, or .npz (array ``points_mm``, ``points`` or its only one).

    Returns:
        At least `MIN_POINTS` finite points.

    Raises:
        FileError: Missing, of an unknown kind, damaged, or an npz without a clear choice of array.
        InputError: Not (n, 3), NaN, or too few points.
    """
    reader = _reader(path)
    if not path.is_file():
        raise FileError(str(path), "no such file", f"points ({', '.join(_READERS)})")
    try:
        raw, structure = reader(path)
    except LpmError:
        raise
    except Exception as error:  # every reader has exceptions of its own for damaged bytes
        raise FileError(str(path), f"cannot be read as points ({_reason(error)})", "an intact file") from error
    points = as_points(raw, str(path), at_least=MIN_POINTS)
    return PointFile(points, structure)


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
    extent = float(np.linalg.norm(np.ptp(points_mm, axis=0)))
    could_be_mm = _LEAST * whole_mm <= extent <= _MOST * whole_mm
    if could_be_mm and not (extent < _MOST_CM * whole_mm and _are_plump(points_mm)):
        return
    low, high = (share * whole_mm for share in _USUAL)
    expected = f"{low:.0f} to {high:.0f} mm for the model's shapes"
    raise InputError(subject, f"points extend over {extent:.4g}", expected, _unit_hint(extent, (low, high)))


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
    for unit, factor in (("metres", 1000.0), ("centimetres", 10.0), ("microns", 0.001)):
        if usual_mm[0] <= extent * factor <= usual_mm[1]:
            return f"multiply by {factor:g}, they look like {unit}"
    return "give the points in millimetres (metres x 1000, centimetres x 10, microns x 0.001)"


def write_points(path: Path, points_mm: Floats) -> None:
    """Write points whole or not at all, in the format that the name ends in.

    Args:
        path: .ply, .xyz, .txt, .csv, .npy or .npz.
        points_mm: (n, 3) RAS mm.

    Raises:
        FileError: Unknown ending, or the disk refuses.
        InputError: Not (n, 3), or NaN.
    """
    _reader(path)
    points = as_points(points_mm)
    with atomic_file(path) as temporary:
        match path.suffix.lower():
            case ".ply":
                trimesh.PointCloud(points).export(str(temporary))
            case ".npy":
                np.save(temporary, points, allow_pickle=False)
            case ".npz":
                np.savez(temporary, points_mm=points)
            case ".csv":
                np.savetxt(temporary, points, fmt="%.9g", delimiter=",", header="x,y,z", comments="")
            case _:
                np.savetxt(temporary, points, fmt="%.9g")


Raw = tuple[Any, NDArray[np.str_] | None]


def _reader(path: Path) -> Callable[[Path], Raw]:
    try:
        return _READERS[path.suffix.lower()]
    except KeyError:
        raise FileError(str(path), f"unknown kind {path.suffix!r}", f"one of {', '.join(_READERS)}") from None


def _read_ply(path: Path) -> Raw:
    loaded: Any = trimesh.load(str(path), process=False)
    return in_space(np.asarray(loaded.vertices), space_of(path)), None


def _read_xyz(path: Path) -> Raw:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    rows = [line.replace(",", " ").split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if rows and [cell.lower() for cell in rows[0][:3]] == ["x", "y", "z"]:
        rows = rows[1:]
    return _numbers(path, [row[:3] for row in rows]), None


def _read_npy(path: Path) -> Raw:
    return np.load(path, allow_pickle=False), None


def _read_npz(path: Path) -> Raw:
    with np.load(path, allow_pickle=False) as archive:
        names = archive.files
        name = next((n for n in ("points_mm", "points") if n in names), names[0] if len(names) == 1 else None)
        if name is None:
            raise FileError(str(path), f"holds {sorted(names)}", "an array points_mm or points", "rename the array")
        return archive[name], None


def _read_csv(path: Path) -> Raw:
    with path.open(encoding="utf-8-sig", newline="") as file:
        text = file.read()
    separator = ";" if ";" in text.partition("\n")[0] else ","
    rows = [row for row in csv.reader(text.splitlines(), delimiter=separator) if any(cell.strip() for cell in row)]
    if not rows:
        raise InputError(str(path), "no rows", f"at least {MIN_POINTS} points")
    header = None if _is_number(rows[0][0]) else [cell.strip().lower() for cell in rows[0]]
    body = rows if header is None else rows[1:]
    columns = _columns(path, header or [""] * len(rows[0]))
    side = columns.side
    _check_widths(path, body, max(*columns.axes, side or 0) + 1)
    structure = None if side is None else np.array([row[side].strip() for row in body], dtype=np.str_)
    points = _numbers(path, [[row[axis] for axis in columns.axes] for row in body])
    return in_space(points, columns.space), structure


@dataclass(frozen=True)
class _Columns:
    """Where a table holds coordinates and side, and the space of the coordinates."""

    axes: Sequence[int] = (0, 1, 2)
    side: int | None = None
    space: Space = "RAS"


def _columns(path: Path, header: list[str]) -> _Columns:
    """Find coordinates by name (``x``, ``x_mm``; R, A, S or L, P, S), and the side; without names, three columns."""
    plain = [name.removesuffix("_mm") for name in header]
    side = next((header.index(name) for name in _SIDE_COLUMNS if name in header), None)
    for axes, space in _AXES:
        if set(axes) <= set(plain):
            return _Columns([plain.index(axis) for axis in axes], side, space)
    if len(header) - (side is not None) > 3 or (side is not None and side < 3):
        given = f"columns {header}" if any(header) else f"{len(header)} columns without a header"
        raise InputError(str(path), given, "columns x, y, z", "name them in the first line, or keep three columns")
    return _Columns(side=side)


def _check_widths(path: Path, rows: Sequence[Sequence[str]], width: int) -> None:
    for number, row in enumerate(rows, start=1):
        if len(row) < width:
            raise InputError(str(path), f"point {number} has {len(row)} values", f"at least {width}, comma separated")


def _numbers(path: Path, rows: Sequence[Sequence[str]]) -> Floats:
    for number, row in enumerate(rows, start=1):
        if len(row) != 3 or not all(_is_number(cell) for cell in row):
            raise InputError(str(path), f"point {number} reads {' '.join(row)!r}", "three numbers", "x y z in mm")
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_READERS: dict[str, Callable[[Path], Raw]] = {
    ".ply": _read_ply,
    ".xyz": _read_xyz,
    ".txt": _read_xyz,
    ".csv": _read_csv,
    ".npy": _read_npy,
    ".npz": _read_npz,
}
POINT_SUFFIXES = tuple(_READERS)
