"""`lpm fit points`: from surface points to both lungs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lpm.apps.terminal import ModelOption, OutOption, PriorOnlyOption, fit_config, load_bundle
from lpm.apps.verbs.fit.options import (
    AlsoOption,
    FacesOption,
    FiguresOption,
    MeshOption,
    PartsOption,
    PointsSpaceOption,
    ReportOption,
    SeedOption,
    SpaceOption,
    SpacingOption,
    begin,
    finish,
    mesh_files,
    options_named,
    space_named,
    tell,
)


def fit_points(
    points: Annotated[
        Path,
        typer.Argument(
            help="Surface points: .ply .csv .xyz .npy .npz .pcd .vtk .fcsv .mrk.json, mm, optional side column."
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
    report: ReportOption = True,
    figures: FiguresOption = False,
) -> None:
    """Reconstruct both lungs from surface points, scattered or along contours in any plane.

    Example: lpm fit points scan.ply --out lungs
    """
    from lpm.workflows.evidence import fit_points_file
    from lpm.workflows.outcome import FitRun, OutcomeFiles

    begin(out, figures=figures)
    config, further, space = fit_config(prior_only=prior_only), tuple(also or ()), space_named(points_space)
    run = FitRun(load_bundle(model), config, spacing_mm, seed, further, tell, space)
    files = OutcomeFiles(mesh_files(mesh_format, mesh_space, faces), parts, report, figures)
    with options_named():
        outcome = fit_points_file(run, points, n_points=n, grid=grid)
    finish(outcome, out, files)
