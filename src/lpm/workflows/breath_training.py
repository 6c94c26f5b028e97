"""Pairs of written fits, from which a breath model is learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lpm.batch.table import read_cells
from lpm.errors import FileError, InputError, about
from lpm.fitting.fitted_field import FittedField
from lpm.fitting.written import read_fit
from lpm.model.bundle import ModelBundle
from lpm.motion.prediction import BreathModel, Pair, check_pairs, check_same, learn_breath
from lpm.workflows.outcome import Tell, silent

_STATES = {"expiration": ("expiration", "exp"), "inspiration": ("inspiration", "insp")}


def train_breath(model: ModelBundle, given: Path, tell: Tell = silent) -> BreathModel:
    """Learn a breath model from pairs of written fits.

    Args:
        model: The model that was fitted.
        given: A .csv, or a folder, as `found_pairs` reads them.
        tell: Told what is being done.

    Raises:
        FileError: A file or fit is missing or damaged.
        InputError: Too few pairs, a fit that is in two pairs, or fits that do not belong together.
    """
    folders = found_pairs(given)
    with about(str(given)):
        check_pairs(len(folders))
    fields = [tuple(read_fit(folder, model) for folder in states) for states in folders]
    _check_patients(folders, fields)
    pairs = []
    for number, (states, seen) in enumerate(zip(folders, fields, strict=True)):
        tell(f"pair {number + 1} of {len(folders)}", number / len(folders))
        with about(" and ".join(map(str, states))):
            pairs.append(Pair.of(*seen))
            check_same(pairs[0], pairs[-1])
    return learn_breath(model, pairs)


def _check_patients(folders: Sequence[tuple[Path, Path]], fields: Sequence[tuple[FittedField, ...]]) -> None:
    """Refuse a fit that is of two pairs: a patient counts once."""
    seen: dict[bytes, tuple[int, Path]] = {}
    for number, (states, pair) in enumerate(zip(folders, fields, strict=True)):
        for folder, field in zip(states, pair, strict=True):
            other, first = seen.setdefault(field.digest, (number, folder))
            if other != number:
                given, hint = f"the same fit as {first}, of another pair", "name each patient once"
                raise InputError(str(folder), given, "two fits of a patient in one pair only", hint)


def found_pairs(given: Path) -> list[tuple[Path, Path]]:
    """Folders of fits in expiration and inspiration, of one patient each.

    Args:
        given: A .csv with columns expiration and inspiration, whose paths are relative to it; or a folder of patients'
            folders with fits in `expiration` and `inspiration`, or `exp` and `insp`.

    Raises:
        FileError: It does not exist, or rows or folders lack one of the two; all of them are named.
        InputError: A table without the columns.
    """
    found, lacking = _pairs_below(given) if given.is_dir() else _pairs_of_table(given)
    if lacking:
        raise FileError(str(given), "; ".join(lacking), "a fit in each state", "fit the other state, or remove these")
    return found


def _pairs_below(given: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Pairs of patients' folders, and what others lack."""
    patients = sorted(path for path in given.iterdir() if path.is_dir() and not path.name.startswith("."))
    states = {patient: [_state(patient, names) for names in _STATES.values()] for patient in patients}
    lacking = [
        f"{patient.name} has no folder {' or '.join(names)}"
        for patient, own in states.items()
        for names, folder in zip(_STATES.values(), own, strict=True)
        if folder is None
    ]
    return [(first, second) for first, second in states.values() if first and second], lacking


def _state(patient: Path, names: Sequence[str]) -> Path | None:
    return next((patient / name for name in names if (patient / name).is_dir()), None)


def _pairs_of_table(given: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Pairs of rows, and what others lack."""
    columns, rows = read_cells(given)
    lower = [column.lower() for column in columns]
    if missing := [state for state in _STATES if state not in lower]:
        said, hint = f"no column {' and no column '.join(missing)}", "name a folder of a fit in each, relative to it"
        raise InputError(str(given), said, "columns expiration, inspiration", hint)
    cells = {line: dict(zip(lower, own, strict=True)) for line, own in rows}
    lacking = [f"line {line} has no {state}" for line, row in cells.items() for state in _STATES if not row[state]]
    return [(given.parent / row["expiration"], given.parent / row["inspiration"]) for row in cells.values()], lacking
