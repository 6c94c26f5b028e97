"""Whether kinds of evidence can be of one patient: how far each moves the lungs from where the others put them.

Without a term the posterior of shape and pose is, to first order, N(x - d, P_o^-1) with P_o the precision of the others
and d = P_o^-1 g_o from their gradient at the joint optimum x. If all are of one patient, d varies as P_o^-1 - P^-1 with
P the precision of all: its Mahalanobis length is a chi-square statistic of what the term tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lpm.calibration import count, number
from lpm.files.points import MIN_POINTS
from lpm.fitting.config import FitConfig
from lpm.fitting.evidence.fitted_surface import FittedSurface
from lpm.fitting.evidence.observation import Observation
from lpm.fitting.evidence.surface import SurfacePoints
from lpm.fitting.evidence.term import Term
from lpm.fitting.fitted_shape import fit_shape
from lpm.fitting.posed import PosedModel
from lpm.fitting.search import Found, search
from lpm.fitting.state import State
from lpm.geometry.meshes import WorldMesh
from lpm.model.bundle import ModelBundle
from lpm.model.latents import LEAST_SLOPE
from lpm.model.threads import one_thread

_MOST_DEVIATIONS = number("fitting.most_deviations")
_LEAST_MM = number("fitting.least_disagreement_mm")
_LEAST_TOLD = number("fitting.least_told")
_ODD_MM = number("fitting.odd_mm")
_ODD_NOISE_MM = number("fitting.odd_noise_mm")
_ODD_SHARE = number("fitting.odd_share")
_CONTRADICTS_MM = number("fitting.contradicts_mm")
_MOST_POINTS = 1500  # in the comparison of kinds: whether they are of one patient, not where
_VERTICES = count("fitting.displaced_vertices")


@dataclass(frozen=True)
class Disagreement:
    """How far a kind of evidence moves the lungs from where the others put them, to first order.

    Args:
        mm: Root mean square along the surface's normal. Where the others say little of a direction it is large, and
            means nothing by itself.
        deviations: The same in standard deviations, root mean square over what the term tells: 1 is usual.
    """

    mm: float
    deviations: float


@dataclass(frozen=True, eq=False)
class JointSearch:
    """A search with several kinds of evidence, for comparing these with each other.

    Args:
        model: Trained.
        terms: Kinds of evidence.
        what: Each of them in words.
        config: Config of the search.
        found: Its end.
        meshes: The fitted lungs.
    """

    model: ModelBundle
    terms: Sequence[Term]
    what: Sequence[str]
    config: FitConfig
    found: Found
    meshes: Mapping[str, WorldMesh]

    def disagreements(self) -> list[Disagreement]:
        """The disagreement of each term with the others."""
        places, structure = self._places()
        jacobian = PosedModel(self.model).linearise(self.found.state, places, structure)[1]
        k = self.model.latents.n_modes
        motion = jacobian / jacobian[:, k : k + 3].norm(dim=1, keepdim=True).clamp_min(LEAST_SLOPE)
        return [_disagreement(self.found, index, motion) for index in range(len(self.terms))]

    def notes(self) -> list[str]:
        """A note on the kind of evidence that contradicts the others most, if one does beyond noise and prior.

        Only then is the search repeated without it, which takes seconds and gives the millimetres that are told.
        """
        apart = self.disagreements() if len(self.terms) > 1 else []
        worst = max(range(len(apart)), key=lambda index: apart[index].deviations, default=0)
        if not apart or apart[worst].deviations <= _MOST_DEVIATIONS or max(each.mm for each in apart) <= _LEAST_MM:
            return []
        what = self.what
        if len(apart) == 2:
            moved_mm = max(self._moved_mm(0), self._moved_mm(1))
            told = f"{what[0]} and {what[1]}: contradict each other by {moved_mm:.0f} mm; of two patients or breaths?"
        else:
            moved_mm = self._moved_mm(worst)
            told = (
                f"{what[worst]}: contradicts the other evidence, from whose lungs it moves these by {moved_mm:.0f} mm"
            )
            told += "; of another patient or breath?"
        return [told] if moved_mm > _LEAST_MM else []

    def _moved_mm(self, index: int) -> float:
        """How far the lungs lie from those of the others alone, root mean square along the normal.

        That search starts from the joint result, so that what the others do not tell stays as it is.
        """
        others = [term for at, term in enumerate(self.terms) if at != index]
        with one_thread():
            there = search(self.model, others, self.config, self.found.state).state
        places, structure = self._places()
        here, away = (PosedModel(self.model).own_values(at, places, structure) for at in (self.found.state, there))
        return float((away - here).square().mean().sqrt())

    def _places(self) -> tuple[Tensor, Tensor]:
        """(n, 3) places on the surface, and the index of the structure of each."""
        parts = [(index, self.meshes[name]) for index, name in enumerate(self.model.structures) if name in self.meshes]
        places = [mesh.vertices[:: max(len(mesh.vertices) // _VERTICES, 1)] for _, mesh in parts]
        structure = [torch.full((len(some),), index) for some, (index, _) in zip(places, parts, strict=True)]
        return torch.from_numpy(np.concatenate(places)).float(), torch.cat(structure)


def _disagreement(found: Found, index: int, motion: Tensor) -> Disagreement:
    normal, _ = found.shares[index]
    others = found.precision - normal
    gradient = found.prior_gradient.clone()
    for at, (_, own) in enumerate(found.shares):
        gradient += own if at != index else 0.0
    factor = torch.linalg.cholesky(others)
    whitened = torch.linalg.solve_triangular(factor, gradient[:, None], upper=False)[:, 0]  # L'd
    told = torch.linalg.solve_triangular(factor, normal, upper=False)
    told = torch.linalg.solve_triangular(factor, told.T, upper=False)
    values, axes = torch.linalg.eigh(0.5 * (told + told.T))
    kept = values > _LEAST_TOLD
    squares = (axes.T @ whitened)[kept].square() * (1.0 + values[kept]) / values[kept]
    step = torch.linalg.solve_triangular(factor.T, whitened[:, None], upper=True)[:, 0]
    mm = float((motion @ step).square().mean().sqrt())
    return Disagreement(mm, float(squares.mean().sqrt()) if len(squares) else 0.0)


def contradictions(
    model: ModelBundle, parts: Sequence[Observation], surface: FittedSurface, config: FitConfig
) -> list[str]:
    """Notes on kinds of surface points that cannot be of one patient; none where a fit explains them together.

    Only where a fit leaves much unexplained is each kind compared with a fit of the others, which takes seconds.

    Args:
        model: Trained.
        parts: Kinds of points.
        surface: Result of the joint fit to all of them.
        config: Config of the fit.
    """
    share = surface.n_outliers / len(surface.residuals_mm)
    is_odd = surface.unexplained_mm > _ODD_MM or surface.noise_mm > _ODD_NOISE_MM or share > _ODD_SHARE
    if len(parts) < 2 or not is_odd:
        return []
    notes = []
    for index, part in enumerate(parts):
        away_mm = _from_the_others(model, part, [each for at, each in enumerate(parts) if at != index], config)
        if away_mm is not None and away_mm > _CONTRADICTS_MM:
            given = f"lies {away_mm:.0f} mm from the lungs that the other points give"
            notes.append(f"{part.what}: {given}; of another patient or breath?")
    return notes


def _from_the_others(
    model: ModelBundle, part: Observation, others: Sequence[Observation], config: FitConfig
) -> float | None:
    """Mean distance of points from the lungs that others give, mm; None if these are too few."""
    known = SurfacePoints.of(
        np.concatenate([each.points_mm for each in others]), np.concatenate([each.structure for each in others])
    ).some(_MOST_POINTS)
    if len(known) < MIN_POINTS:
        return None
    shape = fit_shape(model, known.points.double().numpy(), known.structure.numpy(), config)
    seen, state = SurfacePoints.of(part.points_mm, part.structure).some(_MOST_POINTS), State.of(shape.beta, shape.pose)
    posed = PosedModel(model)
    sides = seen.sides(posed, state)
    values = posed.own_values(state, seen.points, sides) + shape.residual.at(seen.points.double(), sides)
    return float(values.abs().mean())
