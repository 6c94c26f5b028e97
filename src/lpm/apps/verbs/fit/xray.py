"""`lpm fit xray`: from one or two chest radiographs to both lungs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lpm.apps.terminal import ModelOption, OutOption, load_bundle
from lpm.apps.verbs.fit.options import (
    ApOption,
    FacesOption,
    FiguresOption,
    MeshOption,
    PatientDetectorOption,
    ProjectionOption,
    ReportOption,
    SourceDetectorOption,
    SpaceOption,
    SpacingOfPixelsOption,
    SpacingOption,
    ViewsOption,
    begin,
    finish,
    mesh_files,
    options_named,
    tell,
)
from lpm.errors import MisuseError

if TYPE_CHECKING:
    from lpm.workflows.outcome import FitRun
    from lpm.workflows.radiographs import PictureOptions
    from lpm.xray.radiograph import Radiograph

Side = Literal["frontal", "lateral"]


def fit_xray(
    out: OutOption,
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
    projection: ProjectionOption = "cone",
    source_detector_mm: SourceDetectorOption = None,
    patient_detector_mm: PatientDetectorOption = None,
    views: ViewsOption = None,
    model: ModelOption = None,
    mesh_format: MeshOption = "ply",
    mesh_space: SpaceOption = "ras",
    faces: FacesOption = None,
    spacing_mm: SpacingOption = 1.5,
    report: ReportOption = True,
    figures: FiguresOption = False,
) -> None:
    """Reconstruct both lungs from a frontal chest radiograph, a lateral one, or both.

    Networks read how much lung each ray passes; shape and pose are fitted to that. The size needs the pixel spacing: of
    DICOM files it is known, of others give --mm-per-px. Without it the lungs have a shape and no volume.

    Example: lpm fit xray --frontal pa.png --lateral lat.png --mm-per-px 0.4 --out lungs
    """
    from lpm.workflows.outcome import FitRun, OutcomeFiles
    from lpm.workflows.radiographs import PictureOptions, fit_radiographs, views_for
    from lpm.xray.beam_options import BeamOptions

    begin(out, figures=figures)
    files: dict[Side, Path] = {"frontal": frontal} if frontal else {}
    files |= {"lateral": lateral} if lateral else {}
    if not files and frontal_mask is None:
        raise MisuseError("--frontal, --lateral", "neither was given", "one of them, or both", "--frontal pa.png")
    with options_named():
        spacing = parse_spacing(mm_per_px) if mm_per_px is not None else None
        placed = views_for(views, {*files, *(["frontal"] if frontal_mask else [])})
        beam = BeamOptions(projection, source_detector_mm, patient_detector_mm, ap)
        taken = PictureOptions(spacing, beam, placed)
    run = FitRun(load_bundle(model), spacing_mm=spacing_mm, tell=tell)
    with options_named():
        radiographs = _read(run, files, frontal_mask, taken)
    inputs = [*files.values(), *(path for path in (frontal_mask, views) if path is not None)]
    written = OutcomeFiles(mesh_files(mesh_format, mesh_space, faces), report=report, figures=figures)
    finish(fit_radiographs(run, radiographs, inputs), out, written)


def _read(
    run: FitRun, files: Mapping[Side, Path], drawn: Path | None, options: PictureOptions
) -> dict[str, Radiograph]:
    """Radiographs by side."""
    from lpm.workflows.radiographs import told_radiograph, with_drawn_field

    found = [told_radiograph(run, path, side, options) for side, path in files.items()]
    given = found if drawn is None else with_drawn_field(found, drawn, options)
    return {each.side: each for each in given}


def parse_spacing(text: str) -> tuple[float, float]:
    """Rows and columns; one number for both.

    Raises:
        InputError: Not one or two positive numbers of millimetres.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or not all(0.02 <= value <= 5.0 for value in values):
        raise MisuseError(
            "--mm-per-px", repr(text), "one number, or two of rows and columns, from 0.02 to 5", "0.585,0.8"
        )
    return values[0], values[-1]
