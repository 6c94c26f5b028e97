"""`lpm evaluate-xray`: lungs from the radiographs of unseen subjects, scored beside baselines."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer

from lpm.apps.terminal import ModelOption, OutOption, load_bundle, plain, progress, screen
from lpm.apps.verbs.fit.options import SpacingOption
from lpm.errors import CasesFailedError

if TYPE_CHECKING:
    from rich.progress import Progress

    from lpm.evaluation.xrays import XrayEvaluationConfig, XrayResult
    from lpm.model.bundle import ModelBundle
    from lpm.reports.document import Figure


def evaluate_xray(
    lungs: Annotated[
        Path,
        typer.Argument(help="Folder of subjects: labels.nii.gz, frontal.png, lateral.png, views.json; split.json."),
    ],
    out: OutOption,
    model: ModelOption = None,
    split: Annotated[
        Literal["train", "test", "all"],
        typer.Option(help="Which subjects of split.json; without that file all are test."),
    ] = "test",
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="Also by simpler means, learned from the train split.")
    ] = True,
    jobs: Annotated[int, typer.Option(min=1, help="Subjects at a time, one core each.")] = 1,
    spacing_mm: SpacingOption = 1.5,
) -> None:
    """Reconstruct unseen lungs from one and from two radiographs, and score them beside baselines.

    Lungs are moved onto the true ones and no more. Writes scores.csv, summary.json, tables.md, pictures, report.html.

    Example: lpm evaluate-xray lungs --model model --split test --out evaluation
    """
    from lpm.evaluation.xrays import XrayEvaluationConfig

    config = XrayEvaluationConfig(split=split, baselines=baselines, spacing_mm=spacing_mm)
    run = XrayEvaluationRun(load_bundle(model), lungs, out, config, jobs)
    with progress() as bar:
        n_failed = evaluate_xrays_to_folder(run, bar)
    if n_failed:
        raise CasesFailedError("evaluate-xray", f"{n_failed} reconstructions failed", hint=f"see {out / 'scores.csv'}")


@dataclass(frozen=True)
class XrayEvaluationRun:
    """What `lpm evaluate-xray` was asked for."""

    model: ModelBundle
    lungs: Path
    out: Path
    config: XrayEvaluationConfig
    jobs: int = 1


def evaluate_xrays_to_folder(run: XrayEvaluationRun, bar: Progress) -> int:
    """Evaluate, and write scores, tables, pictures and a report.

    Returns:
        Number of reconstructions that failed.
    """
    from lpm.evaluation.xrays import MODEL, evaluate_xrays, subjects_of
    from lpm.xray.reader import load_reader

    reader = load_reader()
    names = subjects_of(run.lungs, run.config.split)
    known = known_subjects(names, run.model.manifest.training_subjects, reader.bundle.manifest.training_names)
    if known:
        screen.print(f"note: {plain(known)}", soft_wrap=True)
    task = bar.add_task("evaluate", total=len(names) * len(run.config.views))
    results = []
    for result in evaluate_xrays(run.model, run.lungs, run.config, reader=reader, jobs=run.jobs):
        results.append(result)
        if result.method == MODEL:
            bar.advance(task)
        bar.console.print(_line(result), soft_wrap=True, markup=False)
    _write(run, results, known)
    return sum(result.scores is None for result in results)


def known_subjects(names: Sequence[str], of_model: Sequence[str], of_reader: Sequence[str]) -> str:
    """A warning where subjects to be scored are among those that were learned from; empty where none is."""
    parts = []
    for what, training in (("the model", of_model), ("the reader", of_reader)):
        n = len(set(names) & set(training))
        if n:
            parts.append(f"{what} was trained on {n} of the {len(names)} subjects")
    return f"{' and '.join(parts)}: they are not unseen" if parts else ""


def _line(result: XrayResult) -> str:
    head = f"{result.subject}, {result.label}: "
    if result.scores is None:
        return f"{head}failed: {'; '.join(result.notes)}"
    dice = "" if result.scores.dice is None else f"Dice {result.scores.dice:.3f}, "
    return f"{head}{dice}volume {result.scores.volume:+.1%}, {result.seconds:.1f} s"


def _write(run: XrayEvaluationRun, results: Sequence[XrayResult], known: str) -> None:
    from lpm.evaluation.tables import markdown
    from lpm.evaluation.xray_tables import METHOD_CAPTION, case_table, method_table, summaries
    from lpm.files.atomic import write_text
    from lpm.reports.document import Section, Table, Text, write_report

    by_method = summaries(results, rng=np.random.default_rng(0))
    n_subjects = len({result.subject for result in results})
    summary = {
        "config": run.config.model_dump(),
        "n_subjects": n_subjects,
        "known": known,
        "methods": by_method,
        "cases": [_row(result) for result in results],
    }
    write_text(run.out / "summary.json", json.dumps(summary, indent=1) + "\n")
    _write_scores(run.out / "scores.csv", results)
    tables = ((METHOD_CAPTION, method_table(results, by_method)), ("Each subject", case_table(results)))
    write_text(run.out / "tables.md", "\n".join(f"{caption}\n\n{markdown(*table)}" for caption, table in tables))
    lead = f"{n_subjects} subjects of the split “{run.config.split}”. " + (f"Beware: {known}." if known else "")
    write_report(
        run.out / "report.html",
        "Unseen lungs from their radiographs",
        lead,
        [
            Section("Results", [Table(*table, caption) for caption, table in tables]),
            Section("Pictures", _pictures(run, results)),
            Section("How to read this", [Text(_READING)]),
        ],
        {"model": str(run.model.manifest.config.preset), **run.model.manifest.versions},
    )


_READING = (
    "Lungs are moved so that their centroid lies on that of the true ones: one picture does not say how far from the "
    "detector they are. Nothing else is forgiven, neither size nor rotation.",
    "ASSD is the average distance between the two surfaces, in both directions; HD95 the distance that 95 % of both "
    "surfaces keep to. An interval holds if the true volume lies in it.",
    "Not for clinical use.",
)


def _row(result: XrayResult) -> dict[str, Any]:
    numbers = vars(result.scores) if result.scores else {}
    head = {"subject": result.subject, "views": result.views, "method": result.method}
    return {**head, **numbers, "seconds": round(result.seconds, 2), "notes": list(result.notes)}


def _write_scores(path: Path, results: Sequence[XrayResult]) -> None:
    from lpm.files.atomic import atomic_file

    rows = []
    for result in results:
        row = _row(result)
        low, high = row.pop("interval_ml", None) or (None, None)
        rows.append(row | {"interval_low_ml": low, "interval_high_ml": high, "notes": "; ".join(result.notes)})
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _pictures(run: XrayEvaluationRun, results: Sequence[XrayResult]) -> list[Figure]:
    """The model's best, median and worst case of each view count."""
    from lpm.evaluation.xrays import MODEL, onto, true_lungs
    from lpm.reports.document import Figure
    from lpm.reports.plots import plot_reconstruction

    figures = []
    for views in dict.fromkeys(result.views for result in results):
        own = [result for result in results if (result.method, result.views) == (MODEL, views) and result.scores]
        own.sort(key=lambda result: (result.scores and result.scores.assd_mm) or 0.0)
        for label, index in {"best": 0, "median": len(own) // 2, "worst": len(own) - 1}.items() if own else ():
            result, true = own[index], true_lungs(run.lungs / own[index].subject)
            path = run.out / f"{views.replace(' + ', '_')}_{label}.png"
            plot_reconstruction(onto(result.meshes, true), true, path, f"{result.subject}, {views} ({label})")
            figures.append(Figure(path, f"{label.capitalize()} case from {views}: {result.subject}."))
    return figures
