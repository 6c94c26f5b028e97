"""`lpm evaluate`: unseen lungs from a partial point cloud, scored beside baselines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lpm.apps.many import DaskOption
from lpm.apps.terminal import OutOption, PriorOnlyOption, fit_config, progress
from lpm.errors import CasesFailedError
from lpm.files.outputs.locks import locked

if TYPE_CHECKING:
    from rich.progress import Progress

    from lpm.evaluation.evaluate import EvaluationConfig


def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder that `lpm train` wrote.")],
    cohort: Annotated[Path, typer.Argument(help="Folder that `lpm prepare` wrote.")],
    out: OutOption,
    split: Annotated[Literal["train", "test", "all"], typer.Option(help="Which subjects.")] = "test",
    points: Annotated[int, typer.Option(min=10, help="Surface points observed of each lung pair.")] = 5000,
    baselines: Annotated[
        str,
        typer.Option(help="Of mean, nearest, pca, and with the extra benchmarks poisson, poisson-normals; or none."),
    ] = "mean,nearest,pca",
    prior_only: PriorOnlyOption = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the observed points and of the metrics.")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Worker processes, a subject each.")] = 1,
    dask: DaskOption = None,
) -> None:
    """Reconstruct unseen lungs from a partial point cloud and score them beside baselines.

    Writes scores.csv, summary.json, tables.md, figures and report.html.

    Example: lpm evaluate model cohort --split test --points 5000 --out evaluation
    """
    from lpm.evaluation.evaluate import EvaluationConfig
    from lpm.fitting.config import FitConfig

    names = tuple(name.strip() for name in baselines.split(",") if name.strip() not in ("", "none"))
    chosen = EvaluationConfig(points=points, seed=seed, fit=fit_config(prior_only=prior_only) or FitConfig())
    with locked(out), progress() as bar:
        run = EvaluationRun(model, cohort, out, split, names, chosen, jobs, dask)
        n_failed = evaluate_to_folder(run, bar)
    if n_failed:
        raise CasesFailedError("evaluate", f"{n_failed} reconstructions failed", hint=f"see {out / 'scores.csv'}")


@dataclass(frozen=True)
class EvaluationRun:
    """What `lpm evaluate` was asked for."""

    model: Path
    cohort: Path
    out: Path
    split: Literal["train", "test", "all"]
    baselines: tuple[str, ...]
    config: EvaluationConfig
    jobs: int = 1
    dask: str | None = None


def evaluate_to_folder(run: EvaluationRun, bar: Progress) -> int:
    """Evaluate, and write scores, tables, figures and a report.

    Returns:
        Number of reconstructions that failed.
    """
    from lpm.batch.workers import workers_of
    from lpm.evaluation.baselines import BaselinesConfig, build_baselines
    from lpm.evaluation.evaluate import Contest
    from lpm.model.bundle import read_bundle
    from lpm.preparation.cohort import Cohort
    from lpm.reports.evaluations import Evaluated, write_points_evaluation

    model, cohort = read_bundle(run.model), Cohort(run.cohort)
    learning = bar.add_task("train baselines", total=None)
    chosen = BaselinesConfig.model_validate({"names": run.baselines})
    baselines = build_baselines(cohort, chosen) if run.baselines else []
    bar.remove_task(learning)
    contest = Contest(model, cohort, run.config, tuple(baselines))
    task = bar.add_task("evaluate", total=len(cohort.subjects(run.split)) * (1 + len(baselines)))
    results = []
    with workers_of(run.jobs, run.dask) as workers:
        for result in contest.run(run.split, workers):
            results.append(result)
            bar.advance(task)
            assd = f"ASSD {result.scores.assd_mm:.2f} mm" if result.scores else f"failed: {'; '.join(result.notes)}"
            line = f"{result.subject}, {result.method}: {assd}, {result.seconds:.1f} s"
            bar.console.print(line, soft_wrap=True, markup=False)
    order = cohort.subjects(run.split)
    results.sort(key=lambda result: order.index(result.subject))
    write_points_evaluation(run.out, Evaluated(run.model, model, cohort, run.split, run.config), results)
    return sum(result.scores is None for result in results)
