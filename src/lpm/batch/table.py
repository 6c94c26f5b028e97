"""A table of cases: a .csv that names each case and its files."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lpm.batch.kinds import Kind
from lpm.errors import FileError, InputError

_NAMES = ("case", "subject")
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
    return not kind.is_name(path) or bool(set(kind.files) & set(read_cells(path)[0]))


def rows_of_table(path: Path, kind: Kind) -> Iterator[Row]:
    """Read a table of cases.

    Args:
        path: A .csv in UTF-8; commas, semicolons or tabs between its cells.
        kind: Its columns.

    Raises:
        FileError: It cannot be read.
        InputError: A column is missing or misspelt, or a row has no name, no file, or more cells than the header.
    """
    columns, rows = read_cells(path)
    name = next((column for column in _NAMES if column in columns), None)
    files = [column for column in kind.files if column in columns]
    if name is None or not files:
        missing = [*([] if name else [" or ".join(_NAMES)]), *([] if files else [" or ".join(kind.files)])]
        given = f"no column {' and no column '.join(missing)}"
        raise InputError(str(path), given, f"columns case and {', '.join(kind.files)}")
    others = [column for column in columns if column not in {name, *files}]
    if not kind.keeps_others:
        _refuse_misspelt(path, others, (*kind.files, *kind.values))
    for number, cells in rows:
        if len(cells) > len(columns):
            raise InputError(f"{path}, line {number}", f"{len(cells)} cells", f"{len(columns)}, as in the header")
        row = {column: cell.strip() for column, cell in zip(columns, cells, strict=False) if cell.strip()}
        own = {column: path.parent / row[column] for column in files if column in row}
        if name not in row or not own:
            given = f"{name} {row.get(name, '')!r}, {', '.join(files)} {[*own] or ''!r}"
            raise InputError(f"{path}, line {number}", given, "a plain name and a path")
        yield Row(row[name], own, {column: row[column] for column in others if column in row})


def read_cells(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Read a table's cells.

    Args:
        path: A .csv in UTF-8; commas, semicolons or tabs between its cells.

    Returns:
        Columns, and rows with their line numbers; empty rows are passed over.

    Raises:
        FileError: It cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            separator = max(",;\t", key=first.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=separator)
            rows = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(str(path), f"cannot be read ({error})", "a .csv in UTF-8") from error
    columns = [cell.strip() for cell in rows[0][1]] if rows else []
    return columns, rows[1:]


def _refuse_misspelt(path: Path, others: Sequence[str], known: Sequence[str]) -> None:
    for column in (column for column in others if column not in known):
        if near := difflib.get_close_matches(column, known, n=1, cutoff=_LIKE):
            raise InputError(str(path), f"a column {column!r}", near[0], f"call it {near[0]}, or by another name")
