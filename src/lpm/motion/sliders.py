"""Sliders over lungs: how far each vertex moves with shape parameters, knobs and breathing.

Every end of a slider is a shape that the model itself makes. Between ends vertices move along straight lines, and
sliders add up: good near the resting lungs, rougher where several stand far out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from lpm.calibration import number
from lpm.errors import InputError
from lpm.fitting.corresponding import average_surfaces, corresponding
from lpm.fitting.discrepancy.residual import ResidualConfig, ResidualField
from lpm.fitting.fitted_field import FittedField
from lpm.fitting.pose import Pose, world_from_model
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.model.bundle import ModelBundle
from lpm.motion.prediction import BreathModel, predict_breath
from lpm.population.knobs import Knobs
from lpm.population.shape import Shape

_SD = number("motion.slider_sd")
_SIGNS = (-1.0, 1.0)  # below rest and above it
_SLACK_SD = number("motion.slider_slack_sd")

Lungs = Mapping[str, WorldMesh]


@read_only_arrays
@dataclass(frozen=True, eq=False)
class End:
    """An end of a slider.

    Args:
        name: What the lungs are there, such as ``height_mm 281``.
        at: Value of the slider there.
        moved_mm: By structure, (v, 3) how far each vertex lies from rest, R, A, S.
    """

    name: str
    at: float
    moved_mm: Mapping[str, Floats]


@dataclass(frozen=True, eq=False)
class Slider:
    """A slider.

    Args:
        name: Name of what it changes, with its unit.
        rest: Value of the resting lungs.
        ends: One below rest and one above it, or one.
    """

    name: str
    rest: float
    ends: tuple[End, ...]


@dataclass(frozen=True, eq=False)
class SlidingLungs:
    """Lungs with sliders.

    Args:
        rest: Meshes by structure, RAS mm.
        sliders: That move their vertices.
        notes: Sliders that are missing, and why.
    """

    rest: Lungs
    sliders: tuple[Slider, ...]
    notes: tuple[str, ...] = ()

    @property
    def ends(self) -> tuple[End, ...]:
        """All ends, in the order of the sliders."""
        return tuple(end for slider in self.sliders for end in slider.ends)


@dataclass(frozen=True)
class SliderOptions:
    """Which sliders there are.

    Args:
        faces: Triangles of each structure, about.
        n_shapes: How many of the first shape parameters.
        knobs: Whether attributes can be turned; the others follow as they do in the population.
        breath: Model of a breath; None for no slider of it.
    """

    faces: int = 3000
    n_shapes: int = 10
    knobs: bool = True
    breath: BreathModel | None = None


def average_field(model: ModelBundle) -> FittedField:
    """The lungs of beta = 0 about the world's origin, as a fit to nothing."""
    residual = ResidualField.nothing(ResidualConfig(), len(model.structures))
    return FittedField(model, torch.zeros(model.latents.n_modes), Pose.nothing(), residual, model.structures)


def sliding_lungs(field: FittedField, options: SliderOptions | None = None) -> SlidingLungs:
    """Find how lungs move with sliders.

    Args:
        field: Fitted lungs, or `average_field`.
        options: Which sliders.

    Raises:
        InputError: The model is a network, which has no meshes in correspondence, or has fewer shape parameters.
    """
    asked = options or SliderOptions()
    if asked.n_shapes > field.model.latents.n_modes:
        given, most = f"{asked.n_shapes} shape parameters", field.model.latents.n_modes
        raise InputError("sliders", given, f"at most {most}", "ask for fewer")
    carried = _Carried(field, asked.faces)
    sliders = [_shape_slider(carried, index) for index in range(asked.n_shapes)]
    found, notes = _knob_sliders(carried) if asked.knobs else ([], [])
    sliders += found
    if asked.breath is not None:
        sliders.append(_breath_slider(field, carried.at_rest, asked.breath))
    return SlidingLungs(corresponding(field, asked.faces).meshes, tuple(sliders), tuple(notes))


class _Carried:
    """The average's meshes, carried to shapes near those of a fit, in its pose."""

    def __init__(self, field: FittedField, faces: int) -> None:
        self.field = field
        self._surfaces = average_surfaces(field.model, faces)
        self._placed = world_from_model(field.model, field.pose)
        self.beta = field.beta.double().numpy()
        self.at_rest = self(self.beta)

    def __call__(self, beta: Floats) -> dict[str, WorldMesh]:
        model = self.field.model
        latent = model.latents.to_latent(torch.tensor(beta).float())
        meshes = self._surfaces.meshes(latent, self._placed, model.structures)
        return {name: meshes[name] for name in self.field.structures}

    def end(self, name: str, at: float, beta: Floats) -> End:
        return End(name, at, moved(self.at_rest, self(beta)))


def moved(rest: Lungs, end: Lungs) -> dict[str, Floats]:
    """By structure, (v, 3) how far each vertex lies from rest, mm."""
    return {name: end[name].vertices - mesh.vertices for name, mesh in rest.items()}


def _shape_slider(carried: _Carried, index: int) -> Slider:
    name, step = f"shape {index + 1}", _SD * np.eye(len(carried.beta))[index]
    ends = (carried.end(f"{name}, {sign * _SD:+g} sd", sign * _SD, carried.beta + sign * step) for sign in _SIGNS)
    return Slider(f"{name}, sd", 0.0, tuple(ends))


def _knob_sliders(carried: _Carried) -> tuple[list[Slider], list[str]]:
    """The knobs, and what is missing of them."""
    try:
        knobs = Knobs.of(carried.field.model)
    except InputError as error:
        return [], [f"no knobs: {error}"]
    start = Shape(knobs.population, np.zeros(knobs.population.n_shown), carried.beta, carried)
    directions = dict(zip(knobs.names, knobs.directions(joint=True), strict=True))
    found, missing = [], []
    for name in (name for name in knobs.names if name in start.attributes):
        ends = [
            _knob_end(carried, start, (name, sign * _SD * knobs.sd(name)), sign * _SD * directions[name])
            for sign in _SIGNS
        ]
        if reached := tuple(end for end in ends if end is not None):
            found.append(Slider(name, start.attributes[name], reached))
        missing += [f"{name}: no lungs {_SD:g} standard deviations away" for end in ends if end is None]
    return found, missing


def _knob_end(carried: _Carried, start: Shape, change: tuple[str, float], step: Floats) -> End | None:
    """The most probable lungs with an attribute changed; None where no shape has it."""
    name, by = change
    wanted, slack = start.attributes[name] + by, abs(by) * _SLACK_SD / _SD
    shape = start.moved(step).corrected({name: wanted}, {name: slack})
    value = shape.attributes[name]
    return carried.end(f"{name} {value:.4g}", value, shape.beta) if abs(value - wanted) <= slack else None


def _breath_slider(field: FittedField, rest: Lungs, breath: BreathModel) -> Slider:
    """From the lungs as they are, which are taken for inspiration, to expiration by the usual growth."""
    before = sum(mesh.volume_ml for mesh in rest.values())
    found = predict_breath(field, breath, before / float(np.exp(np.log(breath.growth).mean())))
    end = {name: WorldMesh(found.breath.motion.carried(mesh.vertices, name), mesh.faces) for name, mesh in rest.items()}
    after = sum(mesh.volume_ml for mesh in end.values())
    return Slider("total_volume_ml in a breath", before, (End(f"expiration, {after:.0f} ml", after, moved(rest, end)),))
