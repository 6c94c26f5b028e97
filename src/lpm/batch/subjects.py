"""The table of a study or a cohort: a row a subject, with what is known of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from lpm.batch.table import name_column, read_cells
from lpm.errors import InputError
from lpm.files.clouds.text import is_number, with_points
from lpm.files.meshes import READ_SUFFIXES
from lpm.files.volumes import VOLUME_SUFFIXES, volume_stem

_UNKNOWN = ("", "na", "n/a", "nan", "none", "null", "-", ".", "?")
_SHOWN = 5  # names that a message gives


@dataclass(frozen=True)
class SubjectTable:
    """What is known of subjects.

    Args:
        source: The file, for messages.
        rows: By subject, in the file's order: cells by column, as written.
    """

    source: str
    rows: Mapping[str, Mapping[str, str]]

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(next(iter(self.rows.values())))

    def check_columns(self, names: Iterable[str]) -> None:
        """Refuse names of columns that are not there.

        Raises:
            InputError: One is not there.
        """
        for name in names:
            if name not in self.columns:
                near = next((each for each in self.columns if each.lower() == name.lower()), None)
                hint = f"write {near}" if near else "name one of these, or add it to the table"
                raise InputError(
                    self.source, f"no column {name!r}", f"one of {', '.join(self.columns) or 'none'}", hint
                )

    def called_as(self, names: Iterable[str]) -> tuple[SubjectTable, list[str]]:
        """The same with its subjects called as fits are, where they are spelt a little otherwise, and notes on them.

        An ending such as ``.nii.gz``, folders before the name, capitals, and the zeros that spreadsheets take from
        ``007`` make no difference, as long as only one fit can be meant.

        Args:
            names: Of the fits.
        """
        fits = list(names)
        rows, free = set(self.rows), [name for name in fits if name not in self.rows]
        others = list(rows.difference(fits))
        of_fits, of_rows = ({_key(name): name for name in each} for each in (free, others))
        counts = [Counter(map(_key, each)) for each in (free, others)]
        taken = {
            of_rows[key]: fit for key, fit in of_fits.items() if all(count[key] == 1 for count in counts)
        }  # by row
        if not taken:
            return self, []
        said = [f"{row!r} is {taken[row]!r}" for row in self.rows if row in taken]
        note = f"subjects of the table that are spelt otherwise than fits: {listed(said)}"
        return replace(self, rows={taken.get(name, name): row for name, row in self.rows.items()}), [note]

    def text(self, column: str) -> dict[str, str]:
        """Cells of a column by subject, as written; without those that are unknown."""
        cells = {subject: row[column] for subject, row in self.rows.items()}
        return {subject: cell for subject, cell in cells.items() if cell.lower() not in _UNKNOWN}

    def numbers(self, column: str, subjects: Iterable[str]) -> tuple[dict[str, float], list[str]]:
        """Numbers of a column by subject, without those that are unknown, and what was assumed of them.

        Text with exactly two values, such as F and M, becomes 0 and 1 in the order of the table.

        Args:
            column: Its name.
            subjects: Those that are asked for.

        Raises:
            InputError: Text among numbers, text of more values, or numbers that can be read in two ways.
        """
        wanted = set(subjects)
        cells = {subject: cell for subject, cell in self.text(column).items() if subject in wanted}
        odd = [subject for subject, cell in cells.items() if not is_number(cell)]
        kinds = list(dict.fromkeys(cells.values()))
        if cells and len(odd) == len(cells) and len(kinds) == 2:
            note = f"{column}: {kinds[0]} counts as 0, {kinds[1]} as 1"
            return {subject: float(kinds.index(cell)) for subject, cell in cells.items()}, [note]
        if odd:
            found = ", ".join(f"{cells[subject]!r} of {subject}" for subject in odd[:_SHOWN])
            hint = "correct the cells, leave them empty, or compare groups with --group"
            raise InputError(f"{self.source}, column {column!r}", f"text: {found}", "numbers", hint)
        rows, notes = with_points(f"{self.source}, column {column!r}", [[cell] for cell in cells.values()])
        return {subject: float(row[0]) for subject, row in zip(cells, rows, strict=True)}, [
            f"{column}: {note}" for note in notes
        ]


def read_subject_table(path: Path) -> SubjectTable:
    """Read a table of subjects.

    Args:
        path: A .csv with a header; commas, semicolons or tabs between the cells, decimal points or commas. The column
            `case`, or else `subject`, names the subjects as the folders of the fits are called. Columns without a
            name are passed over.

    Raises:
        FileError: It cannot be read.
        InputError: No rows, no column of subjects, a column or a subject twice, or more cells than names.
    """
    columns, rows = read_cells(path)
    if not rows:
        given, hint = "no rows" if columns else "an empty table", "such as case,group and below it p01,a"
        raise InputError(str(path), given, "a header, and a line a subject", hint)
    if twice := sorted({name for name in columns if name and columns.count(name) > 1}):
        raise InputError(str(path), f"several columns {twice[0]!r}", "names that differ", "rename or remove them")
    name = name_column(columns)
    if name is None:
        given = f"columns {', '.join(columns)}"
        raise InputError(str(path), given, "a column case or subject", "call the one with the subjects' names so")
    found: dict[str, dict[str, str]] = {}
    for line, cells in rows:
        row = {column: cell for column, cell in zip(columns, cells, strict=True) if column}
        subject, where = row.pop(name), f"{path}, line {line}"
        if not subject:
            raise InputError(where, "names no subject", "a name in each row", "remove it, or name it")
        if subject in found:
            raise InputError(where, f"{subject!r} twice", "a row a subject", "remove one of the rows")
        found[subject] = row
    return SubjectTable(str(path), found)


def listed(names: Iterable[str]) -> str:
    """Names in words: the first of them, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more


def _key(name: str) -> str:
    """What is left of a subject's name without folders, ending, capitals, and zeros before a number."""
    last = PurePosixPath(name.replace("\\", "/")).name
    is_file = last.lower().endswith((*VOLUME_SUFFIXES, *READ_SUFFIXES))
    key = (volume_stem(Path(last)) if is_file else last).casefold()
    return key.lstrip("0") or "0" if key.isdecimal() else key
