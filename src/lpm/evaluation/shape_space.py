"""How good a shape space is with few modes: generalisation, specificity, compactness (Davies et al. 2002).

The rival is PCA of SDF grids, learnt from the same lungs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import cKDTree

from lpm.evaluation.baselines import BaselinesConfig, PcaOfGrids, centred_meshes, train_grids
from lpm.evaluation.evaluate import EvaluationConfig, observed_points, subject_rng
from lpm.evaluation.metrics import MetricsConfig, score
from lpm.fitting.config import FitConfig
from lpm.fitting.discrepancy.residual import ResidualConfig
from lpm.fitting.evidence.points import fit_points
from lpm.fitting.extraction import mean_shape, shape_of
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh, sample_surface
from lpm.model.bundle import ModelBundle
from lpm.model.latents import LatentSpace, outward_motion
from lpm.preparation.cohort import Cohort

Meshes = dict[str, WorldMesh]
_SPACING_MM = 3.0  # lattice of the shapes that are compared
_N_SURFACE = 1500  # points a structure that stand for a shape where shapes are compared


@dataclass(frozen=True)
class ShapeSpace:
    """One model, cut down to some modes.

    Args:
        name: Name in tables.
        n_modes: Number of modes.
        reconstruct: (n, 3) surface points, RAS mm, to lungs.
        draw: A random generator to new lungs.
        variance_share: Share of the model's variance that these modes hold.
    """

    name: str
    n_modes: int
    reconstruct: Callable[[Floats], Meshes]
    draw: Callable[[np.random.Generator], Meshes]
    variance_share: float


@dataclass(frozen=True)
class ShapeSpaceScores:
    """What a shape space is worth.

    Args:
        name: Name of the model.
        n_modes: Number of modes.
        generalisation_mm: ASSD of each unseen subject, as near as the modes come to it.
        specificity_mm: Distance of each drawn shape from the nearest training lungs.
        variance_share: Compactness.
    """

    name: str
    n_modes: int
    generalisation_mm: tuple[float, ...]
    specificity_mm: tuple[float, ...]
    variance_share: float


def truncated(model: ModelBundle, n_modes: int) -> ModelBundle:
    """The model with its first shape parameters only."""
    latents = LatentSpace(model.latents.mean, model.latents.basis[:, :n_modes])
    return replace(model, latents=latents)


def model_space(model: ModelBundle, reach: Floats, n_modes: int, *, with_pose: bool) -> ShapeSpace:
    """The model's first modes.

    Args:
        model: Trained.
        reach: (k,) variance of the surface along each shape parameter.
        n_modes: Number of modes to keep.
        with_pose: Whether axis scales and rotation are fitted and drawn as well, as in every fit.
    """
    few = truncated(model, n_modes)
    config = FitConfig(residual=ResidualConfig(sd_mm=0.0))
    if not with_pose:
        config = config.model_copy(update={"axis_scale_sd": 0.0, "rotation_sd": 0.0})

    def draw(rng: np.random.Generator) -> Meshes:
        scales = np.exp(config.axis_scale_sd * rng.standard_normal(3))
        beta = torch.from_numpy(rng.standard_normal(n_modes)).float()
        return shape_of(few, beta, _SPACING_MM, scales).meshes

    return ShapeSpace(
        "LPM" if with_pose else "LPM, translation only",
        n_modes,
        lambda points: fit_points(few, points, config=config, spacing_mm=_SPACING_MM).lungs,
        draw,
        float(reach[:n_modes].sum() / reach.sum()),
    )


def surface_variances(model: ModelBundle, points: Floats, structure: np.ndarray) -> Floats:
    """(k,) variance, mm^2, of points on the mean lungs along each shape parameter.

    Args:
        model: Trained.
        points: (n, 3) points on the mean surface, model frame.
        structure: (n,) structure of each.
    """
    there = torch.tensor(points).float()
    motion = outward_motion(model.decoder, model.latents.mean, there, torch.tensor(structure))
    along = motion @ model.latents.basis.double() * model.manifest.scale_mm
    return np.asarray(along.square().mean(dim=0).numpy())


def shape_spaces(model: ModelBundle, cohort: Cohort, n_modes: Sequence[int]) -> Iterator[ShapeSpace]:
    """The model and its rival, for each number of modes."""
    config = BaselinesConfig()
    grids = train_grids([centred_meshes(cohort, subject) for subject in cohort.subjects("train")], config)
    whole = PcaOfGrids(grids, config).variances()
    mean = mean_shape(model, _SPACING_MM).meshes
    vertices = [mesh.vertices[::5] / model.manifest.scale_mm for mesh in mean.values()]
    structure = np.repeat(np.arange(len(vertices)), [len(part) for part in vertices])
    reach = surface_variances(model, np.concatenate(vertices), structure)
    for n in n_modes:
        yield model_space(model, reach, n, with_pose=True)
        yield model_space(model, reach, n, with_pose=False)
        yield pca_space(PcaOfGrids(grids, config, n), n, float(whole[:n].sum() / whole.sum()))


def pca_space(pca: PcaOfGrids, n_modes: int, variance_share: float) -> ShapeSpace:
    """The rival's first modes."""
    return ShapeSpace(pca.name, n_modes, pca.reconstruct, lambda rng: pca.draw(rng=rng), variance_share)


def judge(space: ShapeSpace, cohort: Cohort, *, n_draws: int = 20, points: int = 5000) -> ShapeSpaceScores:
    """Score a shape space on the test subjects.

    Args:
        space: Cut down to its modes.
        cohort: Cohort with training and test subjects.
        n_draws: Shapes drawn for the specificity.
        points: Surface points that each test subject is fitted to.
    """
    metrics = MetricsConfig(n_points=1000, n_surface=10_000, voxel_mm=4.0)
    errors = []
    for subject in cohort.subjects("test"):
        seen, _ = observed_points(cohort, subject, EvaluationConfig(points=points))
        lungs = space.reconstruct(seen)
        errors.append(score(lungs, cohort.meshes(subject), metrics, rng=subject_rng(subject, 4)).assd_mm)
    training = [_cloud(centred_meshes(cohort, subject), 0) for subject in cohort.subjects("train")]
    drawn = [_cloud(space.draw(np.random.default_rng((n, 11))), n) for n in range(n_draws)]
    nearest = [min(_apart(cloud, other) for other in training) for cloud in drawn]
    return ShapeSpaceScores(space.name, space.n_modes, tuple(errors), tuple(nearest), space.variance_share)


def _cloud(lungs: Meshes, seed: int) -> list[Floats]:
    """Surface points of each structure, about the centre of them all."""
    rng = np.random.default_rng(seed)
    clouds = [sample_surface(mesh, _N_SURFACE, rng=rng).points for mesh in lungs.values()]
    center = np.concatenate(clouds).mean(axis=0)
    return [cloud - center for cloud in clouds]


def _apart(first: list[Floats], second: list[Floats]) -> float:
    """Mean distance between the point clouds of two shapes, both ways, structure by structure."""
    pairs = [(a, b) for one, other in zip(first, second, strict=True) for a, b in ((one, other), (other, one))]
    return float(np.mean([cKDTree(b).query(a)[0].mean() for a, b in pairs]))
