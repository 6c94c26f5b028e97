"""Fits of many cases: what is done with each, by the kind of evidence."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from lpm.batch.cases import Case
from lpm.files.mesh_space import Space
from lpm.fitting.config import FitConfig
from lpm.fitting.ct.fit import CtFitConfig
from lpm.fitting.evidence.masks import MaskFitConfig
from lpm.fitting.fit import Fit, check_fit_folder
from lpm.geometry.frames import Floats
from lpm.lung_model import find_model
from lpm.model.bundle import ModelBundle, read_bundle
from lpm.workflows.batch.run import Done
from lpm.workflows.ct import fit_ct_file
from lpm.workflows.evidence import fit_labels_file, fit_points_file
from lpm.workflows.outcome import FitRun, Outcome, OutcomeFiles, write_outcome
from lpm.workflows.radiographs import (
    PictureOptions,
    RadiographFiles,
    fit_radiographs,
    options_of_row,
    read_radiographs,
)

_DRAWS = 40  # of the posterior: they tell the width of an interval to a ninth
_MODEL_FILES = ("bundle.json", "weights.safetensors")


class FitsFile(Protocol):
    """Interface of a fit to the files of one case."""

    def __call__(self, run: FitRun, case: Case) -> Outcome:
        """Read a case's files and fit them."""


@dataclass(frozen=True)
class CtFits:
    """Fits to CTs; see `lpm.workflows.ct.fit_ct_file`."""

    config: CtFitConfig = field(default_factory=CtFitConfig)
    series: str | None = None

    def __call__(self, run: FitRun, case: Case) -> Outcome:
        """Fit lungs to a CT."""
        return fit_ct_file(run, case.path, self.config, series=self.series)


@dataclass(frozen=True)
class MaskFits:
    """Fits to label maps; see `lpm.workflows.evidence.fit_labels_file`."""

    config: MaskFitConfig = field(default_factory=MaskFitConfig)

    def __call__(self, run: FitRun, case: Case) -> Outcome:
        """Fit lungs to a label map."""
        return fit_labels_file(run, case.path, self.config)


@dataclass(frozen=True)
class PointFits:
    """Fits to surface points, with labels on a scan's grid if the table names one in `grid`."""

    n_points: int = 5000
    points_space: Space | None = None

    def __call__(self, run: FitRun, case: Case) -> Outcome:
        """Fit lungs to a file of points."""
        run = replace(run, points_space=self.points_space)
        return fit_points_file(run, case.files["path"], n_points=self.n_points, grid=case.files.get("grid"))


@dataclass(frozen=True)
class RadiographFits:
    """Fits to one or two radiographs; what a row of the table says of them comes before these options."""

    options: PictureOptions = field(default_factory=PictureOptions)

    def __call__(self, run: FitRun, case: Case) -> Outcome:
        """Fit lungs to the radiographs of a case."""
        files = RadiographFiles(**case.files)
        options = options_of_row(case.attributes, files, self.options)
        return fit_radiographs(run, read_radiographs(run, files, options), files.all)


@dataclass(frozen=True)
class FitCases:
    """Fits of many cases: a `Work` that loads the model once in each worker.

    Args:
        fit: How the files of a case are read and fitted.
        model: Folder of the model, as `find_model` gives it.
        config: Config of the search; None for the evidence's own default.
        spacing_mm: Lattice of the extracted meshes.
        seed: Seed of the points that are drawn, and of the intervals.
        files: Files to write of each fit.
    """

    fit: FitsFile
    model: Path = field(default_factory=find_model, repr=False)
    config: FitConfig | None = None
    spacing_mm: float = 1.5
    seed: int = 0
    files: OutcomeFiles = field(default_factory=OutcomeFiles)

    def describe(self) -> str:
        """Options, and the model's digest."""
        return f"{self!r} {_digest(self.model)}"

    def check_folder(self, folder: Path) -> None:
        """Refuse a folder that holds something that is no fit's."""
        check_fit_folder(folder)

    def do(self, case: Case, folder: Path) -> Done:
        """Fit a case, and write its files."""
        told: list[str] = []
        run = FitRun(
            loaded(self.model),
            self.config,
            self.spacing_mm,
            self.seed,
            tell=lambda text, share: told.append(text) if share is None else None,
        )
        outcome = self.fit(run, case)
        write_outcome(folder, outcome, self.files, run.tell)
        shape = shape_of_fit(outcome.fit, rng=np.random.default_rng(self.seed))
        return Done((*told, *outcome.fit.notes), shape)


@lru_cache(maxsize=1)
def loaded(folder: Path) -> ModelBundle:
    """The model of a folder, read once in each process."""
    return read_bundle(folder)


@lru_cache(maxsize=1)
def _digest(folder: Path) -> str:
    return " ".join(hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in _MODEL_FILES)


def shape_of_fit(fit: Fit, *, rng: np.random.Generator) -> dict[str, float]:
    """A fit as one row of numbers, by name: shape parameters, pose, measures with 95 % intervals (docs/batch.md).

    Args:
        fit: The fit. Of lungs without a size, what is in millimetres is left out.
        rng: Draws the lungs that the intervals of measures are from.
    """
    pose, beta = fit.shape.pose, fit.beta
    row = {"mahalanobis": float(np.linalg.norm(beta))}
    row |= {f"beta_{number}": float(value) for number, value in enumerate(beta, start=1)}
    row |= _by_axis("rotation_{}_rad", pose.rotation_rad)
    if not fit.sized:
        return row
    row |= _by_axis("translation_{}_mm", pose.translation_mm) | _by_axis("scale_{}", pose.axis_scale)
    intervals = fit.attribute_intervals(rng=rng, n=_DRAWS, spacing_mm=None) | {
        name: fit.interval(name) for name in _volumes(fit)
    }
    for name, value in fit.attributes.items():
        row |= {name: value, f"{name}_95_low": intervals[name][0], f"{name}_95_high": intervals[name][1]}
    return row


def _by_axis(name: str, values: Floats) -> dict[str, float]:
    return {name.format(axis): float(value) for axis, value in zip("ras", values, strict=True)}


def _volumes(fit: Fit) -> list[str]:
    """Measures whose interval is known without draws."""
    return ["total_volume_ml", *(f"{structure}_volume_ml" for structure in fit.meshes)]
