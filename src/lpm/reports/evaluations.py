"""Reports of evaluations: the numbers' files, best, median and worst case as pictures, and a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lpm.evaluation.cases import MODEL, best_median_worst, summaries, write_results
from lpm.evaluation.evaluate import EvaluationConfig, PointsResult, true_lungs
from lpm.evaluation.point_tables import tables_of as point_tables
from lpm.evaluation.tables import NamedTable, Summaries
from lpm.evaluation.xray_subjects import true_lungs as true_lungs_in
from lpm.evaluation.xray_tables import tables_of as xray_tables
from lpm.evaluation.xrays import XrayEvaluationConfig, XrayResult, onto
from lpm.model.bundle import ModelBundle
from lpm.preparation.cohort import Cohort
from lpm.reports.compared import compared_view
from lpm.reports.document import Block, Figure, Section, Table, Text, write_report
from lpm.reports.plots import plot_methods, plot_reconstruction
from lpm.reports.provenance import provenance

_DISTANCES = (
    "ASSD is the average distance between the two surfaces, in both directions; HD95 the distance that 95 % of both "
    "surfaces keep to."
)
_POINTS_READING = (
    f"{_DISTANCES} They are measured from points to triangles, so a perfect reconstruction scores 0.",
    "The F-score and Chamfer distance of the paper compare two sets of random points. A perfect reconstruction does "
    "not score 1 or 0 there, since the points differ: the sampling floor beside each number is what two samplings of "
    "the true surface score against each other.",
    "Not for clinical use.",
)
_XRAY_READING = (
    "Lungs are moved so that their centroid lies on that of the true ones: one picture does not say how far from the "
    "detector they are. Nothing else is forgiven, neither size nor rotation.",
    f"{_DISTANCES} An interval holds if the true volume lies in it.",
    "Not for clinical use.",
)


@dataclass(frozen=True)
class Evaluated:
    """Inputs of an evaluation from points: model, cohort, split, config.

    Args:
        model_folder: Model folder that `lpm train` wrote.
        model: Read from it.
        cohort: Cohort with the true lungs.
        split: Split that was scored.
        config: Config: what was observed.
    """

    model_folder: Path
    model: ModelBundle
    cohort: Cohort
    split: Literal["train", "test", "all"]
    config: EvaluationConfig


def write_points_evaluation(out: Path, of: Evaluated, results: Sequence[PointsResult]) -> None:
    """Write everything that `lpm evaluate` shows: scores, summary, tables, figures and the page.

    Raises:
        FileError: The disk refuses.
    """
    by_method = summaries(results, rng=np.random.default_rng(of.config.seed))
    tables = point_tables(results, by_method)
    summary = {"config": of.config.model_dump(), "split": of.split, "methods": by_method}
    write_results(out, results, summary, tables)
    write_report(
        out / "report.html",
        "Unseen lungs from a partial point cloud",
        f"{len(of.cohort.subjects(of.split))} subjects of the split “{of.split}”, {of.config.points} surface points "
        "each, left and right unknown; distances are point-to-triangle, in millimetres.",
        _sections(tables, _draw_points(out, of, results, by_method), _POINTS_READING),
        provenance(
            of.model,
            [of.model_folder / "weights.safetensors", of.cohort.folder / "cohort.json"],
            split=of.split,
            seed=of.config.seed,
            config=of.config.model_dump_json(),
        ),
    )


def write_xray_evaluation(
    out: Path,
    of: tuple[ModelBundle, Path, XrayEvaluationConfig],
    results: Sequence[XrayResult],
    known: str,
) -> None:
    """Write everything that `lpm evaluate-xray` shows: scores, summary, tables, pictures and the page.

    Args:
        out: Folder.
        of: The model, the folder of subjects, and how they were evaluated.
        results: Results of all methods, subjects and views.
        known: A warning about subjects that were learned from; see `known_subjects`.

    Raises:
        FileError: The disk refuses.
    """
    model, lungs, config = of
    by_method = summaries(results, rng=np.random.default_rng(0), p95=("volume",))
    n_subjects = len({result.subject for result in results})
    cases = [result.record() for result in results]
    head = {"config": config.model_dump(), "n_subjects": n_subjects, "known": known}
    tables = xray_tables(results, by_method)
    write_results(out, results, {**head, "methods": by_method, "cases": cases}, tables)
    write_report(
        out / "report.html",
        "Unseen lungs from their radiographs",
        f"{n_subjects} subjects of the split “{config.split}”. " + (f"Beware: {known}." if known else ""),
        _sections(tables, _draw_radiographs(out, lungs, results), _XRAY_READING),
        {"model": str(model.manifest.config.preset), **model.manifest.versions},
    )


def _sections(tables: Sequence[NamedTable], figures: Sequence[Block], reading: Sequence[str]) -> list[Section]:
    blocks = [Table(*table, caption) for caption, table in tables]
    return [Section("Results", blocks), Section("Pictures", figures), Section("How to read this", [Text(reading)])]


def _draw_points(out: Path, of: Evaluated, results: Sequence[PointsResult], by_method: Summaries) -> list[Block]:
    """The methods side by side; the model's best, median and worst case; its loss curves stand beside the model."""
    plot_methods(by_method, out / "methods.png")
    caption = "Average surface distance of each method; bars are 95 % intervals of the mean."
    figures: list[Block] = [Figure(out / "methods.png", caption)]
    for label, result in best_median_worst([r for r in results if r.method == MODEL]).items():
        true, path = true_lungs(of.model, of.cohort, result.subject), out / f"reconstruction_{label}.png"
        plot_reconstruction(result.meshes, true, path, f"{result.subject} ({label})")
        assd = result.scores.assd_mm if result.scores else float("nan")
        caption = f"{label.capitalize()} case: {result.subject}, ASSD {assd:.2f} mm. White is where it is right."
        figures.append(compared_view(result.meshes, true, caption, path))
    return figures


def _draw_radiographs(out: Path, lungs: Path, results: Sequence[XrayResult]) -> list[Figure]:
    """The model's best, median and worst case of each view count."""
    figures = []
    for views in dict.fromkeys(result.views for result in results):
        own = [result for result in results if (result.method, result.views) == (MODEL, views)]
        for label, result in best_median_worst(own).items():
            true, path = true_lungs_in(lungs / result.subject), out / f"{views.replace(' + ', '_')}_{label}.png"
            plot_reconstruction(onto(result.meshes, true), true, path, f"{result.subject}, {views} ({label})")
            figures.append(Figure(path, f"{label.capitalize()} case from {views}: {result.subject}."))
    return figures
