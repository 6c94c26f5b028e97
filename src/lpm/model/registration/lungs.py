"""The training lungs of a registration: centred, measured, and sampled on the grids that hold all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lpm.calibration import count
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.distances import sdf_on_grid
from lpm.geometry.frames import Floats, WorldPoints
from lpm.geometry.grids import VoxelGrid, grid_between
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.surfaces import decimate
from lpm.model.config import AtlasConfig
from lpm.model.registration.folder import RegistrationFolder
from lpm.preparation.cohort import Cohort

_FACES = count("model.template_faces")
_KEPT_EVERY = 10  # vertices are many more than the functions of displacements need
_MOST_KEPT = 200_000  # of all lungs together


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Measured:
    """Where a structure of one lung lies about the subject's centre.

    Args:
        lower_mm: (3,) least coordinates.
        upper_mm: (3,) greatest coordinates.
        vertices_mm: (v, 3) some of its vertices.
    """

    lower_mm: Floats
    upper_mm: Floats
    vertices_mm: Floats


@dataclass(frozen=True)
class Sampling:
    """The task of sampling a subject's distances; workers get it.

    Args:
        cohort: Folder of the cohort.
        folder: Folder of the registration.
        subject: Name.
    """

    cohort: Path
    folder: Path
    subject: str


def centred_meshes(cohort: Cohort, subject: str) -> list[WorldMesh]:
    """Each structure about the subject's centre, mm at the cohort's scale."""
    world_from_model = cohort.world_from_model(subject)
    meshes = []
    for mesh in cohort.meshes(subject).values():
        coarse = decimate(mesh, _FACES)
        vertices = world_from_model.inverse(WorldPoints(coarse.vertices)).xyz * cohort.manifest.scale_mm
        meshes.append(WorldMesh(vertices, coarse.faces))
    return meshes


def measure(task: Sampling) -> list[Measured]:
    """Measure each structure of a subject."""
    meshes = centred_meshes(Cohort(task.cohort), task.subject)
    return [Measured(m.vertices.min(axis=0), m.vertices.max(axis=0), m.vertices[::_KEPT_EVERY]) for m in meshes]


def sample(task: Sampling) -> str:
    """Store a subject's signed distances on the grids of all structures; its name."""
    folder = RegistrationFolder(task.folder)
    plan = folder.plan()
    last = plan.config.rounds + 1
    is_registered = folder.has(task.subject, f"round-{last}") and folder.has_template(last)
    if not is_registered and not folder.has(task.subject, "fields"):
        meshes, grids = centred_meshes(Cohort(task.cohort), task.subject), plan.grids
        parts = [sdf_on_grid(mesh, grid.nodes) for mesh, grid in zip(meshes, grids, strict=True)]
        folder.write_fields(task.subject, torch.from_numpy(np.stack(parts).astype(np.float32)))
    return task.subject


def grids_over(measured: Sequence[Sequence[Measured]], config: AtlasConfig) -> list[VoxelGrid]:
    """A grid for each structure that holds it in all subjects; all of one shape, with odd sides."""
    grids = [_grid_over(each, config.spacing_mm) for each in zip(*measured, strict=True)]
    extra = int(np.ceil(config.margin_mm / config.spacing_mm))
    most = np.max([grid.shape for grid in grids], axis=0) + 2 * extra
    i, j, k = (int(n) // 2 * 2 + 1 for n in most)
    return [VoxelGrid(grid.origin_mm - extra * config.spacing_mm, config.spacing_mm, (i, j, k)) for grid in grids]


def _grid_over(lungs: Sequence[Measured], spacing_mm: float) -> VoxelGrid:
    lower, upper = np.min([each.lower_mm for each in lungs], axis=0), np.max([each.upper_mm for each in lungs], axis=0)
    return grid_between(lower, upper, spacing_mm)


def some_vertices(measured: Sequence[Sequence[Measured]]) -> list[Floats]:
    """By structure, (v, 3) some vertices of all lungs, mm."""
    whole = [np.concatenate([each.vertices_mm for each in lungs]) for lungs in zip(*measured, strict=True)]
    return [vertices[:: len(vertices) // _MOST_KEPT + 1] for vertices in whole]
