"""The stage `evaluate-xray`: unseen lungs from their radiographs, scored beside baselines.

Nothing but a translation is allowed before lungs are compared: what one view cannot tell is where in depth they lie,
and no scale and no rotation is forgiven.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from pydantic import Field

from lpm.errors import LpmError
from lpm.evaluation.cases import MODEL, CaseResult
from lpm.evaluation.metrics import MetricsConfig, surface_scores, volume_scores
from lpm.evaluation.xray_baselines import XrayBaselines, field_size_mm
from lpm.evaluation.xray_subjects import Meshes, Side, Split, XraySubject, read_subject, subjects_of, volume_ml
from lpm.fitting.config import FitConfig
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh
from lpm.model.bundle import ModelBundle
from lpm.processes import in_processes
from lpm.records import StrictModel
from lpm.xray.fit import fit_xray
from lpm.xray.reader import XrayReader, load_reader

PCA, SCALED = "PCA of SDF grids, same data term", "mean shape, scaled"


class XrayEvaluationConfig(StrictModel):
    """What is observed of each unseen pair of lungs, and how the result is scored."""

    split: Split = "test"
    views: tuple[tuple[Side, ...], ...] = (("frontal",), ("frontal", "lateral"))
    baselines: bool = True
    spacing_mm: float = Field(1.5, gt=0, description="lattice of the extracted meshes")
    fit: FitConfig | None = Field(None, description="None: as fits of one and of two radiographs usually are")
    metrics: MetricsConfig = MetricsConfig()


@dataclass(frozen=True)
class XrayScores:
    """Lungs beside the true ones, after a translation; errors of volume and size are relative, and have a sign.

    Args:
        dice, assd_mm, hd95_mm: None of a method that gives a volume only, as are the sizes.
        width, depth, height: Along R, A and S, of both lungs together.
        interval_ml: 95 % interval of the volume, of methods that state one.
        holds: Whether the true volume lies in it.
    """

    volume: float
    dice: float | None = None
    assd_mm: float | None = None
    hd95_mm: float | None = None
    width: float | None = None
    depth: float | None = None
    height: float | None = None
    interval_ml: tuple[float, float] | None = None
    holds: bool | None = None

    def flat(self) -> dict[str, float | None]:
        """Numbers to take means of, errors without their signs; ``interval``: its width over its middle."""
        names = ("volume", "width", "depth", "height")
        errors = {name: None if getattr(self, name) is None else abs(getattr(self, name)) for name in names}
        interval = None
        if self.interval_ml is not None:
            low, high = self.interval_ml
            interval = 2.0 * (high - low) / (high + low)
        holds = None if self.holds is None else float(self.holds)
        distances = {"dice": self.dice, "assd_mm": self.assd_mm, "hd95_mm": self.hd95_mm}
        return {**distances, **errors, "interval": interval, "holds": holds}


@dataclass(frozen=True)
class XrayResult(CaseResult[XrayScores]):
    """One method on one subject; its seconds are those of one core, whatever else the machine does.

    Args:
        views: Views given to the method, such as ``frontal + lateral``.
    """

    views: str = ""

    @property
    def label(self) -> str:
        """Method and what it saw."""
        return f"{self.method}, {self.views}"

    def record(self) -> dict[str, Any]:
        """What ``summary.json`` says of it."""
        numbers = vars(self.scores) if self.scores else {}
        head = {"subject": self.subject, "views": self.views, "method": self.method}
        return {**head, **numbers, "seconds": round(self.seconds, 2), "notes": list(self.notes)}

    def row(self) -> dict[str, Any]:
        """A line of ``scores.csv``."""
        row = self.record()
        low, high = row.pop("interval_ml", None) or (None, None)
        return row | {"interval_low_ml": low, "interval_high_ml": high, "notes": "; ".join(self.notes)}


def compare(meshes: Meshes, true: Meshes, config: MetricsConfig | None = None) -> XrayScores:
    """Score lungs after a translation that lays their middles on each other.

    Args:
        meshes: Closed, by structure, RAS mm.
        true: True lungs of the same structures.
        config: Config of the metrics.
    """
    config = config or MetricsConfig()
    moved = onto(meshes, true)
    surface, _ = surface_scores(moved, true, config.n_surface, rng=np.random.default_rng(0))
    volumes, _, _ = volume_scores(moved, true, config.voxel_mm)
    width, depth, height = (_sides_mm(meshes) / _sides_mm(true) - 1.0).tolist()
    return XrayScores(
        volume=volume_ml(meshes) / volume_ml(true) - 1.0,
        dice=volumes.dice,
        assd_mm=surface.assd_mm,
        hd95_mm=surface.hd95_mm,
        width=width,
        depth=depth,
        height=height,
    )


def onto(meshes: Meshes, true: Meshes) -> dict[str, WorldMesh]:
    """Move lungs, and no more, so that the centroid of their volume lies on that of the true ones."""
    shift = _centroid(true) - _centroid(meshes)
    return {name: WorldMesh(mesh.vertices + shift, mesh.faces) for name, mesh in meshes.items()}


def _centroid(meshes: Meshes) -> Floats:
    weights = [mesh.volume_ml for mesh in meshes.values()]
    centroids = np.stack([mesh.centroid for mesh in meshes.values()])
    return np.asarray(np.average(centroids, axis=0, weights=weights))


def _sides_mm(meshes: Meshes) -> Floats:
    return np.asarray(np.ptp(np.concatenate([mesh.vertices for mesh in meshes.values()]), axis=0))


def evaluate_xrays(
    model: ModelBundle,
    folder: Path,
    config: XrayEvaluationConfig,
    *,
    reader: XrayReader | None = None,
    jobs: int = 1,
) -> Iterator[XrayResult]:
    """Reconstruct every subject of a split from its radiographs by the model and by each baseline.

    Args:
        model: Model of the left and the right lung.
        folder: See `subjects_of`; the baselines learn from its training subjects.
        config: Split, views, fit, metrics.
        reader: Reader of radiographs; default the bundled one.
        jobs: Worker processes, one subject each.

    Raises:
        InputError: No subject, or none to learn the baselines from.
        FileError: Files of a subject are missing or damaged.
    """
    reader = reader or load_reader()
    names = subjects_of(folder, config.split)
    baselines = _learn(model, folder, reader, jobs) if config.baselines else None
    bench = _Bench(model, reader, config, baselines)
    for results in in_processes(jobs, (joblib.delayed(bench.results)(folder / name) for name in names)):
        yield from results


def _learn(model: ModelBundle, folder: Path, reader: XrayReader, jobs: int) -> XrayBaselines:
    """What the training subjects' frontal pictures and lungs teach."""
    names = subjects_of(folder, "train")
    known = list(in_processes(jobs, (joblib.delayed(_known)(folder / name, reader) for name in names)))
    sizes, lungs = [size for size, _ in known], [meshes for _, meshes in known]
    return XrayBaselines.learn(model, sizes, lungs)


def _known(folder: Path, reader: XrayReader) -> tuple[Floats, Meshes]:
    torch.set_num_threads(1)
    subject = read_subject(folder)
    return _field_size_mm(subject, reader), subject.lungs


def _field_size_mm(subject: XraySubject, reader: XrayReader) -> Floats:
    radiograph = subject.radiographs["frontal"]
    return field_size_mm(reader.frontal(radiograph.pixels, radiograph.in_patient_mm), radiograph)


@dataclass(frozen=True)
class _Bench:
    """All methods on one subject, on one core."""

    model: ModelBundle
    reader: XrayReader
    config: XrayEvaluationConfig
    baselines: XrayBaselines | None

    def results(self, folder: Path) -> list[XrayResult]:
        """Of the subject in a folder."""
        torch.set_num_threads(1)
        subject, models = read_subject(folder), {MODEL: self.model}
        if self.baselines is not None:
            models[PCA] = self.baselines.pca
        seen = [views for views in self.config.views if set(views) <= set(subject.radiographs)]
        found = [self._fitted(subject, views, name, model) for views in seen for name, model in models.items()]
        return [*found, *self._without_fit(subject)]

    def _fitted(self, subject: XraySubject, views: Sequence[Side], method: str, model: ModelBundle) -> XrayResult:
        given = [subject.radiographs[side] for side in views]
        seen, started, config = " + ".join(views), time.process_time(), self.config
        try:
            fit = fit_xray(model, given, reader=self.reader, config=config.fit, spacing_mm=config.spacing_mm)
        except LpmError as error:
            return XrayResult(subject.name, method, None, time.process_time() - started, {}, (str(error),), seen)
        seconds = time.process_time() - started
        low, high = fit.interval("total_volume_ml")
        holds = low <= subject.volume_ml <= high
        scores = replace(compare(fit.lungs, subject.lungs, config.metrics), interval_ml=(low, high), holds=holds)
        return XrayResult(subject.name, method, scores, seconds, fit.lungs, fit.notes, seen)

    def _without_fit(self, subject: XraySubject) -> Iterator[XrayResult]:
        """Baselines by the size of the frontal field."""
        if self.baselines is None:
            return
        started = time.process_time()
        size_mm = _field_size_mm(subject, self.reader)
        seconds = time.process_time() - started
        for method, meshes in (("mean shape", self.baselines.mean), (SCALED, self.baselines.scaled(size_mm))):
            scores = compare(meshes, subject.lungs, self.config.metrics)
            yield XrayResult(subject.name, method, scores, seconds, meshes, views="frontal")
        volume = self.baselines.volume_ml(size_mm) / subject.volume_ml - 1.0
        yield XrayResult(subject.name, "regression", XrayScores(volume), seconds, {}, views="frontal")
