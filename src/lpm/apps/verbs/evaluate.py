"""`lpm evaluate`: unseen lungs from a partial point cloud, scored beside baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from lpm.apps.terminal import OutOption, PriorOnlyOption, fit_config, progress
from lpm.errors import CasesFailedError


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
) -> None:
    """Reconstruct unseen lungs from a partial point cloud and score them beside baselines.

    Writes scores.csv, summary.json, tables.md, figures and report.html.

    Example: lpm evaluate model cohort --split test --points 5000 --out evaluation
    """
    from lpm.apps.stages import EvaluationRun, evaluate_to_folder
    from lpm.evaluation.evaluate import EvaluationConfig

    names = tuple(name.strip() for name in baselines.split(",") if name.strip() not in ("", "none"))
    chosen = EvaluationConfig(points=points, seed=seed, fit=fit_config(prior_only=prior_only))
    with progress() as bar:
        run = EvaluationRun(model, cohort, out, split, names, chosen)
        n_failed = evaluate_to_folder(run, bar)
    if n_failed:
        raise CasesFailedError("evaluate", f"{n_failed} reconstructions failed", hint=f"see {out / 'scores.csv'}")
