"""`lpm fit points`: from surface points to both lungs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lpm.apps.many import DaskOption, JobsOption, Many, ResumeOption, work_on_many
from lpm.apps.terminal import ModelOption, OutOption, PriorOnlyOption, fit_config, load_bundle
from lpm.apps.verbs.fit.options import (
    AgeOption,
    AlsoOption,
    CorrespondingOption,
    FacesOption,
    FiguresOption,
    HeightOption,
    MeshOption,
    NormOption,
    PartsOption,
    PointsSpaceOption,
    ReportOption,
    SeedOption,
    SexOption,
    SpaceOption,
    SpacingOption,
    begin,
    expected,
    finish,
    found_model,
    mesh_files,
    options_named,
    refuse_of_one,
    space_named,
    tell,
)


def fit_points(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="POINTS...",
            help="Surface points: .ply .csv .xyz .npy .npz .pcd .vtk .stl .obj .fcsv .mrk.json, mm, a side column or "
            "none. Or many: files, folders, patterns, a .csv of cases.",
        ),
    ],
    out: OutOption,
    model: ModelOption = None,
    n: Annotated[int, typer.Option("--points", min=10, help="Draw at most this many of the file's points.")] = 5000,
    points_space: PointsSpaceOption = None,
    also: AlsoOption = None,
    mesh_format: MeshOption = "ply",
    mesh_space: SpaceOption = "ras",
    faces: FacesOption = None,
    spacing_mm: SpacingOption = 1.5,
    grid: Annotated[Path | None, typer.Option(help="Write labels on the grid of this scan.")] = None,
    parts: PartsOption = False,
    prior_only: PriorOnlyOption = False,
    seed: SeedOption = 0,
    corresponding: CorrespondingOption = False,
    report: ReportOption = True,
    figures: FiguresOption = False,
    norm: NormOption = None,
    age: AgeOption = None,
    sex: SexOption = None,
    height: HeightOption = None,
    jobs: JobsOption = None,
    dask: DaskOption = None,
    resume: ResumeOption = False,
) -> None:
    """Reconstruct both lungs from surface points, scattered or along contours in any plane.

    Of many (files, patterns, folders, a .csv with columns case and path) each gets a folder in --out; cases.csv and
    shapes.csv tell of all.

    Example: lpm fit points scan.ply --out lungs
    """
    from lpm.batch.kinds import POINTS
    from lpm.workflows.evidence import fit_points_file
    from lpm.workflows.outcome import FitRun, OutcomeFiles

    search, space = fit_config(prior_only=prior_only), space_named(points_space)
    person = {"age": age, "sex": sex, "height": height}
    reference = expected(norm, person, report=report)
    files = OutcomeFiles(mesh_files(mesh_format, mesh_space, faces), parts, report, figures, corresponding, reference)
    if (many := Many(jobs, dask, resume)).takes(inputs, POINTS):
        from lpm.workflows.batch.fits import FitCases, PointFits

        refuse_of_one(also, person, {"--grid": grid}, "; a table of cases may have a column grid")
        work = FitCases(PointFits(n, space), found_model(model, figures=figures), search, spacing_mm, seed, files)
        work_on_many("fit points", inputs, POINTS, work, out, many)
        return
    begin(out, figures=figures)
    run = FitRun(load_bundle(model), search, spacing_mm, seed, tuple(also or ()), tell, space)
    with options_named():
        outcome = fit_points_file(run, inputs[0], n_points=n, grid=grid)
    finish(outcome, out, files)
