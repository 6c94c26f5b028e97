"""Verbs that write a folder: train and evaluate, each a loop over small records with a progress bar."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from rich.progress import Progress

from lpm.errors import FileError
from lpm.evaluation.baselines import BaselinesConfig, build_baselines
from lpm.evaluation.evaluate import MODEL, CaseResult, EvaluationConfig, evaluate_model
from lpm.evaluation.tables import (
    METHOD_CAPTION,
    PAPER_CAPTION,
    case_table,
    markdown,
    method_table,
    paper_table,
    summaries,
)
from lpm.files.atomic import atomic_file, write_text
from lpm.geometry.meshes import WorldMesh, joined
from lpm.model.atlas import AtlasBuild
from lpm.model.bundle import ModelBundle, bundle_of, bundle_of_atlas, read_bundle, structure_names, write_bundle
from lpm.model.config import AtlasConfig, ModelConfig
from lpm.model.samples import load_samples
from lpm.model.training import Training, dump_log
from lpm.preparation.cohort import Cohort
from lpm.reports.compared import compared_view
from lpm.reports.document import Block, Figure, Section, Table, Text, write_report
from lpm.reports.plots import plot_losses, plot_methods, plot_reconstruction
from lpm.reports.provenance import provenance
from lpm.structures import UNION


@dataclass(frozen=True)
class TrainingRun:
    """What `lpm train` was asked for."""

    cohort: Path
    out: Path
    config: ModelConfig
    device: str
    jobs: int = 1
    resume: bool = False
    data: str = "not stated"


def train_model(run: TrainingRun, bar: Progress) -> ModelBundle:
    """Train, checkpoint, and write the model with its epoch log and loss curves.

    Raises:
        FileError: The folder holds a run and `resume` was not asked for.
    """
    cohort, checkpoint = Cohort(run.cohort), run.out / "checkpoint.safetensors"
    if checkpoint.exists() and not run.resume:
        raise FileError(str(run.out), "holds a training run", "a new folder", "--resume to go on, or another --out")
    sampling = bar.add_task("read and deform", total=None)
    samples = load_samples(cohort, run.config, jobs=run.jobs)
    bar.remove_task(sampling)
    training = Training(samples, len(structure_names(cohort, run.config)), run.config, run.device)
    if checkpoint.exists():
        training.resume(checkpoint)
    n_epochs = run.config.training.epochs
    task = bar.add_task("train", total=n_epochs, completed=len(training.log))
    for report in training.epochs():
        bar.update(task, advance=1, description=f"train, loss {report.losses['total']:.4f}")
        if report.epoch % run.config.training.checkpoint_every == 0 or report.epoch == n_epochs:
            training.save(checkpoint)
            write_text(run.out / "epochs.csv", dump_log(training.log))
    bundle = bundle_of(training, cohort, run.data)
    write_bundle(run.out, bundle)
    plot_losses(training.log, run.out)
    return bundle


@dataclass(frozen=True)
class AtlasRun:
    """What `lpm train --preset atlas` was asked for."""

    cohort: Path
    out: Path
    config: AtlasConfig
    split: Literal["train", "all"] = "train"
    jobs: int = 1
    data: str = "not stated"


def train_atlas(run: AtlasRun, bar: Progress) -> ModelBundle:
    """Make an atlas and write it.

    Raises:
        FileError: The folder holds a model.
    """
    if (run.out / "bundle.json").exists():
        raise FileError(str(run.out), "holds a model", "a new folder", "another --out")
    cohort = Cohort(run.cohort)
    build = AtlasBuild(cohort, cohort.subjects(run.split), run.config, jobs=run.jobs)
    task = bar.add_task("signed distances of the training shapes", total=build.n_steps)
    for done in build.steps():
        bar.update(task, advance=1, description=done)
    for row in build.history:
        errors = ", ".join(f"{name} {row[f'{name}_error_mm']:.2f} mm" for name in cohort.structures)
        what = f"round {row['round']:.0f}: training shapes and displaced average differ by {errors}"
        bar.console.print(what, soft_wrap=True)
    bundle = bundle_of_atlas(build, run.data)
    write_bundle(run.out, bundle)
    return bundle


@dataclass(frozen=True)
class EvaluationRun:
    """What `lpm evaluate` was asked for."""

    model: Path
    cohort: Path
    out: Path
    split: Literal["train", "test", "all"]
    baselines: tuple[str, ...]
    config: EvaluationConfig


def evaluate_to_folder(run: EvaluationRun, bar: Progress) -> int:
    """Evaluate, and write scores, tables, figures and a report.

    Returns:
        Number of reconstructions that failed.
    """
    model, cohort = read_bundle(run.model), Cohort(run.cohort)
    learning = bar.add_task("train baselines", total=None)
    baselines = (
        build_baselines(cohort, BaselinesConfig.model_validate({"names": run.baselines})) if run.baselines else []
    )
    bar.remove_task(learning)
    task = bar.add_task("evaluate", total=len(cohort.subjects(run.split)) * (1 + len(baselines)))
    results = []
    for result in evaluate_model(model, cohort, run.split, run.config, baselines):
        results.append(result)
        bar.advance(task)
        assd = f"ASSD {result.scores.assd_mm:.2f} mm" if result.scores else f"failed: {result.note}"
        bar.console.print(
            f"{result.subject}, {result.method}: {assd}, {result.seconds:.1f} s", soft_wrap=True, markup=False
        )
    write_results(run, model, cohort, results)
    return sum(result.scores is None for result in results)


def write_results(run: EvaluationRun, model: ModelBundle, cohort: Cohort, results: Sequence[CaseResult]) -> None:
    """Write everything that `lpm evaluate` shows."""
    _write_scores(run.out / "scores.csv", results)
    by_method = summaries(results, rng=np.random.default_rng(run.config.seed))
    summary = {"config": run.config.model_dump(), "split": run.split, "methods": by_method}
    write_text(run.out / "summary.json", json.dumps(summary, indent=1) + "\n")
    methods, paper, cases = method_table(results, by_method), paper_table(results), case_table(results)
    tables = ((METHOD_CAPTION, methods), (PAPER_CAPTION, paper), ("Each subject", cases))
    write_text(run.out / "tables.md", "\n".join(f"{caption}\n\n{markdown(*table)}" for caption, table in tables))
    figures = _draw(run, model, cohort, results, by_method)
    blocks = [Table(*table, caption) for caption, table in tables]
    write_report(
        run.out / "report.html",
        "Unseen lungs from a partial point cloud",
        f"{len(cohort.subjects(run.split))} subjects of the split “{run.split}”, {run.config.points} surface points "
        "each, left and right unknown; distances are point-to-triangle, in millimetres.",
        [Section("Results", blocks), Section("Pictures", figures), Section("How to read this", [Text(_READING)])],
        provenance(
            model,
            [run.model / "weights.safetensors", run.cohort / "cohort.json"],
            split=run.split,
            seed=run.config.seed,
            config=run.config.model_dump_json(),
        ),
    )


_READING = (
    "ASSD is the average distance between the two surfaces, in both directions; HD95 the distance that 95 % of both "
    "surfaces keep to. They are measured from points to triangles, so a perfect reconstruction scores 0.",
    "The F-score and Chamfer distance of the paper compare two sets of random points. A perfect reconstruction does "
    "not score 1 or 0 there, since the points differ: the sampling floor beside each number is what two samplings of "
    "the true surface score against each other.",
    "Not for clinical use.",
)


def _write_scores(path: Path, results: Sequence[CaseResult]) -> None:
    rows = [
        {"subject": r.subject, "method": r.method, "seconds": round(r.seconds, 3), "note": r.note}
        | (r.scores.flat() if r.scores else {})
        for r in results
    ]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _draw(
    run: EvaluationRun,
    model: ModelBundle,
    cohort: Cohort,
    results: Sequence[CaseResult],
    by_method: dict[str, dict[str, dict[str, float]]],
) -> list[Block]:
    """The methods side by side; the model's best, median and worst case; its loss curves stand beside the model."""
    path = run.out / "methods.png"
    plot_methods(by_method, path)
    figures: list[Block] = [
        Figure(path, "Average surface distance of each method; bars are 95 % intervals of the mean.")
    ]
    own = sorted(
        (r for r in results if r.method == MODEL and r.scores), key=lambda r: r.scores.assd_mm if r.scores else 0.0
    )
    chosen = {"best": 0, "median": len(own) // 2, "worst": len(own) - 1} if own else {}
    for label, index in chosen.items():
        result, picture = own[index], run.out / f"reconstruction_{label}.png"
        true = _truth(model, cohort, result.subject)
        plot_reconstruction(result.meshes, true, picture, f"{result.subject} ({label})")
        assd = result.scores.assd_mm if result.scores else float("nan")
        caption = f"{label.capitalize()} case: {result.subject}, ASSD {assd:.2f} mm. White is where it is right."
        figures.append(compared_view(result.meshes, true, caption, picture))
    return figures


def _truth(model: ModelBundle, cohort: Cohort, subject: str) -> dict[str, WorldMesh]:
    true = cohort.meshes(subject)
    return {UNION[0]: joined(true.values())} if model.structures == UNION else true
