"""What the quality gate doubts in fitted or measured lungs: by themselves, and beside the others of a cohort."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from lpm.calibration import number
from lpm.errors import FileError
from lpm.measurement.measure import Measured
from lpm.measurement.subjects import Subject
from lpm.preparation.gate import judge_cohort, judge_sizes
from lpm.records import parse_json

_MISFIT_MM = number("measurement.misfit_mm")
_OUTLINE = ("total_volume_ml", "height_mm", "width_mm", "depth_mm")
_VOLUME = "_volume_ml"
_DIGITS = 8  # of a digest: enough to tell models apart
_LUNGS = ("left_lung", "right_lung")


def doubts_of_fit(summary: Mapping[str, Any]) -> Iterator[str]:
    """Reasons to doubt a fit, from what its `fit.json` holds."""
    yield from (finding.what for finding in judge_sizes(summary["volume_ml"]))
    misfit = (summary.get("residuals_mm") or {}).get("median_absolute", 0.0)
    if misfit > _MISFIT_MM:
        yield f"half of its points lie {misfit:.1f} mm and more off the fitted surface"


def unlike_others(measures: Mapping[str, Mapping[str, float]], content: Mapping[str, str]) -> dict[str, str]:
    """Subjects that are copies of others, or far from all of them, and what was found.

    Args:
        measures: Values by subject and name.
        content: By subject, what is the same only for copies.
    """
    names = [name for name in _OUTLINE if all(own.get(name, 0.0) > 0.0 for own in measures.values())]
    sizes = {subject: np.array([own[name] for name in names]) for subject, own in measures.items()}
    return {subject: finding.what for subject, finding in judge_cohort(content, sizes if names else {})}


def doubtful(subjects: Sequence[Subject], results: Sequence[Measured]) -> dict[str, str]:
    """Measured subjects that the quality gate doubts, and why.

    Args:
        subjects: The same subjects.
        results: Their measures; those that failed are passed over.

    Raises:
        FileError: The `fit.json` beside a subject's meshes is damaged.
    """
    measured = {one.subject: one.values for one in results if one.values}
    found = unlike_others(measured, {name: repr(values) for name, values in measured.items()})
    for subject in subjects:
        own = measured.get(subject.name, {})
        volumes = {lung: own[lung + _VOLUME] for lung in _LUNGS if lung + _VOLUME in own}
        reasons = list(_doubts_beside(subject)) or [finding.what for finding in judge_sizes(volumes)]
        if own and reasons:
            found[subject.name] = "; ".join(reasons)
    return found


def model_of(subject: Subject) -> str:
    """The model of a subject's fit: what it is, and the start of its digest; empty for what is no fit.

    Raises:
        FileError: The `fit.json` beside the subject's meshes is damaged.
    """
    with _fit_beside(subject) as summary:
        model = summary.get("model")
        return f"{model['preset']} of {model['training_subjects']}, {model['digest'][:_DIGITS]}" if model else ""


def _doubts_beside(subject: Subject) -> Iterator[str]:
    with _fit_beside(subject) as summary:
        yield from doubts_of_fit(summary) if summary else ()


@contextmanager
def _fit_beside(subject: Subject) -> Iterator[dict[str, Any]]:
    """What the `fit.json` beside a subject's meshes holds; nothing without one."""
    path = subject.files[0].parent / "fit.json"
    try:
        yield parse_json(path) if path.is_file() else {}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FileError(str(path), f"cannot be read ({error})", "what lpm fit wrote", "fit again") from error
