"""Lungs from files of radiographs: read each picture, know or find how it was taken, fit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lpm.errors import InputError, MisuseError
from lpm.reports.provenance import provenance
from lpm.workflows.outcome import FitRun, Outcome
from lpm.xray.beam_options import SAME, BeamOptions, Side
from lpm.xray.files.image import Xray
from lpm.xray.files.reading import read_field, read_xray
from lpm.xray.files.views import PlacedView, read_placed_views
from lpm.xray.fit import fit_xray
from lpm.xray.radiograph import Radiograph

_DISTANCES = ("source_detector_mm", "patient_detector_mm")
_YES_OR_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_WORDS: Mapping[str, Mapping[str, object]] = {
    "ap": _YES_OR_NO,
    "projection": {"cone": "cone", "parallel": "parallel"},
}


@dataclass(frozen=True)
class PictureOptions:
    """How pictures were taken, as far as a person says; errors name the field that is wrong.

    Args:
        mm_per_px: Pixel spacing between rows and between columns, on the detector; None as the file says.
        beam: Beam of all pictures.
        views: Geometry of the pictures in the patient, by side.
        size_from_prior: Whether lungs without a pixel spacing get the sizes of the model's training lungs.
    """

    mm_per_px: tuple[float, float] | None = None
    beam: BeamOptions = field(default_factory=BeamOptions)
    views: Mapping[str, PlacedView] = field(default_factory=dict)
    size_from_prior: bool = False


@dataclass(frozen=True)
class RadiographFiles:
    """Files of the radiographs of one patient; any may be left out, but for one picture or the drawn field.

    Args:
        frontal: The PA or AP picture.
        lateral: The lateral one.
        frontal_mask: A drawn lung field, for the frontal picture or in its place.
        views: A views.json: where the pictures lie in the patient.
    """

    frontal: Path | None = None
    lateral: Path | None = None
    frontal_mask: Path | None = None
    views: Path | None = None

    @property
    def pictures(self) -> dict[Side, Path]:
        """Pictures by side."""
        sides: tuple[tuple[Side, Path | None], ...] = (("frontal", self.frontal), ("lateral", self.lateral))
        return {side: path for side, path in sides if path is not None}

    @property
    def sides(self) -> set[str]:
        """Sides that are given, as a picture or as a drawn field."""
        return {*self.pictures, *(["frontal"] if self.frontal_mask else [])}

    @property
    def all(self) -> list[Path]:
        """Every file that is read."""
        return [*self.pictures.values(), *(path for path in (self.frontal_mask, self.views) if path is not None)]


def parse_spacing(text: str) -> tuple[float, float]:
    """Read a pixel spacing: rows and columns, or one number for both.

    Raises:
        MisuseError: Not one or two positive numbers of millimetres.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or not all(0.02 <= value <= 5.0 for value in values):
        raise MisuseError(
            "mm_per_px", repr(text), "one number, or two of rows and columns, from 0.02 to 5", "0.585,0.8"
        )
    return values[0], values[-1]


def options_of_row(row: Mapping[str, str], files: RadiographFiles, options: PictureOptions) -> PictureOptions:
    """Options of one row of a table of cases, over those of all of them.

    Args:
        row: Values by column: ``mm_per_px``, ``ap``, ``projection``, ``source_detector_mm``, ``patient_detector_mm``.
        files: The row's files.
        options: Options of all rows.

    Raises:
        MisuseError: A value cannot be, or options do not go together.
    """
    own: dict[str, Any] = {name: _number(name, row[name]) for name in _DISTANCES if name in row}
    own |= {name: _one_of(name, row[name], _WORDS[name]) for name in _WORDS if name in row}
    spacing = parse_spacing(row["mm_per_px"]) if "mm_per_px" in row else options.mm_per_px
    views = views_for(files.views, files.sides)
    return replace(options, mm_per_px=spacing, beam=replace(options.beam, **own), views=views)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise MisuseError(name, repr(text), "a number of millimetres", "1800") from error


def _one_of(name: str, text: str, words: Mapping[str, object]) -> object:
    if text.lower() not in words:
        raise MisuseError(name, repr(text), f"one of {', '.join(words)}")
    return words[text.lower()]


def views_for(path: Path | None, sides: Collection[str]) -> Mapping[str, PlacedView]:
    """Read the views of pictures; none without a file.

    Args:
        path: A views.json.
        sides: Sides of the pictures.

    Raises:
        FileError: The file cannot be read.
        MisuseError: It knows none of the pictures.
    """
    views = {} if path is None else read_placed_views(path)
    if path is not None and not set(views) & set(sides):
        given = f"{path.name} has {', '.join(views)}"
        raise MisuseError("views", given, f"one of {', '.join(sides)}", "give the views.json of these pictures")
    return views


def read_radiograph(path: Path, side: Side, options: PictureOptions) -> tuple[Radiograph, tuple[str, ...]]:
    """Read one radiograph with its geometry.

    Args:
        path: PNG, JPEG, TIFF or DICOM.
        side: Side that it is said to show.
        options: Options: how it was taken.

    Returns:
        It, and what had to be chosen or mended.

    Raises:
        LpmError: Damaged, of another side, or taken in another way than is said.
    """
    found = read_xray(path, mm_per_px=None if options.mm_per_px is None else options.mm_per_px[0])
    if found.view is not None and found.view != side:
        raise InputError(path.name, f"a {found.view} picture", f"a {side} one", f"give it as the {found.view} one")
    return Radiograph(found.pixels, side, **_taken(found, side, path, options)), found.notes


def told_radiograph(run: FitRun, path: Path, side: Side, options: PictureOptions) -> Radiograph:
    """Read one radiograph, and tell what had to be chosen or mended; see `read_radiograph`."""
    radiograph, notes = read_radiograph(path, side, options)
    for note in notes:
        run.tell(f"{path.name}: {note}", None)
    return radiograph


def read_radiographs(run: FitRun, files: RadiographFiles, options: PictureOptions) -> dict[str, Radiograph]:
    """Read radiographs by side, with the drawn field if there is one; see `read_radiograph`."""
    found = [told_radiograph(run, path, side, options) for side, path in files.pictures.items()]
    given = found if files.frontal_mask is None else with_drawn_field(found, files.frontal_mask, options)
    return {each.side: each for each in given}


def with_drawn_field(given: Sequence[Radiograph], path: Path, options: PictureOptions) -> list[Radiograph]:
    """Add a drawn lung field to the frontal picture, or take it in the picture's place; others stay as they are.

    Args:
        given: Radiographs that were read.
        path: The field as a picture, white on black.
        options: Options: how the frontal picture was taken.
    """
    drawn, others = read_field(path), [each for each in given if each.side != "frontal"]
    if len(others) < len(given):
        return [replace(each, field=drawn) if each.side == "frontal" else each for each in given]
    found = Xray(Radiograph.of_field(drawn).pixels)
    return [Radiograph.of_field(drawn, **_taken(found, "frontal", path, options)), *others]


def fit_radiographs(run: FitRun, radiographs: Mapping[str, Radiograph], inputs: Iterable[Path]) -> Outcome:
    """Fit lungs to one or two radiographs.

    Args:
        run: Fit settings; its model is of the left and the right lung.
        radiographs: Radiographs by side.
        inputs: Files that were read.
    """
    run.tell(f"reading and fitting {' and '.join(radiographs)}", 0.2)
    fit = fit_xray(run.model, list(radiographs.values()), config=run.config, spacing_mm=run.spacing_mm)
    return Outcome(fit, radiographs=radiographs, provenance=provenance(run.model, inputs))


def _taken(found: Xray, side: Side, path: Path, options: PictureOptions) -> dict[str, Any]:
    """How a picture was taken, as a radiograph's arguments."""
    placed = options.views.get(side)
    if placed is None:
        beam = options.beam.beam(found, side)
        spacing, assumed = options.mm_per_px or found.mm_per_px, options.size_from_prior
        return {"mm_per_px": spacing, "beam": beam, "name": path.name, "size_from_prior": assumed}
    _check_view(placed, found, path, options)
    beam = options.beam.beam_of(placed.view, placed.source_patient_mm)
    return {"beam": beam, "view": placed.view, "name": path.name}


def _check_view(placed: PlacedView, found: Xray, path: Path, options: PictureOptions) -> None:
    """Refuse a view of another picture."""
    view, spacing = placed.view, options.mm_per_px
    if view.shape != found.pixels.shape:
        given = f"{path.name} has {found.pixels.shape} pixels, its view {view.shape}"
        raise MisuseError("views", given, "the same", "give the views.json of this picture")
    own = tuple(float(np.linalg.norm(step)) for step in (view.by_row_mm, view.by_column_mm))
    if spacing is not None and not np.allclose(spacing, own, rtol=SAME):
        given = "{:g} x {:g} mm, and the views say {:g} x {:g}".format(*spacing, *own)
        raise MisuseError("mm_per_px", given, "the same", "leave it out")
