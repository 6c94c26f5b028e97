"""The stage `measure`: size and shape of many subjects. One bad case never stops the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import numpy as np

from lpm.batch.attempt import attempt
from lpm.batch.workers import LocalWorkers
from lpm.calibration import number
from lpm.errors import FileError
from lpm.measurement.norms.norm import Norm, Standing
from lpm.measurement.norms.people import Person
from lpm.measurement.profiles import Slab, profile_measures, profiles
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
class Beside:
    """What is asked of subjects beside their usual measures.

    Args:
        norm: Norm in which values stand; their measures along the height are then taken, too.
        people: Age, sex and body height of subjects, by name, as far as known.
        along_height: Whether measures along the height are taken in any case.
        slice_mm: Thickness of the slices of profiles, mm; None for no profiles.
    """

    norm: Norm | None = None
    people: Mapping[str, Person] = field(default_factory=dict)
    along_height: bool = False
    slice_mm: float | None = None


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
        standings: Where values stand in a norm.
        slabs: What lies between levels of the height.
    """

    subject: str
    values: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    percentiles: dict[str, float] = field(default_factory=dict)
    mahalanobis: float = float("nan")
    flags: tuple[str, ...] = ()
    error: str = ""
    seconds: float = 0.0
    standings: dict[str, Standing] = field(default_factory=dict)
    slabs: tuple[Slab, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Return the entry of `--json`: every value with its interval and percentile."""
        values: dict[str, object] = {
            name: {"value": value}
            | ({"interval_95": list(self.intervals[name])} if name in self.intervals else {})
            | ({"percentile": self.percentiles[name]} if name in self.percentiles else {})
            | (asdict(self.standings[name]) if name in self.standings else {})
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
    beside: Beside | None = None,
    jobs: int = 1,
) -> Iterator[Measured]:
    """Measure subjects, `jobs` at a time, and yield each in turn.

    Args:
        subjects: Subjects to measure.
        population: Population to compare with, if any.
        structures: Label values by structure; default what the file says, or 1 = left lung, 2 = right lung.
        beside: Norm and profiles, if any.
        jobs: Worker processes.
    """
    work = partial(_try_subject, structures=structures, population=population, beside=beside or Beside())
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
    beside: Beside,
) -> Measured:
    subject = numbered[1]
    tried = attempt(subject.name, partial(_measured, subject, structures, beside))
    if tried.result is None:
        return Measured(subject.name, error=tried.error, seconds=tried.seconds)
    return compared(replace(tried.result, seconds=tried.seconds), population)


def _measured(subject: Subject, structures: Mapping[str, tuple[int, ...]] | None, beside: Beside) -> Measured:
    shapes = read_shapes(subject, structures)
    values = measure_shapes(shapes.meshes, shapes.boxes_mm) | shapes.lobes_ml
    if beside.along_height or beside.norm is not None:
        values |= profile_measures(shapes.meshes)
    slabs = () if beside.slice_mm is None else tuple(profiles(shapes.meshes, beside.slice_mm))
    found = Measured(subject.name, values, _intervals(subject), flags=shapes.flags, slabs=slabs)
    return found if beside.norm is None else placed(found, beside.norm, beside.people.get(subject.name, {}))


def placed(measured: Measured, norm: Norm, person: Person) -> Measured:
    """The same, with where its values stand in a norm.

    Args:
        measured: Values.
        norm: What other lungs measure.
        person: Age, sex and body height, as far as known.

    Raises:
        InputError: The norm needs something that is not known of the person, or knows none of the measures.
    """
    reference = norm.reference(person, measured.subject)
    standings = reference.standings(measured.values)
    return replace(measured, standings=standings, flags=(*measured.flags, *reference.notes))


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
    """Read intervals of the volumes from the `fit.json` beside meshes; older ones have that of the total alone."""
    path = subject.files[0].parent / "fit.json"
    if not path.is_file():
        return {}
    try:
        fit = parse_json(path)
        pairs = {"total_volume_ml": fit["total_volume_95_ml"] or (np.nan, np.nan)}
        pairs |= {f"{name}_volume_ml": pair for name, pair in (fit.get("volume_95_ml") or {}).items()}
        return {name: (float(low), float(high)) for name, (low, high) in pairs.items() if high > low}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FileError(str(path), f"cannot be read ({error})", "what lpm fit wrote", "fit again") from error
