"""Knobs on the page: an attribute with a name is asked for, and lungs that measure it are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from lpm.apps.viewer.scene.mesher import Mesher
from lpm.apps.viewer.scene.shape_parameters import ShapeParameters
from lpm.measurement.names import heading, in_figures, in_words
from lpm.population.knobs import Knobs
from lpm.population.shape import Shape as PopulationShape

_SLACK_SD, _FAR_SD = 0.02, 0.1


@dataclass(frozen=True)
class AttributeSlider:
    """One of them.

    Args:
        name: Name of the attribute; its unit is the name's end.
        low: Lower end of its slider.
        high: Upper end of its slider.
    """

    name: str
    low: float
    high: float

    @property
    def label(self) -> str:
        """In words, with the unit."""
        return heading(self.name)


@dataclass(frozen=True)
class ShapeRequest:
    """Lungs that were asked for.

    Args:
        shape: Their parameters.
        wanted: Attributes that they must measure when they rest; of knobs.
    """

    shape: ShapeParameters
    wanted: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class AttributeEdit:
    """What knobs do to lungs, wherever those lie.

    Args:
        knobs: Knobs of the model's population.
        mesher: Makes what is measured.
    """

    knobs: Knobs
    mesher: Mesher

    def prepare(self) -> None:
        """Work out now what every turn needs; it takes some seconds."""
        _ = self.knobs.population.derivatives

    @property
    def all(self) -> tuple[AttributeSlider, ...]:
        """The knobs, each as far as the training lungs reach."""
        table = self.knobs.population.table
        columns = [table.values[:, table.index(name)] for name in self.knobs.names]
        ends = [(float(np.nanmin(column)), float(np.nanmax(column))) for column in columns]
        return tuple(AttributeSlider(name, low, high) for name, (low, high) in zip(self.knobs.names, ends, strict=True))

    def moved(self, shape: ShapeParameters, stand: Mapping[str, float], wanted: Mapping[str, float]) -> ShapeParameters:
        """A shape whose attributes differ to first order, in no time.

        Args:
            shape: Shape to start from.
            stand: Values of the knobs there.
            wanted: Attributes to reach; those of no mention follow.
        """
        slopes = np.array([self.knobs.population.derivatives[name] for name in wanted])
        missing = np.array([value - stand[name] for name, value in wanted.items()])
        return self._of(self._at(shape).moved(np.linalg.pinv(slopes) @ missing), shape)

    def reached(self, shape: ShapeParameters, wanted: Mapping[str, float]) -> ShapeParameters:
        """A shape whose own meshes measure what is wanted, as near as lungs come; moved as little as can be."""
        slack = {name: _SLACK_SD * self.knobs.sd(name) for name in wanted}
        return self._of(self._at(shape).corrected(wanted, slack), shape)

    def missed(self, wanted: Mapping[str, float], stand: Mapping[str, float]) -> str:
        """In words, what lungs could not reach; empty if all was reached."""
        pairs = [
            (name, value) for name, value in wanted.items() if abs(stand[name] - value) > _FAR_SD * self.knobs.sd(name)
        ]
        told = [
            f"{in_words(name)[0]} {in_figures(value)}, got {in_figures(stand[name])} {in_words(name)[1]}"
            for name, value in pairs
        ]
        return f"No lungs of this model have all of that: asked for {'; '.join(told)}." if told else ""

    def _at(self, shape: ShapeParameters) -> PopulationShape:
        population = self.knobs.population
        nothing = np.zeros(len(next(iter(population.derivatives.values()))))
        return PopulationShape(
            population, nothing, shape.beta, lambda beta: self.mesher.fine(replace(shape, beta=beta))
        )

    def _of(self, found: PopulationShape, shape: ShapeParameters) -> ShapeParameters:
        return replace(shape, beta=found.beta)
