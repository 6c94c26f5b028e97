"""`lpm fit ct`: from a chest CT to both lungs."""

from __future__ import annotations

from lpm.apps.dicom_options import (
    DicomSegOption,
    DicomStlOption,
    RtstructOption,
    dicom_options,
    dicom_results,
    lungs_of_fit,
)
from lpm.apps.many import DaskOption, JobsOption, Many, ResumeOption, work_on_many
from lpm.apps.terminal import ModelOption, OutOption, PriorOnlyOption, fit_config, load_bundle
from lpm.apps.verbs.fit.options import (
    AgeOption,
    AlsoOption,
    CompleteOption,
    CorrespondingOption,
    FacesOption,
    FiguresOption,
    HeightOption,
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
from lpm.apps.verbs.segment import CtsArgument, FillOption, GasOption, SegmenterOption, SeriesOption


def fit_ct(
    inputs: CtsArgument,
    out: OutOption,
    model: ModelOption = None,
    segmenter: SegmenterOption = "thresholds",
    series: SeriesOption = None,
    fill: FillOption = True,
    gas: GasOption = "leave-out",
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
    """Reconstruct lungs from a chest CT: find them as `lpm segment` does, then fit their surface.

    The fitted labels come back on the CT's own grid. Notes say what dense disease hid, and how much was added.

    Of many (files, patterns, folders, a .csv with columns case and path) each gets a folder in --out; cases.csv and
    shapes.csv tell of all.

    Example: lpm fit ct ct.nii.gz --out lungs
    """
    from lpm.batch.kinds import CTS
    from lpm.files.dicom.writing.algorithm import fitting
    from lpm.fitting.ct.fit import CtFitConfig
    from lpm.fitting.evidence.masks import MaskFitConfig
    from lpm.workflows.ct import fit_ct_file
    from lpm.workflows.outcome import FitRun, OutcomeFiles

    config = CtFitConfig(segmenter=segmenter, fill=fill, gas=gas, mask=MaskFitConfig(n_points=n, complete=complete))
    search = fit_config(prior_only=prior_only)
    person = {"age": age, "sex": sex, "height": height}
    reference = expected(norm, person, report=report)
    files = OutcomeFiles(mesh_files(mesh_format, mesh_space, faces), parts, report, figures, corresponding, reference)
    if (many := Many(jobs, dask, resume)).takes(inputs, CTS):
        from lpm.workflows.batch.fits import CtFits, FitCases

        refuse_of_one(also, person, dicom_options(dicom_seg, rtstruct, dicom_stl))
        work = FitCases(CtFits(config, series), found_model(model, figures=figures), search, spacing_mm, seed, files)
        work_on_many("fit ct", inputs, CTS, work, out, many)
        return
    begin(out, figures=figures)
    dicom = dicom_results(inputs[0], series, dicom_seg, rtstruct, dicom_stl)
    run = FitRun(load_bundle(model), search, spacing_mm, seed, tuple(also or ()), tell)
    outcome = fit_ct_file(run, inputs[0], config, series=series)
    finish(outcome, out, files)
    dicom.write(lambda: lungs_of_fit(outcome), fitting("lpm fit ct"))
