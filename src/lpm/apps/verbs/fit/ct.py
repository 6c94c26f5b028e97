"""`lpm fit ct`: from a chest CT to both lungs."""

from __future__ import annotations

from lpm.apps.terminal import ModelOption, OutOption, PriorOnlyOption, fit_config, load_bundle
from lpm.apps.verbs.fit.options import (
    AlsoOption,
    CompleteOption,
    FacesOption,
    FiguresOption,
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
from lpm.apps.verbs.segment import CtArgument, FillOption, SegmenterOption, SeriesOption


def fit_ct(
    ct: CtArgument,
    out: OutOption,
    model: ModelOption = None,
    segmenter: SegmenterOption = "thresholds",
    series: SeriesOption = None,
    fill: FillOption = True,
    n: PointsOnMaskOption = 10_000,
    also: AlsoOption = None,
    complete: CompleteOption = False,
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
    """Reconstruct lungs from a chest CT: find them as `lpm segment` does, then fit their surface.

    The fitted labels come back on the CT's own grid. Notes say what dense disease hid, and how much was added.

    Example: lpm fit ct ct.nii.gz --out lungs
    """
    from lpm.fitting.ct.fit import CtFitConfig
    from lpm.fitting.evidence.masks import MaskFitConfig
    from lpm.workflows.ct import fit_ct_file
    from lpm.workflows.outcome import FitRun, OutcomeFiles

    begin(out, figures=figures)
    run = FitRun(load_bundle(model), fit_config(prior_only=prior_only), spacing_mm, seed, tuple(also or ()), tell)
    config = CtFitConfig(segmenter=segmenter, fill=fill, mask=MaskFitConfig(n_points=n, complete=complete))
    files = OutcomeFiles(mesh_files(mesh_format, mesh_space, faces), parts, report, figures)
    finish(fit_ct_file(run, ct, config, series=series), out, files)
