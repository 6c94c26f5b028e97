"""A table of cases: a .csv that names each case and its files."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lpm.batch.kinds import Kind
from lpm.errors import FileError, InputError
from lpm.files.clouds.text import decoded

_NAMES = ("case", "subject")
_OPENINGS = tuple(f"{quote}sep={mark}{quote}" for quote in ("", '"') for mark in ",;\t")  # Excel's own first line
_Rows = list[tuple[int, list[str]]]  # cells of rows, and the line that each ends on
_SHEETS = (".xlsx", ".xls", ".ods")
_LIKE = 0.7  # difflib's ratio above which a column is a known one, misspelt: mm_per_pixel is mm_per_px


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Args:
        name: Name of the case.
        files: Its files by column; relative paths are taken from the table's folder.
        values: Its further values by column, without empty ones.
    """

    name: str
    files: dict[str, Path]
    values: dict[str, str]


def is_case_table(path: Path, kind: Kind) -> bool:
    """Whether a file is a table of cases: a .csv, which names files in its header if it could be of another kind."""
    if path.suffix.lower() != ".csv":
        return False
    return not kind.is_name(path) or bool(set(kind.files) & set(_header(_read(path)[1])))


def rows_of_table(path: Path, kind: Kind) -> Iterator[Row]:
    """Read a table of cases.

    Args:
        path: A .csv, as `read_cells` reads it.
        kind: Its columns.

    Raises:
        FileError: It cannot be read.
        InputError: A column is missing or misspelt, or a row has no name, no file, or more cells than the header.
    """
    columns, rows = read_cells(path)
    name = name_column(columns)
    files = [column for column in kind.files if column in columns]
    if name is None or not files:
        missing = [*([] if name else [" or ".join(_NAMES)]), *([] if files else [" or ".join(kind.files)])]
        given = f"no column {' and no column '.join(missing)}"
        raise InputError(str(path), given, f"columns case and {', '.join(kind.files)}")
    others = [column for column in columns if column not in {name, *files}]
    if not kind.keeps_others:
        _refuse_misspelt(path, others, (*kind.files, *kind.values))
    for number, cells in rows:
        row = {column: cell for column, cell in zip(columns, cells, strict=True) if cell}
        own = {column: path.parent / row[column] for column in files if column in row}
        if name not in row or not own:
            given = f"{name} {row.get(name, '')!r}, {', '.join(files)} {[*own] or ''!r}"
            raise InputError(f"{path}, line {number}", given, "a plain name and a path")
        yield Row(row[name], own, {column: row[column] for column in others if column in row})


def name_column(columns: Sequence[str]) -> str | None:
    """The column that names cases: `case`, or else `subject`, however it is spelt; None if there is none."""
    return next((column for name in _NAMES for column in columns if column.lower() == name), None)


def read_cells(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Read a table's cells.

    Args:
        path: A .csv in UTF-8, or as spreadsheets write it (UTF-16, Windows' code page); commas, semicolons or tabs
            between its cells.

    Returns:
        Columns, and rows with their line numbers, as long as the header; empty rows are passed over.

    Raises:
        FileError: It cannot be read.
        InputError: A row has more cells than the header.
    """
    separator, rows = _read(path)
    columns = _header(rows)
    for line, cells in rows[1:]:
        if len(cells) > len(columns):
            are_split = separator == "," and all(any(cell.isdecimal() for cell in own) for _, own in rows[1:])
            given = f"{len(cells)} cells" + (": decimal commas between commas?" if are_split else "")
            hint = "save it with ; between the cells, or with decimal points" if are_split else ""
            raise InputError(f"{path}, line {line}", given, f"{len(columns)}, as in the header", hint)
    return columns, [(line, [*cells, *[""] * (len(columns) - len(cells))]) for line, cells in rows[1:]]


def _read(path: Path) -> tuple[str, _Rows]:
    try:
        return _split(decoded(path.read_bytes()))
    except (OSError, UnicodeError, csv.Error) as error:
        hint = "save the sheet as .csv" if path.suffix.lower() in _SHEETS else ""
        raise FileError(str(path), f"cannot be read ({error})", "a .csv in UTF-8", hint) from error


def _header(rows: _Rows) -> list[str]:
    return rows[0][1] if rows else []


def _split(text: str) -> tuple[str, _Rows]:
    """What separates cells, and rows with their line numbers, without empty rows and empty cells at the end."""
    opening, _, rest = text.partition("\n")
    has_opening = opening.strip("\r").lower() in _OPENINGS
    first = opening if not has_opening else rest.partition("\n")[0]
    separator = opening.strip('\r"')[-1] if has_opening else max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(rest if has_opening else text, newline=""), delimiter=separator)
    rows = []
    for row in reader:
        cells = [cell.strip() for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            rows.append((reader.line_num + has_opening, cells))
    return separator, rows


def _refuse_misspelt(path: Path, others: Sequence[str], known: Sequence[str]) -> None:
    for column in (column for column in others if column not in known):
        if near := difflib.get_close_matches(column, known, n=1, cutoff=_LIKE):
            raise InputError(str(path), f"a column {column!r}", near[0], f"call it {near[0]}, or by another name")
