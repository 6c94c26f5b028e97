"""`lpm fit mask`: from a label map to both lungs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lpm.apps.dicom_options import (
    DicomSegOption,
    DicomStlOption,
    RtstructOption,
    dicom_options,
    dicom_results,
    lungs_of_fit,
)
from lpm.apps.many import DaskOption, JobsOption, Many, ResumeOption, work_on_many
from lpm.apps.terminal import ModelOption, OutOption, PriorOnlyOption, fit_config, load_bundle, parse_labels
from lpm.apps.verbs.fit.options import (
    AgeOption,
    AlsoOption,
    CompleteOption,
    CorrespondingOption,
    FacesOption,
    FiguresOption,
    HeightOption,
    LabelsOption,
    MeshOption,
    NormOption,
    PartsOption,
    PointsOnMaskOption,
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
    refuse_of_one,
    tell,
)


def fit_mask(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="LABELS...",
            help="Label map: 1 = left, 2 = right, or --labels. Or many: files, folders, patterns, a .csv.",
        ),
    ],
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
    corresponding: CorrespondingOption = False,
    report: ReportOption = True,
    figures: FiguresOption = False,
    norm: NormOption = None,
    age: AgeOption = None,
    sex: SexOption = None,
    height: HeightOption = None,
    dicom_seg: DicomSegOption = None,
    rtstruct: RtstructOption = None,
    dicom_stl: DicomStlOption = None,
    jobs: JobsOption = None,
    dask: DaskOption = None,
    resume: ResumeOption = False,
) -> None:
    """Reconstruct lungs from a label map; the labels come back on its own grid.

    The mask may be whole, cut off by the field of view (beyond the cut the lungs are predicted), or drawn in a few
    slices only.

    Of many (files, patterns, folders, a .csv with columns case and path) each gets a folder in --out; cases.csv and
    shapes.csv tell of all.

    Example: lpm fit mask labels.nii.gz --out lungs
    """
    from lpm.batch.kinds import LABEL_MAPS
    from lpm.files.dicom.writing.algorithm import fitting
    from lpm.fitting.evidence.masks import MaskFitConfig
    from lpm.workflows.evidence import fit_labels_file
    from lpm.workflows.outcome import FitRun, OutcomeFiles

    search = fit_config(prior_only=prior_only)
    meaning = MaskFitConfig(structures=parse_labels(values) if values else None, n_points=n, complete=complete)
    person = {"age": age, "sex": sex, "height": height}
    reference = expected(norm, person, report=report)
    files = OutcomeFiles(mesh_files(mesh_format, mesh_space, faces), parts, report, figures, corresponding, reference)
    if (many := Many(jobs, dask, resume)).takes(inputs, LABEL_MAPS):
        from lpm.workflows.batch.fits import FitCases, MaskFits

        refuse_of_one(also, person, dicom_options(dicom_seg, rtstruct, dicom_stl))
        work = FitCases(MaskFits(meaning), found_model(model, figures=figures), search, spacing_mm, seed, files)
        work_on_many("fit mask", inputs, LABEL_MAPS, work, out, many)
        return
    begin(out, figures=figures)
    dicom = dicom_results(inputs[0], None, dicom_seg, rtstruct, dicom_stl, is_mask=True)
    run = FitRun(load_bundle(model), search, spacing_mm, seed, tuple(also or ()), tell)
    outcome = fit_labels_file(run, inputs[0], meaning)
    finish(outcome, out, files)
    dicom.write(lambda: lungs_of_fit(outcome), fitting("lpm fit mask"))
