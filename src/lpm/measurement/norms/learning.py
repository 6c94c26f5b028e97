"""Learning a norm from measures of subjects, and from their age, sex and body height."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from lpm.batch.subjects import listed
from lpm.calibration import count, number
from lpm.errors import InputError
from lpm.geometry.frames import Floats
from lpm.measurement.norms.norm import CovariateRange, MeasureNorm, Norm
from lpm.measurement.norms.people import People
from lpm.records import made_with, now

_LEAST_FREEDOM = count("measurement.norm_least_freedom")
_SKEWED = number("measurement.norm_skewed")
_FEW = count("measurement.norm_few")
_FLAT = 1e-9  # of the largest value: less spread is that of rounding
_SINGULAR = 1e6  # condition of the scaled design from which covariates say the same

Values = Mapping[str, Mapping[str, float]]


def learn_norm(values: Values, people: People | None = None) -> Norm:
    """Learn what lungs of a cohort measure.

    Each measure follows a line in the covariates, with a normal spread about it; where that spread is skewed, and less
    so for the logarithm, it is the logarithm that follows a line.

    Args:
        values: Measures by subject and name.
        people: Age, sex, body height of the subjects, if the norm is to depend on them.

    Returns:
        The norm; its notes say which subjects, covariates and measures were left out.

    Raises:
        InputError: Too few subjects, none that the table names, or covariates that cannot be told apart.
    """
    names, notes = _subjects(values, people)
    covariates, said = _covariates(names, people)
    _check_enough(names, len(covariates))
    design = np.column_stack([np.ones(len(names)), *(column - column.mean() for column in covariates.values())])
    spread = _spread(design, list(covariates))
    measures, lost = _measures([values[name] for name in names], design, spread)
    few = [f"{len(names)} subjects: centiles near 0 and 100 rest on the normal distribution"][: len(names) < _FEW]
    return Norm(
        made_with=made_with(),
        made_at=now(),
        n_subjects=len(names),
        covariates={name: _range(column) for name, column in covariates.items()},
        spread=tuple(tuple(row) for row in spread.tolist()),
        measures=measures,
        notes=(*notes, *said, *lost, *few),
    )


def _subjects(values: Values, people: People | None) -> tuple[list[str], list[str]]:
    """Subjects of whom everything is known, and notes on the others."""
    if people is None:
        return list(values), []
    without = [name for name in values if name not in people.rows]
    partly = [n for n in values if n in people.rows and any(c not in people.rows[n] for c in people.covariates)]
    known = [name for name in values if name not in {*without, *partly}]
    if not known:
        hint = f"call the subjects as lpm measure does: {listed(values)}"
        raise InputError("norm", f"no subject with {', '.join(people.covariates)} in the table", "some", hint)
    others = [name for name in people.rows if name not in values]
    said = {"not in the table, left out": without, "with empty cells, left out": partly, "in the table only": others}
    return known, [*people.notes, *(f"{len(found)} {why}: {', '.join(found)}" for why, found in said.items() if found)]


def _covariates(names: Sequence[str], people: People | None) -> tuple[dict[str, Floats], list[str]]:
    """Columns of covariates; those that are the same for all have a note instead."""
    if people is None:
        return {}, []
    columns = {each: np.array([people.rows[name][each] for name in names]) for each in people.covariates}
    same = [each for each, column in columns.items() if np.ptp(column) == 0]
    kept = {each: column for each, column in columns.items() if each not in same}
    return kept, [f"{each} is the same for all subjects: the norm does not depend on it" for each in same]


def _check_enough(names: Sequence[str], n_covariates: int) -> None:
    least = _LEAST_FREEDOM + 1 + n_covariates
    if len(names) < least:
        expected = f"at least {least}" + (f", with {n_covariates} covariates" if n_covariates else "")
        given = "1 subject" if len(names) == 1 else f"{len(names)} subjects"
        raise InputError("norm", given, expected, "measure more, or use fewer covariates")


def _spread(design: Floats, covariates: Sequence[str]) -> Floats:
    scaled = design / np.linalg.norm(design, axis=0)
    if np.linalg.cond(scaled) > _SINGULAR:
        given = f"{' and '.join(covariates)} say the same of all subjects"
        raise InputError("norm", given, "covariates that differ", "leave one of the columns out of the table")
    return np.asarray(np.linalg.inv(design.T @ design))


def _measures(
    rows: Sequence[Mapping[str, float]], design: Floats, spread: Floats
) -> tuple[dict[str, MeasureNorm], list[str]]:
    every = dict.fromkeys(name for row in rows for name in row)
    whole = [name for name in every if all(np.isfinite(row.get(name, np.nan)) for row in rows)]
    lost = [name for name in every if name not in whole]
    if not whole:
        hint = "name the fits of lungs only"
        raise InputError("norm", "no measure that all subjects have", "subjects of the same structures", hint)
    found = {name: _measure(np.array([row[name] for row in rows]), design, spread) for name in whole}
    return found, [f"{len(lost)} measures that some subjects lack, left out: {listed(lost)}"] if lost else []


def _measure(values: Floats, design: Floats, spread: Floats) -> MeasureNorm:
    plain = _line(values, design, spread, is_log=False)
    if values.min() <= 0 or plain.sd == 0:
        return plain
    is_skewed = stats.skewtest(values - design @ np.array(plain.coefficients)).pvalue < _SKEWED
    logarithm = _line(np.log(values), design, spread, is_log=True)
    return logarithm if is_skewed and abs(logarithm.skewness) < abs(plain.skewness) else plain


def _line(values: Floats, design: Floats, spread: Floats, *, is_log: bool) -> MeasureNorm:
    coefficients = spread @ design.T @ values
    left = values - design @ coefficients
    sd = float(np.sqrt(left @ left / (len(values) - design.shape[1])))
    is_flat = sd < _FLAT * max(float(np.abs(values).max()), 1.0)
    skewness = 0.0 if is_flat else float(stats.skew(left))
    return MeasureNorm(
        is_log=is_log, coefficients=tuple(coefficients.tolist()), sd=0.0 if is_flat else sd, skewness=skewness
    )


def _range(column: Floats) -> CovariateRange:
    return CovariateRange(mean=float(column.mean()), low=float(column.min()), high=float(column.max()))
