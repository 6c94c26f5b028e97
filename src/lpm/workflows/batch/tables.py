"""The tables of a run: cases.csv and shapes.csv, whole at any time."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lpm.errors import FileError
from lpm.files.atomic import write_text
from lpm.workflows.batch.record import CaseRecord

CASES, SHAPES = "cases.csv", "shapes.csv"
COLUMNS = ("case", "input", "status", "notes", "seconds", "error")
_FIRST_OF_SHAPES = ("case", "mahalanobis")
_PAUSE = 20  # times as long as writing the tables takes, before they are written again: a twentieth of the time


@dataclass(frozen=True)
class CaseOutcome:
    """Outcome of one case of a run.

    Args:
        case: Its name.
        input: What it was made from.
        status: Whether it was finished.
        seconds: Wall time, of the run that finished it.
        notes: What a reader must know.
        error: Why it failed.
        shape: Row of shapes.csv; empty if it failed, or was not a fit.
        is_kept: Whether an earlier run had finished it, with the same input, options and model.
        trace: The traceback of a failure that LPM did not foresee.
    """

    case: str
    input: tuple[str, ...]
    status: Literal["done", "failed"]
    seconds: float
    notes: tuple[str, ...] = ()
    error: str = ""
    shape: Mapping[str, float] = field(default_factory=dict)
    is_kept: bool = False
    trace: str = ""

    @classmethod
    def of(cls, record: CaseRecord, *, is_kept: bool) -> CaseOutcome:
        """The outcome of a finished case."""
        return cls(record.case, record.input, "done", record.seconds, record.notes, shape=record.shape, is_kept=is_kept)

    def row(self) -> dict[str, str]:
        """Return the row of cases.csv."""
        values = (self.case, "; ".join(self.input), self.status, "; ".join(self.notes), f"{self.seconds:.1f}")
        return dict(zip(COLUMNS, (*values, self.error), strict=True))


class Tables:
    """Tables of the cases that have ended so far, sorted by name; each is replaced in one step.

    Args:
        out: Output folder.
        earlier: Cases that an earlier run finished; each stands until it ends in this run.
    """

    def __init__(self, out: Path, earlier: Iterable[CaseOutcome] = ()) -> None:
        self._out = out
        self._outcomes = {outcome.case: outcome for outcome in earlier}
        self._due = 0.0

    def add(self, outcome: CaseOutcome) -> None:
        """Take up a case that ended, and write the tables unless they were written just now."""
        self._outcomes[outcome.case] = outcome
        if time.monotonic() >= self._due:
            self.write()

    def write(self) -> None:
        """Write both tables; shapes.csv only if there are shapes."""
        started = time.monotonic()
        outcomes = [self._outcomes[name] for name in sorted(self._outcomes)]
        write_text(self._out / CASES, _text(COLUMNS, [outcome.row() for outcome in outcomes]))
        shapes: list[dict[str, str]] = [
            {"case": one.case} | {name: f"{value:.6g}" for name, value in one.shape.items()}
            for one in outcomes
            if one.shape
        ]
        if shapes:
            columns = list(dict.fromkeys(name for row in shapes for name in row))
            write_text(self._out / SHAPES, _text(columns, shapes))
        else:
            (self._out / SHAPES).unlink(missing_ok=True)
        ended = time.monotonic()
        self._due = ended + _PAUSE * (ended - started)


def check_output(out: Path, names: Sequence[str]) -> None:
    """Refuse an output folder in which something would be lost.

    Args:
        out: Output folder.
        names: Names of the cases.

    Raises:
        FileError: It is a file, its tables are not those of an earlier run, or it holds finished cases that are not
            among these, whose rows the tables would lose.
    """
    if out.exists() and not out.is_dir():
        raise FileError(str(out), "is a file", "a folder for many cases", "choose another --out")
    for name, first in ((CASES, COLUMNS), (SHAPES, _FIRST_OF_SHAPES)):
        if tuple(_header(out / name)[: len(first)]) not in {first, ()}:
            given = "is not a table that an earlier run wrote, and would be replaced"
            raise FileError(str(out / name), given, "a folder that is new, or an earlier run's", "choose another --out")
    if others := sorted(case for case in _done(out / CASES) if case not in names and (out / case).is_dir()):
        given = f"holds {len(others)} other finished cases ({', '.join(others[:3])}{' ...' if len(others) > 3 else ''})"
        hint = "choose another --out, or name all inputs and --resume"
        raise FileError(str(out), given, "only cases of this run", hint)


def _header(path: Path) -> list[str]:
    return next(iter(_rows(path)), [])


def _done(path: Path) -> list[str]:
    """Cases that a table says to be done."""
    found = (dict(zip(COLUMNS, row, strict=False)) for row in _rows(path)[1:])
    return [row["case"] for row in found if row.get("status") == "done"]


def _rows(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(str(path), f"cannot be read ({error})", "a table of an earlier run") from error


def _text(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
