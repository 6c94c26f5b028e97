"""The norm of a measured cohort, without subjects that the quality gate doubts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lpm.errors import InputError
from lpm.measurement.doubts import doubtful, model_of
from lpm.measurement.measure import Measured
from lpm.measurement.norms.learning import learn_norm
from lpm.measurement.norms.norm import Norm
from lpm.measurement.norms.people import People
from lpm.measurement.profiles import LEVELS_PERCENT, section_name
from lpm.measurement.subjects import Subject

_SECTION = section_name("", LEVELS_PERCENT[0])  # how names of measures of a section end: each structure has them
_SHOWN = 3  # notes that a refusal gives


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
    kept, others = _of_one_kind(results)
    found = doubtful(subjects, kept)
    notes = [*others, *_models(subjects)]
    notes += [
        f"{name}{' takes part, though' if keep_doubtful else ' left out,'} doubtful: {what}"
        for name, what in found.items()
    ]
    values = {one.subject: one.values for one in kept if keep_doubtful or one.subject not in found}
    try:
        norm = learn_norm(values, people)
    except InputError as error:
        given = f"{error.given} ({'; '.join(notes[:_SHOWN])})" if notes else error.given
        more = "; --keep-doubtful takes those in doubt" if found and not keep_doubtful else ""
        raise InputError(error.subject, given, error.expected, f"{error.hint}{more}") from error
    return norm.model_copy(update={"notes": (*notes, *norm.notes)})


def _of_one_kind(results: Sequence[Measured]) -> tuple[list[Measured], list[str]]:
    """Those that were measured and have the structures that most have, and notes on the others."""
    measured = [one for one in results if one.values]
    kinds = Counter(_structures(one) for one in measured)
    usual = max(kinds, key=kinds.__getitem__, default=())
    notes = [
        f"{one.subject} left out, of other structures: {' and '.join(_structures(one))}, not {' and '.join(usual)}"
        for one in measured
        if _structures(one) != usual
    ]
    return [one for one in measured if _structures(one) == usual], notes


def _structures(one: Measured) -> tuple[str, ...]:
    """Structures of a subject, in alphabetical order; none where no measures were taken along their height."""
    return tuple(sorted(name.removesuffix(_SECTION) for name in one.values if name.endswith(_SECTION)))


def _models(subjects: Sequence[Subject]) -> list[str]:
    """A note where fits are of several models: their meshes are measured alike, but a model has its own bias."""
    fitted = {one.name: model for one in subjects if (model := model_of(one))}
    models = {model: [name for name in fitted if fitted[name] == model] for model in fitted.values()}
    told = "; ".join(f"{model}: {', '.join(names)}" for model, names in models.items())
    return [f"fits of {len(models)} models, which regress to averages of their own ({told})"] if len(models) > 1 else []
