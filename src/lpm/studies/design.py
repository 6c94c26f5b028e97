"""What a study asks: groups, covariates or pairs of a table, as linear models of its subjects."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lpm.batch.subjects import SubjectTable, listed
from lpm.calibration import count, number
from lpm.errors import InputError, MisuseError
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.studies.testing import Model

_LEAST = count("studies.least_subjects")
_FEW = count("studies.few_subjects")
_MOST_GROUPS = count("studies.most_groups")
_COLLINEAR = number("studies.inflation")

Kind = Literal["groups", "contrast", "covariate", "pairs"]


@dataclass(frozen=True)
class Asked:
    """What is asked of a table.

    Args:
        group: Column whose values are groups; with pairs, the states.
        covariates: Columns of numbers. With groups they are confounders; alone, each is asked for beside the others.
        pairs: Column that names what two fits belong to, such as a patient.
    """

    group: str | None = None
    covariates: tuple[str, ...] = ()
    pairs: str | None = None

    def check(self, table: SubjectTable) -> None:
        """Refuse combinations that ask for nothing, and columns that are not there.

        Raises:
            MisuseError: Nothing asked for, or covariates of pairs.
            InputError: A column is not there.
        """
        if not (self.group or self.covariates or self.pairs):
            hint = f"--group {table.columns[0]}" if table.columns else "add a column to the table"
            raise MisuseError("study", "nothing to compare", "--group, --covariates or --pairs", hint)
        if self.pairs and self.covariates:
            raise MisuseError("--covariates", "beside --pairs", "one of them", "what a subject is, pairs hold equal")
        columns = (*self.covariates, *(name for name in (self.group, self.pairs) if name))
        table.check_columns(columns)
        if twice := sorted({name for name in columns if columns.count(name) > 1}):
            raise MisuseError("study", f"column {twice[0]!r} twice", "a column once", "name it in one option")


@dataclass(frozen=True)
class Question:
    """One question, which is tested at all measures and places.

    Args:
        name: In words: "COPD - healthy".
        kind: Whether groups differ at all, two of them differ, a covariate explains, or pairs differ.
        model: Linear model and contrast.
        unit: What a difference is per: nothing of groups, or the covariate's standard deviation.
        levels: Names of the two groups or states, the one that is compared with first; empty otherwise.
    """

    name: str
    kind: Kind
    model: Model
    unit: str = ""
    levels: tuple[str, ...] = ()


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Design:
    """Subjects of a study, and its questions.

    Args:
        subjects: Names in the order of the models' rows; of pairs the first states.
        partners: The second states of pairs; empty otherwise.
        questions: At least one.
        labels: By subject its group, or pair.
        covariates: (n,) numbers by column.
        left_out: Why subjects are not in it, by name.
        notes: What was assumed, and what is to be doubted.
    """

    subjects: tuple[str, ...]
    questions: tuple[Question, ...]
    labels: Mapping[str, str]
    partners: tuple[str, ...] = ()
    covariates: Mapping[str, Floats] | None = None
    left_out: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()

    @property
    def all_subjects(self) -> tuple[str, ...]:
        """Both states of pairs."""
        return (*self.subjects, *self.partners)


def design_of(asked: Asked, table: SubjectTable, fits: Sequence[str]) -> Design:
    """Turn a table into a design.

    Args:
        asked: What is asked.
        table: Of the subjects.
        fits: Names of the fits that can be used.

    Raises:
        MisuseError: Nothing asked for.
        InputError: No subjects in common, one group, too few subjects, values that are all equal, collinear
            covariates, text in a number's column, pairs of more than two.
    """
    asked.check(table)
    names = [name for name in table.rows if name in set(fits)]
    if not names:
        raise InputError(table.source, "no subject with a fit that can be used", "some", "see who is left out, and why")
    return _of_pairs(asked, table, names) if asked.pairs else _of_subjects(asked, table, names)


def _of_subjects(asked: Asked, table: SubjectTable, names: Sequence[str]) -> Design:
    read = {column: table.numbers(column, names) for column in asked.covariates}
    groups = table.text(asked.group) if asked.group else {}
    needed: dict[str, Mapping[str, object]] = {column: values for column, (values, _) in read.items()}
    needed |= {asked.group: groups} if asked.group else {}
    left_out = _incomplete(needed, names)
    kept = [name for name in names if name not in left_out]
    numbers = {column: np.array([values[name] for name in kept]) for column, (values, _) in read.items()}
    _check_numbers(numbers, table.source)
    notes = [note for _, told in read.values() for note in told]
    if asked.group:
        labels = {name: groups[name] for name in kept}
        questions, told = _group_questions(asked.group, labels, numbers)
    else:
        labels, (questions, told) = dict.fromkeys(kept, ""), _covariate_questions(numbers)
    return Design(
        tuple(kept),
        tuple(questions),
        labels,
        covariates=numbers,
        left_out=left_out,
        notes=(*notes, *told, *_inflated(questions[0].model.design, numbers)),
    )


def _check_numbers(numbers: Mapping[str, Floats], source: str) -> None:
    for column, values in numbers.items():
        if len(values) < _LEAST:
            hint = "fill its empty cells, fit more subjects, or leave it out"
            raise InputError(source, f"{len(values)} subjects with {column}", f"at least {_LEAST}", hint)
        if not np.isfinite(values).all():
            raise InputError(source, f"{column} that is not finite", "numbers", "leave the cell empty")
        if np.ptp(values) == 0:
            given = f"{column} is {values[0]:g} for all {len(values)} subjects"
            raise InputError(source, given, "values that differ", "leave it out")


def _group_questions(
    column: str, labels: Mapping[str, str], numbers: Mapping[str, Floats]
) -> tuple[list[Question], list[str]]:
    levels = list(dict.fromkeys(labels.values()))
    sizes = {level: list(labels.values()).count(level) for level in levels}
    _check_groups(column, sizes)
    member = np.array([[label == level for level in levels] for label in labels.values()], dtype=np.float64)
    design = np.column_stack([member, *(values - values.mean() for values in numbers.values())])
    _check_rank(design, [f"{column} {level}" for level in levels], list(numbers))
    beside = np.zeros(len(numbers))
    steps = [
        np.r_[np.eye(len(levels))[second] - np.eye(len(levels))[first], beside] for first, second in _pairs(levels)
    ]
    questions = [
        _contrast((levels[first], levels[second]), "contrast", Model(design, step[None]))
        for (first, second), step in zip(_pairs(levels), steps, strict=True)
    ]
    if len(levels) > 2:
        first = Question(f"any difference by {column}", "groups", Model(design, np.stack(steps[: len(levels) - 1])))
        questions.insert(0, first)
    few = ", ".join(f"{level}: {size}" for level, size in sizes.items() if size < _FEW)
    notes = [f"few subjects ({few}): only large differences can be found, and intervals are wide"] if few else []
    return questions, [f"groups: {', '.join(f'{level} ({size})' for level, size in sizes.items())}", *notes]


def _contrast(levels: tuple[str, str], kind: Kind, model: Model) -> Question:
    return Question(f"{levels[1]} - {levels[0]}", kind, model, levels=levels)


def _pairs(levels: Sequence[str]) -> list[tuple[int, int]]:
    return list(itertools.combinations(range(len(levels)), 2))


def _check_groups(column: str, sizes: Mapping[str, int]) -> None:
    _check_spelling(column, list(sizes))
    if len(sizes) < 2:
        given = f"one group ({', '.join(sizes) or 'none'})"
        raise InputError(f"column {column!r}", given, "two groups or more", "name another column")
    if len(sizes) > _MOST_GROUPS:
        hint = "--covariates for numbers"
        raise InputError(f"column {column!r}", f"{len(sizes)} groups", f"at most {_MOST_GROUPS}", hint)
    if tiny := [f"{level}: {size}" for level, size in sizes.items() if size < _LEAST]:
        given = f"too few subjects in a group ({', '.join(tiny)})"
        raise InputError(f"column {column!r}", given, f"at least {_LEAST} in each", "join groups, or add subjects")


def _check_spelling(column: str, levels: Sequence[str]) -> None:
    """Refuse groups or states that differ only in capitals or blanks."""
    spelt: dict[str, str] = {}
    for level in levels:
        other = spelt.setdefault("".join(level.casefold().split()), level)
        if other != level:
            given = f"{other!r} and {level!r}, which differ in capitals or blanks only"
            raise InputError(f"column {column!r}", given, "one spelling of each", "correct the cells")


def _covariate_questions(numbers: Mapping[str, Floats]) -> tuple[list[Question], list[str]]:
    scaled = [(values - values.mean()) / values.std(ddof=1) for values in numbers.values()]
    design = np.column_stack([np.ones(len(scaled[0])), *scaled])
    _check_rank(design, ["the mean"], list(numbers))
    if len(design) < design.shape[1] + 1:
        given = f"{len(design)} subjects for {len(numbers)} covariates"
        raise InputError("--covariates", given, f"at least {design.shape[1] + 1} subjects", "leave covariates out")
    rows = np.eye(design.shape[1])[1:]
    questions = [
        Question(column, "covariate", Model(design, row[None]), f"{values.std(ddof=1):.3g} (1 SD) of {column}")
        for (column, values), row in zip(numbers.items(), rows, strict=True)
    ]
    few = len(design) < _FEW
    return questions, [f"few subjects ({len(design)}): only large effects can be found"] if few else []


def _check_rank(design: Floats, own: Sequence[str], covariates: Sequence[str]) -> None:
    """Refuse terms that follow from others: the first of them is named."""
    for last in range(1, design.shape[1] + 1):
        part = design[:, :last]
        scale = np.maximum(np.linalg.norm(part, axis=0), np.finfo(float).tiny)
        if np.linalg.matrix_rank(part / scale, tol=1e-6) < last:
            name = (*own, *covariates)[last - 1]
            given = f"{name} follows from {', '.join((*own, *covariates)[: last - 1])}"
            raise InputError("--covariates", given, "covariates that are not collinear", f"leave {name} out")


def _inflated(design: Floats, numbers: Mapping[str, Floats]) -> list[str]:
    """Covariates that others nearly explain: the variance of their effects is inflated."""
    notes, n_own = [], design.shape[1] - len(numbers)
    for place, column in enumerate(numbers, start=n_own):
        values, others = design[:, place], np.delete(design, place, axis=1)
        left = values - others @ np.linalg.lstsq(others, values, rcond=None)[0]
        factor = float(((values - values.mean()) ** 2).sum() / (left**2).sum())
        if factor > _COLLINEAR:
            told = f"{column} nearly follows from the other terms (variance inflation {factor:.0f})"
            notes.append(f"{told}: their effects can hardly be told apart")
    return notes


def _of_pairs(asked: Asked, table: SubjectTable, names: Sequence[str]) -> Design:
    pairs = table.text(str(asked.pairs))
    states = table.text(asked.group) if asked.group else {}
    whole, left_out = _whole_pairs(
        asked, {str(asked.pairs): pairs} | ({asked.group: states} if asked.group else {}), names
    )
    first, second = _states(asked, states, whole)
    ordered = {pair: sorted(own, key=lambda name: states.get(name, first) != first) for pair, own in whole.items()}
    subjects = {own[0]: pair for pair, own in ordered.items()}
    ones = np.ones((len(ordered), 1))
    notes = [] if asked.group else ["differences are the second row of a pair in the table less the first"]
    return Design(
        tuple(subjects),
        (_contrast((first, second), "pairs", Model(ones, np.ones((1, 1)), by_signs=True)),),
        subjects | {own[1]: pair for pair, own in ordered.items()},
        partners=tuple(own[1] for own in ordered.values()),
        left_out=left_out,
        notes=(f"{len(ordered)} pairs", *notes, *_few_pairs(len(ordered))),
    )


def _whole_pairs(
    asked: Asked, known: Mapping[str, Mapping[str, str]], names: Sequence[str]
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Pairs of two fits each, and why others are left out.

    Args:
        asked: Pairs, and states.
        known: By column that is asked for, cells of the subjects.
        names: Subjects.
    """
    left_out = _incomplete(known, names)
    members: dict[str, list[str]] = {}
    for name in (name for name in names if name not in left_out):
        members.setdefault(known[str(asked.pairs)][name], []).append(name)
    if large := [pair for pair, own in members.items() if len(own) > 2]:
        given = f"{large[0]!r} has {len(members[large[0]])} fits: {listed(members[large[0]])}"
        raise InputError(f"column {asked.pairs!r}", given, "two of each", "keep two rows of each")
    left_out |= {name: f"the only fit of {pair}" for pair, own in members.items() if len(own) == 1 for name in own}
    whole = {pair: own for pair, own in members.items() if len(own) == 2}
    if len(whole) < _LEAST:
        given = f"{len(whole)} whole pair{'s'[: len(whole) != 1]}, and {len(members) - len(whole)} of one fit"
        raise InputError(f"column {asked.pairs!r}", given, f"at least {_LEAST} pairs", "fit more patients twice")
    return whole, left_out


def _incomplete(known: Mapping[str, Mapping[str, object]], names: Sequence[str]) -> dict[str, str]:
    """Subjects of whom the table does not say all that is asked for, and what it lacks."""
    lacking = {name: [column for column, cells in known.items() if name not in cells] for name in names}
    return {name: f"no {', '.join(columns)} in the table" for name, columns in lacking.items() if columns}


def _states(asked: Asked, states: Mapping[str, str], whole: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    """Names of the first and second state; pairs must have one of each."""
    if not asked.group:
        return "first", "second"
    found = list(dict.fromkeys(states[name] for own in whole.values() for name in own))
    _check_spelling(asked.group, found)
    odd = next((pair for pair, own in whole.items() if {states[name] for name in own} != set(found)), None)
    if len(found) != 2 or odd is not None:
        given = f"states {', '.join(found)}" + (f"; {odd} has not one of each" if odd else "")
        raise InputError(f"column {asked.group!r}", given, "two states, one of each in a pair", "name another column")
    return found[0], found[1]


def _few_pairs(n: int) -> list[str]:
    least = 2.0 / 2**n
    if least > 0.05:
        return [f"with {n} pairs no permutation gives a p below {least:.3f}: nothing can be significant"]
    return [f"few pairs ({n}): no permutation gives a p below {least:.2g}"] if n < _FEW else []
