"""Points in a table of text: a line for each, columns by name or three of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lpm.errors import InputError
from lpm.files.clouds.cloud import Cloud
from lpm.files.clouds.text import (
    Rows,
    comments_and_lines,
    decoded,
    is_grouped,
    is_number,
    is_whole,
    rows_of,
    split,
    with_points,
)
from lpm.files.mesh_space import Space

MIN_POINTS = 10  # fewer fix neither place nor size
_SIDE_COLUMNS = ("structure", "side", "lung")
_AXES: tuple[tuple[tuple[str, ...], Space | None], ...] = (
    (("x", "y", "z"), None),
    (("points:0", "points:1", "points:2"), None),  # ParaView
    (("points_0", "points_1", "points_2"), None),  # ParaView from 5.9 on
    (("0", "1", "2"), None),  # pandas, of an array without names
    (("r", "a", "s"), "RAS"),
    (("l", "p", "s"), "LPS"),
)
_INDICES = ({"i", "j", "k"}, {"row", "column", "slice"}, {"row", "col", "slice"})
_NAME = re.compile(r"(.+?)[ _]*[\[(]?(mm|cm|dm|m|um|µm|inch|in)[\])]?")
_WORDS = (
    "(?:p|pos|position|pt|points?|coords?|coordinates?|v|vert|vertex|loc|location|world|ax[ie]s|achse|axe|eje|asse"
    "|koord(?:inaten?)?|coordonnées?|coordonnees?|coordenadas?|coordinat[ae]|座標)"
)
_WORDED = re.compile(rf"{_WORDS}[ _.:-]*([xyz])|([xyz])[ _.:-]*{_WORDS}")  # px, pos_x, x_coord
_IN_BRACKETS = re.compile(r"(.+?)[ _]*[\[(](.+)[\])]")
_SPACED = re.compile(r"(.+?)[ _.-]*[\[(]?(?<![a-z])(ras|lps)[\])]?|(ras|lps)[ _.:-]+(.+)")  # x_lps, x (RAS), lps_x
_LETTER = re.compile(r"(?<![^\W\d_])([xyz])(?![^\W\d_])")  # by itself in a name
_DIRECTIONS = {
    "r": ("right", "rechts", "droite", "derecha", "destra"),
    "a": ("anterior", "front", "vorne", "avant"),
    "s": ("superior", "up", "oben", "haut"),
    "l": ("left", "links", "gauche", "izquierda", "sinistra"),
    "p": ("posterior", "back", "hinten", "arrière"),
}
_DIRECTION_OF = {word: letter for letter, words in _DIRECTIONS.items() for word in words}
MILLIMETRES = {"mm": 1.0, "cm": 10.0, "dm": 100.0, "m": 1000.0, "um": 0.001, "µm": 0.001, "in": 25.4, "inch": 25.4}
_SPACE = re.compile(r"\b(ras|lps)\b|\bcoordinatesystem *= *([012]|ijk)\b", re.IGNORECASE)
_SLICER_SPACES = {"0": "RAS", "1": "LPS", "2": "IJK"}  # of .fcsv, by number


@dataclass(frozen=True)
class _Columns:
    """Where a table holds coordinates and side, their space and unit, and what was assumed."""

    axes: Sequence[int] = (0, 1, 2)
    side: int | None = None
    space: Space | None = None
    mm: float = 1.0
    notes: tuple[str, ...] = ()


def read_table(path: Path) -> Cloud:
    """Read points of a table: .csv, .xyz, .txt, .fcsv.

    Args:
        path: Any separator but blanks in names; decimal points, or commas where something else separates the numbers.

    Raises:
        UnicodeError: No text.
        InputError: No table of points, or one that can be read in two ways.
    """
    comments, lines = comments_and_lines(decoded(path.read_bytes()))
    rows, separator = rows_of(lines)
    if rows and len(rows[0]) == 1 and rows[0][0] == str(len(rows) - 1):
        rows = rows[1:]  # the number of points, as in .pts
    header, body = _header_and_body(rows, comments, separator)
    if not body:
        raise InputError(str(path), "no rows", f"at least {MIN_POINTS} points")
    _check_shape(path, header, body, separator)
    columns = _columns(path, header, body)
    _check_widths(path, body, max(*columns.axes, columns.side or 0) + 1)
    side = columns.side
    structure = None if side is None else np.array([row[side] for row in body], dtype=np.str_)
    points, notes = _numbers(path, [[row[axis] for axis in columns.axes] for row in body])
    space, told = _space(path, comments, columns)
    return Cloud(columns.mm * points, structure, space, (*columns.notes, *notes, *told))


def _header_and_body(rows: Rows, comments: Sequence[str], separator: str) -> tuple[list[str], Rows]:
    """Names of columns in lower case, of the first line or of a comment, none if there are none; and the other rows."""
    if rows and is_header(rows[0]):
        return [cell.lower() for cell in rows[0]], rows[1:]
    for comment in reversed(comments):
        names = comment.removeprefix("columns = ").lower()
        for cells in split([names], separator) + split([names], ","):
            if axes_named(cells) is not None:
                return cells, rows
    return [], rows


def is_header(row: Sequence[str]) -> bool:
    """Whether a table's first line names its columns."""
    named = [cell for cell in row if cell]
    return (
        not any(is_number(cell) for cell in row)
        or named == [str(i) for i in range(len(named))]
        or bool(axes_named([cell.lower() for cell in row]))
    )


def axes_named(names: Sequence[str]) -> tuple[tuple[int, ...], Space | None, str] | None:
    """Columns of x, y, z, their space and unit; None if they are not named."""
    named = [_taken_apart(name) for name in names]
    matches = [(name, unit) for name, unit, _ in named]
    found = _axes_among(matches) or _axes_among([(_without_words(name), unit) for name, unit in matches])
    if found is None and len([name for name in names if name not in _SIDE_COLUMNS]) == len("xyz"):
        found = _axes_among([(_letter_in(name), unit) for name, unit in matches])
    if found is None:
        return None
    axes, space, unit = found
    said = {named[axis][2] for axis in axes} - {None}
    return (axes, space or (said.pop() if len(said) == 1 else None), unit) if len(said) < 2 else None


def _taken_apart(name: str) -> tuple[str, str, Space | None]:
    """A column's name without unit and space, and these: ``x_lps (cm)`` is x, cm, LPS."""
    name, outer = _without_space(name)
    unit = _NAME.fullmatch(name)
    name, inner = _without_space(unit[1] if unit else name)
    return name, unit[2] if unit else "mm", outer or inner


def _without_space(name: str) -> tuple[str, Space | None]:
    match = _SPACED.fullmatch(name)
    if not match:
        return name, None
    return match[1] or match[4], "LPS" if "lps" in (match[2], match[3]) else "RAS"


def _without_words(name: str) -> str:
    """The axis of a column that says it in more words, or in a word for a direction."""
    match = _WORDED.fullmatch(name)
    return match[1] or match[2] if match else _DIRECTION_OF.get(name, name)


def _letter_in(name: str) -> str:
    """The axis of a column that is named in any words with one letter x, y or z by itself."""
    letters = [] if _IN_BRACKETS.fullmatch(name) else _LETTER.findall(name)  # in brackets stands another unit
    return letters[0] if len(letters) == 1 else name


def _axes_among(matches: Sequence[tuple[str, str]]) -> tuple[tuple[int, ...], Space | None, str] | None:
    """Columns of x, y, z, their space and unit, of names and units."""
    for axes, space in _AXES:
        found = [[i for i, (name, _) in enumerate(matches) if name == axis] for axis in axes]
        units = {matches[i][1] for columns in found for i in columns}
        if all(len(columns) == 1 for columns in found) and len(units) == 1:
            return tuple(columns[0] for columns in found), space, units.pop()
    return None


def _columns(path: Path, header: Sequence[str], body: Rows) -> _Columns:
    """Find coordinates by name, and the side; without names, three columns."""
    side = next((header.index(name) for name in _SIDE_COLUMNS if name in header), None)
    named = axes_named(header)
    if named is not None:
        axes, space, unit = named
        notes = [] if unit == "mm" else [f"coordinates are in {unit}, by their columns' names, and were taken to mm"]
        if any(len(_taken_apart(header[axis])[0]) > 1 and not header[axis].startswith("points") for axis in axes):
            taken = ", ".join(space or "xyz")
            notes.append(f"columns {', '.join(header[axis] for axis in axes)} were taken as {taken}")
        return _Columns(axes, side, space, MILLIMETRES[unit], tuple(notes))
    width = len(header) or len(body[0])
    others = [name for name in header if name not in _SIDE_COLUMNS]
    if set(others) in _INDICES:
        hint = "take them to mm with the scan's affine: nibabel.affines.apply_affine"
        raise InputError(str(path), f"columns {list(header)}: voxel indices", "columns x, y, z in mm", hint)
    _refuse_unit(path, header)
    is_plain = not header and path.suffix.lower() in (".xyz", ".txt")
    if (
        len(set(others)) < len(others)
        or (not is_plain and width - (side is not None) > 3)
        or (not is_plain and side is not None and side < 3)
    ):
        given = f"columns {list(header)}" if any(header) else f"{width} columns without a header"
        hint = "rename the columns of the coordinates to x, y, z" if any(header) else "name them in the first line"
        raise InputError(str(path), given, "columns x, y, z", f"{hint}, or keep three columns")
    if width > 3 and side is None:
        _refuse_counted(path, body)
        return _Columns(notes=("columns after the third were left out",))
    return _Columns(side=side, notes=(f"columns {', '.join(others)} were taken as x, y, z",) if others else ())


def _refuse_unit(path: Path, header: Sequence[str]) -> None:
    """Refuse coordinates whose columns name a unit that is no length."""
    named = [match for name in header if (match := _IN_BRACKETS.fullmatch(name))]
    if axes_named([match[1] for match in named]) is not None:
        given = f"coordinates in {named[0][2]}, by their columns' names"
        raise InputError(str(path), given, f"one of {', '.join(MILLIMETRES)}", "take them to mm")


def _refuse_counted(path: Path, body: Rows) -> None:
    """Refuse a first column that numbers or labels points."""
    if all(is_whole(row[0]) for row in body) and not all(is_whole(cell) for row in body for cell in row[1:4]):
        given = "whole numbers in the first column, which may be indices or labels"
        raise InputError(str(path), given, "x, y, z first", "name the columns in the first line, such as: n x y z")


def _check_shape(path: Path, header: Sequence[str], body: Rows, separator: str) -> None:
    """Refuse coordinates that run along lines, and lines with more cells than there are columns."""
    if len(body) < MIN_POINTS <= min(len(row) for row in body):
        given = f"{len(body)} lines of {len(body[0])} numbers"
        turned = {1: "points.reshape(-1, 3)", 3: "points.T"}.get(len(body), "points.T[:, :3]")
        how = "if x, y, z of a point follow each other" if len(body) == 1 else "transpose it"
        raise InputError(str(path), given, "a line for each point", f"{how}: np.savetxt(name, {turned})")
    longest = max(range(len(body)), key=lambda i: len(body[i]))
    cells = body[longest]
    if separator == "," and len(cells) > (len(header) or 3) and any(map(_could_be_decimals, _runs(cells))):
        given = f"point {longest + 1} reads {','.join(cells)!r}, {len(cells)} cells: decimal commas?"
        hint = "save it with ; or tabs between the columns, or with decimal points"
        raise InputError(str(path), given, f"{len(header) or 3} cells", hint)
    if header and len(cells) > len(header):
        given = f"point {longest + 1} has {len(cells)} cells under {len(header)} names"
        raise InputError(str(path), given, "a name for each column", "name every column in the first line")


def _runs(cells: Sequence[str]) -> list[list[str]]:
    """Neighbouring cells that are numbers."""
    runs: list[list[str]] = [[]]
    for cell in cells:
        if is_number(cell):
            runs[-1].append(cell)
        elif runs[-1]:
            runs.append([])
    return runs


def _could_be_decimals(run: Sequence[str]) -> bool:
    """Whether cells can be whole parts and decimals of numbers that commas cut in two."""
    return len(run) > 3 and all(is_whole(cell.lower().split("e")[0]) for cell in run)


def _check_widths(path: Path, rows: Rows, width: int) -> None:
    for number, row in enumerate(rows, start=1):
        if len(row) < width:
            hint = "part them with commas, semicolons, tabs or blanks" if len(row) == 1 else ""
            raise InputError(str(path), f"point {number} has {len(row)} values", f"at least {width}", hint)


def _numbers(path: Path, rows: Rows) -> tuple[Any, list[str]]:
    for number, row in enumerate(rows, start=1):
        if any(is_grouped(cell) and not is_number(cell) for cell in row):
            given = f"point {number} reads {' '.join(row)!r}: marks between thousands?"
            raise InputError(str(path), given, "three numbers", "save it without such marks")
        if not all(is_number(cell) for cell in row):
            raise InputError(str(path), f"point {number} reads {' '.join(row)!r}", "three numbers", "x y z in mm")
    rows, notes = with_points(str(path), rows)
    return np.array(rows, dtype=np.float64).reshape(-1, 3), notes


def _space(path: Path, comments: Sequence[str], columns: _Columns) -> tuple[Space | None, list[str]]:
    """Space that the columns' names say, or else comments."""
    said = {(word or _SLICER_SPACES.get(code, code)).upper() for word, code in _SPACE.findall("\n".join(comments))}
    if "IJK" in said:
        raise InputError(str(path), "voxel indices (IJK)", "mm in RAS or LPS", "save it in RAS or LPS")
    if columns.space is not None:
        return columns.space, []
    if len(said) > 1:
        return None, ["its comments name both RAS and LPS, and neither was heeded"]
    found: Space | None = "LPS" if "LPS" in said else "RAS" if said else None
    return found, ["coordinates are LPS, as a comment says"] if found == "LPS" else []
