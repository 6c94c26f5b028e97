"""`lpm fit joint`: from all that is known of a patient to both lungs, in one fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lpm.apps.terminal import ModelOption, OutOption, PriorOnlyOption, fit_config, load_bundle, parse_labels
from lpm.apps.verbs.fit.options import (
    AgeOption,
    AlsoOption,
    ApOption,
    CorrespondingOption,
    FacesOption,
    FiguresOption,
    HeightOption,
    LabelsOption,
    MeshOption,
    NormOption,
    PartsOption,
    PatientDetectorOption,
    PointsSpaceOption,
    ProjectionOption,
    ReportOption,
    SeedOption,
    SexOption,
    SourceDetectorOption,
    SpaceOption,
    SpacingOfPixelsOption,
    SpacingOption,
    ViewsOption,
    begin,
    expected,
    finish,
    mesh_files,
    options_named,
    space_named,
    tell,
)
from lpm.errors import MisuseError

if TYPE_CHECKING:
    from lpm.xray.beam_options import Side

Paths = list[Path] | None


def fit_joint(
    out: OutOption,
    points: Annotated[
        Paths,
        typer.Option(
            "--points",
            help="Surface points: .ply .csv .xyz .npy .npz .pcd .vtk .stl .obj .fcsv .mrk.json, mm; repeatable.",
        ),
    ] = None,
    mask: Annotated[
        Paths,
        typer.Option("--mask", help="Label map, whole, cut off or a few slices, in the points' frame; repeatable."),
    ] = None,
    frontal: Annotated[Paths, typer.Option("--frontal", help="PA or AP radiograph; repeatable.")] = None,
    lateral: Annotated[Paths, typer.Option("--lateral", help="Lateral radiograph, the front on its left.")] = None,
    points_space: PointsSpaceOption = None,
    also: AlsoOption = None,
    views: ViewsOption = None,
    ap: ApOption = False,
    mm_per_px: SpacingOfPixelsOption = None,
    projection: ProjectionOption = "cone",
    source_detector_mm: SourceDetectorOption = None,
    patient_detector_mm: PatientDetectorOption = None,
    values: LabelsOption = None,
    n: Annotated[int, typer.Option("--n-points", min=10, help="Most points of each file or mask.")] = 5000,
    grid: Annotated[
        Path | None, typer.Option(help="Write labels on the grid of this scan; default the mask's.")
    ] = None,
    model: ModelOption = None,
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
) -> None:
    """Reconstruct lungs from points, masks, slices and radiographs of one patient, all in one fit.

    Every option may be left out. Points and masks share a frame; a radiograph without --views is placed by the fit, and
    scaled by it where it has no pixel spacing. A note says which kind of evidence contradicts the others.

    Example: lpm fit joint --mask slices.nii.gz --frontal pa.png --mm-per-px 0.4 --out lungs
    """
    from lpm.fitting.evidence.masks import MaskFitConfig
    from lpm.workflows.evidence import EvidenceFiles, fit_evidence_files
    from lpm.workflows.outcome import FitRun, OutcomeFiles
    from lpm.workflows.radiographs import PictureOptions, parse_spacing, views_for
    from lpm.xray.beam_options import BeamOptions

    reference = expected(norm, {"age": age, "sex": sex, "height": height}, report=report)
    begin(out, figures=figures)
    pictures: list[tuple[Side, Path]] = [("frontal", path) for path in frontal or []]
    pictures += [("lateral", path) for path in lateral or []]
    if not (points or mask or pictures or also):
        wanted = "at least one of them"
        raise MisuseError("--points, --mask, --frontal, --lateral", "none was given", wanted, "--frontal pa.png")
    with options_named():
        spacing = parse_spacing(mm_per_px) if mm_per_px is not None else None
        beam = BeamOptions(projection, source_detector_mm, patient_detector_mm, ap)
        taken = PictureOptions(spacing, beam, views_for(views, {side for side, _ in pictures}))
    meaning = MaskFitConfig(structures=parse_labels(values) if values else None, n_points=n)
    files = EvidenceFiles(tuple(points or ()), tuple(mask or ()), tuple(pictures), grid, meaning, taken, views)
    with options_named():
        files.refuse_shared_views()
    config, further, space = fit_config(prior_only=prior_only), tuple(also or ()), space_named(points_space)
    run = FitRun(load_bundle(model), config, spacing_mm, seed, further, tell, space)
    meshes = mesh_files(mesh_format, mesh_space, faces)
    written = OutcomeFiles(meshes, parts, report, figures, corresponding, reference)
    with options_named():
        outcome = fit_evidence_files(run, files)
    finish(outcome, out, written)
