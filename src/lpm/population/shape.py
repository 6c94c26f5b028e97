"""A shape of a population, and how it is moved until its meshes measure what is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.measurement.shapes import measure_shapes
from lpm.population.population import Population

_STEPS = 12
_LONGEST_STEP = 1.5


@dataclass(frozen=True)
class Shape:
    """A shape of a population.

    Args:
        population: Whose.
        coordinates: (r,) in units of the population's spread.
        beyond: (k,) what is added to beta that no training subject shows.
    """

    population: Population
    coordinates: Floats
    beyond: Floats | float = 0.0

    @cached_property
    def lungs(self) -> dict[str, WorldMesh]:
        """Meshes by structure; closed, outward, about the origin, RAS mm."""
        return self.population.decode(self.beta)

    @cached_property
    def attributes(self) -> dict[str, float]:
        """What the meshes measure."""
        return measure_shapes(self.lungs)

    @property
    def beta(self) -> Floats:
        """(k,) shape parameters."""
        return np.asarray(self.population.beta(self.coordinates) + self.beyond)

    def of(self, names: Sequence[str]) -> Floats:
        """Some attributes."""
        return np.array([self.attributes[name] for name in names])

    def corrected(self, wanted: Mapping[str, float], slack: Mapping[str, float], most_steps: int = _STEPS) -> Shape:
        """Move the shape as little as can be until it measures what is wanted (Newton, with Broyden's slopes).

        Args:
            wanted: Attributes; those that no mesh shows, such as an age, are left alone.
            slack: By how much each may be missed.
            most_steps: After these it is what it is.
        """
        shape, shown = self, [name for name in wanted if name in self.attributes]
        target, limit = (np.array([of[name] for name in shown]) for of in (wanted, slack))
        if not shown:
            return shape
        slopes = np.array([self.population.derivatives[name] for name in shown])
        for _ in range(most_steps):
            missing = target - shape.of(shown)
            if (np.abs(missing) <= limit).all():
                break
            step = slopes.T @ np.linalg.lstsq(slopes @ slopes.T, missing, rcond=None)[0]
            step *= min(1.0, _LONGEST_STEP / float(np.linalg.norm(step)))
            before, shape = shape.of(shown), replace(shape, coordinates=shape.coordinates + step)
            slopes = slopes + np.outer(shape.of(shown) - before - slopes @ step, step) / (step @ step)
        return shape
