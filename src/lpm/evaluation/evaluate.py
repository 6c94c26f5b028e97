"""The stage `evaluate`: unseen lungs from a partial point cloud, scored beside baselines (paper IV.C)."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydantic import Field

from lpm.batch.workers import LocalWorkers, Workers
from lpm.errors import InputError, LpmError, WorkerDiedError
from lpm.evaluation.baselines import Baseline
from lpm.evaluation.cases import MODEL, CaseResult
from lpm.evaluation.metrics import MetricsConfig, PointScores, Scores, point_scores, sampling_floor, score
from lpm.fitting.config import FitConfig
from lpm.fitting.evidence.points import draw_points, fit_points
from lpm.geometry.frames import Floats
from lpm.geometry.meshes import WorldMesh, joined
from lpm.model.bundle import ModelBundle
from lpm.preparation.cohort import Cohort
from lpm.records import StrictModel
from lpm.structures import UNION

Meshes = dict[str, WorldMesh]


class EvaluationConfig(StrictModel):
    """What is observed of each unseen lung, and how the result is scored."""

    points: int = Field(5000, ge=10, description="surface points observed (the paper's 5,000 of 250,000)")
    sides_known: bool = Field(False, description="whether the fit is told which lung each point lies on")
    spacing_mm: float = Field(1.5, gt=0, description="lattice of the extracted meshes")
    fit: FitConfig = FitConfig()
    metrics: MetricsConfig = MetricsConfig()
    paper_points: tuple[int, ...] = Field(
        (10_000, 30_000, 100_000), description="points a side of the paper's F-score and Chamfer distance"
    )
    seed: int = Field(0, ge=0, description="of the points that are drawn")


@dataclass(frozen=True)
class PointsResult(CaseResult[Scores]):
    """Result of one method on one subject, reconstructed from points.

    Args:
        paper: F-score and Chamfer with ``EvaluationConfig.paper_points`` points a side, and their floors; LPM only.
        evaluated_share: Network evaluations of the extraction over those of the dense grid; LPM only.
    """

    paper: Mapping[int, tuple[PointScores, PointScores]] = field(default_factory=dict)
    evaluated_share: float | None = None


@dataclass(frozen=True, eq=False)
class Contest:
    """The model and baselines that reconstruct the same subjects from the same points.

    Args:
        model: Trained; its network stays frozen.
        cohort: Cohort with the subjects' true meshes and surface points.
        config: What is observed, how it is scored.
        baselines: Already trained.
    """

    model: ModelBundle
    cohort: Cohort
    config: EvaluationConfig
    baselines: tuple[Baseline, ...] = ()

    def run(self, split: Literal["train", "test", "all"], workers: Workers | None = None) -> Iterator[PointsResult]:
        """Reconstruct every subject of a split by each baseline, then by the model.

        Args:
            split: Split to evaluate.
            workers: Share out the subjects; default this process.

        Raises:
            InputError: The split is empty, or the model's structures are not the cohort's.
            WorkerDiedError: A subject killed the workers that took it.
        """
        subjects, structures = self.cohort.subjects(split), self.model.structures
        if not subjects:
            hint = "--split all, or prepare again"
            raise InputError("evaluate", f"no subject in split {split!r}", "at least one", hint)
        if structures not in (UNION, self.cohort.structures):
            raise InputError("evaluate", f"a model of {structures}", f"of the cohort's {self.cohort.structures}")
        for subject, results in (workers or LocalWorkers(1)).each(self.results, subjects):
            if results is None:
                raise WorkerDiedError(subject, "killed the worker that evaluated it", hint="more memory a worker")
            yield from results

    def results(self, subject: str) -> list[PointsResult]:
        """The results of the baselines, then the model's."""
        cohort, config, true = self.cohort, self.config, self.cohort.meshes(subject)
        points, structure = observed_points(cohort, subject, config)
        normals = observed_normals(cohort, subject, config)
        found = [_run_baseline(each, subject, (points, normals), true, config) for each in self.baselines]
        is_told = config.sides_known and self.model.structures != UNION
        names = [cohort.structures[index] for index in structure] if is_told else None
        own = _run_model(self.model, subject, (points, names), true_lungs(self.model, cohort, subject), config)
        return [*found, own]


def true_lungs(model: ModelBundle, cohort: Cohort, subject: str) -> Meshes:
    """A subject's true meshes, by the structures of a model: of both lungs together for a model of their union."""
    true = cohort.meshes(subject)
    return {UNION[0]: joined(true.values())} if model.structures == UNION else true


def subject_rng(subject: str, seed: int) -> np.random.Generator:
    """Random generator of a subject, independent of the order and choice of subjects."""
    return np.random.default_rng((seed, zlib.crc32(subject.encode())))


def observed_points(cohort: Cohort, subject: str, config: EvaluationConfig) -> tuple[Floats, np.ndarray]:
    """Draw the points that all methods see: (n, 3) RAS mm, and the structure of each."""
    surface = cohort.surface(subject)
    chosen = draw_points(surface.points_mm, config.points, rng=subject_rng(subject, config.seed))
    return surface.points_mm[chosen], surface.structure[chosen]


def observed_normals(cohort: Cohort, subject: str, config: EvaluationConfig) -> Floats:
    """True outward normals (n, 3) of the observed points, for baselines that are told them."""
    surface = cohort.surface(subject)
    chosen = draw_points(surface.points_mm, config.points, rng=subject_rng(subject, config.seed))
    return np.asarray(surface.normals[chosen])


def _run_model(
    model: ModelBundle,
    subject: str,
    observed: tuple[Floats, list[str] | None],
    true: Meshes,
    config: EvaluationConfig,
) -> PointsResult:
    started = time.perf_counter()
    try:
        fit = fit_points(model, *observed, config=config.fit, spacing_mm=config.spacing_mm)
    except LpmError as error:
        return PointsResult(subject, MODEL, None, time.perf_counter() - started, {}, (str(error),))
    seconds = time.perf_counter() - started
    scores = score(fit.lungs, true, config.metrics, rng=subject_rng(subject, config.seed + 1))
    share = fit.extraction.n_evaluated / fit.extraction.n_nodes
    paper = _paper_numbers(subject, fit.lungs, true, config)
    note = f"{fit.shape.stop_reason} after {fit.shape.iterations} iterations"
    return PointsResult(subject, MODEL, scores, seconds, fit.lungs, (note,), paper, share)


def _paper_numbers(
    subject: str, predicted: Meshes, true: Meshes, config: EvaluationConfig
) -> dict[int, tuple[PointScores, PointScores]]:
    numbers = {}
    for n_points in config.paper_points:
        metrics = config.metrics.model_copy(update={"n_points": n_points})
        rng = subject_rng(subject, config.seed + 2)
        numbers[n_points] = (point_scores(predicted, true, metrics, rng=rng), sampling_floor(true, metrics, rng=rng))
    return numbers


def _run_baseline(
    baseline: Baseline, subject: str, observed: tuple[Floats, Floats], true: Meshes, config: EvaluationConfig
) -> PointsResult:
    started = time.perf_counter()
    try:
        meshes = baseline.reconstruct(*observed)
        seconds = time.perf_counter() - started
        scores = score(meshes, true, config.metrics, rng=subject_rng(subject, config.seed + 1))
    except LpmError as error:
        return PointsResult(subject, baseline.name, None, time.perf_counter() - started, {}, (str(error),))
    return PointsResult(subject, baseline.name, scores, seconds, meshes)
