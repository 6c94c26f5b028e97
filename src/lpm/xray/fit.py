"""Lungs from one or two chest radiographs: what the reader sees in them, the geometry, the fit.

Read `fit_xray` top to bottom: read each picture, place it in the patient, fit shape and pose to the path lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lpm.errors import InputError
from lpm.fitting.checks import doubts_about_shape
from lpm.fitting.config import FitConfig
from lpm.fitting.fit import Fit, extract_fit
from lpm.geometry.frames import Floats
from lpm.geometry.projection import View
from lpm.model.bundle import ModelBundle
from lpm.xray.manual_field import FIELD_HEIGHT_MM, reading_of_field, sides_of, with_field
from lpm.xray.radiograph import Radiograph, source_detector_mm
from lpm.xray.rays import SeenPaths, fit_paths
from lpm.xray.reader import Reading, XrayReader, load_reader

__all__ = ["Radiograph", "XrayFit", "fit_xray", "source_detector_mm"]

_CELL_MM = 10.0
_SHOWN_MM = 5.0
_AROUND_MM = 20.0
_REACH_MM = 30.0
_OUTLINE_SD_MM = 3.0
_FLOOR_MM = 5.0
_MOST_SHIFT_MM = 90
_UNLIKE_VIEWS = 0.12
_UNLIKE_VOLUMES = 3.0
_REACHED_MM = 400.0
# one picture does not show that a patient leans forward or back; people stand and lie straight before the detector
_ONE_VIEW = FitConfig(rotation_sd=0.05)
_LEAST_SIDE_MM, _MOST_HEIGHT_MM = 60.0, 700.0


@dataclass(frozen=True, repr=False)
class XrayFit(Fit):
    """Lungs explained from radiographs.

    Args:
        radiographs: As given, in the order of the next two.
        readings: What was seen in each.
        views: Geometry of each, in the world of the lungs.
        gains: Share by which each shows all lengths too long, as far as the fit can tell.
        path_errors_mm: (n,) lengths of the lungs along the rays of each, less those seen.
    """

    radiographs: tuple[Radiograph, ...] = ()
    readings: tuple[Reading, ...] = ()
    views: tuple[View, ...] = ()
    gains: tuple[float, ...] = ()
    path_errors_mm: tuple[Floats, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Return what `fit.json` holds: that of every fit, and ``radiographs``."""
        return {**super().summary(), "radiographs": [self._picture_summary(i) for i in range(len(self.views))]}

    def _picture_summary(self, index: int) -> dict[str, Any]:
        radiograph, reading, view = self.radiographs[index], self.readings[index], self.views[index]
        errors = self.path_errors_mm[index]
        used = [float(np.linalg.norm(step)) for step in (view.by_row_mm, view.by_column_mm)]
        is_cone = view.source_mm is not None
        return {
            "side": radiograph.side,
            "picture": radiograph.name or None,
            "size_px": list(radiograph.pixels.shape),
            "mm_per_px": None if radiograph.spacing_mm is None else used,
            "mm_per_px_used": used,
            "projection": "cone" if is_cone else "parallel",
            "source_detector_mm": radiograph.source_detector_mm,
            "patient_detector_mm": radiograph.beam.patient_detector_mm if is_cone else None,
            "magnification": radiograph.magnification,
            "placed": radiograph.view is not None,
            "field": "given" if radiograph.field is not None else "read",
            "path_errors_mm": {
                "mean": float(errors.mean()),
                "mean_absolute": float(np.abs(errors).mean()),
                "rms": float(np.sqrt((errors**2).mean())),
                "p95_absolute": float(np.percentile(np.abs(errors), 95)),
                "n": len(errors),
            },
            "gain": self.gains[index],
            "gain_sd": reading.volume_sd,
            "chest_score": reading.answers.chest,
            "doubts": list(reading.doubts),
        }


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
        config: Prior widths and stopping; default `FitConfig`, of one radiograph with a rotation_sd of 0.05.
        spacing_mm: Lattice of the extracted meshes.

    Returns:
        The fit. Its world is that of the views where they are placed; else its origin is the middle of the first
        picture (of a lateral one: its middle column), and without a pixel spacing the lungs have a shape and no size
        (``sized`` is false).

    Raises:
        InputError: No radiograph, two of one side, no lungs in one, a spacing that cannot be, or a model without a
            left and a right lung.
    """
    _check(model, radiographs)
    config = config or (_ONE_VIEW if len(radiographs) == 1 else FitConfig())
    reader = reader or load_reader()
    read = [_read(model, reader, each) for each in radiographs]
    seen, notes = _placed(model, radiographs, read)
    shape = fit_paths(model, seen, config)
    fit = XrayFit(
        model=model,
        config=config,
        shape=shape,
        extraction=extract_fit(model, shape, list(model.structures), spacing_mm),
        observed=" and ".join(each.side for each in radiographs) + " radiograph" + "s" * (len(radiographs) > 1),
        sized=all(each.spacing_mm is not None for each in radiographs),
        radiographs=tuple(radiographs),
        readings=tuple(read),
        views=tuple(each.view for each in seen),
        gains=tuple(shape.gains.tolist()),
        path_errors_mm=tuple(shape.by_view_mm()),
    )
    if not fit.sized:
        notes.append("without a pixel spacing the lungs have a shape and no size: lengths and volumes mean nothing")
    return replace(fit, notes=(*notes, *doubts_about_shape(fit)))


def _check(model: ModelBundle, radiographs: Sequence[Radiograph]) -> None:
    sides = [each.side for each in radiographs]
    if not sides or len(set(sides)) < len(sides):
        given = f"{', '.join(sides) or 'no'} radiographs"
        raise InputError("fit xray", given, "a frontal one, a lateral one, or one of each")
    if not {"left_lung", "right_lung"} <= set(model.structures):
        raise InputError("fit xray", f"a model of {', '.join(model.structures)}", "one of left_lung and right_lung")


def _placed(
    model: ModelBundle, radiographs: Sequence[Radiograph], read: Sequence[Reading]
) -> tuple[list[SeenPaths], list[str]]:
    """What each picture says, in one world, and what speaks against it."""
    notes = [f"{each.side}: {doubt}" for each, found in zip(radiographs, read, strict=True) for doubt in found.doubts]
    sized = [_sized(each, reading) for each, reading in zip(radiographs, read, strict=True)]
    seen = [_seen(model, each, reading) for each, reading in sized]
    if len(seen) == 2:
        seen, apart = _level(seen, [each.view is not None for each in radiographs])
        is_known = all(each.spacing_mm is not None for each in radiographs)
        notes += _doubts_about_pair(apart, [_volume_ml(*each) for each in sized] if is_known else None, read)
    return seen, notes


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
    """With a spacing that makes the field as high as that of usual lungs, where there is none."""
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


def _level(seen: Sequence[SeenPaths], is_placed: Sequence[bool]) -> tuple[list[SeenPaths], float]:
    """Shift a view that nobody has placed up or down until both say the same of how much lung lies at each height.

    Returns:
        Both, and how much they disagree then: 0 for the same, 1 for two patients of whom one lies above the other.
    """
    at = 0 if is_placed[1] and not is_placed[0] else 1
    kept, moved = seen[1 - at], seen[at]
    middles = [_middle_height(each) for each in (kept, moved)]
    first, second = (_by_height(each, middle) for each, middle in zip((kept, moved), middles, strict=True))
    shifts = range(-_MOST_SHIFT_MM, _MOST_SHIFT_MM + 1)
    apart = [0.5 * float(np.abs(first - np.roll(second, shift)).sum()) for shift in shifts]
    best = int(np.argmin(apart))
    found = list(seen)
    if not all(is_placed):
        up = np.array([0.0, 0.0, shifts[best] + middles[0] - middles[1]])
        source = None if moved.view.source_mm is None else moved.view.source_mm + up
        view = replace(moved.view, origin_mm=moved.view.origin_mm + up, source_mm=source)
        found[at] = replace(moved, view=view)
    return found, apart[best]


def _middle_height(seen: SeenPaths) -> float:
    return float(np.average(seen.places_mm(seen.pixels)[:, 2], weights=seen.paths_mm.sum(axis=1)))


def _by_height(seen: SeenPaths, middle_mm: float) -> Floats:
    """Share of the lungs' volume at each height about a middle, by mm: however a patient is turned, it is the same."""
    edges = middle_mm + np.arange(-_REACHED_MM, _REACHED_MM + 1.0)
    total, _ = np.histogram(
        seen.places_mm(seen.pixels)[:, 2], bins=edges, weights=np.asarray(seen.paths_mm).sum(axis=1)
    )
    smooth = ndimage.gaussian_filter1d(total, 6.0)
    return np.asarray(smooth / max(float(smooth.sum()), 1e-9))


def _volume_ml(radiograph: Radiograph, reading: Reading) -> float:
    spacing = radiograph.in_patient_mm
    if spacing is None:
        raise InputError(f"{radiograph.side} radiograph", "no pixel spacing", "mm between pixels")
    area = reading.step_px[0] * spacing[0] * reading.step_px[1] * spacing[1]
    return float(reading.path_length.sum()) * area / 1000.0


def _doubts_about_pair(apart: float, volumes_ml: Sequence[float] | None, read: Sequence[Reading]) -> list[str]:
    """Whether two pictures can be of one patient at one breath."""
    why = []
    if apart > _UNLIKE_VIEWS:
        why.append(f"{apart:.0%} of the lung lies at other heights")
    if volumes_ml is not None:
        sd = float(np.linalg.norm([reading.volume_sd for reading in read]))
        if abs(np.log(volumes_ml[0] / volumes_ml[1])) > _UNLIKE_VOLUMES * sd:
            why.append(f"one shows {volumes_ml[0]:.0f} ml of lung, the other {volumes_ml[1]:.0f} ml")
    return [f"the pictures may show different patients or breaths: {'; '.join(why)}"] if why else []
