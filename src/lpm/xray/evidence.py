"""From a radiograph to evidence: what its reader says of each ray, averaged over cells of a centimetre.

Read `observe_xray` top to bottom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lpm.calibration import number
from lpm.errors import InputError
from lpm.fitting.evidence.observation import digest_of
from lpm.geometry.frames import Floats
from lpm.model.bundle import ModelBundle
from lpm.xray.manual_field import FIELD_HEIGHT_MM, reading_of_field, sides_of, with_field
from lpm.xray.radiograph import Radiograph
from lpm.xray.rays import SeenPaths
from lpm.xray.reader import Reading, XrayReader, load_reader

_CELL_MM = number("xray.cell_mm")
_SHOWN_MM = number("xray.shown_mm")
_AROUND_MM = number("xray.around_mm")
_REACH_MM = number("xray.error_reach_mm")
_OUTLINE_SD_MM = number("xray.outline_sd_mm")
_FLOOR_MM = number("xray.floor_mm")
_LEAST_SIDE_MM = number("xray.least_picture_mm")
_MOST_HEIGHT_MM = number("xray.most_field_mm")


@dataclass(frozen=True, eq=False)
class XrayObservation:
    """A radiograph as evidence: path lengths that its reader predicts, with their errors.

    Args:
        radiograph: Radiograph as given.
        reading: Reading of the radiograph.
        seen: Lengths of its rays; without a pixel spacing, as if its field were as high as that of usual lungs.
    """

    radiograph: Radiograph
    reading: Reading
    seen: SeenPaths

    @property
    def what(self) -> str:
        """Name of the evidence in words."""
        return f"{self.radiograph.side} radiograph"

    @property
    def source(self) -> str:
        """Its side, and a digest of the picture and of where it lies."""
        view = self.radiograph.view
        lies = [] if view is None else [view.origin_mm, view.by_column_mm, view.by_row_mm]
        return f"{self.radiograph.side} {digest_of(self.radiograph.pixels, *lies)}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Doubts of the reader."""
        return tuple(f"{self.radiograph.side}: {doubt}" for doubt in self.reading.doubts)

    @property
    def volume_ml(self) -> float | None:
        """Volume of the lungs by their path lengths, ml; None without a pixel spacing."""
        spacing, step_px = self.radiograph.in_patient_mm, self.reading.step_px
        if spacing is None:
            return None
        return float(self.reading.path_length.sum()) * step_px[0] * spacing[0] * step_px[1] * spacing[1] / 1000.0


def observe_xray(model: ModelBundle, radiograph: Radiograph, *, reader: XrayReader | None = None) -> XrayObservation:
    """Read a radiograph.

    Args:
        model: Model of the left and the right lung.
        radiograph: Frontal or lateral.
        reader: Networks that read radiographs; default the bundled ones.

    Raises:
        InputError: No lungs in it, a spacing that cannot be, or a model without a left and a right lung.
    """
    if not {"left_lung", "right_lung"} <= set(model.structures):
        raise InputError("fit xray", f"a model of {', '.join(model.structures)}", "one of left_lung and right_lung")
    reading = _read(model, reader or load_reader(), radiograph)
    sized, in_mm = _sized(radiograph, reading)
    return XrayObservation(radiograph, reading, _seen(model, sized, in_mm))


def _read(model: ModelBundle, reader: XrayReader, radiograph: Radiograph) -> Reading:
    reading = _seen_or_given(model, reader, radiograph)
    subject = f"{radiograph.side} radiograph"
    if float(reading.path_length.max()) <= 0 or not (reading.field > 0.5).any():
        raise InputError(subject, "no lungs were found in it", "a chest radiograph", "look at it")
    if radiograph.in_patient_mm is not None:
        sides_mm = np.array(radiograph.pixels.shape) * radiograph.in_patient_mm
        height_mm = _field_height_px(reading) * radiograph.in_patient_mm[0]
        if min(sides_mm) < _LEAST_SIDE_MM or height_mm > _MOST_HEIGHT_MM:
            given = f"{sides_mm[0]:.0f} x {sides_mm[1]:.0f} mm, with lungs {height_mm:.0f} mm high"
            raise InputError(subject, given, "the size of a chest", "check the pixel spacing")
    return reading


def _seen_or_given(model: ModelBundle, reader: XrayReader, radiograph: Radiograph) -> Reading:
    """What the reader says, with the field that a person has drawn; or what that field says alone."""
    drawn = radiograph.field
    field = sides_of(drawn) if drawn is not None and drawn.ndim == 2 else drawn
    if field is not None and not radiograph.is_picture:
        return reading_of_field(model, field, radiograph.in_patient_mm)
    read = reader.frontal if radiograph.side == "frontal" else reader.lateral
    reading = read(radiograph.pixels, radiograph.in_patient_mm)
    return reading if field is None else with_field(reading, field)


def _field_height_px(reading: Reading) -> float:
    """Height of the lung field in rows of the picture."""
    rows = np.flatnonzero((reading.field > 0.5).any(axis=(0, 2)))
    return float((rows[-1] - rows[0] + 1) * reading.step_px[0])


def _sized(radiograph: Radiograph, reading: Reading) -> tuple[Radiograph, Reading]:
    """Both with a spacing that makes the field as high as that of usual lungs, where there is none."""
    if radiograph.spacing_mm is not None:
        return radiograph, reading
    mm = FIELD_HEIGHT_MM / _field_height_px(reading)
    on_detector = mm * radiograph.magnification
    in_mm = replace(reading, path_length=reading.path_length * np.float32(mm), path_sd=reading.path_sd * np.float32(mm))
    return replace(radiograph, mm_per_px=(on_detector, on_detector)), in_mm


def _seen(model: ModelBundle, radiograph: Radiograph, reading: Reading) -> SeenPaths:
    """Path lengths of the rays in and about the lungs, averaged over cells of a centimetre or so."""
    spacing = radiograph.in_patient_mm
    if spacing is None:
        raise InputError(f"{radiograph.side} radiograph", "no pixel spacing", "mm between pixels")
    cell = [max(round(_CELL_MM / (step * mm)), 1) for step, mm in zip(reading.step_px, spacing, strict=True)]
    paths, sds = (_averaged(each, cell) for each in (reading.path_length, reading.path_sd))
    size_mm = [n * step * mm for n, step, mm in zip(cell, reading.step_px, spacing, strict=True)]
    shown = (paths > _SHOWN_MM).any(axis=0)
    wanted = ndimage.distance_transform_edt(~shown, sampling=size_mm) <= _AROUND_MM
    at = np.argwhere(wanted)
    pixels = (at + 0.5) * np.array(cell) * np.array(reading.step_px) - 0.5
    left, right = model.structures.index("left_lung"), model.structures.index("right_lung")
    channels = ((left,), (right,)) if radiograph.side == "frontal" else ((left, right),)
    return SeenPaths(
        view=radiograph.placed(),
        pixels=pixels,
        paths_mm=paths[:, wanted].T.astype(np.float64),
        channels=channels,
        sd_mm=_errors_mm(paths, sds, size_mm)[:, wanted].T,
        reach_mm=_REACH_MM,
        gain_sd=reading.volume_sd,
        patient_detector_mm=None if radiograph.source_detector_mm is None else radiograph.beam.patient_detector_mm,
    )


def _errors_mm(paths: NDArray[np.float32], sds: NDArray[np.float32], size_mm: Sequence[float]) -> Floats:
    """(c, r, c) standard deviations: what the reader says, and an outline that may lie a little off, hers or ours."""
    steep = [np.gradient(each.astype(np.float64), *size_mm) for each in paths]
    off = _OUTLINE_SD_MM * np.array([np.hypot(*slopes) for slopes in steep])
    return np.asarray(np.sqrt(sds.astype(np.float64) ** 2 + off**2 + _FLOOR_MM**2))


def _averaged(maps: NDArray[np.float32], cell: Sequence[int]) -> NDArray[np.float32]:
    """(c, r, c) means over cells of some rows and columns; what is left over at the end is dropped."""
    rows, columns = maps.shape[1] // cell[0], maps.shape[2] // cell[1]
    blocks = maps[:, : rows * cell[0], : columns * cell[1]].reshape(len(maps), rows, cell[0], columns, cell[1])
    return np.asarray(blocks.mean(axis=(2, 4)))
