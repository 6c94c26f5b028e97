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
from lpm.fitting.fitted_shape import fit_shape
from lpm.fitting.posed import PosedModel
from lpm.fitting.search import Found
from lpm.fitting.state import State
from lpm.geometry.meshes import WorldMesh
from lpm.model.bundle import ModelBundle
from lpm.model.latents import LEAST_SLOPE

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
    """How far a kind of evidence moves the lungs from where the others put them.

    Args:
        mm: Root mean square along the surface's normal.
        deviations: The same in standard deviations, root mean square over what the term tells: 1 is usual.
    """

    mm: float
    deviations: float


def disagreements(model: ModelBundle, found: Found, meshes: Mapping[str, WorldMesh]) -> list[Disagreement]:
    """Compute the disagreement of each term of a fit with the others.

    Args:
        model: Trained.
        found: The end of the search.
        meshes: The fitted lungs.
    """
    jacobian = _normal_motion(model, found, meshes)
    return [_disagreement(found, index, jacobian) for index in range(len(found.shares))]


def disagreement_notes(what: Sequence[str], found: Sequence[Disagreement]) -> list[str]:
    """A note on the kind of evidence that contradicts the others most, if one does beyond noise and prior.

    Args:
        what: Each kind in words.
        found: Disagreement: how far it moves the lungs.
    """
    if len(found) < 2:
        return []
    worst = max(range(len(found)), key=lambda index: found[index].deviations)
    apart_mm = max(each.mm for each in found)
    if found[worst].deviations <= _MOST_DEVIATIONS or apart_mm <= _LEAST_MM:
        return []
    if len(found) == 2:
        return [f"{what[0]} and {what[1]}: contradict each other by {apart_mm:.0f} mm; of two patients or breaths?"]
    moved = f"contradicts the other evidence, from whose lungs it moves these by {found[worst].mm:.0f} mm"
    return [f"{what[worst]}: {moved}; of another patient or breath?"]


def _disagreement(found: Found, index: int, jacobian: Tensor) -> Disagreement:
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
    mm = float((jacobian @ step).square().mean().sqrt())
    return Disagreement(mm, float(squares.mean().sqrt()) if len(squares) else 0.0)


def _normal_motion(model: ModelBundle, found: Found, meshes: Mapping[str, WorldMesh]) -> Tensor:
    """(n, k + 9) mm by which places on the surface move along their normal."""
    parts: Sequence[Tensor] = [
        _motion_at(model, found, index, meshes[name]) for index, name in enumerate(model.structures) if name in meshes
    ]
    return torch.cat(list(parts))


def _motion_at(model: ModelBundle, found: Found, structure: int, mesh: WorldMesh) -> Tensor:
    every = max(len(mesh.vertices) // _VERTICES, 1)
    points = torch.tensor(np.asarray(mesh.vertices[::every])).float()
    jacobian = PosedModel(model).linearise(found.state, points, torch.full((len(points),), structure))[1]
    k = model.latents.n_modes
    motion: Tensor = jacobian / jacobian[:, k : k + 3].norm(dim=1, keepdim=True).clamp_min(LEAST_SLOPE)
    return motion


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
