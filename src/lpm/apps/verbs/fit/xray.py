"""`lpm fit xray`: from one or two chest radiographs to both lungs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lpm.apps.many import DaskOption, JobsOption, Many, ResumeOption, refuse_with_many, work_on_many
from lpm.apps.terminal import ModelOption, OutOption, load_bundle
from lpm.apps.verbs.fit.options import (
    AgeOption,
    ApOption,
    CorrespondingOption,
    FacesOption,
    FiguresOption,
    HeightOption,
    MeshOption,
    NormOption,
    PatientDetectorOption,
    ProjectionOption,
    ReportOption,
    SexOption,
    SourceDetectorOption,
    SpaceOption,
    SpacingOfPixelsOption,
    SpacingOption,
    ViewsOption,
    begin,
    expected,
    finish,
    found_model,
    mesh_files,
    options_named,
    refuse_of_one,
    tell,
)
from lpm.errors import MisuseError


def fit_xray(
    out: OutOption,
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[CASES...]",
            help="Many patients, in place of --frontal and --lateral: a .csv with columns case, frontal, lateral, "
            "mm_per_px ...; frontal pictures, patterns, folders of them or of folders with frontal.* and lateral.*.",
        ),
    ] = None,
    frontal: Annotated[
        Path | None, typer.Option("--frontal", help="PA or AP picture: PNG, JPEG, TIFF or DICOM, bright = dense.")
    ] = None,
    lateral: Annotated[
        Path | None, typer.Option("--lateral", help="Lateral picture, the front on its left, of the same breath.")
    ] = None,
    frontal_mask: Annotated[
        Path | None,
        typer.Option(
            "--frontal-mask",
            help="The lung field as you drew it, white on black (or 1 left, 2 right): taken in place of what is read; "
            "without --frontal, it is all that is known.",
        ),
    ] = None,
    ap: ApOption = False,
    mm_per_px: SpacingOfPixelsOption = None,
    size_from_prior: Annotated[
        bool,
        typer.Option(
            "--size-from-prior",
            help="Without a pixel spacing: lungs of the sizes that the model's training lungs had, with an interval "
            "as wide as that.",
        ),
    ] = False,
    projection: ProjectionOption = "cone",
    source_detector_mm: SourceDetectorOption = None,
    patient_detector_mm: PatientDetectorOption = None,
    views: ViewsOption = None,
    model: ModelOption = None,
    mesh_format: MeshOption = "ply",
    mesh_space: SpaceOption = "ras",
    faces: FacesOption = None,
    spacing_mm: SpacingOption = 1.5,
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
    """Reconstruct both lungs from a frontal chest radiograph, a lateral one, or both.

    Networks read how much lung each ray passes; shape and pose are fitted to that. The size needs the pixel spacing: of
    DICOM files it is known, of others give --mm-per-px. Without it the lungs have a shape and no volume, or with
    --size-from-prior a size within the very wide range of the model's training lungs.

    Of many patients each gets a folder in --out; cases.csv and shapes.csv tell of all.

    Example: lpm fit xray --frontal pa.png --lateral lat.png --mm-per-px 0.4 --out lungs
    """
    from lpm.workflows.outcome import FitRun, OutcomeFiles
    from lpm.workflows.radiographs import (
        PictureOptions,
        RadiographFiles,
        fit_radiographs,
        parse_spacing,
        read_radiographs,
        views_for,
    )
    from lpm.xray.beam_options import BeamOptions

    person = {"age": age, "sex": sex, "height": height}
    reference = expected(norm, person, report=report)
    if norm and size_from_prior:
        said = "beside --size-from-prior, whose lungs have no size of their own"
        raise MisuseError("--norm", said, "a pixel spacing", "--mm-per-px 0.4")
    meshes = mesh_files(mesh_format, mesh_space, faces)
    written = OutcomeFiles(meshes, report=report, figures=figures, corresponding=corresponding, norm=reference)
    with options_named():
        spacing = parse_spacing(mm_per_px) if mm_per_px is not None else None
        beam = BeamOptions(projection, source_detector_mm, patient_detector_mm, ap)
    files = RadiographFiles(frontal, lateral, frontal_mask, views)
    if inputs:
        from lpm.batch.kinds import RADIOGRAPHS
        from lpm.workflows.batch.fits import FitCases, RadiographFits

        given = {"--frontal": frontal, "--lateral": lateral, "--frontal-mask": frontal_mask, "--views": views}
        refuse_with_many(
            given, "name it in a column of a .csv with columns case, frontal, lateral, frontal_mask, views"
        )
        refuse_of_one(None, person, {})
        fit = RadiographFits(PictureOptions(spacing, beam, size_from_prior=size_from_prior))
        work = FitCases(fit, found_model(model, figures=figures), spacing_mm=spacing_mm, files=written)
        work_on_many("fit xray", inputs, RADIOGRAPHS, work, out, Many(jobs, dask, resume))
        return
    if not files.sides:
        raise MisuseError("--frontal, --lateral", "neither was given", "one of them, or both", "--frontal pa.png")
    if Many(jobs, dask, resume) != Many():
        raise MisuseError("--jobs, --dask, --resume", "one patient", "many cases", "name them in a .csv")
    begin(out, figures=figures)
    with options_named():
        taken = PictureOptions(spacing, beam, views_for(views, files.sides), size_from_prior)
    run = FitRun(load_bundle(model), spacing_mm=spacing_mm, tell=tell)
    with options_named():
        radiographs = read_radiographs(run, files, taken)
    finish(fit_radiographs(run, radiographs, files.all), out, written)
