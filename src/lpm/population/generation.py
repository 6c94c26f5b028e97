"""The stage `generate`: new lungs of a model's population, with attributes that one asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from pydantic import Field

from lpm.errors import InputError
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.model.bundle import ModelBundle
from lpm.population.attributes import training_betas
from lpm.population.gates import Familiar, unsound
from lpm.population.population import Population, Range
from lpm.population.shape import Shape
from lpm.records import StrictModel


class GenerationConfig(StrictModel):
    """How lungs are drawn, and what they must be."""

    truncation: float = Field(3.0, gt=0, le=6, description="standard deviations beyond which nothing is drawn")
    tolerance: float = Field(0.005, gt=0, le=0.1, description="share of a value by which a condition may be missed")
    most_steps: int = Field(10, ge=1, description="corrections of a shape until its attributes are met")
    most_tries: int = Field(40, ge=1, description="shapes that are drawn for each that is sound")
    least_novelty: float = Field(
        0.5, ge=0, le=1, description="distance from the nearest training lungs, by the least between two of those"
    )
    range_sd: float = Field(4.0, gt=0, description="standard deviations from the mean that an attribute may lie")


@read_only_arrays
@dataclass(frozen=True, eq=False)
class GeneratedLungs:
    """Generated lungs: meshes, shape parameters and attributes.

    Args:
        beta: (k,) shape parameters.
        meshes: Meshes by structure; closed, outward, about the origin, RAS mm.
        attributes: Attributes that the meshes measure, and what was asked for that no mesh shows, such as an age.
        nearest_mm: Mean distance from the nearest training lungs.
        tries: Shapes that were drawn until this one was sound.
    """

    beta: Floats
    meshes: dict[str, WorldMesh]
    attributes: dict[str, float]
    nearest_mm: float
    tries: int


@dataclass(frozen=True)
class Generator:
    """Draws lungs.

    Args:
        population: Population to draw from.
        config: Config of the generation.
    """

    population: Population
    config: GenerationConfig = field(default_factory=GenerationConfig)

    @classmethod
    def of(cls, model: ModelBundle, config: GenerationConfig | None = None) -> Generator:
        """Make the generator of a model's population."""
        return cls(Population.of(model), config or GenerationConfig())

    @cached_property
    def familiar(self) -> Familiar:
        """The training subjects' shapes, as the model decodes them."""
        decode = self.population.decode
        return Familiar.of([decode(beta) for beta in training_betas(decode.model)])

    @cached_property
    def least_mm(self) -> float:
        """Least distance from every training subject's lungs, mm; generated lungs nearer than that are a copy."""
        return self.config.least_novelty * float(self.familiar.nearest_each_mm().min())

    def prepare(self, ranges: Mapping[str, Range]) -> None:
        """Refuse conditions that no lungs meet, and work out once what all draws need.

        Raises:
            InputError: Conditions that no lungs meet.
        """
        self.population.draw_within(ranges, rng=np.random.default_rng(0))
        _ = self.least_mm
        if ranges:
            _ = self.population.derivatives

    def draw(self, ranges: Mapping[str, Range], *, rng: np.random.Generator) -> GeneratedLungs:
        """Draw lungs until some are sound, new, and as asked for.

        Args:
            ranges: Lowest and highest value by attribute; a single value twice.
            rng: Source of randomness.

        Raises:
            InputError: Conditions that no lungs meet.
        """
        why = ""
        for tries in range(1, self.config.most_tries + 1):
            wanted = self.population.draw_within(ranges, rng=rng)
            slack = {name: self._slack(name, value) for name, value in wanted.items()}
            drawn = Shape(self.population, self._drawn(wanted, rng))
            shape = drawn.corrected(wanted, slack, self.config.most_steps)
            nearest = self.familiar.nearest_mm(shape.lungs)
            why = _unmet(shape.attributes, wanted, slack) or self._out_of_range(shape.attributes)
            why = why or unsound(shape.lungs)
            if not why and nearest < self.least_mm:
                why = f"a near copy of training lungs ({nearest:.1f} mm)"
            if not why:
                return GeneratedLungs(shape.beta, shape.lungs, wanted | shape.attributes, nearest, tries)
        asked = ", ".join(f"{name} {low:.4g} to {high:.4g}" for name, (low, high) in ranges.items()) or "no conditions"
        given = f"{asked}: none of {self.config.most_tries} drawn lungs was sound, the last because of {why}"
        raise InputError("generate", given, "lungs of the population", "wider or more usual values")

    def _drawn(self, wanted: Mapping[str, float], rng: np.random.Generator) -> Floats:
        """(r + k,) coordinates, given attributes."""
        mean, factor = self.population.conditional(wanted)
        beyond = self._truncated(len(self.population.mean), rng)
        return np.concatenate([mean + factor @ self._truncated(len(mean), rng), beyond])

    def _truncated(self, n: int, rng: np.random.Generator) -> Floats:
        normal, most = rng.standard_normal(n), self.config.truncation
        while (far := np.abs(normal) > most).any():
            normal[far] = rng.standard_normal(int(far.sum()))
        return normal

    def _slack(self, name: str, value: float) -> float:
        """A share of the value; of values about zero, of the standard deviation."""
        sd = float(self.population.table.sd[self.population.table.index(name)])
        return self.config.tolerance * max(abs(value), 2.0 * sd)

    def _out_of_range(self, attributes: Mapping[str, float]) -> str:
        table = self.population.table
        for name, mean, sd in zip(table.names, table.mean, table.sd, strict=True):
            if name in attributes and abs(attributes[name] - mean) > self.config.range_sd * sd:
                return f"{name} of {attributes[name]:.4g}"
        return ""


def _unmet(attributes: Mapping[str, float], wanted: Mapping[str, float], slack: Mapping[str, float]) -> str:
    """The first attribute that is not met, if any; what no mesh shows cannot be."""
    shown = (name for name in wanted if name in attributes)
    missed = [name for name in shown if abs(attributes[name] - wanted[name]) > slack[name]]
    return f"{missed[0]} of {attributes[missed[0]]:.4g}" if missed else ""


def generate(
    generator: Generator, n: int, ranges: Mapping[str, Range], *, rng: np.random.Generator
) -> Iterator[GeneratedLungs]:
    """Draw n lungs, each from a stream of its own.

    Raises:
        InputError: n is not positive, or conditions that no lungs meet.
    """
    if n < 1:
        raise InputError("generate", f"n = {n}", "at least 1")
    for stream in rng.spawn(n):
        yield generator.draw(ranges, rng=stream)
