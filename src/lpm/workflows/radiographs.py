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


@dataclass(frozen=True)
class PictureOptions:
    """How pictures were taken, as far as a person says; errors name the field that is wrong.

    Args:
        mm_per_px: Pixel spacing between rows and between columns, on the detector; None as the file says.
        beam: Beam of all pictures.
        views: Geometry of the pictures in the patient, by side.
    """

    mm_per_px: tuple[float, float] | None = None
    beam: BeamOptions = field(default_factory=BeamOptions)
    views: Mapping[str, PlacedView] = field(default_factory=dict)


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
        return {"mm_per_px": options.mm_per_px or found.mm_per_px, "beam": beam, "name": path.name}
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
