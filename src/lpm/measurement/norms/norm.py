"""A norm: what lungs of a cohort measure, and where a value stands among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import Field, model_validator
from scipy.special import ndtri, stdtr, stdtrit

from lpm.errors import InputError
from lpm.files.atomic import write_text
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.measurement.norms.people import Person
from lpm.records import StrictModel, read_json_model

SCHEMA_VERSION = 1  # of norms on disk
_SEX = {0.0: "female", 1.0: "male"}  # as `people` codes them


class MeasureNorm(StrictModel):
    """What one measure is in a cohort: a line in the covariates, and the spread about it."""

    is_log: bool = Field(description="whether coefficients and spread are of the natural logarithm: skewed measures")
    coefficients: tuple[float, ...] = Field(description="the mean, then the change a year, from female to male, a cm")
    sd: float = Field(ge=0, description="standard deviation about the line, over the degrees of freedom")
    skewness: float = Field(description="of what is left about the line; 0 for a normal distribution")


class CovariateRange(StrictModel):
    """What the cohort covers of a covariate."""

    mean: float = Field(description="mean; coefficients are about it")
    low: float = Field(description="lowest value")
    high: float = Field(description="highest value")


class Norm(StrictModel):
    """Measures of a cohort."""

    schema_version: int = Field(SCHEMA_VERSION, description="version of this schema")
    made_with: str = Field(description="program and version that wrote it")
    made_at: str = Field(description="date and time")
    n_subjects: int = Field(ge=2, description="subjects that it was learned from")
    covariates: dict[str, CovariateRange] = Field(description="age (years), sex (0 female, 1 male), height (body, cm)")
    spread: tuple[tuple[float, ...], ...] = Field(description="inverse of the design's cross products")
    measures: dict[str, MeasureNorm] = Field(description="by name; the unit is the name's end")
    notes: tuple[str, ...] = Field((), description="what was left out, and reasons for doubt")

    @model_validator(mode="after")
    def _sizes_agree(self) -> Norm:
        p = 1 + len(self.covariates)
        lengths = [len(self.spread), *(len(row) for row in self.spread)]
        lengths += [len(one.coefficients) for one in self.measures.values()]
        if set(lengths) != {p} or self.freedom < 1:
            raise ValueError(f"{p} coefficients a measure, and more subjects than coefficients")
        return self

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the spread: subjects less coefficients."""
        return self.n_subjects - 1 - len(self.covariates)

    def reference(self, person: Person, subject: str = "norm") -> Reference:
        """What the norm expects of a person.

        Args:
            person: Values by covariate; those that the norm does not use are passed over.
            subject: Name for messages.

        Raises:
            InputError: A covariate of the norm is missing.
        """
        missing = [name for name in self.covariates if name not in person]
        if missing:
            options = " ".join(f"--{name}" for name in missing)
            hint = f"give {options}; of many: lpm measure --norm NORM --table TABLE with these columns"
            raise InputError(
                subject, f"no {' and no '.join(missing)}", f"{', '.join(self.covariates)}, by this norm", hint
            )
        away = [person[name] - each.mean for name, each in self.covariates.items()]
        return Reference(self, np.array([1.0, *away]), self._extrapolations(person))

    def _extrapolations(self, person: Person) -> tuple[str, ...]:
        said = []
        for name, each in self.covariates.items():
            value = person[name]
            if name == "sex":
                known = [_SEX[sex] for sex in (each.low, each.high)]
                said += [] if each.low <= value <= each.high else [f"the norm holds only {known[0]} subjects"]
            elif not each.low <= value <= each.high:
                said.append(f"{name} {value:g} lies beyond the norm's {each.low:g} to {each.high:g}: extrapolated")
        return tuple(said)


@dataclass(frozen=True)
class Standing:
    """Where a value stands.

    Args:
        z: Standard deviations from what is expected, as the normal distribution counts them.
        centile: Percent of such people who have a smaller value.
    """

    z: float
    centile: float


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Reference:
    """What a norm expects of a person.

    A new value's distribution about the line is Student's, wider by what is not known of the line: with few subjects
    z-scores are smaller than a division by the standard deviation would say.

    Args:
        norm: The norm.
        design: (p,) one, and the covariates about their means.
        notes: Where the norm is extrapolated.
    """

    norm: Norm
    design: Floats
    notes: tuple[str, ...]

    @cached_property
    def _widening(self) -> float:
        return float(np.sqrt(1.0 + self.design @ np.array(self.norm.spread) @ self.design))

    def standing(self, name: str, value: float) -> Standing | None:
        """Where a value stands; None where the norm does not know the measure, or a logarithm does not exist."""
        found = self.norm.measures.get(name)
        if found is None or not np.isfinite(value) or (found.is_log and value <= 0) or found.sd == 0:
            return None
        off = (np.log(value) if found.is_log else value) - self.design @ np.array(found.coefficients)
        t = float(off) / (found.sd * self._widening)
        tail = max(float(stdtr(self.norm.freedom, -abs(t))), np.finfo(float).tiny)
        share = tail if t < 0 else 1.0 - tail
        return Standing(float(np.copysign(ndtri(tail), t)), 100.0 * share)

    def standings(self, values: Mapping[str, float]) -> dict[str, Standing]:
        """Where values stand, by name; without those that the norm does not know.

        Raises:
            InputError: The norm knows none of them.
        """
        found = {name: standing for name, value in values.items() if (standing := self.standing(name, value))}
        if not found:
            given, known = ", ".join(list(values)[:3]), ", ".join(list(self.norm.measures)[:3])
            raise InputError("norm", f"knows none of {given}, ...", f"measures such as {known}", "the same structures")
        return found

    def band(self, name: str, level: float = 0.95) -> tuple[float, float, float]:
        """Lower end, middle and upper end of what the norm expects of a measure, with the given probability.

        Raises:
            InputError: The norm does not know the measure.
        """
        if name not in self.norm.measures:
            raise InputError(
                "norm", f"no measure {name!r}", "one of the norm's", f"such as {next(iter(self.norm.measures))}"
            )
        found = self.norm.measures[name]
        middle = float(self.design @ np.array(found.coefficients))
        half = float(stdtrit(self.norm.freedom, 0.5 + level / 2.0)) * found.sd * self._widening
        low, mid, high = (middle - half, middle, middle + half)
        return (float(np.exp(low)), float(np.exp(mid)), float(np.exp(high))) if found.is_log else (low, mid, high)


def write_norm(path: Path, norm: Norm) -> None:
    """Write a norm as JSON.

    Raises:
        FileError: The disk refuses.
    """
    write_text(path, norm.model_dump_json(indent=1) + "\n")


def read_norm(path: Path) -> Norm:
    """Read what `lpm population` wrote.

    Raises:
        FileError: Missing or not JSON.
        SchemaError: Of another version, or no norm.
    """
    return read_json_model(path, Norm, SCHEMA_VERSION)
