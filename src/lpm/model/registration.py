"""Correspondence between the training lungs: one average lung, and the displacement that takes each lung to it.

    f_i(x) = m(x + u_i(x))

A structure's average m is found group-wise: every lung is registered to a first template (the lung most like the
others), the lungs are averaged where they correspond, the mean displacement is taken out, and all of it again. Lungs
averaged where they correspond keep what all of them have: sharp recesses, the notch of the heart, the fissures'
grooves. Averaged as they lie, they lose it.

A registration is affine, and smooth displacements of two correlation lengths on top; Gauss-Newton with
Levenberg-Marquardt damping makes the distances agree in a band about both surfaces.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import joblib
import numpy as np
import torch
from torch import Tensor

from lpm.calibration import count, number
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.distances import sdf_on_grid
from lpm.geometry.frames import Floats
from lpm.geometry.grids import VoxelGrid
from lpm.geometry.surfaces import surface_on_grid
from lpm.model.config import RegistrationConfig
from lpm.model.levenberg_marquardt import Damping, LevenbergMarquardt, NormalEquations
from lpm.model.warp import Box, Eigenfunctions, WarpScale, inverted
from lpm.processes import in_processes

_CENTERS = count("model.registration_centers")
_AFFINE = 4  # functions of an affine map: three coordinates and 1
_AFFINE_UNIT_MM = 100.0  # keeps the affine functions near 1, as the smooth ones are
_FREE = number("model.registration_free")
_BAND_MM = number("model.registration_band_mm")
_FAR_MM = number("model.registration_far_mm")
_NODE_MM = number("model.registration_node_mm")
_NOISE_MM = number("model.registration_noise_mm")
_DOUBT_MM = number("model.registration_doubt_mm")
_NEAR_MM = number("model.registration_near_mm")
_FAR_WEIGHT = number("model.registration_far_weight")
_STEPS = 11  # at most; the next round goes on where this one ended
_PLATEAU = 1e-3  # of the energy: a step that gains less is the last
_LONGEST_STEP_MM = 20.0  # a step's largest displacement: as far as places are looked at
# an energy whose weights change with each step: damped more carefully than a fit's
_DAMPING = Damping(shrink=3.0, grow=10.0, least=1e-4, most=math.inf, tries=4)


@read_only_arrays
@dataclass(frozen=True, eq=False)
class StructureFields:
    """One structure of all training lungs.

    Args:
        distances: (n, i, j, k) signed distances about each subject's centre, mm.
        grid: Grid of the values.
        vertices_mm: (v, 3) some vertices of all of them.
    """

    distances: Tensor
    grid: VoxelGrid
    vertices_mm: Floats

    @property
    def box(self) -> Box:
        """The grid's first and last node, mm."""
        lower = torch.tensor(self.grid.origin_mm).float()
        return Box(lower, lower + (torch.tensor(self.grid.shape) - 1) * self.grid.spacing_mm)


@dataclass(frozen=True, eq=False)
class Correspondence:
    """A structure's average, and what takes the training lungs to it.

    Args:
        template: (i, j, k) signed distances of the average, mm.
        displacements: (n, 3, a, b, c) mm, on a coarser grid.
        box: Box of the displacements.
        errors_mm: (n,) mean difference of the distances near each surface.
    """

    template: Tensor
    displacements: Tensor
    box: Box
    errors_mm: tuple[float, ...]


@dataclass(frozen=True)
class _Basis:
    """Affine displacements, and smooth ones."""

    smooth: tuple[Eigenfunctions, ...]

    @classmethod
    def over(cls, vertices_mm: Floats, scales: Sequence[WarpScale]) -> _Basis:
        """Functions that matter at surfaces."""
        return cls(tuple(Eigenfunctions.over(vertices_mm, scale, _CENTERS) for scale in scales))

    def at(self, points: Tensor) -> Tensor:
        """(p, 4 + r) functions; each has three coefficients."""
        affine = torch.cat([points / _AFFINE_UNIT_MM, torch.ones_like(points[:, :1])], dim=1)
        return torch.cat([affine, *(functions.at(points) for functions in self.smooth)], dim=1)


def n_registrations(config: RegistrationConfig, n_subjects: int, n_structures: int) -> int:
    """Registrations of a `GroupRegistration`: the average is made anew `rounds` times, and then once more."""
    return (config.rounds + 1) * n_subjects * n_structures


class GroupRegistration:
    """Averages and displacements of all structures, found round after round.

    Args:
        structures: Structures of the training lungs.
        config: Smooth displacements, rounds, the grid on which displacements are kept.
        jobs: Worker processes.

    Attributes:
        found: A correspondence a structure, of the last round that ended.
        errors_mm: A row a round: the mean of each structure's errors.
    """

    def __init__(self, structures: Sequence[StructureFields], config: RegistrationConfig, *, jobs: int) -> None:
        self.structures, self.config, self.jobs = structures, config, jobs
        self.found: tuple[Correspondence, ...] = ()
        self.errors_mm: list[tuple[float, ...]] = []
        self.n_subjects = len(structures[0].distances)

    def rounds(self) -> Iterator[int]:
        """Register all lungs, make the averages anew, and again; yields the round after each registration."""
        scales = self.config.scales
        bases = [_Basis.over(each.vertices_mm, scales) for each in self.structures]
        first = _most_typical([each.distances for each in self.structures])
        templates = [each.distances[first] for each in self.structures]
        starts: list[list[Tensor | None]] = [[None] * self.n_subjects for _ in self.structures]
        for done in range(self.config.rounds + 1):
            tasks = (
                joblib.delayed(_register)(template, distances, each.box, basis, start)
                for each, template, basis, own in zip(self.structures, templates, bases, starts, strict=True)
                for distances, start in zip(each.distances, own, strict=True)
            )
            registered = []
            for one in in_processes(self.jobs, tasks):
                registered.append(one)
                yield done + 1
            parts = [
                registered[start : start + self.n_subjects] for start in range(0, len(registered), self.n_subjects)
            ]
            self.found = tuple(
                _correspondence(*each, self.config.spacing_mm)
                for each in zip(self.structures, templates, bases, parts, strict=True)
            )
            self.errors_mm.append(tuple(float(np.mean(each.errors_mm)) for each in self.found))
            starts = [[coefficients for coefficients, _ in part] for part in parts]
            if done < self.config.rounds:
                templates = [_average(each, own) for each, own in zip(self.structures, self.found, strict=True)]


def _most_typical(fields: Sequence[Tensor]) -> int:
    """The subject whose distances differ least from the mean of all."""
    total = torch.zeros(len(fields[0]))
    for field in fields:
        near = field.clamp(-2 * _BAND_MM, 2 * _BAND_MM)
        total += (near - near.mean(dim=0)).square().flatten(1).mean(dim=1)
    return int(total.argmin())


def _correspondence(
    structure: StructureFields, template: Tensor, basis: _Basis, found: list[tuple[Tensor, float]], spacing_mm: float
) -> Correspondence:
    box = structure.box.wider(spacing_mm)
    shape = box.shape_at(spacing_mm)
    functions = basis.at(box.nodes(shape))
    displacements = torch.stack([(functions @ coefficients).T.reshape(3, *shape) for coefficients, _ in found])
    return Correspondence(template, displacements, box, tuple(error for _, error in found))


def _register(template: Tensor, target: Tensor, box: Box, basis: _Basis, start: Tensor | None) -> tuple[Tensor, float]:
    """The (4 + r, 3) coefficients of the displacement that takes a lung to the template, and its mean error, mm."""
    places = box.nodes(box.shape_at(_NODE_MM))
    goal = box.distance(target, places)
    places, goal = places[goal.abs() < _FAR_MM], goal[goal.abs() < _FAR_MM]
    task = _Task(template, box, places, goal, basis.at(places))
    descent = LevenbergMarquardt(task, task.boxes_agree() if start is None else start, _DAMPING)
    for _ in range(_STEPS):
        before = task.reweighted_energy(descent.at)
        descent.step()
        if before - task.reweighted_energy(descent.at) < _PLATEAU * before:
            break
    near = goal.abs() < 0.5 * _NEAR_MM
    return descent.at, float((task.values(descent.at) - goal)[near].abs().mean())


class _Task:
    """A registration: template at the displaced places should be what the target is there.

    Args:
        template: (i, j, k) signed distances, mm.
        box: Box of the template.
        places: (p, 3) mm.
        goal: (p,) the target's distances there.
        functions: (p, 4 + r) of the displacement.
    """

    def __init__(self, template: Tensor, box: Box, places: Tensor, goal: Tensor, functions: Tensor) -> None:
        self.template, self.box, self.places, self.goal, self.functions = template, box, places, goal, functions
        self._weights = torch.ones_like(goal)

    def values(self, coefficients: Tensor) -> Tensor:
        """(p,) the template's distances at the displaced places."""
        return self.box.distance(self.template, self.places + self.functions @ coefficients)

    def boxes_agree(self) -> Tensor:
        """Coefficients that scale and move the target's inside onto the template's."""
        coefficients = torch.zeros(self.functions.shape[1], 3)
        nodes = self.box.nodes(self.box.shape_at(_NODE_MM))
        there = nodes[self.box.distance(self.template, nodes) < 0]
        here = self.places[self.goal < 0]
        factor = there.std(dim=0) / here.std(dim=0)
        coefficients[:3] = torch.diag((factor - 1.0) * _AFFINE_UNIT_MM)
        coefficients[3] = there.mean(dim=0) - here.mean(dim=0) * factor
        return coefficients

    def weights(self, coefficients: Tensor) -> Tensor:
        """(p,) how much each place counts: most near either surface, little where the two differ by far."""
        values = self.values(coefficients)
        nearest = torch.minimum(values.abs(), self.goal.abs())
        near = torch.exp(-(nearest / _NEAR_MM).square()) + _FAR_WEIGHT
        doubt = (1.0 + (self._errors(values) / _DOUBT_MM).square()).reciprocal().square()
        return near * doubt * (nearest < _BAND_MM) / _NOISE_MM**2

    def _errors(self, values: Tensor) -> Tensor:
        return values.clamp(-_BAND_MM, _BAND_MM) - self.goal.clamp(-_BAND_MM, _BAND_MM)

    def _prior(self) -> Tensor:
        prior = torch.ones(self.functions.shape[1], 3)
        prior[:_AFFINE] = _FREE
        return prior

    def energy(self, at: Tensor) -> float:
        """Weighted squares of the errors, and what the prior makes of the coefficients."""
        errors = self._errors(self.values(at))
        return float((self._weights * errors.square()).sum() + (self._prior() * at.square()).sum())

    def reweighted_energy(self, at: Tensor) -> float:
        """The energy by the weights of the same coefficients."""
        self._weights = self.weights(at)
        return self.energy(at)

    def linearise(self, at: Tensor) -> NormalEquations:
        """The equations about coefficients (4 + r, 3), flat and in float64, by their own weights."""
        displaced = (self.places + self.functions @ at).requires_grad_()
        values = self.box.distance(self.template, displaced)
        (slope,) = torch.autograd.grad(values.sum(), displaced)
        values, prior = values.detach(), self._prior()
        energy = self.reweighted_energy(at)
        slope = slope * (values.abs() < _BAND_MM)[:, None]
        jacobian = (self.functions[:, :, None] * slope[:, None]).flatten(1)
        weighted = jacobian * self._weights[:, None]
        gradient = weighted.T @ self._errors(values) + (prior * at).flatten()
        normal = weighted.T @ jacobian + torch.diag(prior.flatten())
        return NormalEquations(energy, gradient.double(), normal.double())

    def moved(self, at: Tensor, step: Tensor) -> Tensor:
        """Coefficients a step away, which displaces no place by more than `_LONGEST_STEP_MM`."""
        change = step.float().reshape(at.shape)
        longest = float((self.functions @ change).norm(dim=1).max())
        return at + min(1.0, _LONGEST_STEP_MM / max(longest, 1e-9)) * change


def _average(structure: StructureFields, known: Correspondence) -> Tensor:
    """(i, j, k) signed distances of the average: lungs averaged where they correspond, at their mean place."""
    back = torch.stack([inverted(displacement, known.box) for displacement in known.displacements])
    from_mean = inverted(back.mean(dim=0), known.box)
    nodes = structure.box.nodes(structure.grid.shape)
    there = nodes + known.box.sample(from_mean, nodes)
    total = torch.zeros(len(nodes))
    for distances, displacement in zip(structure.distances, back, strict=True):
        total += structure.box.distance(distances, there + known.box.sample(displacement, there))
    mean = (total / len(back)).reshape(structure.grid.shape).numpy()
    mesh = surface_on_grid(mean, structure.grid).largest_piece().outward()
    return torch.from_numpy(sdf_on_grid(mesh, structure.grid).astype(np.float32))
