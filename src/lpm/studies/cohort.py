"""Lungs of many subjects in correspondence, with measures, and how sure each is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpm.batch.subjects import listed
from lpm.batch.workers import LocalWorkers
from lpm.calibration import count
from lpm.errors import FileError, InputError
from lpm.files.meshes import MESH_SUFFIXES, read_mesh
from lpm.fitting.corresponding import average_surfaces
from lpm.fitting.fitted_field import FittedField
from lpm.fitting.pose import world_from_model
from lpm.fitting.written import read_fit, read_sureness
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import Indices, WorldMesh
from lpm.measurement.doubts import doubts_of_fit
from lpm.measurement.shapes import measure_shapes
from lpm.model.bundle import ModelBundle
from lpm.preparation.gate import judge_sizes

_FACES = count("studies.faces_each")
_LOW, _HIGH = "_95_low", "_95_high"
_WIDTH = NormalDist().inv_cdf(0.975) - NormalDist().inv_cdf(0.025)  # of a 95 % interval, in standard deviations
_MESH, _FIT = "*_lung.ply", "fit.json"
_SAME = "corresponding"

Meshes = Mapping[str, WorldMesh]


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Lungs:
    """The lungs of one subject.

    Args:
        name: The subject.
        meshes: By structure, RAS mm; the same triangles for all subjects of a study.
        measures: Values by name, as `lpm measure` gives them.
        measure_sd: How unsure some of them are, in their unit.
        sigma_mm: By structure (v,) how unsure the fit is of each vertex along the normal; empty if it does not say.
        notes: What the fit says of itself.
        doubts: Reasons of the quality gate to leave it out.
    """

    name: str
    meshes: Meshes
    measures: Mapping[str, float]
    measure_sd: Mapping[str, float] = field(default_factory=dict)
    sigma_mm: Mapping[str, Floats] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cohort:
    """Lungs of subjects, all with the same structures and triangles.

    Args:
        subjects: At least one.
        unread: Names of fits that the table does not name, which were not read.

    Raises:
        InputError: Other structures or triangles than the first subject's, or a name twice.
    """

    subjects: tuple[Lungs, ...]
    unread: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_structures()
        first = self.subjects[0]
        for each in self.subjects[1:]:
            if any(not np.array_equal(each.meshes[name].faces, first.meshes[name].faces) for name in first.meshes):
                given = f"other triangles than those of {first.name}"
                hint = "write them with --corresponding, with one model for all"
                raise InputError(each.name, given, "meshes in correspondence", hint)
        names = [each.name for each in self.subjects]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError("study", f"several fits called {twice[0]!r}", "one a name", "rename one of the folders")

    def _check_structures(self) -> None:
        """Refuse other structures than those that most subjects have; all who have others are named."""
        kinds = Counter(frozenset(each.meshes) for each in self.subjects)
        usual = max(kinds, key=kinds.__getitem__)
        if others := [each for each in self.subjects if each.meshes.keys() != usual]:
            given = f"{', '.join(sorted(others[0].meshes))}, but most have {', '.join(sorted(usual))}"
            hint = "leave them out of the table, or fit both lungs (--complete)"
            names = listed(each.name for each in others)
            raise InputError(names, given, "the same structures for all", hint)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the subjects."""
        return tuple(each.name for each in self.subjects)

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of the structures."""
        return tuple(self.subjects[0].meshes)

    def only(self, names: Sequence[str]) -> Cohort:
        """Some of the subjects, in this order."""
        return Cohort(tuple(self.subjects[self.names.index(name)] for name in names))

    @cached_property
    def faces(self) -> dict[str, Indices]:
        """Triangles by structure."""
        return {name: mesh.faces for name, mesh in self.subjects[0].meshes.items()}

    @cached_property
    def vertices(self) -> Floats:
        """(n, v, 3) of all structures one after the other, RAS mm."""
        return np.stack([np.concatenate([one.meshes[name].vertices for name in self.faces]) for one in self.subjects])

    @cached_property
    def sigma_mm(self) -> Floats | None:
        """(n, v) how unsure each is of each vertex; None if one does not say."""
        if not all(one.sigma_mm for one in self.subjects):
            return None
        return np.stack([np.concatenate([one.sigma_mm[name] for name in self.faces]) for one in self.subjects])

    def split(self, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """(v, ...) values of vertices by structure."""
        sizes = [len(mesh.vertices) for mesh in self.subjects[0].meshes.values()]
        return dict(zip(self.faces, np.split(values, np.cumsum(sizes)[:-1]), strict=True))

    def meshes(self, vertices: Floats) -> dict[str, WorldMesh]:
        """Meshes by structure of (v, 3) vertices."""
        return {name: WorldMesh(part, self.faces[name]) for name, part in self.split(vertices).items()}


def find_fits(folders: Sequence[Path]) -> dict[str, Path]:
    """Find folders of fits, or of meshes in correspondence.

    Args:
        folders: Of fits, or that hold them at any depth.

    Returns:
        By name: the path below the given folder, which is that of the table; of a fit that is given itself, its own.

    Raises:
        FileError: Nothing is there.
        InputError: Two of one name.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        inside = [folder] if _is_subject(folder) else list(_subjects_below(folder))
        if not inside:
            given = "holds no fits" if folder.is_dir() else "a file" if folder.exists() else "no such folder"
            hint = "name the folder that lpm fit wrote (--out), with a fit.json or *_lung.ply in it, or below it"
            raise FileError(str(folder), given, "folders that lpm fit wrote, or meshes in correspondence", hint)
        for path in inside:
            name = path.resolve().name if path == folder else path.relative_to(folder).as_posix()
            if name in found:
                given = f"two fits called {name!r}: {found[name]} and {path}"
                raise InputError("study", given, "one a name", "rename one of the folders")
            found[name] = path
    return found


def _is_subject(folder: Path) -> bool:
    return (folder / _FIT).is_file() or any(folder.glob(_MESH)) or any((folder / _SAME).glob("*.ply"))


def _subjects_below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and not path.name.startswith("."):
            if _is_subject(path):
                yield path
            else:
                yield from _subjects_below(path)


def read_cohort(found: Mapping[str, Path], model: ModelBundle, jobs: int = 1) -> Cohort:
    """Read the lungs of subjects.

    Args:
        found: Folders by name, of `find_fits`. Either all are fits, or all hold meshes in correspondence only.
        model: The model of the fits.
        jobs: Worker processes.

    Raises:
        FileError: A fit is damaged.
        InputError: Fits of another model or without a size, or with other structures or triangles than the rest.
    """
    fits = [name for name, path in found.items() if (path / _FIT).is_file()]
    if fits and len(fits) < len(found):
        other = next(name for name in found if name not in fits)
        given, hint = f"{fits[0]} is a fit, {other} is not", f"fit {other}, or leave it out of the table"
        raise InputError("study", given, "fits only, or meshes only", hint)
    written = bool(fits) and all(any((path / _SAME).glob("*.ply")) for path in found.values())
    work = partial(_read, model=model, written=written) if fits else _read_meshes
    read: dict[str, Lungs] = {}
    for (name, _), result in LocalWorkers(jobs).each(work, list(found.items())):
        if result is None:
            raise FileError(name, "its worker died, often for want of memory", "one that ends", "--jobs 1")
        read[name] = result
    return Cohort(tuple(read[name] for name in found))


def _read(named: tuple[str, Path], model: ModelBundle, *, written: bool) -> Lungs:
    name, folder = named
    fit = read_fit(folder, model)
    summary = json.loads((folder / _FIT).read_text(encoding="utf-8"))
    meshes = _written_meshes(folder / _SAME) if written else _carried(fit)
    sure = read_sureness(folder, fit.structures)
    measures, spread = _measures(folder, summary)
    return Lungs(
        name,
        meshes,
        measures,
        spread,
        {structure: sure[structure].at(meshes[structure].vertices) for structure in sure},
        tuple(summary.get("notes", ())),
        tuple(doubts_of_fit(summary)),
    )


def _carried(fit: FittedField) -> dict[str, WorldMesh]:
    """The average's meshes on the fitted surface; as `corresponding`, without its costly quality."""
    average = average_surfaces(fit.model, _FACES)
    pose = world_from_model(fit.model, fit.pose)
    carried = average.meshes(fit.model.latents.to_latent(fit.beta), pose, fit.model.structures)
    return {
        name: WorldMesh(fit.onto_surface(carried[name].vertices, name), carried[name].faces) for name in fit.structures
    }


def _written_meshes(folder: Path) -> dict[str, WorldMesh]:
    return {path.stem: read_mesh(path) for path in sorted(folder.glob("*.ply"))}


def _measures(folder: Path, summary: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Measures and their standard deviations: of a batch from its record, else measured, with the volume's alone."""
    row = _recorded(folder / "case.json")
    names = [key.removesuffix(_LOW) for key in row if key.endswith(_LOW)]
    if names:
        spread = {name: (row[name + _HIGH] - row[name + _LOW]) / _WIDTH for name in names}
        return {name: row[name] for name in names}, spread
    paths = {path.stem: path for path in folder.iterdir() if path.suffix in MESH_SUFFIXES}
    if missing := [name for name in summary["structures"] if name not in paths]:
        raise FileError(str(folder), f"no mesh of the {missing[0]}", "a whole fit", "fit it again")
    meshes = {name: read_mesh(paths[name]) for name in summary["structures"]}
    low, high = summary["total_volume_95_ml"]
    return measure_shapes(meshes), {"total_volume_ml": (high - low) / _WIDTH}


def _recorded(path: Path) -> dict[str, float]:
    """The row of shapes.csv that a batch leaves beside a fit; nothing of single fits."""
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["shape"])
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(str(path), f"cannot be read ({error})", "what lpm fit wrote", "fit it again") from error


def _read_meshes(named: tuple[str, Path]) -> Lungs:
    name, folder = named
    same = folder / _SAME
    meshes = _written_meshes(same if same.is_dir() else folder)
    found = {structure: mesh.volume_ml for structure, mesh in meshes.items()}
    return Lungs(name, meshes, measure_shapes(meshes), doubts=tuple(each.what for each in judge_sizes(found)))
