"""The registration of one lung to a template: the displacement that takes it there.

    f(x) = m(x + u(x))

u is affine, with smooth displacements of two correlation lengths on top; Gauss-Newton with Levenberg-Marquardt damping
makes the distances agree in a band about both surfaces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lpm.calibration import count, number
from lpm.geometry.frames import Floats
from lpm.model.levenberg_marquardt import Damping, LevenbergMarquardt, NormalEquations
from lpm.model.warp import Box, Eigenfunctions, WarpScale

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
_BLOCK = 150  # columns: smaller blocks leave out more, but multiply more slowly
_LONGEST_STEP_MM = 20.0  # a step's largest displacement: as far as places are looked at
# an energy whose weights change with each step: damped more carefully than a fit's
_DAMPING = Damping(shrink=3.0, grow=10.0, least=1e-4, most=math.inf, tries=4)


@dataclass(frozen=True)
class Basis:
    """Affine displacements, and smooth ones: displacements are sums of them, with three coefficients each."""

    smooth: tuple[Eigenfunctions, ...]

    @classmethod
    def over(cls, vertices_mm: Floats, scales: Sequence[WarpScale]) -> Basis:
        """Functions that matter at surfaces."""
        return cls(tuple(Eigenfunctions.over(vertices_mm, scale, _CENTERS) for scale in scales))

    def at(self, points: Tensor) -> Tensor:
        """(p, 4 + r) functions; each has three coefficients."""
        affine = torch.cat([points / _AFFINE_UNIT_MM, torch.ones_like(points[:, :1])], dim=1)
        return torch.cat([affine, *(functions.at(points) for functions in self.smooth)], dim=1)


def register(template: Tensor, target: Tensor, box: Box, basis: Basis, start: Tensor | None) -> tuple[Tensor, float]:
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
        counts = torch.nonzero((self._weights > 0) & (values.abs() < _BAND_MM)).squeeze(1)
        root = self._weights[counts].sqrt()
        jacobian = (self.functions[counts, :, None] * (root[:, None] * slope[counts])[:, None]).flatten(1)
        gradient = jacobian.T @ (root * self._errors(values)[counts]) + (prior * at).flatten()
        normal = _products(jacobian) + torch.diag(prior.flatten())
        return NormalEquations(energy, gradient.double(), normal.double())

    def moved(self, at: Tensor, step: Tensor) -> Tensor:
        """Coefficients a step away, which displaces no place by more than `_LONGEST_STEP_MM`."""
        change = step.float().reshape(at.shape)
        longest = float((self.functions @ change).norm(dim=1).max())
        return at + min(1.0, _LONGEST_STEP_MM / max(longest, 1e-9)) * change


def _products(columns: Tensor) -> Tensor:
    """(m, m) columns.T @ columns, of which half is worked out: it is symmetric."""
    found = columns.new_zeros(columns.shape[1], columns.shape[1])
    for start in range(0, len(found), _BLOCK):
        rows = slice(start, start + _BLOCK)
        found[rows, : rows.stop] = columns[:, rows].T @ columns[:, : rows.stop]
    return found.tril() + found.tril(-1).T
