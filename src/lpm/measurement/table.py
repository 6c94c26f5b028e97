"""Attributes of many subjects: where a value stands among them, and how unusual values are together."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import fdtrc

from lpm.errors import InputError
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats

Values = Mapping[str, float]
_LEAST_SUBJECTS = 3  # that have an attribute: of fewer there is no spread to compare with


@read_only_arrays
@dataclass(frozen=True, eq=False)
class AttributeTable:
    """Attributes of a population's subjects.

    Args:
        subjects: Their names.
        names: Names of the attributes.
        values: (n, m) NaN where an attribute of a subject is unknown.
    """

    subjects: tuple[str, ...]
    names: tuple[str, ...]
    values: Floats

    @classmethod
    def of(cls, rows: Mapping[str, Values]) -> AttributeTable:
        """Make the table from values by subject; attributes that fewer than three subjects have are left out."""
        found = dict.fromkeys(name for row in rows.values() for name in row)
        names = [name for name in found if sum(name in row for row in rows.values()) >= _LEAST_SUBJECTS]
        values = [[row.get(name, np.nan) for name in names] for row in rows.values()]
        return cls(tuple(rows), tuple(names), np.array(values, dtype=np.float64).reshape(len(rows), len(names)))

    def rows(self) -> dict[str, dict[str, float]]:
        """Values by subject and name, without what is unknown."""
        named = (zip(self.names, row.tolist(), strict=True) for row in self.values)
        known = ({name: value for name, value in row if not np.isnan(value)} for row in named)
        return dict(zip(self.subjects, known, strict=True))

    def only(self, names: Sequence[str]) -> AttributeTable:
        """Some of the attributes, in this order.

        Raises:
            InputError: An unknown name; the nearest ones are offered.
        """
        chosen = [self.index(name) for name in names]
        return AttributeTable(self.subjects, tuple(names), self.values[:, chosen])

    def index(self, name: str) -> int:
        """Column of an attribute.

        Raises:
            InputError: It is unknown; the nearest ones are offered.
        """
        if name not in self.names:
            near = difflib.get_close_matches(name, self.names, n=3, cutoff=0.4)
            hint = f"did you mean {', '.join(near)}?" if near else f"one of {', '.join(self.names)}"
            raise InputError("attribute", f"unknown name {name!r}", "an attribute of the model's population", hint)
        return self.names.index(name)

    @cached_property
    def mean(self) -> Floats:
        """(m,) means over the subjects."""
        return np.asarray(np.nanmean(self.values, axis=0))

    @cached_property
    def sd(self) -> Floats:
        """(m,) standard deviations over the subjects."""
        return np.asarray(np.nanstd(self.values, axis=0, ddof=1))

    def percentiles(self, values: Values) -> dict[str, float]:
        """Share of the subjects whose value is smaller, in percent; half of those that are equal count."""
        found = {}
        for name in (name for name in values if name in self.names):
            own = self.values[:, self.index(name)]
            own = own[~np.isnan(own)]
            below = np.count_nonzero(own < values[name]) + 0.5 * np.count_nonzero(own == values[name])
            found[name] = float(100.0 * below / len(own))
        return found

    def unusual(self, values: Values) -> Unusual:
        """Mahalanobis distance of values from the subjects'.

        Args:
            values: One for each of the table's names.

        Raises:
            InputError: Too few subjects for so many attributes.
        """
        n, m = self.values.shape
        if n < m + 2:
            raise InputError("outlier score", f"{n} subjects and {m} attributes", f"at least {m + 2} subjects")
        apart = np.array([values[name] for name in self.names]) - self.mean
        squared = float(apart @ np.linalg.solve(np.cov(self.values, rowvar=False).reshape(m, m), apart))
        chance = fdtrc(m, n - m, squared * n * (n - m) / (m * (n * n - 1.0)))
        return Unusual(float(np.sqrt(squared)), float(chance))


@dataclass(frozen=True)
class Unusual:
    """Result: how unusual values are.

    Args:
        mahalanobis: Distance from the mean, in standard deviations.
        chance: Share of new subjects of the same (normal) population that would lie at least as far (Hotelling).
    """

    mahalanobis: float
    chance: float
