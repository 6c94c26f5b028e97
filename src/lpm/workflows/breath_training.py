"""Pairs of written fits, from which a breath model is learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lpm.batch.table import read_cells
from lpm.errors import FileError, InputError
from lpm.fitting.written import read_fit
from lpm.model.bundle import ModelBundle
from lpm.motion.prediction import BreathModel, Pair, learn_breath
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
    folders, pairs = list(found_pairs(given)), []
    _check_once(given, folders)
    for number, (expiration, inspiration) in enumerate(folders):
        tell(f"pair {number + 1} of {len(folders)}", number / len(folders))
        pairs.append(_pair(model, expiration, inspiration))
    return learn_breath(model, pairs)


def _check_once(given: Path, pairs: Sequence[tuple[Path, Path]]) -> None:
    """Refuse a fit that two pairs have: a patient would count for two."""
    named = [fit for pair in pairs for fit in {each.resolve() for each in pair}]
    if twice := sorted({fit.name for fit in named if named.count(fit) > 1}):
        what, hint = f"{', '.join(twice)} in more than one pair", "remove the rows that repeat a fit"
        raise InputError(str(given), what, "each fit once", hint)


def _pair(model: ModelBundle, expiration: Path, inspiration: Path) -> Pair:
    """A pair of fits; an error says which."""
    fields = read_fit(expiration, model), read_fit(inspiration, model)
    try:
        return Pair.of(*fields)
    except InputError as error:
        raise InputError(f"{expiration} and {inspiration}", error.given, error.expected, error.hint) from error


def found_pairs(given: Path) -> Iterator[tuple[Path, Path]]:
    """Folders of fits in expiration and inspiration, of one patient each.

    Args:
        given: A .csv with columns expiration and inspiration, whose paths are relative to it; or a folder of patients'
            folders with fits in `expiration` and `inspiration`, or `exp` and `insp`.

    Raises:
        FileError: It does not exist, or a row or folder lacks one of the two.
        InputError: A table without the columns.
    """
    if given.is_dir():
        patients = sorted(path for path in given.iterdir() if path.is_dir() and not path.name.startswith("."))
        yield from ((_state(patient, "expiration"), _state(patient, "inspiration")) for patient in patients)
        return
    columns, rows = read_cells(given)
    lower = [column.lower() for column in columns]
    if missing := [state for state in _STATES if state not in lower]:
        raise InputError(str(given), f"no column {' and no column '.join(missing)}", "columns expiration, inspiration")
    for line, cells in rows:
        row = dict(zip(lower, cells, strict=True))
        if empty := [state for state in _STATES if not row[state]]:
            raise FileError(f"{given}, line {line}", f"no {' and no '.join(empty)}", "two folders of fits")
        yield given.parent / row["expiration"], given.parent / row["inspiration"]


def _state(patient: Path, state: str) -> Path:
    found = next((patient / name for name in _STATES[state] if (patient / name).is_dir()), None)
    if found is None:
        raise FileError(str(patient), f"no folder {' or '.join(_STATES[state])}", "a fit in each state")
    return found
