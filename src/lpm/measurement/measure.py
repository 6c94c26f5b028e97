"""The stage `measure`: size and shape of many subjects. One bad case never stops the others."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from lpm.batch.attempt import attempt
from lpm.batch.workers import LocalWorkers
from lpm.calibration import number
from lpm.errors import FileError
from lpm.measurement.shapes import measure_shapes
from lpm.measurement.subjects import Subject, read_shapes
from lpm.measurement.table import AttributeTable
from lpm.records import parse_json

OUTLINE = (
    "total_volume_ml",
    "right_share_percent",
    "height_mm",
    "width_mm",
    "depth_mm",
    "dome_height_mm",
    "base_tilt_deg",
    "apex_radius_mm",
)
"""What tells lungs from others, whatever their detail: the outlier score is a distance in these."""

_LEAST_CHANCE = number("measurement.unlike_chance")


@dataclass(frozen=True)
class Measured:
    """Outcome of the measurement of one subject.

    Args:
        subject: Its name.
        values: Values by name, the unit at its end; empty if it failed.
        intervals: 95 % intervals of some values: where a fit says how sure it is.
        percentiles: Percentiles of the values among the population's subjects.
        mahalanobis: Distance from the population's mean in `OUTLINE`, in standard deviations; NaN if unknown.
        flags: Warnings.
        error: Why it failed.
        seconds: Wall time.
    """

    subject: str
    values: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    percentiles: dict[str, float] = field(default_factory=dict)
    mahalanobis: float = float("nan")
    flags: tuple[str, ...] = ()
    error: str = ""
    seconds: float = 0.0

    def to_dict(self) -> dict[str, object]:
        """Return the entry of `--json`: every value with its interval and percentile."""
        values: dict[str, object] = {
            name: {"value": value}
            | ({"interval_95": list(self.intervals[name])} if name in self.intervals else {})
            | ({"percentile": self.percentiles[name]} if name in self.percentiles else {})
            for name, value in self.values.items()
        }
        score = None if np.isnan(self.mahalanobis) else self.mahalanobis
        flags: dict[str, object] = {"flags": list(self.flags)} | ({"error": self.error} if self.error else {})
        return {"subject": self.subject, **flags, "mahalanobis": score, "values": values}


def measure_subjects(
    subjects: Sequence[Subject],
    *,
    population: AttributeTable | None = None,
    structures: Mapping[str, tuple[int, ...]] | None = None,
    jobs: int = 1,
) -> Iterator[Measured]:
    """Measure subjects, `jobs` at a time, and yield each in turn.

    Args:
        subjects: Subjects to measure.
        population: Population to compare with, if any.
        structures: Label values by structure; default what the file says, or 1 = left lung, 2 = right lung.
        jobs: Worker processes.
    """
    work = partial(_try_subject, structures=structures, population=population)
    ended: dict[int, Measured] = {}
    n_given = 0
    for (place, subject), found in LocalWorkers(jobs).each(work, list(enumerate(subjects))):
        lost = f"{subject.name}: its worker died, often for want of memory"
        ended[place] = found or Measured(subject.name, error=lost)
        while n_given in ended:
            yield ended.pop(n_given)
            n_given += 1


def _try_subject(
    numbered: tuple[int, Subject],
    structures: Mapping[str, tuple[int, ...]] | None,
    population: AttributeTable | None,
) -> Measured:
    subject = numbered[1]
    tried = attempt(subject.name, partial(_measured, subject, structures))
    if tried.result is None:
        return Measured(subject.name, error=tried.error, seconds=tried.seconds)
    return compared(replace(tried.result, seconds=tried.seconds), population)


def _measured(subject: Subject, structures: Mapping[str, tuple[int, ...]] | None) -> Measured:
    shapes = read_shapes(subject, structures)
    return Measured(
        subject.name, measure_shapes(shapes.meshes, shapes.boxes_mm), _intervals(subject), flags=shapes.flags
    )


def compared(measured: Measured, population: AttributeTable | None) -> Measured:
    """The same, with percentiles in a population.

    Args:
        measured: Values.
        population: Its attributes; nothing is said where it is None, or its structures are others.
    """
    if population is None:
        return measured
    found = replace(measured, percentiles=population.percentiles(measured.values))
    if not set(OUTLINE) <= set(found.percentiles) or len(population.subjects) < len(OUTLINE) + 2:
        return found
    unusual = population.only(OUTLINE).unusual(measured.values)
    flags = measured.flags
    if unusual.chance < _LEAST_CHANCE:
        flags = (*flags, f"unlike the population's: distance {unusual.mahalanobis:.1f}, chance {unusual.chance:.1g}")
    return replace(found, mahalanobis=unusual.mahalanobis, flags=flags)


def _intervals(subject: Subject) -> dict[str, tuple[float, float]]:
    """Read intervals of the volume from the `fit.json` beside meshes."""
    path = subject.files[0].parent / "fit.json"
    if not path.is_file():
        return {}
    try:
        low, high = parse_json(path)["total_volume_95_ml"] or (np.nan, np.nan)
        return {"total_volume_ml": (float(low), float(high))} if high > low else {}
    except (ValueError, TypeError, KeyError) as error:
        raise FileError(str(path), f"cannot be read ({error})", "what lpm fit wrote", "fit again") from error


def as_csv(results: Sequence[Measured]) -> str:
    """A row a subject; intervals as columns of their own where there are any."""
    rows = [
        {"subject": one.subject}
        | one.values
        | {f"{name}_95_{end}": value for name, pair in one.intervals.items() for end, value in _ends(pair)}
        | ({} if np.isnan(one.mahalanobis) else {"mahalanobis": one.mahalanobis})
        | {"flags": "; ".join(one.flags), "error": one.error}
        for one in results
    ]
    columns = list(dict.fromkeys(key for row in rows for key in row if key not in {"flags", "error"}))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns, "flags", "error"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _short(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _ends(pair: tuple[float, float]) -> Iterator[tuple[str, float]]:
    return zip(("low", "high"), pair, strict=True)


def _short(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def as_json(results: Sequence[Measured]) -> str:
    """A list of subjects, each with its values."""
    return json.dumps([one.to_dict() for one in results], indent=1, allow_nan=False) + "\n"
