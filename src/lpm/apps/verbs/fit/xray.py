"""`lpm fit xray`: from one or two chest radiographs to both lungs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer

from lpm.apps.terminal import ModelOption, OutOption, load_bundle, plain, say, screen
from lpm.apps.verbs.fit.options import (
    FacesOption,
    FiguresOption,
    MeshOption,
    ReportOption,
    SpaceOption,
    SpacingOption,
    begin,
    finish,
    mesh_files,
)
from lpm.errors import InputError, MisuseError
from lpm.geometry.projection import PARALLEL, USUAL_PATIENT_DETECTOR_MM, USUAL_SOURCE_DETECTOR_MM, Beam

if TYPE_CHECKING:
    from lpm.geometry.projection import View
    from lpm.xray.files.image import Xray
    from lpm.xray.fit import Radiograph

Side = Literal["frontal", "lateral"]
_MOST_MM = 10_000.0
_REVERSED = ("AP", "RL")
_SAME = 0.01


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
    ap: Annotated[
        bool, typer.Option("--ap", help="The tube was in front of the patient, as in bed; DICOM knows by itself.")
    ] = False,
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
        Path | None,
        typer.Option(
            "--views", help="views.json of `lpm xray`: where the pictures lie in the patient, and their beam."
        ),
    ] = None,
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
    from lpm.reports.fits import Seen
    from lpm.reports.provenance import provenance
    from lpm.reports.xray_pictures import draw_views
    from lpm.xray.fit import fit_xray as fit_to_radiographs

    begin(out, figures=figures)
    files: dict[Side, Path] = {"frontal": frontal} if frontal else {}
    files |= {"lateral": lateral} if lateral else {}
    if not files and frontal_mask is None:
        raise MisuseError("--frontal, --lateral", "neither was given", "one of them, or both", "--frontal pa.png")
    spacing = _spacing(mm_per_px) if mm_per_px is not None else None
    pictures = _Pictures(
        spacing,
        _Placed.read(views, {*files, *(["frontal"] if frontal_mask else [])}),
        BeamOptions(projection, source_detector_mm, patient_detector_mm, is_ap=ap),
    )
    given = [pictures.read(side, path) for side, path in files.items()]
    if frontal_mask is not None:
        given = pictures.with_field(given, frontal_mask)
    bundle = load_bundle(model)
    say(f"reading and fitting {' and '.join(view.side for view in given)}")
    fit = fit_to_radiographs(bundle, given, spacing_mm=spacing_mm)
    say("writing meshes and labels")
    fit.write(out, meshes=mesh_files(mesh_format, mesh_space, faces))
    draw_views(fit, out / "views.png")
    inputs = [*files.values(), *(path for path in (frontal_mask, views) if path is not None)]
    finish(
        fit, out, Seen(views=out / "views.png", provenance=provenance(bundle, inputs)), report=report, figures=figures
    )


class BeamOptions:
    """What the command line says of the beam; what it leaves open, the file may know.

    Raises:
        InputError: Distances of a parallel beam, or a patient behind the source.
    """

    def __init__(
        self, projection: str, detector_mm: float | None, patient_mm: float | None, *, is_ap: bool = False
    ) -> None:
        if projection == "parallel" and not (detector_mm is None and patient_mm is None):
            raise MisuseError("--projection parallel", "a distance", "a cone beam", "--projection cone")
        if projection == "parallel" and is_ap:
            raise MisuseError("--ap", "a parallel beam, which is the same both ways", "a cone beam", "leave it out")
        for name, value in (("--source-detector-mm", detector_mm), ("--patient-detector-mm", patient_mm)):
            if value is not None and not 0 < value < _MOST_MM:
                raise MisuseError(name, f"{value:g} mm", f"above 0, below {_MOST_MM:g} mm", "1800 and 200 are usual")
        self.is_cone, self.detector_mm, self.patient_mm = projection == "cone", detector_mm, patient_mm
        self.is_ap = is_ap

    def beam(self, found: Xray, side: Side = "frontal") -> Beam:
        """By the command line, else by the file, else as is usual."""
        if self.is_ap and side == "frontal" and found.position == "PA":
            raise MisuseError("--ap", "the file says PA", "what the file says", "leave it out")
        far = self.detector_mm or found.source_detector_mm or USUAL_SOURCE_DETECTOR_MM
        near = found.source_patient_mm
        known = far - near if near and near < far else None
        return self._cone(far, known, is_reversed=found.position in _REVERSED or (self.is_ap and side == "frontal"))

    def beam_of(self, view: View, source_patient_mm: float | None) -> Beam:
        """That of a view, which knows all but where the patient stands."""
        from lpm.xray.fit import source_detector_mm

        if self.is_ap:
            raise MisuseError("--ap", "--views knows where the tube was", "one of both", "leave it out")
        far = source_detector_mm(view)
        if far is None:
            if self.detector_mm is not None or self.patient_mm is not None:
                raise MisuseError(
                    "--views", "a parallel beam, and distances were given", "a cone beam", "leave them out"
                )
            return PARALLEL
        if not self.is_cone:
            raise MisuseError(
                "--projection", "parallel, and --views has a cone beam", "that of --views", "leave it out"
            )
        if self.detector_mm is not None and abs(self.detector_mm - far) > _SAME * far:
            given = f"{self.detector_mm:g} mm, and --views says {far:g}"
            raise MisuseError("--source-detector-mm", given, "the same", "leave it out")
        known = far - source_patient_mm if source_patient_mm and source_patient_mm < far else None
        return self._cone(far, known, is_reversed=False)

    def _cone(self, far: float, known: float | None, *, is_reversed: bool) -> Beam:
        if not self.is_cone:
            return PARALLEL
        patient = self.patient_mm or known or USUAL_PATIENT_DETECTOR_MM
        if patient >= far:
            given = f"the patient {patient:g} mm from the detector, and the source {far:g} mm"
            raise MisuseError("--patient-detector-mm", given, "a source behind the patient", "1800 and 200 are usual")
        return Beam(far, patient, back_to_front=not is_reversed)


@dataclass(frozen=True)
class _Placed:
    """What `--views` says of the pictures that are given."""

    views: Mapping[str, View]
    source_patient_mm: Mapping[str, float]

    @classmethod
    def read(cls, path: Path | None, sides: Iterable[str]) -> _Placed:
        """Of a views.json, or of none.

        Raises:
            InputError: It knows none of the pictures.
        """
        from lpm.xray.files.views import read_views

        if path is None:
            return cls({}, {})
        views = read_views(path)
        if not set(views) & set(sides):
            given = f"{path.name} has {', '.join(views)}"
            raise MisuseError("--views", given, f"one of {', '.join(sides)}", "give the views.json of these pictures")
        records = json.loads(path.read_text(encoding="utf-8")).get("views", {})
        known = {name: each["source_patient_mm"] for name, each in records.items() if each.get("source_patient_mm")}
        return cls(views, known)


@dataclass(frozen=True)
class _Pictures:
    """Reads pictures as the command line describes them."""

    spacing: tuple[float, float] | None
    placed: _Placed
    beam: BeamOptions

    def read(self, side: Side, path: Path) -> Radiograph:
        """One radiograph with its geometry."""
        from lpm.xray.files.reading import read_xray
        from lpm.xray.fit import Radiograph

        found = read_xray(path, mm_per_px=None if self.spacing is None else self.spacing[0])
        for note in found.notes:
            screen.print(plain(f"{path.name}: {note}"), soft_wrap=True)
        if found.view is not None and found.view != side:
            raise InputError(str(path), f"a {found.view} picture", f"a {side} one", f"give it as --{found.view}")
        return Radiograph(found.pixels, side, **self._taken(found, side, path))

    def with_field(self, given: Sequence[Radiograph], path: Path) -> list[Radiograph]:
        """The frontal picture with a drawn field, or the field in its place; and the lateral picture as it was."""
        from lpm.xray.files.image import Xray
        from lpm.xray.files.reading import read_field
        from lpm.xray.fit import Radiograph

        field, others = read_field(path), [each for each in given if each.side != "frontal"]
        if len(others) < len(given):
            return [replace(each, field=field) if each.side == "frontal" else each for each in given]
        found = Xray(Radiograph.of_field(field).pixels)
        return [Radiograph.of_field(field, **self._taken(found, "frontal", path)), *others]

    def _taken(self, found: Xray, side: Side, path: Path) -> dict[str, Any]:
        """How a picture was taken, as a radiograph's arguments."""
        view = self.placed.views.get(side)
        if view is None:
            beam = self.beam.beam(found, side)
            return {"mm_per_px": self.spacing or found.mm_per_px, "beam": beam, "name": path.name}
        self._check(view, found, path)
        beam = self.beam.beam_of(view, self.placed.source_patient_mm.get(side))
        return {"beam": beam, "view": view, "name": path.name}

    def _check(self, view: View, found: Xray, path: Path) -> None:
        """Refuse a view of another picture."""
        if view.shape != found.pixels.shape:
            given = f"{path.name} has {found.pixels.shape} pixels, its view {view.shape}"
            raise MisuseError("--views", given, "the same", "give the views.json of this picture")
        own = tuple(float(np.linalg.norm(step)) for step in (view.by_row_mm, view.by_column_mm))
        if self.spacing is not None and not np.allclose(self.spacing, own, rtol=_SAME):
            given = "{:g} x {:g} mm, and --views says {:g} x {:g}".format(*self.spacing, *own)
            raise MisuseError("--mm-per-px", given, "the same", "leave it out")


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
        raise MisuseError(
            "--mm-per-px", repr(text), "one number, or two of rows and columns, from 0.02 to 5", "0.585,0.8"
        )
    return values[0], values[-1]
