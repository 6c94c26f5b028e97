"""The training shapes in memory, in the model frame: real subjects and their deformed copies."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import torch
from torch import Tensor

from lpm.errors import InputError
from lpm.geometry.frames import WorldFromModel, WorldPoints
from lpm.model.config import ModelConfig, TrainingConfig
from lpm.model.network.group import ALONE, Group
from lpm.model.network.losses import Batch
from lpm.preparation.augmentation import deformed_copies
from lpm.preparation.cohort import Cohort
from lpm.preparation.sampling import SdfSamples, StructureSurfaces, sample_sdf, sample_surfaces
from lpm.processes import in_processes

_TURNS = 8  # remainders that take turns: processes are mostly 2, 4 or 8


@dataclass(frozen=True)
class Shape:
    """One training shape: a subject (copy 0) or one of its deformed copies."""

    subject: str
    copy: int

    @property
    def key(self) -> tuple[int, int]:
        """What its random numbers are keyed by."""
        return zlib.crc32(self.subject.encode()), self.copy


@dataclass(frozen=True, eq=False)
class TrainingSamples:
    """Points of the training shapes that a process has, in the model frame, float32.

    Args:
        shapes: What every training shape is, those of other processes too.
        own: (n,) indices of those whose points these are.
        surface: (n, p, 3).
        normals: (n, p, 3).
        structure: (n, p).
        off_surface: (n, q, 3).
        distance: (n, q, s).
    """

    shapes: tuple[Shape, ...]
    own: Tensor
    surface: Tensor
    normals: Tensor
    structure: Tensor
    off_surface: Tensor
    distance: Tensor

    def draw(self, members: Tensor, training: TrainingConfig, epoch: int) -> Batch:
        """Draw points of some of the own shapes for one step.

        The points lie in random order, so a window at a random place is a random sample. The place depends on seed,
        epoch, subject and copy alone: on no other shape, and on no number of processes.

        Args:
            members: (b,) indices into `own`.
            training: Points of each shape, and the seed.
            epoch: Number of the epoch.
        """
        on_surface, off_surface = self.surface.shape[1], self.off_surface.shape[1]
        shapes = [self.shapes[index] for index in self.own[members].tolist()]
        rngs = [np.random.default_rng((training.seed, epoch, *shape.key)) for shape in shapes]
        drawn = [(rng.integers(on_surface), rng.integers(off_surface)) for rng in rngs]
        starts = torch.from_numpy(np.array(drawn, dtype=np.int64).reshape(-1, 2))
        on = _windows(starts[:, :1], on_surface, training.surface_points)
        off = _windows(starts[:, 1:], off_surface, training.off_surface_points)
        rows = members[:, None]
        return Batch(
            shapes=members,
            surface=self.surface[rows, on],
            normals=self.normals[rows, on],
            structure=self.structure[rows, on].long(),
            off_surface=self.off_surface[rows, off],
            distance=self.distance[rows, off],
        )


def _windows(start: Tensor, available: int, wanted: int) -> Tensor:
    """(b, min(wanted, available)) indices from each of (b, 1) starts on, round the end."""
    return (start + torch.arange(min(wanted, available))) % available


def steps_of(n_shapes: int, training: TrainingConfig, epoch: int) -> list[Tensor]:
    """The shapes of each step of an epoch, in random order, the same whatever the number of processes.

    Shapes whose numbers leave the same remainder take turns, so that processes, which have every second or fourth or
    eighth of them, have about the same number in each step.

    Args:
        n_shapes: Number of training shapes.
        training: Shapes of a step, and the seed.
        epoch: Number of the epoch.
    """
    rng = np.random.default_rng((training.seed, epoch))
    turn, place = np.empty(n_shapes), rng.random(n_shapes)
    for remainder in range(min(_TURNS, n_shapes)):
        turn[remainder::_TURNS] = rng.permutation(len(turn[remainder::_TURNS]))
    return list(torch.from_numpy(np.lexsort((place, turn))).split(training.shapes_per_step))


def load_samples(cohort: Cohort, config: ModelConfig, *, jobs: int, group: Group = ALONE) -> TrainingSamples:
    """Read the training subjects, and deform and sample their copies: those that this process has.

    Args:
        cohort: Cohort that holds the subjects.
        config: Points kept, copies, structures.
        jobs: Worker processes for the copies.
        group: Processes that share the shapes.

    Raises:
        InputError: More processes than training shapes.
    """
    n_copies = config.augmentation.copies
    shapes = tuple(Shape(name, copy) for copy in range(n_copies + 1) for name in cohort.subjects("train"))
    if len(shapes) < group.size:
        given = f"{group.size} processes for {len(shapes)} training shapes"
        raise InputError("train", given, "at most one process a shape", "fewer --devices or --nodes")
    own = group.own(len(shapes))
    wanted: dict[str, list[int]] = {}
    for shape in (shapes[index] for index in own.tolist()):
        wanted.setdefault(shape.subject, []).append(shape.copy)
    work = (joblib.delayed(_sample_subject)(cohort.folder, name, copies, config) for name, copies in wanted.items())
    sampled = {
        (name, copy): arrays
        for (name, copies), found in zip(wanted.items(), in_processes(jobs, work), strict=True)
        for copy, arrays in zip(copies, found, strict=True)
    }
    parts = [sampled[shapes[index].subject, shapes[index].copy] for index in own.tolist()]
    stacked = [torch.from_numpy(np.stack(arrays)) for arrays in zip(*parts, strict=True)]
    return TrainingSamples(shapes, own, *stacked)


Arrays = tuple[np.ndarray, ...]


def _sample_subject(folder: Path, subject: str, copies: Sequence[int], config: ModelConfig) -> list[Arrays]:
    """Some copies of a subject, 0 for itself; randomness is keyed by subject and copy, not by order."""
    cohort = Cohort(folder)
    world_from_model = cohort.world_from_model(subject)
    real = tuple(_to_model(cohort.surface(subject), cohort.off_surface(subject), world_from_model, config))
    made = [copy for copy in copies if copy > 0]
    if not made:
        return [real]
    rngs = [np.random.default_rng((config.training.seed, *Shape(subject, copy).key)) for copy in made]
    n_surface = len(real[0])
    sampling = cohort.manifest.config.sampling.model_copy(update={"n_off_surface": len(real[3])})
    meshes = deformed_copies(cohort.meshes(subject), world_from_model.center_mm, config.augmentation, rngs=rngs)
    sampled = (
        (sample_surfaces(deformed, n_surface, rng=rng), sample_sdf(deformed, sampling, rng=rng))
        for deformed, rng in zip(meshes, rngs, strict=True)
    )
    found = [tuple(_to_model(surface, off, world_from_model, config)) for surface, off in sampled]
    return [*([real] if 0 in copies else []), *found]


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
