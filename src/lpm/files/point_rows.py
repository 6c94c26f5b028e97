"""Tables whose points move and whose other columns stay: read and written row by row."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lpm.errors import FileError, InputError
from lpm.files.atomic import atomic_file
from lpm.files.clouds.table import MILLIMETRES, axes_named, is_header
from lpm.files.clouds.text import BLANK, comments_and_lines, decoded, is_number, rows_of
from lpm.files.mesh_space import Space, in_space
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats


@read_only_arrays
@dataclass(frozen=True, eq=False)
class PointRows:
    """A table of points with all its columns.

    Args:
        points_mm: (n, 3) RAS mm.
        header: Names of the columns; none if the file has none.
        rows: Cells of each point, as written.
        axes: Columns of the coordinates.
        space: Space of the coordinates in the file.
        unit_mm: Their unit.
        separator: What separates cells.
    """

    points_mm: Floats
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    axes: tuple[int, ...]
    space: Space
    unit_mm: float
    separator: str

    def moved(self, points_mm: Floats) -> PointRows:
        """The table with other points (n, 3), RAS mm; those that are NaN become empty cells."""
        written = in_space(points_mm, self.space) / self.unit_mm
        return replace(self, points_mm=points_mm, rows=tuple(map(self._row, self.rows, written)))

    def _row(self, row: tuple[str, ...], place: Floats) -> tuple[str, ...]:
        cells = list(row)
        for axis, value in zip(self.axes, place, strict=True):
            cells[axis] = f"{value:.9g}" if np.isfinite(value) else ""
        return tuple(cells)

    def write(self, path: Path) -> None:
        """Write the table, whole or not at all.

        Raises:
            FileError: The disk refuses.
        """
        with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=self.separator, lineterminator="\n")
            writer.writerows([self.header] if self.header else [])
            writer.writerows(self.rows)


def read_point_rows(path: Path) -> PointRows:
    """Read a table of points (.csv, .txt, .xyz) with all its columns, from one point on.

    Args:
        path: Columns named x, y, z, R, A, S or L, P, S, with a unit or without (mm), others beside; or three unnamed
            columns first.

    Raises:
        FileError: Missing, or no text.
        InputError: Columns without x, y, z, or a coordinate that is no finite number.
    """
    try:
        rows, separator = rows_of(comments_and_lines(decoded(path.read_bytes()))[1])
    except (OSError, UnicodeError) as error:
        hint = "save the points as a .csv with columns x, y, z"
        raise FileError(str(path), f"cannot be read ({error})", "a table of points, as text", hint) from error
    header = tuple(rows[0]) if rows and is_header(rows[0]) else ()
    width = len(header)  # empty cells at the end of a row were cut off
    body = tuple((*row, *[""] * (width - len(row))) for row in rows[bool(header) :])
    if not body:
        raise InputError(str(path), "no rows", "at least one point", "x,y,z in the first line, a point in each other")
    axes, space, unit_mm = _axes(path, header)
    numbers = np.array([_numbers(path, number, row, axes) for number, row in enumerate(body)])
    points_mm = in_space(numbers * unit_mm, space)
    return PointRows(points_mm, header, body, axes, space, unit_mm, "," if separator == BLANK else separator)


def _axes(path: Path, header: Sequence[str]) -> tuple[tuple[int, ...], Space, float]:
    """Columns of the coordinates, their space and unit in mm."""
    if not header:
        return (0, 1, 2), "RAS", 1.0
    found = axes_named([name.lower() for name in header])
    if found is None:
        raise InputError(str(path), f"columns {list(header)}", "columns x, y, z in mm", "name them in the first line")
    axes, space, unit = found
    return axes, space or "RAS", MILLIMETRES[unit]


def _numbers(path: Path, number: int, row: Sequence[str], axes: Sequence[int]) -> list[float]:
    cells = [row[axis].replace(",", ".") if axis < len(row) else "" for axis in axes]
    values = [float(cell) if is_number(cell) else float("nan") for cell in cells]
    if not np.isfinite(values).all():
        given, hint = f"row {number} reads {', '.join(cells)}", "correct or remove this row; the first point's is 0"
        raise InputError(str(path), given, "three finite numbers of mm", hint)
    return values
