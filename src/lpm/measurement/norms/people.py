"""Age, sex and body height of subjects, as a table or a person gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lpm.batch.table import read_cells
from lpm.calibration import span
from lpm.errors import InputError

_SUBJECT = ("subject", "case")
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
    """

    covariates: tuple[str, ...]
    rows: Mapping[str, Person]


def read_people(path: Path) -> People:
    """Read a table of subjects: a column ``subject`` (or ``case``), and any of ``age``, ``sex``, ``height``.

    Args:
        path: A .csv in UTF-8. Ages in years, sexes F or M, body heights in cm; empty cells are unknown. Further
            columns are ignored.

    Raises:
        FileError: It cannot be read.
        InputError: No column of subjects, none of the covariates, two of one kind, a subject twice, or a cell that
            cannot be read; its line is named.
    """
    columns, rows = read_cells(path)
    lower = [column.lower() for column in columns]
    subject = next((name for name in _SUBJECT if name in lower), None)
    known = [(index, _COLUMNS[column]) for index, column in enumerate(lower) if column in _COLUMNS]
    if subject is None or not known:
        given = f"columns {', '.join(columns) or 'none'}"
        raise InputError(str(path), given, "a column subject, and any of age (years), sex (F, M), height (cm)")
    kinds = [kind for _, kind in known]
    if len(set(kinds)) < len(kinds):
        raise InputError(str(path), f"two columns of one kind among {', '.join(columns)}", "one of each")
    found: dict[str, Person] = {}
    for line, cells in rows:
        where = f"{path}, line {line}"
        row = {column: cell.strip() for column, cell in zip(lower, cells, strict=False)}
        name = row.get(subject, "")
        if not name or name in found:
            raise InputError(where, f"subject {name!r}{' again' if name else ''}", "each subject once")
        found[name] = person_of({kind: row.get(lower[index], "") for index, kind in known}, where)
    return People(tuple(each for each in COVARIATES if each in kinds), found)


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
