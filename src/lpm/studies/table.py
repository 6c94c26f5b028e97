"""The table of a study: a row a subject, with what is known of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lpm.errors import FileError, InputError
from lpm.files.clouds.text import comments_and_lines, decoded, is_number, rows_of, with_points

_NAMES = ("case", "subject")
_UNKNOWN = ("", "na", "n/a", "nan", "none", "null", "-", ".", "?")
_SHOWN = 5  # subjects that an error names


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
                raise InputError(self.source, f"no column {name!r}", f"one of {', '.join(self.columns)}")

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
            `case` or `subject` names the subjects as the folders of the fits are called.

    Raises:
        FileError: It cannot be read.
        InputError: No rows, no column of subjects, a column or a subject twice, or more cells than names.
    """
    try:
        _, lines = comments_and_lines(decoded(path.read_bytes()))
    except (OSError, UnicodeError) as error:
        raise FileError(str(path), f"cannot be read ({error})", "a table of subjects (.csv)") from error
    rows = rows_of(lines)[0]
    if len(rows) < 2:
        raise InputError(str(path), f"{len(rows)} lines", "a header, and a line a subject")
    header, body = rows[0], rows[1:]
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise InputError(str(path), f"several columns {twice[0]!r}", "names that differ", "rename or remove them")
    name = next((column for column in header if column.lower() in _NAMES), None)
    if name is None:
        raise InputError(str(path), f"columns {', '.join(header)}", "a column case or subject", "name the subjects' so")
    return SubjectTable(str(path), _by_subject(str(path), header, name, body))


def _by_subject(source: str, header: list[str], name: str, body: list[list[str]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for number, cells in enumerate(body, start=2):
        if len(cells) > len(header):
            given = f"row {number} has {len(cells)} cells: decimal commas between commas?"
            hint = "save it with ; between the cells, or with decimal points"
            raise InputError(source, given, f"{len(header)}, as the header", hint)
        row = dict(zip(header, [*cells, *[""] * (len(header) - len(cells))], strict=True))
        subject = row.pop(name)
        if not subject:
            raise InputError(source, f"row {number} names no subject", "a name in each row", "remove it, or name it")
        if subject in found:
            raise InputError(source, f"{subject!r} twice", "a row a subject", "remove one of the rows")
        found[subject] = row
    return found
