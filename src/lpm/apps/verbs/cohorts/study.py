"""`lpm study`: what groups, covariates or pairs say of the shape of fitted lungs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from lpm.apps.terminal import ModelOption, OutOption, load_bundle, plain, screen


def study(
    fits: Annotated[list[Path], typer.Argument(help="Folders of fits, as a batch of `lpm fit` writes them.")],
    table: Annotated[Path, typer.Option("--table", help="A .csv with a row a subject; column case or subject.")],
    out: OutOption,
    group: Annotated[str | None, typer.Option("--group", help="Column of groups; with --pairs, of states.")] = None,
    covariates: Annotated[
        str | None, typer.Option("--covariates", help="Columns of numbers: a,b,c; with --group, confounders.")
    ] = None,
    pairs: Annotated[str | None, typer.Option("--pairs", help="Column that names what two fits belong to.")] = None,
    size: Annotated[
        Literal["keep", "remove"], typer.Option("--size", help="remove: scale all lungs to the mean size.")
    ] = "keep",
    align: Annotated[
        Literal["whole", "tops"] | None,
        typer.Option("--align", help="What is laid on each other; default whole lungs, of pairs their tops."),
    ] = None,
    keep_doubtful: Annotated[
        bool, typer.Option("--keep-doubtful", help="Take fits that the quality gate doubts.")
    ] = False,
    permutations: Annotated[int, typer.Option("--permutations", min=100, help="Of each question.")] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of permutations and folds.")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes that read fits.")] = 1,
    model: ModelOption = None,
) -> None:
    """Compare fitted lungs: measures, shape, and maps in mm, with effect sizes and corrected p-values, in one report.

    Example: lpm study fits --table subjects.csv --group diagnosis --covariates age,height_cm --out study
    """
    from lpm.apps.verbs.fit.options import tell
    from lpm.reports.studies.page import findings
    from lpm.studies.design import Asked
    from lpm.studies.study import StudyConfig
    from lpm.workflows.studying import StudyRun, run_study

    columns = tuple(name.strip() for name in (covariates or "").split(",") if name.strip())
    config = StudyConfig(permutations=permutations, size=size, anchor=align, keep_doubtful=keep_doubtful, seed=seed)
    run = StudyRun(load_bundle(model), fits, table, Asked(group, columns, pairs), config, jobs)
    done = run_study(run, out, tell)
    for text in findings(done):
        screen.print(plain(text), soft_wrap=True)
    for note in (*done.notes, *(f"left out: {name}, {why}" for name, why in done.left_out.items())):
        screen.print(f"note: {plain(note)}", soft_wrap=True)
    screen.print(f"written to {out}")
