"""Lungs from one or two chest radiographs: what the reader sees in them, the geometry, the fit.

Read `fit_xray` top to bottom: read each picture, place it in the patient, fit shape and pose to the path lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lpm.errors import InputError
from lpm.fitting.checks import doubts_about_shape
from lpm.fitting.config import FitConfig
from lpm.fitting.fit import Fit, extract_fit
from lpm.fitting.paths import SeenPaths, fit_paths
from lpm.geometry.frames import Floats
from lpm.geometry.projection import PARALLEL, Beam, View, turned_view
from lpm.model.bundle import ModelBundle
from lpm.model.lung_field import Reading, XrayReader, load_reader

_CELL_MM = 10.0
_SHOWN_MM = 5.0
_AROUND_MM = 20.0
_REACH_MM = 30.0
_OUTLINE_SD_MM = 4.0
_FLOOR_MM = 6.0
_ANGLES = {"frontal": 0.0, "lateral": 90.0}
_FIELD_HEIGHT_MM = 220.0
_MOST_SHIFT_MM = 90
_UNLIKE_VIEWS = 0.25


@dataclass(frozen=True)
class Radiograph:
    """A picture and what is known of how it was taken.

    Args:
        pixels: (r, c) 0 to 1, bright = dense; the patient's right on the left of a frontal picture, the front on the
            left of a lateral one.
        side: Frontal (PA or AP) or lateral.
        mm_per_px: Between rows and between columns, on the detector; None if nobody knows.
        beam: Parallel, or a cone of known distances.
        view: Where the rays run in the patient's own world, if that is known; it then holds the spacing too.
    """

    pixels: NDArray[np.float32]
    side: Literal["frontal", "lateral"] = "frontal"
    mm_per_px: tuple[float, float] | None = None
    beam: Beam = PARALLEL
    view: View | None = None

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """Between rows and columns, on the detector."""
        if self.view is None:
            return self.mm_per_px
        return float(np.linalg.norm(self.view.by_row_mm)), float(np.linalg.norm(self.view.by_column_mm))

    @property
    def in_patient_mm(self) -> tuple[float, float] | None:
        """Between rows and columns in the plane of the patient's middle."""
        if self.spacing_mm is None:
            return None
        return self.spacing_mm[0] / self.magnification, self.spacing_mm[1] / self.magnification

    @property
    def magnification(self) -> float:
        """Of the patient's middle on the detector."""
        far = self.beam.source_detector_mm
        return 1.0 if far is None else far / (far - self.beam.patient_detector_mm)

    def placed(self) -> View:
        """Geometry with the middle of the picture at the world's origin, where nothing else is known."""
        if self.view is not None:
            return self.view
        if self.mm_per_px is None:
            raise InputError("radiograph", "no pixel spacing", "mm between pixels")
        rows, columns = self.pixels.shape
        return turned_view((rows, columns), self.mm_per_px, _ANGLES[self.side], np.zeros(3), self.beam)


@dataclass(frozen=True)
class XrayFit(Fit):
    """Lungs explained from radiographs.

    Args:
        radiographs: As given, in the order of the next two.
        readings: What was seen in each.
        views: Geometry of each, in the world of the lungs.
    """

    radiographs: tuple[Radiograph, ...] = ()
    readings: tuple[Reading, ...] = ()
    views: tuple[View, ...] = ()


def fit_xray(
    model: ModelBundle,
    radiographs: Sequence[Radiograph],
    *,
    reader: XrayReader | None = None,
    config: FitConfig | None = None,
    spacing_mm: float = 1.5,
) -> XrayFit:
    """Reconstruct both lungs from a frontal radiograph, a lateral one, or both.

    Args:
        model: Of the left and the right lung.
        radiographs: At most one of each side, of one patient at one breath.
        reader: Networks that read radiographs; default the bundled ones.
        config: Prior widths and stopping.
        spacing_mm: Lattice of the extracted meshes.

    Returns:
        The fit. Its world is that of the views where they are placed; else its origin is the middle of the first
        picture (of a lateral one: its middle column), and without a pixel spacing the lungs have a shape and no size
        (``sized`` is false).

    Raises:
        InputError: No radiograph, two of one side, or no lungs in one.
    """
    sides = [each.side for each in radiographs]
    if not sides or len(set(sides)) < len(sides):
        given = f"{', '.join(sides) or 'no'} radiographs"
        raise InputError("fit xray", given, "a frontal one, a lateral one, or one of each")
    config, reader = config or FitConfig(), reader or load_reader()
    read = [_read(reader, each) for each in radiographs]
    is_sized = all(each.spacing_mm is not None for each in radiographs)
    notes = [
        f"{each.side}: {doubt}" for each, reading in zip(radiographs, read, strict=True) for doubt in reading.doubts
    ]
    placed = [_sized(each, reading) for each, reading in zip(radiographs, read, strict=True)]
    seen = [_seen(model, each, reading) for each, reading in placed]
    if len(seen) == 2 and any(each.view is None for each in radiographs):
        seen, more = _level(seen, sides)
        notes += more
    shape = fit_paths(model, seen, config)
    extraction = extract_fit(model, shape, list(model.structures), spacing_mm)
    if not is_sized:
        notes.append("without a pixel spacing the lungs have a shape and no size: lengths and volumes mean nothing")
    observed = " and ".join(sides) + " radiograph" + "s" * (len(sides) > 1)
    fit = XrayFit(
        model,
        config,
        shape,
        extraction,
        observed,
        tuple(notes),
        is_sized,
        tuple(radiographs),
        tuple(read),
        tuple(each.view for each in seen),
    )
    return replace(fit, notes=(*notes, *doubts_about_shape(fit)))


def _read(reader: XrayReader, radiograph: Radiograph) -> Reading:
    read = reader.frontal if radiograph.side == "frontal" else reader.lateral
    reading = read(radiograph.pixels, radiograph.in_patient_mm)
    if float(reading.path_length.max()) <= 0 or not (reading.field > 0.5).any():
        raise InputError(
            f"{radiograph.side} radiograph", "no lungs were found in it", "a chest radiograph", "look at it"
        )
    return reading


def _sized(radiograph: Radiograph, reading: Reading) -> tuple[Radiograph, Reading]:
    """With a spacing that makes the field as high as that of usual lungs, where there is none."""
    if radiograph.spacing_mm is not None:
        return radiograph, reading
    rows = np.flatnonzero((reading.field > 0.5).any(axis=(0, 2)))
    mm = _FIELD_HEIGHT_MM / ((rows[-1] - rows[0] + 1) * reading.step_px[0])
    on_detector = mm * radiograph.magnification
    in_mm = replace(reading, path_length=reading.path_length * np.float32(mm), path_sd=reading.path_sd * np.float32(mm))
    return replace(radiograph, mm_per_px=(on_detector, on_detector)), in_mm


def _seen(model: ModelBundle, radiograph: Radiograph, reading: Reading) -> SeenPaths:
    """Path lengths of the rays in and about the lungs, averaged over cells of a centimetre or so."""
    spacing = radiograph.in_patient_mm
    assert spacing is not None  # noqa: S101  (given by `_sized`)
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


def _level(seen: Sequence[SeenPaths], sides: Sequence[str]) -> tuple[list[SeenPaths], list[str]]:
    """Shift the second view up or down until both say the same of how much lung lies at each height."""
    heights = np.arange(-400.0, 400.0)
    first, second = (_by_height(each, heights) for each in seen)
    shifts = range(-_MOST_SHIFT_MM, _MOST_SHIFT_MM + 1)
    apart = [float(np.abs(first - np.roll(second, shift)).sum() / (first.sum() + second.sum())) for shift in shifts]
    best = int(np.argmin(apart))
    shift_mm = float(shifts[best])
    view = seen[1].view
    up = np.array([0.0, 0.0, shift_mm])
    source = None if view.source_mm is None else view.source_mm + up
    moved = replace(seen[1], view=replace(view, origin_mm=view.origin_mm + up, source_mm=source))
    doubts = []
    if apart[best] > _UNLIKE_VIEWS:
        doubts.append(f"the {sides[0]} and the {sides[1]} picture may show different patients or breaths")
    return [seen[0], moved], doubts


def _by_height(seen: SeenPaths, heights: Floats) -> Floats:
    """Share of the lungs' volume at each height, mm: both views of a patient show the same, however they are turned."""
    z = seen.view.places_mm(seen.pixels)[:, 2]
    total, _ = np.histogram(z, bins=np.append(heights, heights[-1] + 1.0), weights=seen.paths_mm.sum(axis=1))
    smooth = ndimage.gaussian_filter1d(total, 6.0)
    return np.asarray(smooth / max(float(smooth.sum()), 1e-9))
