"""`lpm fit points`: from surface points to both lungs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lpm.apps.terminal import ModelOption, OutOption, PriorOnlyOption, fit_config, load_bundle, say
from lpm.apps.verbs.fit.options import (
    AlsoOption,
    FacesOption,
    FiguresOption,
    MeshOption,
    PartsOption,
    ReportOption,
    SeedOption,
    SpaceOption,
    SpacingOption,
    begin,
    finish,
    mesh_files,
    more_evidence,
    observed_points,
)


def fit_points(
    points: Annotated[
        Path, typer.Argument(help="Surface points: .ply .xyz .csv .npy .npz, RAS mm, optional side column.")
    ],
    out: OutOption,
    model: ModelOption = None,
    n: Annotated[int, typer.Option("--points", min=10, help="Draw at most this many of the file's points.")] = 5000,
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
    from lpm.files.volumes import read_volume
    from lpm.fitting.masks import MaskFitConfig
    from lpm.fitting.observation import fit_observations, together
    from lpm.reports.fits import Seen
    from lpm.reports.provenance import provenance

    begin(out, figures=figures)
    bundle, target = load_bundle(model), read_volume(grid) if grid else None
    seen = [observed_points(bundle, points, n, seed), *more_evidence(bundle, also, MaskFitConfig(n_points=n), seed)]
    say(f"fitting {'; '.join(each.what for each in seen)}")
    fit = fit_observations(bundle, seen, config=fit_config(prior_only=prior_only), spacing_mm=spacing_mm)
    say("writing meshes and labels")
    fit.write(out, meshes=mesh_files(mesh_format, mesh_space, faces), grid=target, parts=parts)
    inputs = [path for path in (points, *(also or []), grid) if path is not None]
    evidence = Seen(together(seen).points_mm, target, provenance=provenance(bundle, inputs, seed=seed))
    finish(fit, out, evidence, report=report, figures=figures)
