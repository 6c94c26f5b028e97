"""The norm of a measured cohort, without subjects that the quality gate doubts."""

from __future__ import annotations

from collections.abc import Sequence

from lpm.errors import InputError
from lpm.measurement.doubts import doubtful
from lpm.measurement.measure import Measured
from lpm.measurement.norms.learning import learn_norm
from lpm.measurement.norms.norm import Norm
from lpm.measurement.norms.people import People
from lpm.measurement.subjects import Subject


def norm_of(
    subjects: Sequence[Subject], results: Sequence[Measured], people: People | None = None, *, keep_doubtful: bool
) -> Norm:
    """Learn a norm of measured subjects.

    Args:
        subjects: Subjects.
        results: Their measures; those that failed are passed over.
        people: Age, sex, body height of the subjects, if the norm is to depend on them.
        keep_doubtful: Whether subjects that the quality gate doubts take part.

    Returns:
        The norm; its notes say who was left out, or takes part though doubtful, and why.

    Raises:
        FileError: A `fit.json` is damaged.
        InputError: Two subjects of one name, too few, none that the table names, or covariates that cannot be told
            apart.
    """
    names = [one.name for one in subjects]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        given = f"{names.count(twice[0])} subjects called {twice[0]!r}"
        raise InputError("norm", given, "one a name", "rename their folders, or name one of them only")
    found = doubtful(subjects, results)
    notes = [
        f"{name}{' takes part, though' if keep_doubtful else ' left out,'} doubtful: {what}"
        for name, what in found.items()
    ]
    values = {one.subject: one.values for one in results if one.values and (keep_doubtful or one.subject not in found)}
    try:
        norm = learn_norm(values, people)
    except InputError as error:
        if keep_doubtful or not found:
            raise
        given = f"{error.given}, without {len(found)} doubtful ({'; '.join(notes[:3])})"
        raise InputError(error.subject, given, error.expected, f"{error.hint}; --keep-doubtful takes them") from error
    return norm.model_copy(update={"notes": (*notes, *norm.notes)})
