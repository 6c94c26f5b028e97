"""The group-wise registration, round after round; every lung's part is a task for any worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lpm.batch.workers import Workers
from lpm.calibration import number as calibrated
from lpm.errors import WorkerDiedError
from lpm.geometry.distances import sdf_on_grid
from lpm.geometry.surfaces import surface_on_grid
from lpm.model.registration.folder import Grid, RegistrationFolder
from lpm.model.registration.pairwise import Basis, register
from lpm.model.threads import one_thread
from lpm.model.warp import Box, inverted

_BAND_MM = calibrated("model.registration_band_mm")


@dataclass(frozen=True)
class Registering:
    """The task of registering a subject; workers get it.

    Args:
        folder: Folder of the registration.
        subject: Name.
        number: Round, from 1.
    """

    folder: Path
    subject: str
    number: int


def register_subject(task: Registering) -> str:
    """Register all structures of a subject to a round's average, from where the round before ended; its name."""
    folder = RegistrationFolder(task.folder)
    if folder.has(task.subject, f"round-{task.number}"):
        return task.subject
    starts: Sequence[Tensor | None] = [None] * len(folder.plan().structures)
    if folder.has(task.subject, f"round-{task.number - 1}"):
        starts = list(folder.coefficients(task.subject, task.number - 1))
    structures = zip(
        folder.template(task.number),
        folder.fields(task.subject),
        folder.plan().grids,
        folder.bases(),
        starts,
        strict=True,
    )
    with one_thread():
        found = [register(template, to, grid.box, basis, start) for template, to, grid, basis, start in structures]
    coefficients, errors_mm = torch.stack([each for each, _ in found]), torch.tensor([error for _, error in found])
    folder.write_registered(task.subject, task.number, coefficients, errors_mm)
    return task.subject


@dataclass(frozen=True, eq=False)
class Displacements:
    """The grid on which a structure's displacements are kept.

    Args:
        box: Its first and last node, mm.
        functions: (p, 4 + r) the functions of displacements at its nodes.
    """

    box: Box
    functions: Tensor

    @classmethod
    def of(cls, grid: Grid, basis: Basis, spacing_mm: float) -> Displacements:
        """A grid around that of the distances."""
        box = grid.box.wider(spacing_mm)
        return cls(box, basis.at(box.nodes(box.shape_at(spacing_mm))))

    def field(self, coefficients: Tensor, spacing_mm: float) -> Tensor:
        """(3, a, b, c) displacements of (4 + r, 3) coefficients, mm."""
        return (self.functions @ coefficients).T.reshape(3, *self.box.shape_at(spacing_mm))


class GroupRegistration:
    """Averages and displacements of all structures.

    Args:
        folder: Folder with a plan, and the distances of all subjects.
        subjects: Their names.
        workers: Share out the lungs of a round.
    """

    def __init__(self, folder: RegistrationFolder, subjects: Sequence[str], workers: Workers) -> None:
        self.folder, self.subjects, self.workers = folder, subjects, workers
        self.plan = folder.plan()
        spacing_mm = self.plan.config.spacing_mm
        pairs = zip(self.plan.grids, folder.bases(), strict=True)
        self.displacements = [Displacements.of(grid, basis, spacing_mm) for grid, basis in pairs]

    @property
    def last(self) -> int:
        """The last round: the average is made anew `rounds` times."""
        return self.plan.config.rounds + 1

    def rounds(self) -> Iterator[int]:
        """Register all lungs, make the averages anew, and again; yields the round after each lung."""
        for number in range(1, self.last + 1):
            if not self.folder.has_template(number):
                with one_thread():
                    template = self._most_typical() if number == 1 else self._average(number - 1)
                self.folder.write_template(number, template)
            yield from self.register_to(number, self.subjects)

    def register_to(self, number: int, subjects: Sequence[str]) -> Iterator[int]:
        """Register lungs to a round's average; yields the round after each.

        Raises:
            WorkerDiedError: A lung killed the workers that took it.
        """
        tasks = [Registering(self.folder.path, subject, number) for subject in subjects]
        for task, done in self.workers.each(register_subject, tasks):
            if done is None:
                raise WorkerDiedError(task.subject, "killed the worker that registered it", hint="more memory a worker")
            yield number

    def errors_mm(self, number: int) -> tuple[float, ...]:
        """The mean over all lungs of each structure's error after a round, mm."""
        errors = [self.folder.errors_mm(subject, number).double() for subject in self.subjects]
        return tuple(torch.stack(errors).mean(dim=0).tolist())

    def _most_typical(self) -> Tensor:
        """(s, i, j, k) of each structure the distances that differ least from the mean of all."""
        mean = sum(self._near(subject) for subject in self.subjects) / len(self.subjects)
        differ = [(self._near(subject) - mean).square().flatten(1).mean(dim=1) for subject in self.subjects]
        nearest = torch.stack(differ).argmin(dim=0).tolist()
        return torch.stack([self.folder.fields(self.subjects[n])[index] for index, n in enumerate(nearest)])

    def _near(self, subject: str) -> Tensor:
        return self.folder.fields(subject).clamp(-2 * _BAND_MM, 2 * _BAND_MM)

    def _average(self, number: int) -> Tensor:
        """(s, i, j, k) distances of the averages: lungs averaged where they correspond, at their mean place."""
        spacing_mm, found = self.plan.config.spacing_mm, []
        backs = [torch.zeros(3, *each.box.shape_at(spacing_mm)) for each in self.displacements]
        for subject in self.subjects:
            for index, back in enumerate(self._back(subject, number)):
                backs[index] += back / len(self.subjects)
        nodes = [grid.box.nodes(grid.shape) for grid in self.plan.grids]
        there = [
            places + each.box.sample(inverted(back, each.box), places)
            for places, each, back in zip(nodes, self.displacements, backs, strict=True)
        ]
        totals = [torch.zeros(len(places)) for places in nodes]
        for subject in self.subjects:
            distances = self.folder.fields(subject)
            for index, back in enumerate(self._back(subject, number)):
                places = there[index] + self.displacements[index].box.sample(back, there[index])
                totals[index] += self.plan.grids[index].box.distance(distances[index], places)
        for grid, total in zip(self.plan.grids, totals, strict=True):
            mean = (total / len(self.subjects)).reshape(grid.shape).numpy()
            mesh = surface_on_grid(mean, grid.nodes).largest_piece().outward()
            found.append(torch.from_numpy(sdf_on_grid(mesh, grid.nodes).astype(np.float32)))
        return torch.stack(found)

    def _back(self, subject: str, number: int) -> Iterator[Tensor]:
        """(3, a, b, c) of each structure what takes the template to a lung, mm."""
        spacing_mm = self.plan.config.spacing_mm
        for each, coefficients in zip(self.displacements, self.folder.coefficients(subject, number), strict=True):
            yield inverted(each.field(coefficients, spacing_mm), each.box)
