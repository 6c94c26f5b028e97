"""How sure a fit is: the Laplace posterior of shape and pose, and the residual's own variance.

The fitted field's deviation at points x has the covariance (universal kriging; Rasmussen and Williams 2006, eq. 2.42)

    C = K(x, x) - K(x, X) W^-1 K(X, x) + H S H',    H = J(x) - K(x, X) W^-1 J(X),    W = K(X, X) + D

with J the derivatives by beta and pose, and S the inverse of the fit's normal matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from lpm.calibration import count
from lpm.errors import InputError
from lpm.fitting.discrepancy.residual import (
    ResidualConfig,
    ResidualField,
    Waves,
    correlation,
    covariance,
    spread_evenly,
)
from lpm.fitting.fitted_shape import FittedShape
from lpm.fitting.posed import PosedModel
from lpm.fitting.state import State
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.thickness import vertex_normals
from lpm.model.bundle import ModelBundle
from lpm.model.latents import LEAST_SLOPE

_VERTICES = count("fitting.volume_vertices")
_ANCHORS = count("fitting.drawn_vertices")
_JITTER = 1e-6  # of the variance: neighbouring anchors would make the matrix singular
_SHARPEST = 0.3  # cosine of half an edge's opening: sharper ones are triangles that fold over
_CHUNK = 2048  # points at a time: bounds memory, changes nothing
_MOST_ASKED = 2000  # vertices whose sigma is asked; it varies slowly between them, and costs a lot
_NEAREST_ASKED = 3  # of them that a vertex is interpolated between: a triangle


def vertex_sigma_mm(model: ModelBundle, shape: FittedShape, structure: int, mesh: WorldMesh) -> Floats:
    """Standard deviation of each vertex along its normal, mm.

    Args:
        model: The model that was fitted.
        shape: The fit.
        structure: Index of the mesh's structure.
        mesh: The fitted surface.

    Returns:
        (v,) mm.
    """
    vertices = torch.tensor(mesh.vertices)
    parts = [_diagonal(model, shape, structure, part) for part in vertices.split(_CHUNK)]
    return np.asarray(torch.cat(parts).numpy())


def vertex_sigma_in_haste_mm(model: ModelBundle, shape: FittedShape, structure: int, mesh: WorldMesh) -> Floats:
    """Standard deviation of each vertex along its normal, mm: asked at some of many, and interpolated between them.

    It varies slowly along a surface, and costs a lot. Arguments are those of `vertex_sigma_mm`.
    """
    asked = mesh.vertices[spread_evenly(mesh.vertices, _MOST_ASKED)]
    found = vertex_sigma_mm(model, shape, structure, WorldMesh(asked, np.zeros((1, 3), dtype=np.int64)))
    distance, nearest = cKDTree(asked).query(mesh.vertices, k=min(_NEAREST_ASKED, len(asked)))
    weight = 1.0 / (distance + 1e-6) ** 2
    return np.asarray((found[nearest] * weight).sum(axis=1) / weight.sum(axis=1))


def _diagonal(model: ModelBundle, shape: FittedShape, structure: int, points: Tensor) -> Tensor:
    factor, slope, length = _spread(model, shape, structure, points)
    variance = shape.residual.config.sd_mm**2 - factor.square().sum(dim=0) + slope.square().sum(dim=0)
    return variance.clamp_min(0.0).sqrt() / length


def volume_spread_ml(model: ModelBundle, shape: FittedShape, structure: int, mesh: WorldMesh) -> tuple[Tensor, float]:
    """How a structure's volume varies: with what structures share (shape and pose), and by itself.

    The volume changes by minus the integral of the field's deviation over its slope: a linear functional of the field,
    summed over some vertices.

    Args:
        model: The model that was fitted.
        shape: The fit.
        structure: Index of the mesh's structure.
        mesh: The fitted surface.

    Returns:
        (k + 9,) weights of independent standard normal variables, ml, and the variance of the rest, ml^2.
    """
    chosen = spread_evenly(mesh.vertices, _VERTICES)
    points = torch.from_numpy(mesh.vertices[chosen])
    factor, slope, length = _spread(model, shape, structure, points)
    weight = float(mesh.face_areas.sum()) / len(chosen) / length / 1000.0
    inner = covariance(points, points, shape.residual.config) - factor.T @ factor
    return slope @ weight, max(float(weight @ inner @ weight), 0.0)


def sd_of_sum_ml(spreads: Iterable[tuple[Tensor, float]]) -> float:
    """Standard deviation of the summed volume of structures, whose deviations go together by what they share, ml."""
    shared, own = zip(*spreads, strict=True)
    return float(np.sqrt(float(torch.stack(shared).sum(dim=0).square().sum()) + sum(own)))


def _spread(model: ModelBundle, shape: FittedShape, structure: int, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the points tell of other points: L^-1 K(X, x), the whitened (H S^1/2)', and the decoder's slope."""
    jacobian = _derivatives(model, shape, points, structure)
    factor = points.new_zeros(0, len(points))
    k = model.latents.n_modes
    length = jacobian[:, k : k + 3].norm(dim=1).clamp_min(LEAST_SLOPE)
    observed, lower = shape.residual.points[structure], shape.residual.factors[structure]
    if len(observed):
        seen = _derivatives(model, shape, observed, structure)
        cross = covariance(observed, points, shape.residual.config)
        factor = torch.linalg.solve_triangular(lower, cross, upper=False)
        jacobian = jacobian - factor.T @ torch.linalg.solve_triangular(lower, seen, upper=False)
    slope = torch.linalg.solve_triangular(torch.linalg.cholesky(shape.precision), jacobian.T, upper=False)
    return factor, slope, length


def _derivatives(model: ModelBundle, shape: FittedShape, points_mm: Tensor, structure: int) -> Tensor:
    """(n, k + 9) derivatives of a structure's field at (n, 3) world points by beta, translation, scales, rotation."""
    sides = torch.full((len(points_mm),), structure)
    return PosedModel(model).linearise(State.of(shape.beta, shape.pose), points_mm.float(), sides)[1]


def draw_shapes(model: ModelBundle, shape: FittedShape, n: int, *, rng: np.random.Generator) -> Iterator[FittedShape]:
    """Draw shapes from the posterior: shape and pose by Laplace, the residual by Matheron's rule.

    A draw of the residual's prior is corrected by what it gets wrong at the observed points (Wilson et al. 2021).

    Args:
        model: The model that was fitted.
        shape: The fit.
        n: Number of draws.
        rng: Source of randomness.
    """
    factor = torch.linalg.cholesky(shape.precision)
    mean = State.of(shape.beta, shape.pose)
    for _ in range(n):
        normal = torch.from_numpy(rng.standard_normal((len(factor), 1)))
        step = torch.linalg.solve_triangular(factor.T, normal, upper=True)[:, 0]
        state = mean.moved(step.float())
        moved = [_moved(model, points, s, (mean, state)) for s, points in enumerate(shape.residual.points)]
        residual = _draw_residual(shape.residual, moved, rng)
        yield replace(shape, beta=state.beta, pose=state.pose(), residual=residual)


def _moved(model: ModelBundle, points: Tensor, structure: int, states: tuple[State, State]) -> Tensor:
    """(n,) how much the decoder's values at observed points change from one state to another, mm."""
    if len(points) == 0:
        return torch.zeros(0, dtype=torch.float64)
    sides, posed = torch.full((len(points),), structure), PosedModel(model)
    first, second = (posed.own_values(state, points.float(), sides) for state in states)
    return second - first


def draw_surfaces(
    model: ModelBundle, shape: FittedShape, meshes: Mapping[int, WorldMesh], n: int, *, rng: np.random.Generator
) -> Iterator[dict[int, WorldMesh]]:
    """Draw surfaces from the posterior, to first order: vertices move along their normals.

    It takes a small part of the time of extracting the surfaces of `draw_shapes`, and has none of the noise that their
    lattice adds to a measure.

    Args:
        model: The model that was fitted.
        shape: The fit.
        meshes: Fitted surfaces by the index of their structure.
        n: Number of draws.
        rng: Source of randomness.

    Yields:
        Meshes with the faces of the given ones.
    """
    spreads = {structure: _vertex_spread(model, shape, structure, mesh) for structure, mesh in meshes.items()}
    directions = {structure: _directions(mesh) for structure, mesh in meshes.items()}
    for _ in range(n):
        common = torch.from_numpy(rng.standard_normal(len(shape.precision)))
        drawn = {}
        for structure, mesh in meshes.items():
            own, slope = spreads[structure]
            moved_mm = slope.T @ common + own @ torch.from_numpy(rng.standard_normal(own.shape[1]))
            vertices = mesh.vertices - moved_mm.numpy()[:, None] * directions[structure]
            drawn[structure] = WorldMesh(vertices, mesh.faces)
        yield drawn


def _vertex_spread(model: ModelBundle, shape: FittedShape, structure: int, mesh: WorldMesh) -> tuple[Tensor, Tensor]:
    """Square roots of the covariance of the vertices' deviations, mm: a structure's own, and the one that all share."""
    points, config = torch.tensor(mesh.vertices), shape.residual.config
    factor, slope, length = _spread(model, shape, structure, points)
    some = torch.from_numpy(spread_evenly(mesh.vertices, _ANCHORS))
    inner = covariance(points[some], points[some], config) - factor[:, some].T @ factor[:, some]
    own = torch.linalg.cholesky(inner + _JITTER * (config.sd_mm**2 or 1.0) * torch.eye(len(some), dtype=inner.dtype))
    if len(some) < len(points):
        own = _between(points, points[some], config) @ own
    return own / length[:, None], slope / length


def _between(points: Tensor, anchors: Tensor, config: ResidualConfig) -> Tensor:
    """(n, m) weights that give a residual at (n, 3) points from that at (m, 3) anchors among them (kriging)."""
    among = correlation(anchors, anchors, config)
    lower = torch.linalg.cholesky(among + _JITTER * torch.eye(len(anchors), dtype=among.dtype))
    return torch.cholesky_solve(correlation(anchors, points, config), lower).T


def _directions(mesh: WorldMesh) -> Floats:
    """(v, 3) where vertices go when the triangles around them move out by 1: farther than 1 at an edge, as a mitre."""
    normals, opened = vertex_normals(mesh), np.zeros(len(mesh.vertices))
    for corner in range(3):
        at = mesh.faces[:, corner]
        np.add.at(opened, at, mesh.face_areas * np.einsum("ij,ij->i", mesh.face_normals, normals[at]))
    around = np.bincount(mesh.faces.ravel(), np.repeat(mesh.face_areas, 3), len(mesh.vertices))
    return np.asarray(normals / np.clip(opened / np.maximum(around, 1e-12), _SHARPEST, 1.0)[:, None])


def _draw_residual(mean: ResidualField, moved: list[Tensor], rng: np.random.Generator) -> ResidualField:
    """A draw, given by how much the decoder's values at the observed points have moved, mm."""
    if mean.config.sd_mm == 0:
        return mean
    waves, weights = tuple(Waves.draw(mean.config, rng=rng) for _ in mean.points), []
    for points, factor, weight, wave, change in zip(mean.points, mean.factors, mean.weights, waves, moved, strict=True):
        noise_sd = (factor.square().sum(dim=1) - mean.config.sd_mm**2).clamp_min(0.0).sqrt()
        wrong = change + wave(points) + noise_sd * torch.from_numpy(rng.standard_normal(len(points)))
        weights.append(weight - torch.cholesky_solve(wrong[:, None], factor)[:, 0])
    return replace(mean, weights=tuple(weights), waves=waves)


def normal_interval(mean: float, sd: float, level: float) -> tuple[float, float]:
    """Central interval of a normal distribution.

    Raises:
        InputError: The level is not between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise InputError("interval", f"level {level}", "between 0 and 1, such as 0.95")
    reach = NormalDist().inv_cdf(0.5 + 0.5 * level) * sd
    return mean - reach, mean + reach
