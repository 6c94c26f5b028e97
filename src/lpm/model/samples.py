"""The training shapes in memory, in the model frame: real subjects and their deformed copies."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import torch
from torch import Tensor

from lpm.geometry.frames import WorldFromModel, WorldPoints
from lpm.model.config import ModelConfig
from lpm.model.losses import Batch
from lpm.preparation.augmentation import deformed_copies
from lpm.preparation.cohort import Cohort
from lpm.preparation.sampling import SdfSamples, StructureSurfaces, sample_sdf, sample_surfaces
from lpm.processes import in_processes


@dataclass(frozen=True)
class Shape:
    """One training shape: a subject (copy 0) or one of its deformed copies."""

    subject: str
    copy: int


@dataclass(frozen=True, eq=False)
class TrainingSamples:
    """Points of all training shapes, in the model frame, float32.

    Args:
        shapes: (n,) what each is.
        surface: (n, p, 3).
        normals: (n, p, 3).
        structure: (n, p).
        off_surface: (n, q, 3).
        distance: (n, q, s).
    """

    shapes: tuple[Shape, ...]
    surface: Tensor
    normals: Tensor
    structure: Tensor
    off_surface: Tensor
    distance: Tensor

    def draw(self, shapes: Tensor, n_surface: int, n_off_surface: int, *, generator: torch.Generator) -> Batch:
        """Draw points of some shapes for one step.

        The points lie in random order, so a window at a random place is a random sample.

        Args:
            shapes: (b,) indices.
            n_surface: Surface points of each shape.
            n_off_surface: Off-surface points of each shape.
            generator: Source of randomness (CPU).
        """
        on = _windows(len(shapes), self.surface.shape[1], n_surface, generator)
        off = _windows(len(shapes), self.off_surface.shape[1], n_off_surface, generator)
        rows = shapes[:, None]
        return Batch(
            shapes=shapes,
            surface=self.surface[rows, on],
            normals=self.normals[rows, on],
            structure=self.structure[rows, on].long(),
            off_surface=self.off_surface[rows, off],
            distance=self.distance[rows, off],
        )


def _windows(n_shapes: int, available: int, wanted: int, generator: torch.Generator) -> Tensor:
    start = torch.randint(0, available, (n_shapes, 1), generator=generator)
    return (start + torch.arange(min(wanted, available))) % available


def load_samples(cohort: Cohort, config: ModelConfig, *, jobs: int) -> TrainingSamples:
    """Read the training subjects, and deform and sample their copies.

    Args:
        cohort: Cohort that holds the subjects.
        config: Points kept, copies, structures.
        jobs: Worker processes for the copies.
    """
    subjects, n_copies = cohort.subjects("train"), config.augmentation.copies
    work = (joblib.delayed(_sample_subject)(cohort.folder, subject, config) for subject in subjects)
    by_subject = list(in_processes(jobs, work))
    order = [(index, copy) for copy in range(n_copies + 1) for index in range(len(subjects))]
    parts = [by_subject[index][copy] for index, copy in order]
    stacked = [torch.from_numpy(np.stack(arrays)) for arrays in zip(*parts, strict=True)]
    return TrainingSamples(tuple(Shape(subjects[index], copy) for index, copy in order), *stacked)


Arrays = tuple[np.ndarray, ...]


def _sample_subject(folder: Path, subject: str, config: ModelConfig) -> list[Arrays]:
    """The subject itself, then its deformed copies; randomness is keyed by subject and copy, not by order."""
    cohort = Cohort(folder)
    world_from_model = cohort.world_from_model(subject)
    real = tuple(_to_model(cohort.surface(subject), cohort.off_surface(subject), world_from_model, config))
    if config.augmentation.copies == 0:
        return [real]
    keys = [
        (config.training.seed, zlib.crc32(subject.encode()), copy) for copy in range(1, config.augmentation.copies + 1)
    ]
    rngs = [np.random.default_rng(key) for key in keys]
    n_surface = len(real[0])
    sampling = cohort.manifest.config.sampling.model_copy(update={"n_off_surface": len(real[3])})
    copies = deformed_copies(cohort.meshes(subject), world_from_model.center_mm, config.augmentation, rngs=rngs)
    sampled = (
        (sample_surfaces(meshes, n_surface, rng=rng), sample_sdf(meshes, sampling, rng=rng))
        for meshes, rng in zip(copies, rngs, strict=True)
    )
    return [real, *(tuple(_to_model(surface, off, world_from_model, config)) for surface, off in sampled)]


def _to_model(
    surface: StructureSurfaces, off: SdfSamples, world_from_model: WorldFromModel, config: ModelConfig
) -> Iterator[np.ndarray]:
    """Keep as many points as the config says, in model units; the union of the structures is their least distance."""
    n_on = min(config.training.points_kept, len(surface.points_mm))
    n_off = min(config.training.points_kept, len(off.points_mm))
    distance = off.signed_distance_mm[:n_off] / world_from_model.scale_mm
    structure = surface.structure[:n_on]
    if config.structures == "union":
        distance, structure = distance.min(axis=1, keepdims=True), np.zeros_like(structure)
    yield world_from_model.inverse(WorldPoints(surface.points_mm[:n_on])).xyz.astype(np.float32)
    yield surface.normals[:n_on].astype(np.float32)
    yield structure
    yield world_from_model.inverse(WorldPoints(off.points_mm[:n_off])).xyz.astype(np.float32)
    yield distance.astype(np.float32)
