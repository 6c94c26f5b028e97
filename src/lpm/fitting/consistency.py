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

from lpm.fitting.posed import PosedModel
from lpm.fitting.search import Found
from lpm.geometry.meshes import WorldMesh
from lpm.model.bundle import ModelBundle
from lpm.model.latents import LEAST_SLOPE

_LEAST_TOLD = 0.3  # information of a term, in units of the others', below which it tells nothing of a direction
_VERTICES = 300  # of each structure, at which displacements are measured


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
    """Of each term of a fit.

    Args:
        model: Trained.
        found: The end of the search.
        meshes: The fitted lungs.
    """
    jacobian = _normal_motion(model, found, meshes)
    return [_disagreement(found, index, jacobian) for index in range(len(found.shares))]


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
