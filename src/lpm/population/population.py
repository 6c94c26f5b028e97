"""The distribution of the lungs that a model learnt from: shape and attributes together, a Gaussian.

A shape is beta = mean + factor @ g + b e with g, e ~ N(0, I): the training subjects' own mean and covariance, and a
share b of the prior of the fit, which allows for what few subjects cannot teach, and alone is wider than people are.
Attributes y go with g by what the training subjects show:

    (g, y) ~ N((0, m), [[I, C'], [C, S]]),    C = cov(y, g),   S = cov(y)

and given some of the attributes, g | y_c ~ N(C_c' S_c^-1 (y_c - m_c), I - C_c' S_c^-1 C_c).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import chdtrc, chdtri

from lpm.calibration import count, number
from lpm.errors import InputError
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.measurement.names import in_figures, is_size
from lpm.measurement.shapes import measure_shapes
from lpm.measurement.table import AttributeTable
from lpm.model.bundle import ModelBundle
from lpm.population.attributes import attributes_of, training_betas
from lpm.population.decoding import ShapeDecoder

_LEAST_SD = 1e-3  # of the largest: smaller axes of the training subjects are rounding
_FARTHEST_SD = number("population.farthest_sd")
_DRAWS = count("population.range_draws")
_DIFFERENCE = number("population.difference")
_LEADING = count("population.leading")
BEYOND = number("population.beyond")

Range = tuple[float, float]


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Population:
    """Shape and attributes of a model's training subjects.

    Args:
        decode: (k,) beta to meshes.
        mean: (k,) mean beta.
        factor: (k, r) what unit coordinates g add to it.
        coordinates: (n, r) of the training subjects.
        table: Their attributes.
    """

    decode: ShapeDecoder
    mean: Floats
    factor: Floats
    coordinates: Floats
    table: AttributeTable

    @classmethod
    def of(cls, model: ModelBundle) -> Population:
        """Take the population of a model.

        Raises:
            InputError: Fewer than three training subjects.
        """
        betas = training_betas(model)
        if len(betas) < 3:
            raise InputError("population", f"{len(betas)} training subjects", "at least 3", "train on more lungs")
        mean = betas.mean(axis=0)
        left, sizes, axes = np.linalg.svd(betas - mean, full_matrices=False)
        kept = sizes > _LEAST_SD * sizes[0]
        spread = np.sqrt(len(betas) - 1.0)
        factor = (axes[kept].T * sizes[kept]) / spread
        return cls(ShapeDecoder(model), mean, factor, left[:, kept] * spread, attributes_of(model))

    @property
    def n_shown(self) -> int:
        """r, the coordinates that training subjects show."""
        return int(self.factor.shape[1])

    def beta(self, coordinates: Floats) -> Floats:
        """(k,) shape parameters of coordinates: the first r are g, what there is of others are the first of e."""
        shown, beyond = np.split(coordinates, [self.n_shown])
        beta = self.mean + self.factor @ shown
        beta[: len(beyond)] += BEYOND * beyond
        return np.asarray(beta)

    @cached_property
    def derivatives(self) -> dict[str, Floats]:
        """(r + l,) how what the mean shape measures changes with all g and leading e, by attribute (differences)."""
        n = self.n_shown + min(_LEADING, len(self.mean))
        moved = [measure_shapes(self.decode(self.beta(axis))) for axis in _DIFFERENCE * np.eye(n)]
        still = measure_shapes(self.decode(self.mean))
        return {name: np.array([(one[name] - value) / _DIFFERENCE for one in moved]) for name, value in still.items()}

    @cached_property
    def _joint(self) -> tuple[Floats, Floats]:
        """C (m, r) and S (m, m); unknown attributes count as the mean."""
        apart = np.nan_to_num(self.table.values - self.table.mean)
        n = len(apart) - 1.0
        return apart.T @ self.coordinates / n, apart.T @ apart / n

    def slopes(self, names: Sequence[str]) -> Floats:
        """(c, r) how attributes follow the coordinates, by the training subjects' regression."""
        return self._joint[0][[self.table.index(name) for name in names]]

    def conditional(self, given: Mapping[str, float]) -> tuple[Floats, Floats]:
        """Mean (r,) and a factor (r, r) of the covariance of the coordinates, given attributes.

        Raises:
            InputError: An unknown attribute, or values that no lungs join.
        """
        r = self.coordinates.shape[1]
        if not given:
            return np.zeros(r), np.eye(r)
        chosen = [self.table.index(name) for name in given]
        self.check(given)
        cross, cov = self._joint[0][chosen], self._joint[1][np.ix_(chosen, chosen)]
        gain = np.linalg.solve(cov, cross).T
        apart = np.array(list(given.values())) - self.table.mean[chosen]
        variance, axes = np.linalg.eigh(np.eye(r) - gain @ cross)
        return gain @ apart, axes * np.sqrt(np.maximum(variance, 0.0))

    def expected(self, given: Mapping[str, float]) -> dict[str, float]:
        """Conditional mean of all attributes, given some, by the training subjects' regression."""
        chosen = [self.table.index(name) for name in given]
        mean, cov = self.table.mean, self._joint[1]
        apart = np.array(list(given.values())) - mean[chosen]
        weights = np.linalg.solve(cov[np.ix_(chosen, chosen)], apart) if chosen else np.zeros(0)
        return dict(zip(self.table.names, (mean + cov[:, chosen] @ weights).tolist(), strict=True))

    def possible(self, name: str, given: Mapping[str, float]) -> Range:
        """Possible range of an attribute, given others: four standard deviations about its conditional mean.

        Never further than one beyond the training subjects' extremes.
        """
        chosen, index = [self.table.index(other) for other in given], self.table.index(name)
        cov = self._joint[1]
        left = cov[index, index]
        if chosen:
            left -= cov[index, chosen] @ np.linalg.solve(cov[np.ix_(chosen, chosen)], cov[chosen, index])
        reach = _FARTHEST_SD * float(np.sqrt(max(left, 0.0)))
        middle = self.expected(given)[name]
        own, sd = self.table.values[:, index], float(self.table.sd[index])
        least, most = float(np.nanmin(own)), float(np.nanmax(own))
        lowest = max(least - sd, 0.0) if is_size(name) else least - sd
        return max(middle - reach, lowest), min(middle + reach, most + sd)

    def check(self, given: Mapping[str, float]) -> None:
        """Refuse combinations of attributes that no lungs of the population have.

        Raises:
            InputError: One is impossible by itself or given the others; or all together are four standard deviations
                from the mean.
        """
        for name, value in given.items():
            others = {other: known for other, known in given.items() if other != name}
            for known in ({}, others):
                low, high = self.possible(name, known)
                low = max(low, self._half_of_the_smallest(name))
                if not low <= value <= high:
                    raise _impossible(name, value, known, (low, high))
        chosen = [self.table.index(name) for name in given]
        apart = np.array(list(given.values())) - self.table.mean[chosen]
        squared = apart @ np.linalg.solve(self._joint[1][np.ix_(chosen, chosen)], apart)
        if squared > chdtri(len(chosen), chdtrc(1, _FARTHEST_SD**2)):
            given_text = ", ".join(f"{name} {value:.4g}" for name, value in given.items())
            nearest = ", ".join(f"{name} {value:.4g}" for name, value in self._nearest(given).items())
            raise InputError("conditions", given_text, "values that lungs join", f"possible is {nearest}")

    def _half_of_the_smallest(self, name: str) -> float:
        """No lungs are that small: litres taken for millilitres are refused before any are drawn."""
        least = float(np.nanmin(self.table.values[:, self.table.index(name)]))
        return least / 2.0 if is_size(name) else -np.inf

    def _nearest(self, given: Mapping[str, float]) -> dict[str, float]:
        """Two thirds of the way from the mean: a combination that is not too far."""
        mean = {name: float(self.table.mean[self.table.index(name)]) for name in given}
        return {name: mean[name] + 2.0 / 3.0 * (value - mean[name]) for name, value in given.items()}

    def draw_within(self, ranges: Mapping[str, Range], *, rng: np.random.Generator) -> dict[str, float]:
        """Attributes of a subject of the population, if they were within ranges.

        Args:
            ranges: Lowest and highest value by attribute; a single value twice.
            rng: Source of randomness.

        Raises:
            InputError: An unknown attribute, a range upside down, or one that no lungs are in.
        """
        for name, (low, high) in ranges.items():
            self.table.index(name)
            if not low <= high:
                raise InputError(name, f"a range from {low:g} to {high:g}", "the lower end first")
        exact = {name: low for name, (low, high) in ranges.items() if low == high}
        if exact:
            self.check(exact)
        free = [name for name in ranges if name not in exact]
        if not free:
            return exact
        middle = self.expected(exact)
        drawn = self._residuals(free, list(exact), rng) + np.array([middle[name] for name in free])
        low, high = np.array([ranges[name] for name in free]).T
        inside = drawn[((drawn >= low) & (drawn <= high)).all(axis=1)]
        for values in inside:
            wanted = exact | dict(zip(free, values.tolist(), strict=True))
            if self._joins(wanted):
                return wanted
        name = free[0]
        low, high = self.possible(name, exact)
        raise _impossible(name, ranges[name], exact, (max(low, self._half_of_the_smallest(name)), high))

    def _joins(self, given: Mapping[str, float]) -> bool:
        """Whether lungs of the population can have all of that."""
        try:
            self.check(given)
        except InputError:
            return False
        return True

    def _residuals(self, free: Sequence[str], known: Sequence[str], rng: np.random.Generator) -> Floats:
        """Draws of some attributes about what others let expect."""
        a, b, cov = [self.table.index(n) for n in free], [self.table.index(n) for n in known], self._joint[1]
        left = cov[np.ix_(a, a)]
        if b:
            left = left - cov[np.ix_(a, b)] @ np.linalg.solve(cov[np.ix_(b, b)], cov[np.ix_(b, a)])
        variance, axes = np.linalg.eigh(left)
        normal = rng.standard_normal((_DRAWS, len(a)))
        return np.asarray(normal @ (axes * np.sqrt(np.maximum(variance, 0.0))).T)


def _impossible(name: str, value: float | Range, known: Mapping[str, float], possible: Range) -> InputError:
    given = in_figures(value) if isinstance(value, float | int) else f"{in_figures(value[0])} to {in_figures(value[1])}"
    beside = " with " + ", ".join(f"{other} {in_figures(one)}" for other, one in known.items()) if known else ""
    low, high = possible
    expected = f"{in_figures(low)} to {in_figures(high)}, as lungs of this population can be"
    return InputError(name, given + beside, expected)
