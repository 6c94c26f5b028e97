"""`lpm fit xray`: from one or two chest radiographs to both lungs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lpm.apps.fit_verbs import MeshOption, ModelOption, SpacingOption, fit_app, load_bundle, print_fit
from lpm.apps.terminal import OutOption, plain, screen
from lpm.errors import InputError

if TYPE_CHECKING:
    from lpm.fitting.xray import Radiograph
    from lpm.geometry.projection import Beam, View

_SOURCE_DETECTOR_MM, _PATIENT_DETECTOR_MM = 1800.0, 200.0


@fit_app.command("xray")
def fit_xray_verb(
    out: OutOption,
    frontal: Annotated[
        Path | None, typer.Option("--frontal", help="PA or AP picture: PNG, JPEG, TIFF or DICOM, bright = dense.")
    ] = None,
    lateral: Annotated[
        Path | None, typer.Option("--lateral", help="Lateral picture, the front on its left, of the same breath.")
    ] = None,
    mm_per_px: Annotated[
        str | None,
        typer.Option("--mm-per-px", help="Between pixels on the detector: 0.6, or rows and columns: 0.585,0.8."),
    ] = None,
    projection: Annotated[
        Literal["parallel", "cone"], typer.Option("--projection", help="Kind of beam; parallel for simulated pictures.")
    ] = "cone",
    source_detector_mm: Annotated[
        float | None, typer.Option("--source-detector-mm", help="Of a cone beam; default the file's, else 1800.")
    ] = None,
    patient_detector_mm: Annotated[
        float | None,
        typer.Option("--patient-detector-mm", help="From the patient's middle; default the file's, or 200."),
    ] = None,
    views: Annotated[
        Path | None, typer.Option("--views", help="views.json of `lpm xray`: where the pictures lie in the patient.")
    ] = None,
    model: ModelOption = None,
    mesh_format: MeshOption = "ply",
    spacing_mm: SpacingOption = 1.5,
) -> None:
    """Reconstruct both lungs from a frontal chest radiograph, a lateral one, or both.

    Networks read how much lung each ray passes; shape and pose are fitted to that. The size needs the pixel spacing: of
    DICOM files it is known, of others give --mm-per-px. Without it the lungs have a shape and no volume.

    Example: lpm fit xray --frontal pa.png --lateral lat.png --mm-per-px 0.4 --out lungs
    """
    from lpm.evaluation.xray_pictures import draw_views
    from lpm.files.views import read_views
    from lpm.fitting.xray import fit_xray

    placed = read_views(views) if views else {}
    beam = _BeamOptions(projection, source_detector_mm, patient_detector_mm)
    files = {"frontal": frontal, "lateral": lateral}
    given = [beam.read(path, side, mm_per_px, placed) for side, path in files.items() if path is not None]
    if not given:
        raise InputError("lpm fit xray", "no picture", "--frontal, --lateral or both")
    fit = fit_xray(load_bundle(model), given, spacing_mm=spacing_mm)
    fit.write(out, mesh_suffix=f".{mesh_format}")
    draw_views(fit, out / "views.png")
    print_fit(out)


class _BeamOptions:
    """What the command line says of the beam; what it leaves open, the file may know."""

    def __init__(self, projection: str, detector_mm: float | None, patient_mm: float | None) -> None:
        if projection == "parallel" and (detector_mm or patient_mm):
            raise InputError("--projection parallel", "a distance", "a cone beam", "--projection cone")
        self.is_cone, self.detector_mm, self.patient_mm = projection == "cone", detector_mm, patient_mm

    def read(self, path: Path, side: str, mm_per_px: str | None, placed: Mapping[str, View]) -> Radiograph:
        """One radiograph with its geometry."""
        from lpm.files.xrays import read_xray
        from lpm.fitting.xray import Radiograph

        found = read_xray(path)
        for note in found.notes:
            screen.print(plain(f"{path.name}: {note}"), soft_wrap=True)
        if found.view is not None and found.view != side:
            raise InputError(str(path), f"a {found.view} picture", f"a {side} one", f"give it as --{found.view}")
        spacing = _spacing(mm_per_px) if mm_per_px else found.mm_per_px
        source_patient = found.source_patient_mm
        beam = self.beam(found.source_detector_mm, source_patient)
        radiograph = Radiograph(found.pixels, "lateral" if side == "lateral" else "frontal", spacing, beam)
        if side not in placed:
            return radiograph
        view = placed[side]
        if view.shape != found.pixels.shape:
            given = f"{path.name} has {found.pixels.shape} pixels, its view {view.shape}"
            raise InputError("--views", given, "the same", "give the views.json of this picture")
        return replace(radiograph, view=view)

    def beam(self, source_detector_mm: float | None, source_patient_mm: float | None) -> Beam:
        """By the command line, else by the file, else as is usual."""
        from lpm.geometry.projection import PARALLEL, Beam

        if not self.is_cone:
            return PARALLEL
        far = self.detector_mm or source_detector_mm or _SOURCE_DETECTOR_MM
        known = far - source_patient_mm if source_patient_mm and source_patient_mm < far else None
        return Beam(far, self.patient_mm or known or _PATIENT_DETECTOR_MM)


def _spacing(text: str) -> tuple[float, float]:
    """Rows and columns; one number for both.

    Raises:
        InputError: Not one or two positive numbers of millimetres.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or not all(0.02 <= value <= 5.0 for value in values):
        raise InputError(
            "--mm-per-px", repr(text), "one number, or two of rows and columns, from 0.02 to 5", "0.585,0.8"
        )
    return values[0], values[-1]
