"""`lpm xray`: simulated radiographs of a CT, or shadows of labels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray

from lpm.apps.terminal import OutOption, parse_labels, plain, progress, screen
from lpm.errors import MisuseError
from lpm.geometry.projection import (
    PARALLEL,
    USUAL_PATIENT_DETECTOR_MM,
    USUAL_SOURCE_DETECTOR_MM,
    Beam,
    View,
    turned_view,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lpm.geometry.frames import Floats
    from lpm.geometry.volumes import Volume
    from lpm.xray.files.views import ViewRecord

_NAMES = {0.0: "frontal", 90.0: "lateral"}
_PATH_STEP_MM = 0.01
_SOURCE_PATIENT_MM = USUAL_SOURCE_DETECTOR_MM - USUAL_PATIENT_DETECTOR_MM
_LEAST_PX, _MOST_PX = 16, 16_000_000


def xray(
    source: Annotated[
        Path, typer.Argument(metavar="CT_OR_LABELS", help="A CT, or a label map: .nii.gz .nii .nrrd .mha, DICOM, zip.")
    ],
    out: OutOption,
    angle: Annotated[
        list[float] | None,
        typer.Option("--angle", help="Degrees: 0 frontal, 90 lateral; repeatable. Default: both."),
    ] = None,
    projection: Annotated[Literal["parallel", "cone"], typer.Option("--projection", help="Kind of beam.")] = "parallel",
    source_detector_mm: Annotated[
        float | None, typer.Option("--source-detector-mm", help="Of a cone beam; default 1800.")
    ] = None,
    source_patient_mm: Annotated[
        float | None, typer.Option("--source-patient-mm", help="To the scan's middle, of a cone beam; default 1600.")
    ] = None,
    ap: Annotated[bool, typer.Option("--ap", help="From front to back, as in bed; default PA.")] = False,
    mm_per_px: Annotated[float, typer.Option("--mm-per-px", help="Between pixels, on the detector.")] = 0.7,
    size: Annotated[
        str | None, typer.Option("--size", help="Pixels, such as 500 or 400x500 (rows x columns); default: all of it.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", help="Of a label map, such as left_lung=1,right_lung=2 (the default).")
    ] = None,
    photons: Annotated[
        float | None, typer.Option("--photons", min=1, help="Noise: quanta a pixel of the open beam, such as 20000.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the noise.")] = 0,
    series: Annotated[str | None, typer.Option("--series", help="DICOM series: number or end of UID.")] = None,
) -> None:
    """Simulate radiographs: frontal.png and lateral.png of 16 bits, bright = dense, and views.json with their geometry.

    Of a label map, the picture is the length of each ray inside the structures, 0.01 mm a grey value, and each
    structure has one more picture of its own.

    Example: lpm xray ct.nii.gz --out radiographs --projection cone --mm-per-px 0.4
    """
    from lpm.files.scans import read_scan
    from lpm.xray.files.views import ViewsFile, write_views

    beam = _beam(projection, source_detector_mm, source_patient_mm, ap=ap)
    angles, shape = _angles(angle), _shape(size)
    _check_spacing(mm_per_px)
    with progress() as bar:
        task = bar.add_task(f"read {source.name}", total=1 + len(angles))
        read = read_scan(source, series)
        for note in read.notes:
            bar.console.print(plain(f"{source.name}: {note}"), soft_wrap=True)
        pictures = _pictures(read.volume, source.name, labels, photons, seed)
        records: dict[str, ViewRecord] = {}
        for degrees in angles:
            name = _NAMES.get(degrees, f"angle{degrees:g}")
            bar.update(task, advance=1, description=name)
            view = _view(read.volume, degrees, mm_per_px, beam, shape)
            geometry = {"angle_deg": degrees, **_distances(beam)}
            records |= pictures.write(out, name, view, geometry)
        write_views(out / "views.json", ViewsFile(made_from=source.name, content=pictures.content, views=records))
        bar.advance(task)
    sizes = ", ".join(f"{r.picture} {r.size_px[0]} x {r.size_px[1]}" for r in records.values())
    screen.print(f"{out}: {sizes}, {mm_per_px:g} mm a pixel; views.json", soft_wrap=True)


# --- What was asked for ----------------------------------------------------------------------------------------------


def _beam(projection: str, detector_mm: float | None, patient_mm: float | None, *, ap: bool) -> Beam:
    if projection == "parallel":
        if detector_mm is not None or patient_mm is not None:
            name = "--source-detector-mm" if detector_mm is not None else "--source-patient-mm"
            raise MisuseError(name, "a distance, and a parallel beam", "a cone beam", "--projection cone")
        return Beam(back_to_front=False) if ap else PARALLEL
    far = USUAL_SOURCE_DETECTOR_MM if detector_mm is None else detector_mm
    near = _SOURCE_PATIENT_MM if patient_mm is None else patient_mm
    if not 0 < near < far:
        given = f"patient {near:g} mm and detector {far:g} mm from the source"
        raise MisuseError("--source-patient-mm", given, "0 < patient < detector", "1600 and 1800 are usual")
    return Beam(far, far - near, back_to_front=not ap)


def _distances(beam: Beam) -> dict[str, float]:
    far = beam.source_detector_mm
    return {} if far is None else {"source_detector_mm": far, "source_patient_mm": far - beam.patient_detector_mm}


def _angles(given: Sequence[float] | None) -> list[float]:
    angles = list(dict.fromkeys(given or _NAMES))
    if not np.isfinite(angles).all():
        raise MisuseError("--angle", str(angles), "finite degrees", "0 is frontal, 90 lateral")
    return angles


def _shape(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", text.strip().lower())
    shape = (0, 0) if found is None else (int(found[1]), int(found[2] or found[1]))
    if min(shape) < _LEAST_PX or shape[0] * shape[1] > _MOST_PX:
        expected = f"{_LEAST_PX} pixels a side at least, {_MOST_PX // 1_000_000} megapixels at most"
        raise MisuseError("--size", repr(text), expected, "500, or 400x500 for rows x columns")
    return shape


def _check_spacing(mm_per_px: float) -> None:
    from lpm.xray.files.image import expected_spacing, is_spacing

    if not is_spacing(mm_per_px):
        raise MisuseError("--mm-per-px", f"{mm_per_px:g} mm", expected_spacing(), "0.7 shows a chest in 500 pixels")


def _view(volume: Volume, degrees: float, mm_per_px: float, beam: Beam, shape: tuple[int, int] | None) -> View:
    """Aimed at the middle of the volume; without a shape, as large as its shadow."""
    from lpm.xray.drr import box_of

    lower, upper = box_of(volume)
    middle = 0.5 * (lower + upper)
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * (upper - lower) + lower
    _check_outside(degrees, beam, middle, corners)
    if shape is None:
        shadow = turned_view((1, 1), (mm_per_px, mm_per_px), degrees, middle, beam).to_pixels(corners)
        rows, columns = (2 * np.ceil(np.abs(shadow).max(axis=0)) + 1).astype(int).tolist()
        shape = max(rows, _LEAST_PX), max(columns, _LEAST_PX)
        if shape[0] * shape[1] > _MOST_PX:
            given = f"{mm_per_px:g} mm, for a picture of {shape[0]} x {shape[1]} pixels"
            raise MisuseError("--mm-per-px", given, f"at most {_MOST_PX // 1_000_000} megapixels", "or choose a --size")
    return turned_view(shape, (mm_per_px, mm_per_px), degrees, middle, beam)


def _check_outside(degrees: float, beam: Beam, middle: Floats, corners: Floats) -> None:
    """The source of a cone beam must not stand in the scan, nor beside it."""
    if beam.source_detector_mm is None:
        return
    forward = turned_view((1, 1), (1.0, 1.0), degrees, middle, beam).beam
    reach = float(((corners - middle) @ forward).max())
    distance = beam.source_detector_mm - beam.patient_detector_mm
    if distance <= reach:
        given = f"{distance:g} mm, and the scan reaches {reach:.0f} mm from its middle"
        raise MisuseError("--source-patient-mm", given, "a source outside the scan", "1600 is usual")


# --- Pictures --------------------------------------------------------------------------------------------------------


def _pictures(
    volume: Volume, subject: str, labels: str | None, photons: float | None, seed: int
) -> _LabelPictures | _CtPictures:
    from lpm.preparation.label_maps.values import is_label_map

    if is_label_map(volume):
        if photons is not None:
            raise MisuseError("--photons", f"noise, and {subject} is a label map", "a CT", "leave --photons out")
        return _LabelPictures(volume, parse_labels(labels), subject)
    if labels is not None:
        raise MisuseError("--labels", f"structures, and {subject} is no label map", "a label map", "leave --labels out")
    return _CtPictures(volume, subject, photons, seed)


@dataclass(frozen=True)
class _LabelPictures:
    """Path lengths: all structures together, and each by itself."""

    labels: Volume
    structures: Mapping[str, tuple[int, ...]]
    subject: str
    content: Literal["path length"] = "path length"

    def write(self, out: Path, name: str, view: View, geometry: dict[str, Any]) -> dict[str, ViewRecord]:
        from lpm.preparation.label_maps.values import integer_labels
        from lpm.xray.drr import path_lengths_of_labels
        from lpm.xray.files.reading import write_picture
        from lpm.xray.files.views import record_of

        lengths = path_lengths_of_labels(integer_labels(self.labels, self.subject), view, self.structures)
        pictures = {name: lengths.sum(axis=0)}
        pictures |= {f"{name}_{each}": picture for each, picture in zip(self.structures, lengths, strict=True)}
        grey = {"grey_zero": 0.0, "grey_step": _PATH_STEP_MM, "grey_unit": "mm inside"}
        for key, picture in pictures.items():
            write_picture(out / f"{key}.png", _levels(picture / _PATH_STEP_MM))
        return {key: record_of(view, f"{key}.png", **geometry, **grey) for key in pictures}


@dataclass(frozen=True)
class _CtPictures:
    """Line integrals of attenuation, with noise if it is asked for."""

    ct: Volume
    subject: str
    photons: float | None
    seed: int
    content: Literal["attenuation"] = "attenuation"

    def write(self, out: Path, name: str, view: View, geometry: dict[str, Any]) -> dict[str, ViewRecord]:
        from lpm.segmentation.hounsfield import hounsfield
        from lpm.xray.drr import ExposureConfig, exposed, radiograph
        from lpm.xray.files.reading import write_picture
        from lpm.xray.files.views import record_of

        integrals = radiograph(hounsfield(self.ct, self.subject).volume, view)
        rng = np.random.default_rng([self.seed, *name.encode()])
        picture = exposed(integrals, ExposureConfig(photons=self.photons), rng=rng)
        write_picture(out / f"{name}.png", _levels(65535.0 * picture))
        low, high = float(integrals.min()), float(integrals.max())
        grey: dict[str, Any] = {"grey_unit": "integral of attenuation"}
        if self.photons is None:
            grey |= {"grey_zero": low, "grey_step": (high - low) / 65535.0}
        return {name: record_of(view, f"{name}.png", **geometry, **grey)}


def _levels(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    return np.clip(np.rint(values), 0, 65535).astype(np.uint16)
