"""`lpm evaluate-xray`: lungs from the radiographs of unseen subjects, scored beside baselines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lpm.apps.terminal import ModelOption, OutOption, load_bundle, plain, progress, screen
from lpm.apps.verbs.fit.options import SpacingOption
from lpm.errors import CasesFailedError
from lpm.files.outputs.locks import locked

if TYPE_CHECKING:
    from rich.progress import Progress

    from lpm.evaluation.xrays import XrayEvaluationConfig, XrayResult
    from lpm.model.bundle import ModelBundle


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
    with locked(out), progress() as bar:
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
    from lpm.evaluation.cases import MODEL
    from lpm.evaluation.xray_subjects import known_subjects, subjects_of
    from lpm.evaluation.xrays import evaluate_xrays
    from lpm.reports.evaluations import write_xray_evaluation
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
    write_xray_evaluation(run.out, (run.model, run.lungs, run.config), results, known)
    return sum(result.scores is None for result in results)


def _line(result: XrayResult) -> str:
    head = f"{result.subject}, {result.label}: "
    if result.scores is None:
        return f"{head}failed: {'; '.join(result.notes)}"
    dice = "" if result.scores.dice is None else f"Dice {result.scores.dice:.3f}, "
    return f"{head}{dice}volume {result.scores.volume:+.1%}, {result.seconds:.1f} s"
