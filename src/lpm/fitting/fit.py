"""What a fit gives: two closed lungs in the world, the numbers behind them, and files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lpm.calibration import count
from lpm.errors import InputError
from lpm.files.atomic import atomic_folder, check_gives_way
from lpm.files.meshes import MESH_SUFFIXES, MeshFiles
from lpm.files.volumes import write_volume
from lpm.fitting.config import FitConfig
from lpm.fitting.corresponding import Corresponding, corresponding
from lpm.fitting.discrepancy.residual import spread_evenly
from lpm.fitting.extraction import extract_fit, fitted_field
from lpm.fitting.fitted_field import FittedField
from lpm.fitting.fitted_shape import FittedShape
from lpm.fitting.partition.parts import beyond_parts_mm, field_of_parts, part_names
from lpm.fitting.pose import world_from_model
from lpm.fitting.posterior import (
    draw_shapes,
    draw_surfaces,
    normal_interval,
    sd_of_sum_ml,
    vertex_sigma_mm,
    volume_spread_ml,
)
from lpm.fitting.written import RESIDUAL_FILE, Sureness, write_residual
from lpm.geometry.extraction import Extraction, extract_meshes, lattice_over
from lpm.geometry.frames import Floats
from lpm.geometry.grids import labels_of
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.surfaces import decimate
from lpm.geometry.volumes import Volume
from lpm.measurement.shapes import measure_shapes
from lpm.model.bundle import ModelBundle

_FILES = {
    "fit.json",
    RESIDUAL_FILE,
    "corresponding",
    "case.json",
    "labels.nii.gz",
    "parts.nii.gz",
    "report.html",
    "views.png",
    "figures",
}
_DRAWN_FACES = count("fitting.drawn_faces")
_SURE_AT = 300  # vertices of each structure whose sigma is written: it varies slowly along a surface


@dataclass(frozen=True, repr=False)
class Fit:
    """An observation, explained by the model.

    Args:
        model: The model that was fitted.
        config: Settings of the fit.
        shape: Shape parameters, pose, residuals, why the fit stopped.
        extraction: Meshes and what they cost.
        observed: Evidence, in words.
        notes: Notes for the reader, such as a side that no point was seen of.
        sized: Whether lengths are millimetres; a radiograph without a pixel spacing shows a shape, and no size.
    """

    model: ModelBundle
    config: FitConfig
    shape: FittedShape
    extraction: Extraction
    observed: str
    notes: tuple[str, ...] = ()
    sized: bool = True

    def __repr__(self) -> str:
        volumes = ", ".join(f"{name} {mesh.volume_ml:,.0f} ml" for name, mesh in self.meshes.items())
        return f"<{type(self).__name__} to {self.observed}: {volumes if self.sized else 'of unknown size'}>"

    @property
    def meshes(self) -> dict[str, WorldMesh]:
        """Closed outward meshes by structure, RAS mm."""
        return self.extraction.meshes

    @property
    def lungs(self) -> dict[str, WorldMesh]:
        """The meshes, for a model of lungs."""
        return self.meshes

    def with_notes(self, notes: Iterable[str]) -> Fit:
        """Return the fit with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    @property
    def beta(self) -> NDArray[np.float64]:
        """(k,) shape parameters; N(0, I) over the training shapes."""
        return self.shape.beta.double().numpy()

    @property
    def field(self) -> FittedField:
        """The fitted lungs as a field, by which points are placed on them and carried to other fits.

        Raises:
            InputError: The size is unknown.
        """
        self._check_sized("field")
        return FittedField.of(self.model, self.shape, tuple(self.meshes))

    def corresponding(self, faces_each: int = 8000) -> Corresponding:
        """Meshes with the same triangles for every fit of the model: vertex i is the same anatomical place.

        They lie on the fitted surface, residual included; ``quality`` says how closely, and how often they fold.

        Args:
            faces_each: Triangles of each structure, about; the same number gives the same triangles.

        Raises:
            InputError: The model is a network, or the size is unknown.
        """
        return corresponding(self.field, faces_each)

    @property
    def misfits_mm(self) -> dict[str, Floats]:
        """By kind of evidence, in words: how far each observation is from what the fitted lungs would give."""
        surface = self.shape.surface
        return {} if surface is None else {"distance of the points": surface.residuals_mm}

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Interval that holds a measure with the given probability, as far as the model knows (docs/fit.md).

        Args:
            name: ``total_volume_ml``, or a structure's such as ``left_lung_volume_ml``.
            level: Probability, between 0 and 1.

        Raises:
            InputError: Another name or level; the size is unknown.
        """
        self._check_sized("interval")
        known: dict[str, tuple[str, ...]] = {f"{structure}_volume_ml": (structure,) for structure in self.meshes}
        known["total_volume_ml"] = tuple(self.meshes)
        if name not in known:
            hint = "fit.attribute_intervals has all measures, such as height_mm"
            raise InputError("interval", repr(name), f"one of {', '.join(known)}", hint)
        mean = sum(self.meshes[structure].volume_ml for structure in known[name])
        sd = sd_of_sum_ml(self._volume_spreads_ml[structure] for structure in known[name])
        return normal_interval(mean, sd, level)

    @cached_property
    def _volume_spreads_ml(self) -> dict[str, tuple[Tensor, float]]:
        numbers = {name: self.model.structures.index(name) for name in self.meshes}
        return {
            name: volume_spread_ml(self.model, self.shape, numbers[name], mesh) for name, mesh in self.meshes.items()
        }

    @cached_property
    def attributes(self) -> dict[str, float]:
        """What the lungs measure, by name: ``fit.attributes["height_mm"]``; docs/measure.md lists them.

        Raises:
            InputError: The size is unknown.
        """
        self._check_sized("attributes")
        return measure_shapes(self.meshes)

    def attribute_intervals(
        self, *, rng: np.random.Generator, n: int = 20, level: float = 0.95, spacing_mm: float | None = 4.0
    ) -> dict[str, tuple[float, float]]:
        """Intervals that hold attributes with the given probability: from their spread over draws of the posterior.

        A normal distribution about the fit's own values: twenty draws tell its width to a sixth.

        Args:
            rng: Source of randomness.
            n: Number of draws.
            level: Probability, between 0 and 1.
            spacing_mm: Lattice of the draws, which are those of `sample`; each takes seconds. None moves the fitted
                surface along its normals instead, which takes a tenth of a second: intervals of lengths are then 0.9
                times as wide, those of area, sphericity and notches 0.5 to 0.8 times.

        Raises:
            InputError: Fewer than two draws, another level, or the size is unknown.
        """
        if n < 2:
            raise InputError("attribute_intervals", f"{n} draws", "at least 2")
        own = self.attributes
        draws = self._moved(n, rng) if spacing_mm is None else self.sample(n, rng=rng, spacing_mm=spacing_mm)
        drawn = [measure_shapes(lungs) for lungs in draws]
        sd = {name: float(np.std([one[name] for one in drawn], ddof=1)) for name in own}
        return {name: normal_interval(value, sd[name], level) for name, value in own.items()}

    def _moved(self, n: int, rng: np.random.Generator) -> Iterator[dict[str, WorldMesh]]:
        """Draws of the posterior to first order: the fitted surface, moved along its normals."""
        names = self.model.structures
        light = {names.index(name): decimate(mesh, _DRAWN_FACES) for name, mesh in self.meshes.items()}
        for lungs in draw_surfaces(self.model, self.shape, light, n, rng=rng):
            yield {names[structure]: mesh for structure, mesh in lungs.items()}

    def _check_sized(self, subject: str) -> None:
        if not self.sized:
            raise InputError(subject, "lungs of unknown size", "a pixel spacing", "give mm_per_px")

    def sigma_mm(self, name: str) -> NDArray[np.float64]:
        """(v,) standard deviation of each vertex of a structure's mesh along its normal, mm."""
        return vertex_sigma_mm(self.model, self.shape, self.model.structures.index(name), self.meshes[name])

    def _sureness(self) -> dict[str, Sureness]:
        """How sure the fit is at some vertices of each structure; nothing where lengths are not known."""
        found = {}
        for name, mesh in self.meshes.items() if self.sized else ():
            some = mesh.vertices[spread_evenly(mesh.vertices, _SURE_AT)]
            index, places = self.model.structures.index(name), WorldMesh(some, np.zeros((1, 3), dtype=np.int64))
            found[name] = Sureness(some, vertex_sigma_mm(self.model, self.shape, index, places))
        return found

    def sample(self, n: int, *, rng: np.random.Generator, spacing_mm: float = 2.0) -> Iterator[dict[str, WorldMesh]]:
        """Draw lungs that could also have been what was seen: the spread of any measure of them is its uncertainty.

        Args:
            n: Number of draws.
            rng: Source of randomness.
            spacing_mm: Lattice of the extracted meshes.

        Yields:
            Closed outward meshes by structure, RAS mm.
        """
        for shape in draw_shapes(self.model, self.shape, n, rng=rng):
            yield extract_fit(self.model, shape, list(self.meshes), spacing_mm).meshes

    def parts(self, spacing_mm: float = 1.5) -> dict[str, WorldMesh]:
        """Closed outward meshes of the parts, such as lobes, by name, RAS mm; where two meet, their surfaces agree.

        Args:
            spacing_mm: Lattice of the meshes.

        Raises:
            InputError: The model has no partition (`lpm partition`).
        """
        names = [part for parts in part_names(self.model, list(self.meshes)).values() for part in parts]
        vertices = np.concatenate([mesh.vertices for mesh in self.meshes.values()])
        lower, upper = vertices.min(axis=0) - 2 * spacing_mm, vertices.max(axis=0) + 2 * spacing_mm
        field = field_of_parts(self.model, self.shape, list(self.meshes), fitted_field(self.model, self.shape))
        return extract_meshes(field, names, lattice_over(lower, upper, spacing_mm)).meshes

    def part_labels(self, grid: Volume | None = None, spacing_mm: float = 1.5) -> Volume:
        """Label map of the parts: 1, 2, ... in the order of ``parts``; every voxel of the lungs has one.

        Args:
            grid: Take its voxels and affine; default a grid of `spacing_mm` around the lungs.
            spacing_mm: Voxel size of the default grid.

        Raises:
            InputError: The model has no partition (`lpm partition`).
        """
        whole, first = self.labels(grid, spacing_mm), 1
        found = np.zeros_like(whole.voxels)
        for number, (structure, parts) in enumerate(part_names(self.model, list(self.meshes)).items(), start=1):
            inside = np.argwhere(whole.voxels == number)
            beyond = beyond_parts_mm(self.model, self.shape, structure, whole.to_world(inside))
            found[tuple(inside.T)] = first + beyond.argmin(axis=1)
            first += len(parts)
        return whole.with_voxels(found)

    def labels(self, grid: Volume | None = None, spacing_mm: float = 1.5) -> Volume:
        """Label map of the lungs: 1, 2, ... in the order of ``lungs``.

        Args:
            grid: Take its voxels and affine; default a grid of `spacing_mm` around the lungs.
            spacing_mm: Voxel size of the default grid.
        """
        return labels_of(self.meshes, grid, spacing_mm)

    def summary(self) -> dict[str, Any]:
        """Return what `fit.json` holds: of each kind of evidence what it gives, and no more."""
        surface = self.shape.surface
        return {
            "observed": self.observed,
            "notes": list(self.notes),
            "structures": list(self.meshes),
            "beta": self.beta.tolist(),
            "mahalanobis": float(np.linalg.norm(self.beta)),
            "pose": self._pose_summary(),
            **({} if surface is None else {"residuals_mm": surface.summary()}),
            "stop_reason": self.shape.stop_reason,
            "iterations": self.shape.iterations,
            **self._volume_summary(),
            "network_evaluations": self.extraction.n_evaluated,
            "dense_grid_nodes": self.extraction.n_nodes,
            "fit_config": self.config.model_dump(include=self.config.used(*self._kinds)),
            "model": {
                "preset": self.model.manifest.config.preset,
                "training_subjects": len(self.model.manifest.training_subjects),
                "versions": self.model.manifest.versions,
                "digest": self.model.digest,
            },
        }

    @property
    def _kinds(self) -> tuple[str, ...]:
        """Kinds of evidence that took part."""
        return ("rays",) if self.shape.surface is None else ("surface",)

    def _volume_summary(self) -> dict[str, Any]:
        if not self.sized:
            return dict.fromkeys(("volume_ml", "volume_95_ml", "total_volume_ml", "total_volume_95_ml"))
        return {
            "volume_ml": {name: mesh.volume_ml for name, mesh in self.meshes.items()},
            "volume_95_ml": {name: list(self.interval(f"{name}_volume_ml")) for name in self.meshes},
            "total_volume_ml": sum(mesh.volume_ml for mesh in self.meshes.values()),
            "total_volume_95_ml": list(self.interval("total_volume_ml")),
        }

    def _pose_summary(self) -> dict[str, Any]:
        pose = self.shape.pose
        return {
            "translation_mm": pose.translation_mm.tolist(),
            "axis_scale": pose.axis_scale.tolist(),
            "rotation_rad": pose.rotation_rad.tolist(),
            "world_from_model": world_from_model(self.model, pose).to_dict(),
        }

    def write(
        self,
        folder: str | Path,
        *,
        meshes: MeshFiles | str = ".ply",
        grid: Volume | None = None,
        parts: bool = False,
        corresponding: bool = False,
    ) -> dict[str, WorldMesh]:
        """Write meshes, `labels.nii.gz` and `fit.json` into a folder, whole or not at all.

        Args:
            folder: New, empty, or with an earlier fit, which gives way.
            meshes: .ply, .stl, .obj, .glb or .vtp; or format, space and size.
            grid: Grid of the labels; default 1.5 mm around the lungs.
            parts: Also write the parts' meshes and `parts.nii.gz`.
            corresponding: Also write `corresponding/NAME.ply`, meshes with the same triangles for every fit.

        Returns:
            The parts' meshes by name, if they were written.

        Raises:
            FileError: The folder holds something else.
            InputError: Parts of a model without a partition, correspondence of a network, or a mesh that cannot be
                closed and of so few triangles.
        """
        check_fit_folder(Path(folder))
        summary, divided = self.summary(), self.parts() if parts else {}
        if parts:
            summary["part_volume_ml"] = {name: mesh.volume_ml for name, mesh in divided.items()}
        written = MeshFiles(meshes) if isinstance(meshes, str) else meshes
        same = self.corresponding() if corresponding else None
        if same is not None:
            summary["corresponding"] = same.summary()
        with atomic_folder(Path(folder)) as temporary:
            if same is not None:
                (temporary / "corresponding").mkdir()
                MeshFiles().write(temporary / "corresponding", same.meshes)
            sureness = self._sureness()
            write_residual(temporary, self.shape.residual, self.model.structures, sureness)
            written.write(temporary, self.meshes | divided, {name: sure.at for name, sure in sureness.items()})
            write_volume(temporary / "labels.nii.gz", self.labels(grid))
            if parts:
                write_volume(temporary / "parts.nii.gz", self.part_labels(grid))
            (temporary / "fit.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        return divided


def check_fit_folder(folder: Path) -> None:
    """Refuse a folder that a fit could not be written to without losing what others put there.

    Raises:
        FileError: It holds something that is no fit's.
    """
    has_fit = (folder / "fit.json").is_file()
    check_gives_way(
        folder,
        lambda name: has_fit and (name in _FILES or Path(name).suffix in MESH_SUFFIXES),
        "holds an earlier fit",
    )
