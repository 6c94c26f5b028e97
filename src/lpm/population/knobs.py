"""Knobs: attributes with names, turned on the shape itself until its meshes measure what was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lpm.calibration import number
from lpm.errors import InputError
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.measurement.measure import OUTLINE
from lpm.model.bundle import ModelBundle
from lpm.population.population import Population
from lpm.population.shape import Shape

KNOBS = (*OUTLINE, "left_lung_notch_depth_mm", "right_lung_notch_depth_mm")
"""Attributes that can be turned one at a time: none follows from the others."""

_SLACK_SD = number("population.slack_sd")
_MOST_OFF = number("population.most_off")
_MOST_MOVED_SD = number("population.most_moved_sd")
_SHARES = (1.0, 0.8, 0.6, 0.4)  # of what was reached, tried in turn for the nearest that holds the others
_RIDGE = number("population.ridge")


@dataclass(frozen=True)
class Knobs:
    """The knobs of a population.

    Args:
        population: Population of the shape.
        names: Names of the attributes, none of which follows from the others.
    """

    population: Population
    names: tuple[str, ...] = field(default=KNOBS)

    @classmethod
    def of(cls, model: ModelBundle) -> Knobs:
        """Return the knobs of a model: those of `KNOBS` that its structures can be measured for."""
        population = Population.of(model)
        return cls(population, tuple(name for name in KNOBS if name in population.table.names))

    def average(self) -> Shape:
        """The population's mean shape."""
        return Shape(self.population, np.zeros(self.population.coordinates.shape[1]))

    def sd(self, name: str) -> float:
        """Standard deviation of an attribute over the training subjects."""
        return float(self.population.table.sd[self.population.table.index(name)])

    def set(self, given: Mapping[str, float]) -> Shape:
        """The most probable shape with some attributes; the others follow as they do in the population.

        Raises:
            InputError: An unknown attribute, or values that no lungs join.
        """
        mean, _ = self.population.conditional(given)
        return Shape(self.population, mean).corrected(given, {name: 0.1 * _SLACK_SD * self.sd(name) for name in given})

    def turn(self, name: str, by_sd: float = 1.0, start: Shape | None = None) -> Shape:
        """Change one attribute and hold the others.

        Args:
            name: Name of the knob.
            by_sd: Change in standard deviations.
            start: Shape to start from; default the mean shape.

        Raises:
            InputError: Not one of the knobs, or no shape was found that turns it and holds the others.
        """
        if name not in self.names:
            raise InputError("knob", repr(name), f"one of {', '.join(self.names)}")
        first = start or self.average()
        shape = self._turned(name, by_sd, first)
        if self._meets(name, by_sd, first, shape):
            return shape
        given = f"{name} by {by_sd:+g} standard deviations, the others held"
        raise InputError(
            "knob", given, self._nearest(name, first, shape), "turn it by that, or set it and let the others follow"
        )

    def _meets(self, name: str, by_sd: float, first: Shape, shape: Shape) -> bool:
        """Whether a shape has one attribute turned by as much, and the others held."""
        off = (shape.of(self.names) - first.of(self.names)) / [self.sd(knob) for knob in self.names]
        index = self.names.index(name)
        own = abs(off[index] - by_sd)
        return bool(
            own <= max(_MOST_OFF * abs(by_sd), _SLACK_SD) and np.delete(np.abs(off), index).max() < _MOST_MOVED_SD
        )

    def _nearest(self, name: str, first: Shape, shape: Shape) -> str:
        """How far a knob can be turned on the way to a shape that does not hold the others."""
        reached = (shape.attributes[name] - first.attributes[name]) / self.sd(name)
        for by_sd in (share * reached for share in _SHARES):
            if self._meets(name, by_sd, first, self._turned(name, by_sd, first)):
                return f"{by_sd:+.2f}, the nearest that was found"
        return "less"

    def _turned(self, name: str, by_sd: float, shape: Shape) -> Shape:
        held = {knob: shape.attributes[knob] for knob in self.names}
        return shape.corrected(held | {name: held[name] + by_sd * self.sd(name)}, self._slack)

    @property
    def _slack(self) -> dict[str, float]:
        return {name: _SLACK_SD * self.sd(name) for name in self.names}

    def directions(self, *, joint: bool) -> Floats:
        """(m, r) how coordinates change with one standard deviation of each knob, to first order.

        Args:
            joint: Whether the other attributes follow as in the population, or are held.
        """
        sd = np.array([self.sd(name) for name in self.names])
        slopes = self.population.slopes(self.names)
        return np.asarray(slopes / sd[:, None] if joint else sd[:, None] * np.linalg.pinv(slopes).T)

    def explained(self) -> dict[str, float]:
        """Share of each attribute's variance that shape explains, cross-validated (R2, each subject left out once).

        Ridge regression on the coordinates; those follow from all subjects, only the regression leaves one out. What a
        cohort's table says of its subjects is included.
        """
        table, x = self.population.table, self.population.coordinates
        others = [name for name in table.names if name not in self.attributes_of_meshes]
        return {name: _left_out_r2(x, table.values[:, table.index(name)]) for name in (*self.names, *others)}

    @cached_property
    def attributes_of_meshes(self) -> frozenset[str]:
        """Attributes that meshes show; the rest comes from a table."""
        return frozenset(self.average().attributes)

    def disentanglement(self) -> Floats:
        """(m, m) what turning each knob (row) by +1 standard deviation does to every knob's attribute, in theirs."""
        start, sd = self.average(), np.array([self.sd(name) for name in self.names])
        turned = [self._turned(name, 1.0, start).of(self.names) for name in self.names]
        return np.asarray((np.array(turned) - start.of(self.names)) / sd)

    def sweep(self, name: str, low_sd: float, high_sd: float, n: int) -> Iterator[Shape]:
        """Shapes along one knob, the others held: n steps from one setting to another.

        Raises:
            InputError: Not one of the knobs, or fewer than two shapes.
        """
        if n < 2:
            raise InputError("sweep", f"{n} shapes", "at least 2")
        shape, start = self.turn(name, low_sd), self.average()
        held = {knob: start.attributes[knob] for knob in self.names}
        for by_sd in np.linspace(low_sd, high_sd, n).tolist():
            shape = shape.corrected(held | {name: held[name] + by_sd * self.sd(name)}, self._slack)
            yield shape


def _left_out_r2(x: Floats, y: Floats) -> float:
    known = ~np.isnan(y)
    x, y = np.c_[np.ones(np.count_nonzero(known)), x[known]], y[known]
    penalty = _RIDGE * np.diag([0.0, *np.ones(x.shape[1] - 1)])
    hat = x @ np.linalg.solve(x.T @ x + penalty, x.T)
    errors = (y - hat @ y) / (1.0 - np.diag(hat))
    n = len(y)
    return float(1.0 - (errors**2).sum() / (((y - y.mean()) * n / (n - 1.0)) ** 2).sum())


def interpolate(first: Floats, second: Floats, population: Population, n: int) -> Iterator[dict[str, WorldMesh]]:
    """Interpolate between two shapes in equal steps of their shape parameters.

    Args:
        first: (k,) beta.
        second: (k,) beta.
        population: Population of the model.
        n: Number of shapes, the two included.

    Raises:
        InputError: Fewer than two, or not shape parameters of this model.
    """
    if n < 2:
        raise InputError("interpolate", f"{n} shapes", "at least 2")
    k = len(population.mean)
    if first.shape != (k,) or second.shape != (k,):
        raise InputError("interpolate", f"shape parameters {first.shape} and {second.shape}", f"({k},) each")
    for share in np.linspace(0.0, 1.0, n).tolist():
        yield population.decode((1.0 - share) * first + share * second)
