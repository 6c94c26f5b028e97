"""A shape of a population, and how it is moved until its meshes measure what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lpm.calibration import number
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.measurement.shapes import measure_shapes
from lpm.population.population import Population

_STEPS = 20  # of a correction, at most; it ends once it is within the slack
_LONGEST_STEP = number("population.longest_step")


@read_only_arrays
@dataclass(frozen=True, eq=False, repr=False)
class Shape:
    """A shape of a population.

    Args:
        population: Population of the shape.
        coordinates: Coordinates in units of the population's spread; see `Population.beta`.
        start: (k,) beta that coordinates of zero stand for; None for the population's mean.
        decode: (k,) beta to meshes; None for the population's own, about the origin.
    """

    population: Population
    coordinates: Floats
    start: Floats | None = None
    decode: Callable[[Floats], dict[str, WorldMesh]] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {float(np.linalg.norm(self.beta)):.1f} standard deviations from the mean>"

    @cached_property
    def lungs(self) -> dict[str, WorldMesh]:
        """Meshes by structure; closed, outward, RAS mm."""
        return (self.decode or self.population.decode)(self.beta)

    @cached_property
    def attributes(self) -> dict[str, float]:
        """What the meshes measure."""
        return measure_shapes(self.lungs)

    @property
    def beta(self) -> Floats:
        """(k,) shape parameters."""
        beta = self.population.beta(self.coordinates)
        return beta if self.start is None else beta - self.population.mean + self.start

    def of(self, names: Sequence[str]) -> Floats:
        """Values of some attributes, in the order of `names`."""
        return np.array([self.attributes[name] for name in names])

    def corrected(self, wanted: Mapping[str, float], slack: Mapping[str, float], most_steps: int = _STEPS) -> Shape:
        """Move the shape as little as can be until it measures what is wanted (Newton, with Broyden's slopes).

        Args:
            wanted: Attributes; those that no mesh shows, such as an age, are left alone.
            slack: Tolerance of each attribute.
            most_steps: After these it is what it is.
        """
        shown = [name for name in wanted if name in self.attributes]
        if not shown:
            return self
        target, limit = (np.array([of[name] for name in shown]) for of in (wanted, slack))
        slopes = np.array([self.population.derivatives[name] for name in shown])
        shape = self._with_room_for(slopes.shape[1])
        reach = _LONGEST_STEP
        for _ in range(most_steps):
            missing = target - shape.of(shown)
            if (np.abs(missing) <= limit).all():
                break
            step = slopes.T @ np.linalg.lstsq(slopes @ slopes.T, missing, rcond=None)[0]
            step *= min(1.0, reach / float(np.linalg.norm(step)))
            tried = shape.moved(step)
            change = tried.of(shown) - shape.of(shown)
            slopes = slopes + np.outer(change - slopes @ step, step) / (step @ step)
            is_better = np.linalg.norm((missing - change) / limit) < np.linalg.norm(missing / limit)
            shape, reach = (tried, min(1.5 * reach, _LONGEST_STEP)) if is_better else (shape, 0.4 * reach)
        return shape

    def moved(self, step: Floats) -> Shape:
        """The shape with its leading coordinates moved."""
        coordinates = self.coordinates.copy()
        coordinates[: len(step)] += step
        return replace(self, coordinates=coordinates)

    def _with_room_for(self, n: int) -> Shape:
        lacking = max(n - len(self.coordinates), 0)
        return replace(self, coordinates=np.pad(self.coordinates, (0, lacking))) if lacking else self
