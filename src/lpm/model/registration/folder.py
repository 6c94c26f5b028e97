"""The folder of a registration: what is known of each training lung, whole files only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lpm.errors import FileError, InputError
from lpm.files.atomic import inside, write_text
from lpm.geometry.grids import VoxelGrid
from lpm.model.config import RegistrationConfig
from lpm.model.registration.pairwise import Basis
from lpm.model.tensors import read_tensors, write_tensors
from lpm.model.warp import Box, Eigenfunctions
from lpm.records import PlainName, StrictModel, read_json_model

_PLAN, _BASIS = "plan.json", "basis.safetensors"


class Grid(StrictModel):
    """A grid of signed distances about a subject's centre.

    Args:
        origin_mm: First node.
        spacing_mm: Distance between nodes.
        shape: Number of nodes along each axis.
    """

    origin_mm: tuple[float, float, float]
    spacing_mm: float
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, grid: VoxelGrid) -> Grid:
        """What is stored of a grid."""
        x, y, z = grid.origin_mm.tolist()
        return cls(origin_mm=(x, y, z), spacing_mm=grid.spacing_mm, shape=grid.shape)

    @property
    def nodes(self) -> VoxelGrid:
        """The grid."""
        return VoxelGrid(np.array(self.origin_mm), self.spacing_mm, self.shape)

    @property
    def box(self) -> Box:
        """The first and the last node, mm."""
        lower = torch.tensor(self.origin_mm).float()
        return Box(lower, lower + (torch.tensor(self.shape) - 1) * self.spacing_mm)


class Plan(StrictModel):
    """`plan.json`: what is registered, and how.

    Args:
        structures: Names, in the order of every index.
        grids: Grid of each structure.
        config: Smooth displacements, rounds.
        subjects: Content of each subject, a digest, by name.
    """

    structures: tuple[PlainName, ...]
    grids: tuple[Grid, ...]
    config: RegistrationConfig
    subjects: dict[PlainName, str]


@dataclass(frozen=True)
class RegistrationFolder:
    """What is known of a registration, on disk.

    Args:
        path: Folder.
    """

    path: Path

    @property
    def is_begun(self) -> bool:
        """Whether there is a plan."""
        return (self.path / _PLAN).is_file()

    def plan(self) -> Plan:
        """What is registered.

        Raises:
            FileError: There is no plan, or it is damaged.
        """
        return read_json_model(self.path / _PLAN, Plan)

    def begin(self, plan: Plan, bases: list[Basis]) -> None:
        """Store the functions of displacements, then the plan that makes the folder a registration."""
        tensors: dict[str, Tensor] = {}
        for index, basis in enumerate(bases):
            for scale, functions in enumerate(basis.smooth):
                parts = {"centers": functions.centers, "weights": functions.weights, "length": functions.length}
                tensors |= {f"{index}.{scale}.{name}": value for name, value in parts.items()}
        write_tensors(self.path / _BASIS, tensors, {})
        write_text(self.path / _PLAN, plan.model_dump_json(indent=1) + "\n")

    def take_over(self, earlier: RegistrationFolder, plan: Plan) -> None:
        """Begin with the averages and functions of an earlier registration, and those of its lungs that are the same.

        Raises:
            InputError: The earlier one has other structures or settings.
        """
        known = earlier.plan()
        if known.config != plan.config or known.structures != plan.structures:
            given = f"an atlas of other settings or structures ({', '.join(known.structures)})"
            raise InputError(str(earlier.path), given, "the same", "train anew")
        last = plan.config.rounds + 1
        self.write_template(last, earlier.template(last))
        for subject, digest in plan.subjects.items():
            if known.subjects.get(subject) == digest:
                found = earlier.coefficients(subject, last), earlier.errors_mm(subject, last)
                self.write_registered(subject, last, *found)
        self.begin(plan, earlier.bases())

    def bases(self) -> list[Basis]:
        """The functions of each structure's displacements."""
        tensors, plan = read_tensors(self.path / _BASIS)[0], self.plan()
        names = ("centers", "weights", "length")
        try:
            return [
                Basis(tuple(Eigenfunctions(*(tensors[f"{index}.{n}.{name}"] for name in names)) for n in scales))
                for index, scales in enumerate([range(len(plan.config.scales))] * len(plan.structures))
            ]
        except KeyError as error:
            raise FileError(str(self.path / _BASIS), f"no {error}", "all functions", "register anew") from error

    def has(self, subject: str, what: str) -> bool:
        """Whether a subject's ``fields`` or ``round-N`` are there."""
        return self._of(subject, what).is_file()

    def fields(self, subject: str) -> Tensor:
        """(s, i, j, k) signed distances of a subject's structures about its centre, mm."""
        return self._read(self._of(subject, "fields"), "distances")

    def write_fields(self, subject: str, distances: Tensor) -> None:
        """Store a subject's signed distances."""
        write_tensors(self._of(subject, "fields"), {"distances": distances}, {})

    def coefficients(self, subject: str, number: int) -> Tensor:
        """(s, 4 + r, 3) coefficients of a subject's displacements in a round."""
        return self._read(self._of(subject, f"round-{number}"), "coefficients")

    def errors_mm(self, subject: str, number: int) -> Tensor:
        """(s,) how much the distances near each surface differ after a round, mm."""
        return self._read(self._of(subject, f"round-{number}"), "errors_mm")

    def write_registered(self, subject: str, number: int, coefficients: Tensor, errors_mm: Tensor) -> None:
        """Store what a round found of a subject."""
        found = {"coefficients": coefficients, "errors_mm": errors_mm}
        write_tensors(self._of(subject, f"round-{number}"), found, {})

    def has_template(self, number: int) -> bool:
        """Whether the average that a round registers to is there."""
        return self._template(number).is_file()

    def template(self, number: int) -> Tensor:
        """(s, i, j, k) signed distances of the average that a round registers to, mm."""
        return self._read(self._template(number), "distances")

    def write_template(self, number: int, distances: Tensor) -> None:
        """Store the average that a round registers to."""
        write_tensors(self._template(number), {"distances": distances}, {})

    def check_same(self, plan: Plan) -> None:
        """Refuse to go on with another cohort or other settings.

        Raises:
            InputError: The folder holds another registration.
        """
        known = self.plan()
        if known.config != plan.config or known.structures != plan.structures or known.grids != plan.grids:
            raise InputError(str(self.path), "a registration of other settings", "the same", "another --out")
        if known.subjects != plan.subjects:
            changed = sorted(set(known.subjects.items()) ^ set(plan.subjects.items()))
            names = ", ".join(sorted({name for name, _ in changed})[:5])
            raise InputError(str(self.path), f"a registration of another cohort ({names})", "the same", "another --out")

    @property
    def is_tidy(self) -> bool:
        """Whether nothing is there that only an unfinished registration needs."""
        one = len(list(self.path.glob("template-*.safetensors"))) <= 1  # removed last
        return one and not any(self.path.glob("subjects/*/fields.safetensors"))

    def tidy(self) -> None:
        """Remove what only an unfinished registration needs: distances, and all rounds but the last."""
        last = self.plan().config.rounds + 1
        for folder in (self.path / "subjects").iterdir():
            for path in [folder / "fields.safetensors", *(folder / f"round-{n}.safetensors" for n in range(1, last))]:
                path.unlink(missing_ok=True)
        for number in range(1, last):
            self._template(number).unlink(missing_ok=True)

    def _of(self, subject: str, what: str) -> Path:
        return inside(self.path / "subjects", subject) / f"{what}.safetensors"

    def _template(self, number: int) -> Path:
        return self.path / f"template-{number}.safetensors"

    def _read(self, path: Path, name: str) -> Tensor:
        tensors = read_tensors(path)[0]
        if name not in tensors:
            raise FileError(str(path), f"no {name}", "what a registration wrote", "delete it and go on")
        return tensors[name]
