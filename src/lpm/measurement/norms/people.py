"""Age, sex and body height of subjects, as a table or a person gives them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lpm.batch.subjects import SubjectTable, read_subject_table
from lpm.calibration import span
from lpm.errors import InputError
from lpm.files.clouds.text import is_number, with_points

_COLUMNS = {
    "age": "age",
    "age_years": "age",
    "sex": "sex",
    "height": "height",
    "height_cm": "height",
    "body_height_cm": "height",
}
_SEXES = {"f": 0.0, "female": 0.0, "m": 1.0, "male": 1.0}  # codes, between which a difference is one
_AGES = span("measurement.age_years")
_HEIGHTS = span("measurement.body_height_cm")
COVARIATES = ("age", "sex", "height")
"""What norms may depend on: age in years, sex (0 female, 1 male), body height in cm."""

Person = Mapping[str, float]
"""Of one subject, what is known: values by covariate."""


@dataclass(frozen=True)
class People:
    """A table of subjects.

    Args:
        covariates: Those that the table has columns of, in the order of `COVARIATES`.
        rows: By subject, what is known of it.
        notes: What was assumed of it.
    """

    covariates: tuple[str, ...]
    rows: Mapping[str, Person]
    notes: tuple[str, ...] = ()


def read_people(path: Path, subjects: Iterable[str] = ()) -> People:
    """Read a table of subjects: a column ``case`` or ``subject``, and any of ``age``, ``sex``, ``height``.

    Args:
        path: A .csv. Ages in years, sexes F or M, body heights in cm; empty cells are unknown. Further columns are
            ignored.
        subjects: Names of the subjects that it is about; they may be spelt a little otherwise in it.

    Raises:
        FileError: It cannot be read.
        InputError: No column of subjects, none of the covariates, two of one kind, a subject twice, or a cell that
            cannot be read; its subject is named.
    """
    table, notes = read_subject_table(path).called_as(subjects)
    columns = {column: _COLUMNS[column.lower()] for column in table.columns if column.lower() in _COLUMNS}
    if not columns:
        given = f"columns {', '.join(table.columns) or 'none'} beside the subjects'"
        hint = "call the columns age, sex, height; or leave --table out"
        raise InputError(str(path), given, "any of age (years), sex (F, M), height (cm)", hint)
    kinds = list(columns.values())
    if len(set(kinds)) < len(kinds):
        given = f"two columns of one kind among {', '.join(columns)}"
        raise InputError(str(path), given, "one of each", "remove one, or call it otherwise")
    cells = {kind: _pointed(table, column) for column, kind in columns.items()}
    found = {
        name: person_of({kind: own.get(name) for kind, own in cells.items()}, f"{path}, {name}") for name in table.rows
    }
    return People(tuple(each for each in COVARIATES if each in kinds), found, tuple(notes))


def _pointed(table: SubjectTable, column: str) -> dict[str, str]:
    """Cells of a column by subject, those that are known, with decimal points in place of decimal commas."""
    cells = table.text(column)
    numbers = {name: cell for name, cell in cells.items() if is_number(cell)}
    pointed, _ = with_points(f"{table.source}, column {column!r}", [[cell] for cell in numbers.values()])
    return cells | {name: cell for name, (cell,) in zip(numbers, pointed, strict=True)}


def person_of(given: Mapping[str, str | float | None], subject: str) -> Person:
    """Check what is said of a person.

    Args:
        given: Values by covariate; empty or None where unknown.
        subject: Name for messages.

    Raises:
        InputError: Text in place of a number, a number that cannot be, or an unknown code of a sex.
    """
    read = {"age": _age, "sex": _sex, "height": _height}
    cells = {kind: "" if value is None else str(value).strip() for kind, value in given.items()}
    return {kind: read[kind](cell, f"{subject}, {kind}") for kind, cell in cells.items() if cell}


def _sex(cell: str, where: str) -> float:
    if cell.lower() not in _SEXES:
        raise InputError(where, repr(cell), "F or M (female, male)", "write F or M; leave it empty where it is unknown")
    return _SEXES[cell.lower()]


def _age(cell: str, where: str) -> float:
    return _within(_number(cell, where), _AGES, where, "years")


def _height(cell: str, where: str) -> float:
    value = _number(cell, where)
    hint = "metres? write cm" if _HEIGHTS[0] <= 100.0 * value <= _HEIGHTS[1] else ""
    return _within(value, _HEIGHTS, where, "cm", hint)


def _number(cell: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise InputError(where, repr(cell), "a number", "leave it empty where it is unknown") from None
    if not math.isfinite(value):
        raise InputError(where, repr(cell), "a finite number", "leave it empty where it is unknown")
    return value


def _within(value: float, ends: tuple[float, float], where: str, unit: str, hint: str = "") -> float:
    if not ends[0] <= value <= ends[1]:
        raise InputError(where, f"{value:g}", f"{ends[0]:g} to {ends[1]:g} {unit}", hint)
    return value
