"""`lpm fit mask`: from a label map to both lungs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lpm.apps.terminal import ModelOption, OutOption, PriorOnlyOption, fit_config, load_bundle, parse_labels
from lpm.apps.verbs.fit.options import (
    AlsoOption,
    CompleteOption,
    FacesOption,
    FiguresOption,
    LabelsOption,
    MeshOption,
    PartsOption,
    PointsOnMaskOption,
    ReportOption,
    SeedOption,
    SpaceOption,
    SpacingOption,
    begin,
    finish,
    mesh_files,
    tell,
)


def fit_mask(
    labels: Annotated[Path, typer.Argument(help="Label map: 1 = left, 2 = right, or --labels.")],
    out: OutOption,
    model: ModelOption = None,
    n: PointsOnMaskOption = 10_000,
    also: AlsoOption = None,
    complete: CompleteOption = False,
    values: LabelsOption = None,
    mesh_format: MeshOption = "ply",
    mesh_space: SpaceOption = "ras",
    faces: FacesOption = None,
    spacing_mm: SpacingOption = 1.5,
    parts: PartsOption = False,
    prior_only: PriorOnlyOption = False,
    seed: SeedOption = 0,
    report: ReportOption = True,
    figures: FiguresOption = False,
) -> None:
    """Reconstruct lungs from a label map; the labels come back on its own grid.

    The mask may be whole, cut off by the field of view (beyond the cut the lungs are predicted), or drawn in a few
    slices only.

    Example: lpm fit mask labels.nii.gz --out lungs
    """
    from lpm.fitting.evidence.masks import MaskFitConfig
    from lpm.workflows.evidence import fit_labels_file
    from lpm.workflows.outcome import FitRun, OutcomeFiles

    begin(out, figures=figures)
    run = FitRun(load_bundle(model), fit_config(prior_only=prior_only), spacing_mm, seed, tuple(also or ()), tell)
    meaning = MaskFitConfig(structures=parse_labels(values) if values else None, n_points=n, complete=complete)
    files = OutcomeFiles(mesh_files(mesh_format, mesh_space, faces), parts, report, figures)
    finish(fit_labels_file(run, labels, meaning), out, files)
