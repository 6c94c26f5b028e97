"""Baselines: reconstructions of both lungs from sparse surface points by simple methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lpm.errors import InputError
from lpm.evaluation.poisson import PoissonReconstruction
from lpm.files.points import MIN_POINTS
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.distances import closest_points, sdf_on_grid
from lpm.geometry.frames import Floats, as_points
from lpm.geometry.grids import Trilinear, VoxelGrid, grid_nodes, odd_grid, trilinear
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.surfaces import surface_on_grid
from lpm.model.registration.components import whitened_components
from lpm.preparation.cohort import Cohort
from lpm.records import StrictModel

Meshes = dict[str, WorldMesh]
Grids = NDArray[np.float32]
BaselineName = Literal["mean", "nearest", "pca", "poisson", "poisson-normals"]
_NEAREST_EXACTLY = 3  # candidates by their grids whose triangles are then asked, which is slow and decides


class BaselinesConfig(StrictModel):
    """Which baselines, and how they learn and fit."""

    names: tuple[BaselineName, ...] = ("mean", "nearest", "pca", "poisson")
    spacing_mm: float = Field(5.0, gt=0, le=20, description="spacing of the SDF grids")
    margin_mm: float = Field(25.0, gt=0, description="how far the grids reach past every training lung")
    noise_mm: float = Field(3.0, gt=0, description="what the PCA cannot express, RMS; balances points and prior")
    independent_points: int = Field(300, ge=1, description="more points than these on the lungs tell nothing new")
    iterations: int = Field(40, ge=1, description="at most, of each fit")
    cut_mm: float = Field(3.0, gt=0, le=20, description="grid on which lungs that Poisson merged are cut apart")
    poisson_depth: int = Field(8, ge=3, le=12, description="octree depth of Poisson reconstruction")


class Baseline(Protocol):
    """A way to reconstruct lungs from points that do not say which lung they lie on."""

    @property
    def name(self) -> str:
        """Name of the method in tables."""
        ...

    def reconstruct(self, points_mm: Floats, normals: Floats | None = None) -> Meshes:
        """Reconstruct closed meshes by structure, RAS mm, from (n, 3) surface points, RAS mm.

        The true outward normals (n, 3) are there for baselines that cannot do without; the others ignore them.
        """
        ...


def build_baselines(cohort: Cohort, config: BaselinesConfig | None = None) -> list[Baseline]:
    """Train baselines on a cohort's training subjects.

    Args:
        cohort: Prepared subjects; only those of the split ``train`` are read.
        config: Config: which baselines, and how they are fitted; the default builds all four.

    Returns:
        In the order of ``config.names``.

    Raises:
        InputError: There are no training subjects.
        MissingExtraError: Poisson is asked for without the extra ``benchmarks``.
    """
    config = config or BaselinesConfig()
    if not cohort.subjects("train"):
        raise InputError("baselines", "no training subjects", "at least one", "split the cohort")
    training = [centred_meshes(cohort, subject) for subject in cohort.subjects("train")]
    needs_grids = bool({"mean", "nearest", "pca"} & set(config.names))
    grids = train_grids(training, config) if needs_grids else None
    return [_build(name, training, grids, config) for name in config.names]


def _build(name: BaselineName, training: Sequence[Meshes], grids: SdfGrids | None, config: BaselinesConfig) -> Baseline:
    if name in {"poisson", "poisson-normals"} or grids is None:
        is_told = name == "poisson-normals"
        return PoissonReconstruction(tuple(training[0]), config.poisson_depth, config.cut_mm, true_normals=is_told)
    if name == "nearest":
        return NearestLung(training, grids, config)
    return MeanShape(grids, config) if name == "mean" else PcaOfGrids(grids, config)


def centred_meshes(cohort: Cohort, subject: str) -> Meshes:
    """A subject's meshes about its centre, mm."""
    center_mm = cohort.world_from_model(subject).center_mm
    return {name: _moved(mesh, -center_mm) for name, mesh in cohort.meshes(subject).items()}


def _moved(mesh: WorldMesh, by_mm: Floats) -> WorldMesh:
    return WorldMesh(mesh.vertices + by_mm, mesh.faces)


# Grids of signed distances


@read_only_arrays
@dataclass(frozen=True, eq=False)
class SdfGrids:
    """Signed distances of training subjects on one grid, each subject about its centre.

    Args:
        values: (subjects, structures, i, j, k) mm, negative inside.
        grid: Grid of the nodes about a subject's centre.
        structures: Names, in the order of the second axis.
    """

    values: Grids
    grid: VoxelGrid
    structures: tuple[str, ...]

    def meshes(self, field: NDArray[Any], center_mm: Floats) -> Meshes:
        """Surfaces of a field (structures, i, j, k), one closed piece each, about a centre in the world."""
        return {
            name: _moved(surface_on_grid(part, self.grid).largest_piece(), center_mm)
            for name, part in zip(self.structures, field, strict=True)
        }


def train_grids(training: Sequence[Mapping[str, WorldMesh]], config: BaselinesConfig) -> SdfGrids:
    """Signed distances of all training shapes on a grid that holds them all.

    Args:
        training: Closed meshes by structure, each subject about its centre, mm.
        config: Spacing and margin.
    """
    meshes = [mesh for subject in training for mesh in subject.values()]
    lower = np.min([mesh.vertices.min(axis=0) for mesh in meshes], axis=0) - config.margin_mm
    upper = np.max([mesh.vertices.max(axis=0) for mesh in meshes], axis=0) + config.margin_mm
    grid = odd_grid(lower, upper, config.spacing_mm)
    fields = [[sdf_on_grid(mesh, grid) for mesh in subject.values()] for subject in training]
    return SdfGrids(np.array(fields, dtype=np.float32), grid, tuple(training[0]))


# Fitting a field to points


def fit_field(mean: Grids, modes: Grids, grid: VoxelGrid, points_mm: Floats, config: BaselinesConfig) -> Fit:
    """Find the coefficients and the centre for which a field vanishes at points.

    The field is mean + sum of b_k * mode_k with b ~ N(0, I). Gauss-Newton over b and the centre; before each step
    every point is given to the structure whose surface is nearest in the field (the least absolute value).

    Args:
        mean: (structures, i, j, k) mm.
        modes: (m, structures, i, j, k) mm; none of them for a translation alone.
        grid: Grid of the nodes about the centre.
        points_mm: (n, 3) RAS mm on the surfaces.
        config: Noise, number of independent points, iterations.
    """
    n_modes = len(modes)
    flat, flat_modes = mean.reshape(len(mean), -1), modes.reshape(n_modes, len(mean), mean[0].size)
    b, center_mm = np.zeros(n_modes), points_mm.mean(axis=0) - _surface_center(mean, grid)
    weight = min(len(points_mm), config.independent_points) / len(points_mm) / config.noise_mm**2
    prior = np.diag(np.r_[np.ones(n_modes), np.full(3, 1e-6)])
    for _ in range(config.iterations):
        error, jacobian = _linearised(flat, flat_modes, b, trilinear(points_mm - center_mm, grid))
        gradient = weight * jacobian.T @ error + np.r_[b, np.zeros(3)]
        step = np.linalg.solve(weight * jacobian.T @ jacobian + prior, -gradient)
        b, center_mm = b + step[:n_modes], center_mm + step[n_modes:]
        if np.abs(step).max() < 1e-2:
            break
    return Fit(b, center_mm, float(np.abs(error).mean()))


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Fit:
    """Result of fitting a field to points.

    Args:
        b: (m,) coefficients.
        center_mm: (3,) where the field's origin lies, RAS mm.
        residual_mm: Mean absolute value of the field at the points, before the last step.
    """

    b: Floats
    center_mm: Floats
    residual_mm: float


def _surface_center(field: Grids, grid: VoxelGrid) -> Floats:
    is_near = (np.abs(field) < grid.spacing_mm).any(axis=0)
    return np.asarray(grid_nodes(grid)[is_near].mean(axis=0))


def _linearised(mean: Grids, modes: Grids, b: Floats, around: Trilinear) -> tuple[Floats, Floats]:
    """Field at the points, each on its nearest structure, and its derivative by b and by the centre."""
    modes_near = modes[:, :, around.node]
    field = mean[:, around.node] + np.tensordot(b, modes_near, axes=1)
    value = np.einsum("snc,nc->sn", field, around.weight)
    nearest = np.abs(value).argmin(axis=0), np.arange(value.shape[1])
    by_b = np.einsum("knc,nc->nk", modes_near[:, nearest[0], nearest[1]], around.weight)
    by_center = -np.einsum("nc,nca->na", field[nearest], around.slope)
    return value[nearest], np.concatenate([by_b, by_center], axis=1)


# The baselines


class MeanShape:
    """The mean of the training SDF grids, translated to the points.

    Args:
        grids: Grids of the training subjects.
        config: Iterations.
    """

    name = "mean shape"

    def __init__(self, grids: SdfGrids, config: BaselinesConfig) -> None:
        self._grids, self._config = grids, config
        self._mean = grids.values.mean(axis=0)

    def reconstruct(self, points_mm: Floats, normals: Floats | None = None) -> Meshes:
        """Return the mean lungs, translated to the points."""
        points = as_points(points_mm, self.name, at_least=MIN_POINTS)
        fit = fit_field(self._mean, self._grids.values[:0], self._grids.grid, points, self._config)
        return self._grids.meshes(self._mean, fit.center_mm)


class NearestLung:
    """The training subject that lies nearest to the points after its best translation.

    Args:
        training: Meshes by structure, each subject about its centre.
        grids: Their signed distances.
        config: Iterations.
    """

    name = "nearest training lung"

    def __init__(self, training: Sequence[Meshes], grids: SdfGrids, config: BaselinesConfig) -> None:
        self._training, self._grids, self._config = list(training), grids, config

    def reconstruct(self, points_mm: Floats, normals: Floats | None = None) -> Meshes:
        """Return the training lungs with the least mean distance from the points to their triangles.

        All are translated and ranked on their grids; of the three best the exact distance decides.
        """
        points = as_points(points_mm, self.name, at_least=MIN_POINTS)
        fits = [
            fit_field(values, self._grids.values[:0], self._grids.grid, points, self._config)
            for values in self._grids.values
        ]
        order = np.argsort([fit.residual_mm for fit in fits])[:_NEAREST_EXACTLY]
        best = min(order, key=lambda index: self._distance_mm(index, points - fits[index].center_mm))
        return {name: _moved(mesh, fits[best].center_mm) for name, mesh in self._training[best].items()}

    def _distance_mm(self, index: int, points: Floats) -> float:
        distances = [closest_points(mesh, points).distance for mesh in self._training[index].values()]
        return float(np.min(distances, axis=0).mean())


class PcaOfGrids:
    """Principal components of the SDF grids, fitted to the points with a translation.

    Args:
        grids: Grids of the training subjects.
        config: Noise, number of independent points, iterations.
        n_modes: Keep the first of the components; default all.
    """

    name = "PCA of SDF grids"

    def __init__(self, grids: SdfGrids, config: BaselinesConfig, n_modes: int | None = None) -> None:
        self._grids, self._config = grids, config
        self._mean = grids.values.mean(axis=0)
        centred = (grids.values - self._mean).reshape(len(grids.values), -1)
        self._modes = whitened_components(centred, n_modes)[0].reshape(-1, *self._mean.shape)

    def reconstruct(self, points_mm: Floats, normals: Floats | None = None) -> Meshes:
        """Return the surfaces of the fitted field."""
        points = as_points(points_mm, self.name, at_least=MIN_POINTS)
        fit = fit_field(self._mean, self._modes, self._grids.grid, points, self._config)
        field = self._mean + np.tensordot(fit.b.astype(np.float32), self._modes, axes=1)
        return self._grids.meshes(field, fit.center_mm)

    def draw(self, *, rng: np.random.Generator) -> Meshes:
        """Draw lungs from the components, about the origin."""
        b = rng.standard_normal(len(self._modes)).astype(np.float32)
        return self._grids.meshes(self._mean + np.tensordot(b, self._modes, axes=1), np.zeros(3))

    def variances(self) -> Floats:
        """(k,) variance of each component over its grid, in falling order."""
        return np.asarray(np.square(self._modes, dtype=np.float64).mean(axis=tuple(range(1, self._modes.ndim))))
