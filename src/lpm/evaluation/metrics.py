"""Metrics of a predicted pair of lungs: point-to-point and point-to-triangle distances, Dice, volumes, topology."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field
from scipy.spatial import cKDTree

from lpm.errors import InputError
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.distances import closest_points
from lpm.geometry.frames import Floats
from lpm.geometry.grids import Mask, grid_around, voxelise
from lpm.geometry.meshes import Indices, SurfaceSamples, WorldMesh, sample_surface
from lpm.preparation.sampling import sample_surfaces
from lpm.records import StrictModel

Meshes = Mapping[str, WorldMesh]
_MIN_SAMPLES = 100  # of a structure, however small its share of the area


class MetricsConfig(StrictModel):
    """Settings of the metrics."""

    n_points: int = Field(10_000, ge=1, description="points a side of the point-to-point numbers (paper IV)")
    threshold_mm: float = Field(2.0, gt=0, description="threshold of precision and recall, in mm")
    threshold_unit: float = Field(0.02, gt=0, description="threshold in the cube [-1, 1] that holds the true lungs")
    n_surface: int = Field(50_000, ge=1, description="points a side of the point-to-triangle numbers")
    voxel_mm: float = Field(1.5, gt=0, le=20, description="grid spacing of Dice and overlap")


class PointScores(StrictModel):
    """Point-to-point numbers (paper eq. 4-7); ``unit_*`` in the cube [-1, 1] that holds both true lungs.

    Their best value is not 0 or 1 but the sampling floor: read them beside it.
    """

    precision: float = Field(description="share of predicted points within threshold_mm of a true point (eq. 4)")
    recall: float = Field(description="share of true points within threshold_mm of a predicted point (eq. 5)")
    f_score: float = Field(description="harmonic mean of precision and recall (eq. 6)")
    chamfer_mm: float = Field(description="mean of the two directed means of nearest distances")
    chamfer_squared_mm2: float = Field(description="sum of the two directed means of SQUARED distances (eq. 7)")
    unit_precision: float
    unit_recall: float
    unit_f_score: float
    unit_chamfer: float
    unit_chamfer_squared: float


class SurfaceScores(StrictModel):
    """Point-to-triangle numbers, both directions; exact distances from points drawn uniformly by area."""

    assd_mm: float = Field(description="average symmetric surface distance: mean of the two directed means")
    hd95_mm: float = Field(description="95th percentile of the distances of both directions, pooled")
    hausdorff_mm: float = Field(description="largest of those distances: the Hausdorff distance from below")
    within_1mm: float = Field(description="share of distances up to 1 mm, mean of the two directions")
    within_2mm: float
    within_5mm: float
    normal_consistency: float = Field(
        description="mean SIGNED dot product of the normals at a point and at its closest point, mean of the two "
        "directions: 1 the same, -1 inside out"
    )


class VolumeScores(StrictModel):
    """Overlap and volumes of the shapes; Dice and volumes are None where a mesh is open."""

    dice: float | None = Field(description="2 |A and B| / (|A| + |B|) of the voxel centres inside")
    volume_ml: float | None = Field(description="predicted volume, from the mesh")
    volume_error_ml: float | None = Field(description="predicted minus true")
    volume_error_percent: float | None = Field(description="the same, of the true volume")
    n_pieces: int = Field(description="pieces of the predicted mesh that share no vertex")
    is_closed: bool


class StructureScores(SurfaceScores, VolumeScores):
    """One structure against the same structure."""


class Scores(PointScores, SurfaceScores, VolumeScores):
    """All numbers of one subject.

    The numbers of this level are of all structures together: distances to the nearest surface of any structure,
    Dice of the union, summed volumes and pieces.
    """

    overlap_ml: float | None = Field(description="volume that two or more predicted structures claim")
    floor: PointScores = Field(description="the point-to-point numbers of the true surface against itself")
    structures: dict[str, StructureScores]

    def flat(self) -> dict[str, float | None]:
        """Return every number by name; ``floor.f_score``, ``left_lung.assd_mm`` for the nested ones."""
        data = self.model_dump()
        nested = {"floor": data.pop("floor")} | data.pop("structures")
        values = data | {f"{name}.{key}": value for name, part in nested.items() for key, value in part.items()}
        return {key: None if value is None else float(value) for key, value in values.items()}


def score(predicted: Meshes, true: Meshes, config: MetricsConfig, *, rng: np.random.Generator) -> Scores:
    """Compare predicted lungs with the true ones.

    Args:
        predicted: Meshes by structure, RAS mm; more structures than the true shape has are refused.
        true: Closed meshes by structure, RAS mm.
        config: Counts, thresholds and grid.
        rng: Source of the points on the surfaces.

    Raises:
        InputError: Nothing is predicted, a structure is missing or unknown, a mesh has no area, or a true mesh is
            open.
    """
    check_comparable(predicted, true)
    pooled, by_structure = surface_scores(predicted, true, config.n_surface, rng=rng)
    volumes, volumes_by_structure, overlap_ml = volume_scores(predicted, true, config.voxel_mm)
    return Scores(
        **point_scores(predicted, true, config, rng=rng).model_dump(),
        **pooled.model_dump(),
        **volumes.model_dump(),
        overlap_ml=overlap_ml,
        floor=sampling_floor(true, config, rng=rng),
        structures={
            name: StructureScores(**by_structure[name].model_dump(), **volumes_by_structure[name].model_dump())
            for name in true
        },
    )


def check_comparable(predicted: Meshes, true: Meshes) -> None:
    """Refuse what cannot be scored.

    Raises:
        InputError: Nothing is predicted, a structure is missing or unknown, a mesh has no area, or a true mesh is
            open.
    """
    expected = f"a mesh for each of {', '.join(true)}"
    if not true:
        raise InputError("true shape", "no structures", "at least one mesh")
    if not predicted:
        raise InputError("prediction", "nothing was predicted", expected, "count this case as failed")
    if missing := [name for name in true if name not in predicted]:
        raise InputError("prediction", f"no {' and no '.join(missing)}", expected, "count this case as failed")
    if unknown := [name for name in predicted if name not in true]:
        raise InputError("prediction", f"{', '.join(unknown)} has no true counterpart", expected, "leave it out")
    for owner, meshes in (("predicted", predicted), ("true", true)):
        for name, mesh in meshes.items():
            if not mesh.face_areas.sum() > 0:
                raise InputError(f"{owner} {name}", "a mesh without area", "a surface")
    if opened := [name for name, mesh in true.items() if not mesh.is_closed]:
        raise InputError(f"true {opened[0]}", "an open mesh", "a closed one", "repair the true shape")


# Points to points


def point_scores(predicted: Meshes, true: Meshes, config: MetricsConfig, *, rng: np.random.Generator) -> PointScores:
    """Precision, recall, F-score and Chamfer distance between points drawn on both surfaces (paper eq. 4-7).

    Args:
        predicted: Meshes by structure, RAS mm; all structures are pooled by area.
        true: The same.
        config: Number of points a side and thresholds.
        rng: Source of the points.
    """
    predicted_mm = sample_surfaces(predicted, config.n_points, rng=rng).points_mm
    true_mm = sample_surfaces(true, config.n_points, rng=rng).points_mm
    to_true = np.asarray(cKDTree(true_mm).query(predicted_mm, workers=-1)[0])
    to_predicted = np.asarray(cKDTree(predicted_mm).query(true_mm, workers=-1)[0])
    unit = unit_per_mm(true)
    values = _paper_scores(to_true, to_predicted, config.threshold_mm)
    units = _paper_scores(to_true * unit, to_predicted * unit, config.threshold_unit)
    names = ("precision", "recall", "f_score", "chamfer_mm", "chamfer_squared_mm2")
    unit_names = ("unit_precision", "unit_recall", "unit_f_score", "unit_chamfer", "unit_chamfer_squared")
    return PointScores(**dict(zip(names + unit_names, values + units, strict=True)))


def sampling_floor(true: Meshes, config: MetricsConfig, *, rng: np.random.Generator) -> PointScores:
    """The point-to-point numbers of a perfect reconstruction: two independent samplings of the true surface.

    Args:
        true: Meshes by structure, RAS mm.
        config: Number of points a side and thresholds.
        rng: Source of the points.
    """
    return point_scores(true, true, config, rng=rng)


def unit_per_mm(true: Meshes) -> float:
    """Scale to the paper's cube: the longest side of the bounding box of all structures becomes 2.

    The cube is centred on the box; distances do not see the translation.
    """
    vertices = np.concatenate([mesh.vertices for mesh in true.values()])
    return float(2.0 / np.ptp(vertices, axis=0).max())


def _paper_scores(to_true: Floats, to_predicted: Floats, threshold: float) -> tuple[float, ...]:
    precision, recall = float((to_true <= threshold).mean()), float((to_predicted <= threshold).mean())
    f_score = 2.0 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    chamfer = 0.5 * float(to_true.mean() + to_predicted.mean())
    return precision, recall, f_score, chamfer, float((to_true**2).mean() + (to_predicted**2).mean())


# Points to triangles


@read_only_arrays
@dataclass(frozen=True, eq=False)
class _Directed:
    """Distances and normal agreement of one direction."""

    distance_mm: Floats
    agreement: Floats


def surface_scores(
    predicted: Meshes, true: Meshes, n: int, *, rng: np.random.Generator
) -> tuple[SurfaceScores, dict[str, SurfaceScores]]:
    """Exact distances from points on each surface to the triangles of the other.

    Args:
        predicted: Meshes by structure, RAS mm.
        true: The same structures.
        n: Points a side, shared out by area (at least 100 a structure).
        rng: Source of the points.

    Returns:
        All structures together (distance to the nearest surface of any of them), and each against its own.
    """
    order = list(true)
    to_true, own_to_true = _directed([predicted[s] for s in order], [true[s] for s in order], n, rng)
    to_predicted, own_to_predicted = _directed([true[s] for s in order], [predicted[s] for s in order], n, rng)
    pairs = zip(order, own_to_true, own_to_predicted, strict=True)
    return _symmetric(to_true, to_predicted), {name: _symmetric(a, b) for name, a, b in pairs}


def _directed(
    sources: Sequence[WorldMesh], targets: Sequence[WorldMesh], n: int, rng: np.random.Generator
) -> tuple[_Directed, list[_Directed]]:
    """From points on the sources to the nearest target, and from each source to the target of the same index."""
    areas = np.array([mesh.face_areas.sum() for mesh in sources])
    counts = np.maximum(np.round(n * areas / areas.sum()), _MIN_SAMPLES).astype(int)
    drawn = [sample_surface(mesh, count, rng=rng) for mesh, count in zip(sources, counts, strict=True)]
    pooled = SurfaceSamples(np.concatenate([d.points for d in drawn]), np.concatenate([d.normals for d in drawn]))
    to_each = [_to_mesh(pooled, target) for target in targets]
    distance = np.stack([to.distance_mm for to in to_each])
    nearest = distance.argmin(axis=0), np.arange(distance.shape[1])
    union = _Directed(distance[nearest], np.stack([to.agreement for to in to_each])[nearest])
    ends = np.cumsum(counts)
    own = zip(to_each, ends - counts, ends, strict=True)
    return union, [_Directed(to.distance_mm[a:b], to.agreement[a:b]) for to, a, b in own]


def _to_mesh(samples: SurfaceSamples, mesh: WorldMesh) -> _Directed:
    closest = closest_points(mesh, samples.points)
    return _Directed(closest.distance, np.einsum("ij,ij->i", samples.normals, mesh.face_normals[closest.face]))


def _symmetric(forward: _Directed, backward: _Directed) -> SurfaceScores:
    pooled = np.concatenate([forward.distance_mm, backward.distance_mm])

    def share(limit_mm: float) -> float:
        return 0.5 * float((forward.distance_mm <= limit_mm).mean() + (backward.distance_mm <= limit_mm).mean())

    return SurfaceScores(
        assd_mm=0.5 * float(forward.distance_mm.mean() + backward.distance_mm.mean()),
        hd95_mm=float(np.percentile(pooled, 95)),
        hausdorff_mm=float(pooled.max()),
        within_1mm=share(1.0),
        within_2mm=share(2.0),
        within_5mm=share(5.0),
        normal_consistency=0.5 * float(forward.agreement.mean() + backward.agreement.mean()),
    )


# Volumes


def dice(a: Mask, b: Mask) -> float:
    """Dice coefficient of two masks; two empty masks agree."""
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2.0 * np.count_nonzero(a & b) / total if total else 1.0


def volume_scores(
    predicted: Meshes, true: Meshes, voxel_mm: float
) -> tuple[VolumeScores, dict[str, VolumeScores], float | None]:
    """Dice on a common grid, volumes from the meshes, pieces, and what two predicted structures both claim.

    Args:
        predicted: Meshes by structure, RAS mm.
        true: Closed meshes of the same structures.
        voxel_mm: Grid spacing of Dice and overlap.

    Returns:
        All structures together, each of them, and the overlap in ml (None where a predicted mesh is open).
    """
    grid = grid_around([*predicted.values(), *true.values()], voxel_mm)
    masks = {name: voxelise(predicted[name], grid) if predicted[name].is_closed else None for name in true}
    true_masks = {name: voxelise(mesh, grid) for name, mesh in true.items()}
    each = {name: _volume_scores([predicted[name]], [true[name]], masks[name], true_masks[name]) for name in true}
    closed = [mask for mask in masks.values() if mask is not None]
    claims = np.sum(closed, axis=0, dtype=np.uint8) if len(closed) == len(true) else None
    union = None if claims is None else np.asarray(claims > 0)
    true_union = np.logical_or.reduce(list(true_masks.values()))
    pooled = _volume_scores([predicted[name] for name in true], list(true.values()), union, true_union)
    overlap_ml = None if claims is None else float(np.count_nonzero(claims > 1)) * voxel_mm**3 / 1000.0
    return pooled, each, overlap_ml


def _volume_scores(
    predicted: Sequence[WorldMesh], true: Sequence[WorldMesh], mask: Mask | None, true_mask: Mask
) -> VolumeScores:
    true_ml = sum(mesh.volume_ml for mesh in true)
    volume_ml = None if mask is None else sum(mesh.volume_ml for mesh in predicted)
    error_ml = None if volume_ml is None else volume_ml - true_ml
    return VolumeScores(
        dice=None if mask is None else dice(mask, true_mask),
        volume_ml=volume_ml,
        volume_error_ml=error_ml,
        volume_error_percent=None if error_ml is None else 100.0 * error_ml / true_ml,
        n_pieces=sum(mesh.n_pieces for mesh in predicted),
        is_closed=mask is not None,
    )


# Many subjects


def summarise(
    scores: Sequence[Scores], *, rng: np.random.Generator, n_resamples: int = 2000
) -> dict[str, dict[str, float]]:
    """Mean, median and the 95 % percentile bootstrap interval of the mean over subjects.

    Args:
        scores: One record a subject, all of the same structures. Cases that failed are not in it: report their
            number beside the table.
        rng: Source of the resampling; the same subjects are drawn for every number.
        n_resamples: Bootstrap samples.

    Returns:
        Name of a number (as in `Scores.flat`) to ``mean``, ``median``, ``low``, ``high`` and ``n``, the subjects
        that have it. Numbers that no subject has are left out.

    Raises:
        InputError: There are no scores, or they are of different structures.
    """
    rows = [record.flat() for record in scores]
    return summarise_rows(rows, rng=rng, n_resamples=n_resamples)


def summarise_rows(
    rows: Sequence[Mapping[str, float | None]], *, rng: np.random.Generator, n_resamples: int = 2000
) -> dict[str, dict[str, float]]:
    """The same for one record of numbers by name a subject; None where a subject has no such number.

    Raises:
        InputError: There are no records, or they are of different numbers.
    """
    if not rows:
        raise InputError("summarise", "no scores", "at least one subject")
    if any(row.keys() != rows[0].keys() for row in rows):
        raise InputError("summarise", "scores of different structures", "the same for all", "summarise them apart")
    table = np.array([[np.nan if value is None else value for value in row.values()] for row in rows])
    drawn = rng.integers(len(rows), size=(n_resamples, len(rows)))
    columns = zip(rows[0], table.T, strict=True)
    return {name: _summary(column, drawn) for name, column in columns if np.isfinite(column).any()}


def _summary(column: Floats, drawn: Indices) -> dict[str, float]:
    is_known = np.isfinite(column)
    known = is_known[drawn].sum(axis=1)
    sums = np.where(is_known, column, 0.0)[drawn].sum(axis=1)
    low, high = np.percentile(sums[known > 0] / known[known > 0], (2.5, 97.5))
    values = column[is_known]
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "low": float(low),
        "high": float(high),
        "n": float(len(values)),
    }
