"""What LPM has to beat: reconstructions of both lungs from sparse surface points by simple means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from lpm.errors import InputError, NoSurfaceError
from lpm.extras import import_extra
from lpm.geometry.distances import closest_points, sdf_on_grid
from lpm.geometry.frames import Floats, as_points
from lpm.geometry.grids import Trilinear, VoxelGrid, grid_nodes, odd_grid, trilinear
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.surfaces import extract_surface
from lpm.geometry.volumes import Volume
from lpm.model.atlas import whitened_components
from lpm.preparation.cohort import Cohort
from lpm.preparation.config import StrictModel

Meshes = dict[str, WorldMesh]
Grids = NDArray[np.float32]
BaselineName = Literal["mean", "nearest", "pca", "poisson", "poisson-normals"]
_NEAREST_EXACTLY = 3


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
        """What tables call it."""
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
        config: Which and how; the default builds all four.

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
        return PoissonReconstruction(tuple(training[0]), config, true_normals=name == "poisson-normals")
    if name == "nearest":
        return NearestLung(training, grids, config)
    return MeanShape(grids, config) if name == "mean" else PcaOfGrids(grids, config)


def centred_meshes(cohort: Cohort, subject: str) -> Meshes:
    """A subject's meshes about its centre, mm."""
    center_mm = cohort.world_from_model(subject).center_mm
    return {name: _moved(mesh, -center_mm) for name, mesh in cohort.meshes(subject).items()}


def _moved(mesh: WorldMesh, by_mm: Floats) -> WorldMesh:
    return WorldMesh(mesh.vertices + by_mm, mesh.faces)


def _checked(points_mm: Floats, subject: str) -> Floats:
    points = as_points(points_mm, subject)
    if len(points) < 10:
        raise InputError(subject, f"{len(points)} points", "at least 10 on the lungs' surfaces")
    return points


# Grids of signed distances


@dataclass(frozen=True)
class SdfGrids:
    """Signed distances of training subjects on one grid, each subject about its centre.

    Args:
        values: (subjects, structures, i, j, k) mm, negative inside.
        grid: Where the nodes lie about a subject's centre.
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


def surface_on_grid(field: NDArray[Any], grid: VoxelGrid) -> WorldMesh:
    """Zero level of a field that is negative inside, closed even where the shape has left the grid.

    Raises:
        NoSurfaceError: The field is negative nowhere.
    """
    spacing = grid.spacing_mm
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = grid.origin_mm - spacing
    padded = np.pad(field, 1, constant_values=spacing)
    return extract_surface(Volume(padded, affine), 0.0, inside_is_above=False)


# Fitting a field to points


def fit_field(mean: Grids, modes: Grids, grid: VoxelGrid, points_mm: Floats, config: BaselinesConfig) -> Fit:
    """Find the coefficients and the centre for which a field vanishes at points.

    The field is mean + sum of b_k * mode_k with b ~ N(0, I). Gauss-Newton over b and the centre; before each step
    every point is given to the structure whose surface is nearest in the field (the least absolute value).

    Args:
        mean: (structures, i, j, k) mm.
        modes: (m, structures, i, j, k) mm; none of them for a translation alone.
        grid: Where the nodes lie about the centre.
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


@dataclass(frozen=True)
class Fit:
    """How a field was fitted.

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
        grids: Of the training subjects.
        config: Iterations.
    """

    name = "mean shape"

    def __init__(self, grids: SdfGrids, config: BaselinesConfig) -> None:
        self._grids, self._config = grids, config
        self._mean = grids.values.mean(axis=0)

    def reconstruct(self, points_mm: Floats, normals: Floats | None = None) -> Meshes:
        """Return the mean lungs where the points are."""
        points = _checked(points_mm, self.name)
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
        points = _checked(points_mm, self.name)
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
        grids: Of the training subjects.
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
        fit = fit_field(self._mean, self._modes, self._grids.grid, _checked(points_mm, self.name), self._config)
        field = self._mean + np.tensordot(fit.b.astype(np.float32), self._modes, axes=1)
        return self._grids.meshes(field, fit.center_mm)

    def draw(self, *, rng: np.random.Generator) -> Meshes:
        """Draw lungs from the components, about the origin."""
        b = rng.standard_normal(len(self._modes)).astype(np.float32)
        return self._grids.meshes(self._mean + np.tensordot(b, self._modes, axes=1), np.zeros(3))

    def variances(self) -> Floats:
        """(k,) variance of each component over its grid, in falling order."""
        return np.asarray(np.square(self._modes, dtype=np.float64).mean(axis=tuple(range(1, self._modes.ndim))))


class PoissonReconstruction:
    """Screened Poisson reconstruction by open3d, with normals estimated from the points alone, or the true ones.

    Args:
        structures: Two names, the one that lies towards smaller R (the left lung) first.
        config: Octree depth, spacing of the grid on which merged lungs are cut apart.
        true_normals: Whether it is told the true normals.

    Raises:
        InputError: Not two structures.
        MissingExtraError: open3d cannot be imported.
    """

    def __init__(self, structures: tuple[str, ...], config: BaselinesConfig, *, true_normals: bool = False) -> None:
        self.name = "Poisson, true normals" if true_normals else "Poisson"
        self._true_normals = true_normals
        if len(structures) != 2:
            raise InputError(self.name, f"structures {structures}", "two, a left and a right one")
        libraries = " (and apt-get install libusb-1.0-0 libgl1 libgomp1)"
        self._open3d = import_extra("open3d", "benchmarks", self.name, libraries)
        self._structures, self._config = structures, config

    def reconstruct(self, points_mm: Floats, normals: Floats | None = None) -> Meshes:
        """Reconstruct one surface through all points, then tell the lungs apart by side.

        The largest piece on either side of the gap between the lungs is a lung. Where one piece runs through both, it
        is cut at the gap. Poisson promises no closed surface: normals of one lung that were estimated inside out put
        a sheet between the lungs that leaves the box, and then the meshes are open.

        Raises:
            InputError: Fewer than 10 points, or no normals for a reconstruction that is to be told them.
            NoSurfaceError: One side stays empty.
        """
        points = _checked(points_mm, self.name)
        if self._true_normals and normals is None:
            raise InputError(self.name, "no normals", "one a point")
        gap_mm = gap_between(points[:, 0])
        surface = self._surface(points, normals if self._true_normals else None)
        large = [piece for piece in pieces_of(surface) if _area(piece) > 0.1 * _area(surface)]
        left = [piece for piece in large if piece.vertices[:, 0].mean() <= gap_mm]
        right = [piece for piece in large if piece.vertices[:, 0].mean() > gap_mm]
        if left and right:
            pair = max(left, key=_area).outward(), max(right, key=_area).outward()
        else:
            pair = cut_at(surface, gap_mm, self._config.cut_mm)
        return dict(zip(self._structures, pair, strict=True))

    def reconstruct_sides(self, points_mm: Mapping[str, Floats]) -> Meshes:
        """Reconstruct each structure from its own (n, 3) points, RAS mm: the sides are known."""
        return {
            name: self._surface(_checked(points, f"{self.name} {name}")).largest_piece().outward()
            for name, points in points_mm.items()
        }

    def _surface(self, points: Floats, normals: Floats | None = None) -> WorldMesh:
        o3d = self._open3d
        cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
        if normals is None:
            neighbours = min(30, len(points) - 1)
            cloud.estimate_normals(o3d.geometry.KDTreeSearchParamKNN(neighbours))
            cloud.orient_normals_consistent_tangent_plane(neighbours)
        else:
            cloud.normals = o3d.utility.Vector3dVector(normals)
        # one thread: with several, open3d's result differs from run to run
        mesh, _ = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(
            cloud, depth=self._config.poisson_depth, n_threads=1
        )
        if len(mesh.triangles) == 0:
            raise NoSurfaceError(self.name, f"no surface through {len(points)} points", "points on a surface")
        return WorldMesh(np.asarray(mesh.vertices), np.asarray(mesh.triangles)).outward()


def _area(mesh: WorldMesh) -> float:
    return float(mesh.face_areas.sum())


def pieces_of(mesh: WorldMesh) -> list[WorldMesh]:
    """Split a mesh into pieces that share no vertex."""
    n = len(mesh.vertices)
    start, end = mesh.faces[:, [0, 1, 2]].ravel(), mesh.faces[:, [1, 2, 0]].ravel()
    graph = coo_matrix((np.ones(len(start), dtype=bool), (start, end)), shape=(n, n))
    piece_of_face = connected_components(graph, directed=False)[1][mesh.faces[:, 0]]
    return [mesh.with_faces(mesh.faces[piece_of_face == piece]) for piece in np.unique(piece_of_face)]


def gap_between(x_mm: Floats) -> float:
    """Place between two groups along R: halfway between their means (k-means of two, from the two ends)."""
    gap = 0.5 * float(x_mm.min() + x_mm.max())
    for _ in range(20):
        is_right = x_mm > gap
        if is_right.all() or not is_right.any():
            break
        gap = 0.5 * float(x_mm[is_right].mean() + x_mm[~is_right].mean())
    return gap


def cut_at(mesh: WorldMesh, x_mm: float, spacing_mm: float) -> tuple[WorldMesh, WorldMesh]:
    """Cut a mesh along a sagittal plane.

    A closed mesh gives two closed ones, by way of its signed distance on a grid; an open mesh has no inside, and its
    triangles are shared out by their centres.

    Args:
        mesh: RAS mm.
        x_mm: Where the plane crosses R.
        spacing_mm: Of the grid; detail below it is lost.

    Returns:
        What lies towards smaller R, and towards larger R; of a closed mesh the largest piece.

    Raises:
        NoSurfaceError: One side is empty.
    """
    is_larger = mesh.corners[..., 0].mean(axis=1) > x_mm
    if is_larger.all() or not is_larger.any():
        raise NoSurfaceError("cut", f"a surface on one side of R = {x_mm:.1f} mm", "lungs on both sides of it")
    if not mesh.is_closed:
        return mesh.with_faces(mesh.faces[~is_larger]), mesh.with_faces(mesh.faces[is_larger])
    lower, upper = mesh.vertices.min(axis=0) - 2.0 * spacing_mm, mesh.vertices.max(axis=0) + 2.0 * spacing_mm
    grid = odd_grid(lower, upper, spacing_mm)
    field, beyond = sdf_on_grid(mesh, grid), grid_nodes(grid)[..., 0] - x_mm
    smaller, larger = (surface_on_grid(np.maximum(field, side), grid) for side in (beyond, -beyond))
    return smaller.largest_piece(), larger.largest_piece()
