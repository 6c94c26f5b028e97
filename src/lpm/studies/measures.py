"""Measures and shape parameters of a study's subjects, and effects in them with their sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.studies.cohort import Cohort
from lpm.studies.design import Design, Question
from lpm.studies.testing import Permutations, Tested, compared

SIZE = "size_mm"
SCALED = "scaled_"
"""Begins the names of measures of lungs that are scaled to the mean size of a study."""

_POWERS = {"_ml": 3, "_cm2": 2, "_mm": 1}  # of a length, in a measure's unit
_EQUAL = 1e-9  # of a measure's size: what differs by less is equal but for rounding


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Values:
    """Numbers of subjects by name.

    Args:
        names: (m,) names of the numbers.
        values: (n, m); of pairs the differences.
        own_sd: (n, m) how unsure each is; None if nobody knows.
        means: By group or state (m,) means.
    """

    names: tuple[str, ...]
    values: Floats
    own_sd: Floats | None
    means: Mapping[str, Floats]


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Effects:
    """Effects of one question in numbers of the subjects.

    Args:
        names: (m,) names of the numbers.
        means: By group or state (m,) means.
        tested: Estimates, intervals, p-values.
        size: (m,) effect size: Hedges' g of groups and pairs, the standardised coefficient of a covariate; NaN where
            more than two groups are compared at once.
        size_low: (m,) lower end of its 95 % interval.
        size_high: (m,) upper end.
    """

    names: tuple[str, ...]
    means: Mapping[str, Floats]
    tested: Tested
    size: Floats
    size_low: Floats
    size_high: Floats


def measured(cohort: Cohort, design: Design, sizes_mm: Floats, *, without_size: bool) -> tuple[Values, list[str]]:
    """Measures of a study's subjects, and notes on those that were left out.

    Those in lengths, areas and volumes are there again, of lungs scaled to the mean size: where sizes vary much, what
    differs in shape alone is seen in them.

    Args:
        cohort: Of `design.all_subjects`, in this order.
        design: Subjects and pairs.
        sizes_mm: (n,) size of each.
        without_size: Whether there are only those of lungs scaled to the mean size; the size itself stays as it is.
    """
    first = cohort.subjects[0].measures
    shared = [name for name in first if all(name in one.measures for one in cohort.subjects)]
    table = np.array([[one.measures[name] for name in shared] for one in cohort.subjects])
    spread = np.array([[one.measure_sd.get(name, np.nan) for name in shared] for one in cohort.subjects])
    scale = _scales(shared, sizes_mm)
    if without_size:
        table, spread = table * scale, spread * scale
    else:
        lengths = [index for index, name in enumerate(shared) if _power(name)]
        shared = [*shared, *(SCALED + shared[index] for index in lengths)]
        table = np.column_stack([table, (table * scale)[:, lengths]])
        spread = np.column_stack([spread, (spread * scale)[:, lengths]])
    shared, table = [SIZE, *shared], np.column_stack([sizes_mm, table])
    spread = np.column_stack([np.zeros(len(table)), spread])
    varied = np.ptp(table, axis=0) > _EQUAL * np.abs(table).max(axis=0)
    lacking = sorted({name for one in cohort.subjects for name in one.measures} - set(shared))
    notes = [f"left out, since not all lungs have it: {name}" for name in lacking]
    notes += [
        f"left out, since it is the same for all: {name}"
        for name, is_varied in zip(shared, varied, strict=True)
        if not is_varied
    ]
    known = ~np.isnan(spread)
    if not known.all(axis=0)[1:].all() and known[:, 1:].any():
        notes.append("intervals of some measures are not known (fits of a batch have them): they count as equally sure")
    own_sd = np.where(known.all(axis=0), np.nan_to_num(spread), 0.0)
    names = tuple(name for name, is_varied in zip(shared, varied, strict=True) if is_varied)
    return values_of(names, table[:, varied], own_sd[:, varied], design), notes


def _scales(names: Sequence[str], sizes_mm: Floats) -> Floats:
    """(n, m) factors that take measures to those of lungs of the mean size."""
    powers = np.array([_power(name) for name in names])
    return np.asarray((sizes_mm.mean() / sizes_mm)[:, None] ** powers)


def _power(name: str) -> int:
    """Power of a length that a measure's unit is; 0 of angles and shares."""
    return next((power for end, power in _POWERS.items() if name.endswith(end)), 0)


def values_of(names: Sequence[str], table: Floats, own_sd: Floats | None, design: Design) -> Values:
    """Numbers of a study's subjects; of pairs their differences.

    Args:
        names: (m,).
        table: (n, m) in the order of `design.all_subjects`.
        own_sd: (n, m), or None.
        design: Subjects and pairs.
    """
    n = len(design.subjects)
    if design.partners:
        first, second = design.questions[0].levels
        own = None if own_sd is None else np.sqrt(own_sd[:n] ** 2 + own_sd[n:] ** 2)
        means = {first: table[:n].mean(axis=0), second: table[n:].mean(axis=0)}
        return Values(tuple(names), table[n:] - table[:n], own, means)
    labels = np.array([design.labels[name] for name in design.subjects])
    means = {str(level) or "all": table[labels == level].mean(axis=0) for level in dict.fromkeys(labels.tolist())}
    return Values(tuple(names), table, own_sd, means)


def effects(values: Values, question: Question, n_permutations: int, *, rng: np.random.Generator) -> Effects:
    """Test a question in all numbers.

    Args:
        values: Of the design's subjects.
        question: What is asked.
        n_permutations: Permutations.
        rng: Draws them.
    """
    found = compared(values.values, question.model, values.own_sd, Permutations(n_permutations), rng=rng)
    return Effects(values.names, values.means, found, *_sizes(values.values, question, found))


def _sizes(values: Floats, question: Question, found: Tested) -> tuple[Floats, Floats, Floats]:
    """(m,) effect size and its interval."""
    model = question.model
    if question.kind == "groups":
        unknown = np.full(values.shape[1], np.nan)
        return unknown, unknown, unknown
    if question.kind == "covariate":
        spread = values.std(axis=0, ddof=1)
        return found.estimate / spread, found.low / spread, found.high / spread
    basis = np.linalg.qr(model.design)[0]
    squares = (values**2).sum(axis=0) - ((basis.T @ values) ** 2).sum(axis=0)
    spread = np.sqrt(np.maximum(squares, 0.0) / model.freedom)
    size = hedges(model.freedom) * found.estimate / spread
    sd = np.sqrt(model.spread[0] + size**2 / (2.0 * model.freedom))
    return size, size - 1.96 * sd, size + 1.96 * sd


def hedges(freedom: int) -> float:
    """Factor that takes the bias of small samples from a standardised difference (Hedges 1981)."""
    return 1.0 - 3.0 / (4.0 * freedom - 1.0)
