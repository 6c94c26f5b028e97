"""The making of an atlas: group-wise registration on disk, components of the displacements, a smooth warp."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpm.batch.workers import LocalWorkers, Workers
from lpm.calibration import count
from lpm.errors import InputError, WorkerDiedError
from lpm.geometry.frames import Floats
from lpm.geometry.grids import VoxelGrid
from lpm.model.atlas import AtlasDecoder
from lpm.model.config import AtlasConfig
from lpm.model.registration.components import Places, held_out_count, places_on, whitened_components
from lpm.model.registration.folder import Grid, Plan, RegistrationFolder
from lpm.model.registration.group import GroupRegistration
from lpm.model.registration.lungs import Measured, Sampling, grids_over, measure, sample, some_vertices
from lpm.model.registration.pairwise import Basis
from lpm.model.warp import Eigenfunctions
from lpm.preparation.cohort import Cohort

Result = TypeVar("Result")
_WARP_CENTERS = count("model.warp_centers")
_JITTER = 1e-9  # of the mean: functions at the nodes are nearly dependent


class AtlasBuild:
    """The making of an atlas.

    Args:
        cohort: Prepared.
        subjects: Subjects to learn from, at least three.
        config: Grids, components, warp.
        folder: Where registrations are kept; one that was begun is gone on with.
        earlier: The same folder of an atlas whose averages stay, and whose lungs need not be registered again.

    Attributes:
        decoder: After `steps`.
        codes: (n, latent_size) latents of the subjects (their warp is zero), after `steps`.
        history: A row a round of registration: by structure, how much the distances of a lung and of the displaced
            average differ near the lung's surface, in mm, the mean over the lungs.
        seconds: Duration, s.

    Raises:
        InputError: Fewer than three subjects.
    """

    decoder: AtlasDecoder
    codes: Tensor
    history: tuple[dict[str, float], ...]
    seconds: float

    def __init__(
        self,
        cohort: Cohort,
        subjects: Sequence[str],
        config: AtlasConfig,
        folder: Path,
        *,
        earlier: Path | None = None,
    ) -> None:
        if len(subjects) < 3:
            raise InputError("atlas", f"{len(subjects)} training subjects", "at least 3", "prepare more subjects")
        self.cohort, self.subjects, self.config = cohort, tuple(subjects), config
        self.folder = RegistrationFolder(folder)
        self.workers: Workers = LocalWorkers(1)
        self.earlier = None if earlier is None else RegistrationFolder(earlier)
        self.n_steps = len(subjects) * (2 + (1 if earlier else config.registration.rounds + 1))

    def steps(self, workers: Workers | None = None) -> Iterator[str]:
        """Make it; yields what was done after each of `n_steps` lungs.

        Once the atlas is written, `folder.tidy` removes what was needed to go on.

        Args:
            workers: Share out the lungs; default this process.
        """
        self.workers = workers or self.workers
        started, measured = time.perf_counter(), list[list[Measured]]()
        yield from self._measure(measured)
        vertices = some_vertices(measured)
        self._begin(grids_over(measured, self.config), vertices)
        for _ in self._each(sample, self._tasks()):
            yield "signed distances of the training shapes"
        registration = GroupRegistration(self.folder, self.subjects, self.workers)
        if self.earlier is None:
            for number in registration.rounds():
                yield f"register the training shapes, round {number} of {registration.last}"
            rounds = range(1, registration.last + 1)
        else:
            for _ in registration.register_to(registration.last, self.subjects):
                yield "register the training shapes to the averages that are there"
            rounds = range(registration.last, registration.last + 1)
        self.history = _history(self.cohort.structures, [(n, registration.errors_mm(n)) for n in rounds])
        self._decode(registration, vertices)
        self.seconds = time.perf_counter() - started

    def _tasks(self) -> list[Sampling]:
        return [Sampling(self.cohort.folder, self.folder.path, subject) for subject in self.subjects]

    def _each(self, work: Callable[[Sampling], Result], tasks: Sequence[Sampling]) -> Iterator[tuple[Sampling, Result]]:
        for task, result in self.workers.each(work, tasks):
            if result is None:
                raise WorkerDiedError(task.subject, "killed the worker that took it", hint="more memory a worker")
            yield task, result

    def _measure(self, measured: list[list[Measured]]) -> Iterator[str]:
        found = {}
        for task, result in self._each(measure, self._tasks()):
            found[task.subject] = result
            yield "measure the training shapes"
        measured.extend(found[subject] for subject in self.subjects)

    def _begin(self, grids: Sequence[VoxelGrid], vertices_mm: Sequence[Floats]) -> None:
        """Lay down what is registered and how, or go on with what was."""
        known = self.cohort.manifest.subjects
        plan = Plan(
            structures=self.cohort.structures,
            grids=tuple(map(Grid.of, grids)),
            config=self.config.registration,
            subjects={subject: known[subject].digest for subject in self.subjects},
        )
        if self.earlier is not None:
            plan = plan.model_copy(update={"grids": self.earlier.plan().grids})
        if self.folder.is_begun:
            self.folder.check_same(plan)
        elif self.earlier is not None:
            self.folder.take_over(self.earlier, plan)
        else:
            self.folder.begin(plan, [Basis.over(each, plan.config.scales) for each in vertices_mm])

    def _decode(self, registration: GroupRegistration, vertices_mm: Sequence[Floats]) -> None:
        """The decoder of what was registered, and the subjects' latents."""
        plan, last = registration.plan, registration.last
        found = torch.stack([self.folder.coefficients(subject, last) for subject in self.subjects])
        mean, centred = found.mean(dim=0), found - found.mean(dim=0)
        pairs = zip(registration.displacements, centred.unbind(1), strict=True)
        moments = np.concatenate([_comparable(each.functions, part) for each, part in pairs], axis=1)
        n_components = self.config.components or self._held_out_count(registration, found.numpy(), vertices_mm)
        scores = whitened_components(moments, n_components)[1]
        mixture = torch.from_numpy(scores.T / max(len(scores) - 1, 1))
        coefficients = torch.cat([mean[None], torch.tensordot(mixture, centred, dims=1)])
        fields = [
            torch.stack([each.field(row, plan.config.spacing_mm) for row in rows])
            for each, rows in zip(registration.displacements, coefficients.unbind(1), strict=True)
        ]
        boxes, moved_boxes = [grid.box for grid in plan.grids], [each.box for each in registration.displacements]
        everywhere = np.concatenate(vertices_mm)
        warp = [Eigenfunctions.over(everywhere, scale, _WARP_CENTERS) for scale in self.config.warp_scales]
        in_mm = {
            "template": self.folder.template(last),
            "lower": torch.stack([box.lower for box in boxes]),
            "upper": torch.stack([box.upper for box in boxes]),
            "displacements": torch.stack(fields),
            "displaced_lower": torch.stack([box.lower for box in moved_boxes]),
            "displaced_upper": torch.stack([box.upper for box in moved_boxes]),
            "warp_centers": warp[0].centers,
            "warp_weights": torch.stack([each.weights for each in warp]),
            "warp_lengths": torch.stack([each.length for each in warp]),
        }
        scale_mm = self.cohort.manifest.scale_mm
        self.decoder = AtlasDecoder({name: value / scale_mm for name, value in in_mm.items()})
        self.codes = torch.zeros(len(self.subjects), self.decoder.latent_size)
        self.codes[:, : scores.shape[1]] = torch.from_numpy(scores)

    def _held_out_count(
        self, registration: GroupRegistration, coefficients: NDArray[np.float32], vertices_mm: Sequence[Floats]
    ) -> int:
        chosen = [places_on(each) for each in vertices_mm]
        bases = zip(self.folder.bases(), chosen, strict=True)
        functions = [basis.at(torch.from_numpy(points).float()).numpy() for basis, points in bases]
        places = Places(functions, np.concatenate(chosen))
        displaced, most = places.displaced(coefficients), self.config.most_components
        return held_out_count(displaced, places.points_mm, self.config.warp_scales, min(most, len(displaced) - 1))


def _comparable(functions: Tensor, coefficients: Tensor) -> NDArray[np.float32]:
    """(n, 3 r) numbers whose products are those of the displacements that (n, r, 3) coefficients give at all nodes."""
    gram = (functions.T @ functions).double()
    gram.diagonal().add_(_JITTER * gram.diagonal().mean())
    lower = torch.linalg.cholesky(gram)
    found: NDArray[np.float32] = torch.einsum("rp,nrd->npd", lower, coefficients.double()).flatten(1).float().numpy()
    return found


def _history(
    structures: Sequence[str], errors_mm: Sequence[tuple[int, Sequence[float]]]
) -> tuple[dict[str, float], ...]:
    names = [f"{name}_error_mm" for name in structures]
    return tuple({"round": number, **dict(zip(names, row, strict=True))} for number, row in errors_mm)
