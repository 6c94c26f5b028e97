"""`views.json`: the geometry of radiographs of one patient, beside the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lpm.errors import FileError, SchemaError
from lpm.files.atomic import write_text
from lpm.geometry.projection import AxisMap, View, axis_view
from lpm.records import parse_json

_SCHEMA = 1  # of views.json: raised when older programs cannot read it
_MOST_BYTES = 1_000_000  # a thousand views: more is another file
Triple = tuple[float, float, float]
Pixels = Annotated[int, Field(ge=1, le=100_000)]  # a side; sizes are checked against megapixels as well
Positive = Annotated[float, Field(gt=0)]  # lengths
_Kind = TypeVar("_Kind", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ViewRecord(_Strict):
    """One radiograph: what was asked for, and where its pixels and rays lie in the patient (RAS, mm).

    Args:
        projection: Kind of beam.
        source_detector_mm: Distance from the focal spot to the detector, of a cone beam.
        grey_step: See ``grey_zero``.
        grey_unit: Unit of that value.
    """

    picture: str = Field(description="file beside views.json")
    projection: Literal["parallel", "cone"]
    angle_deg: float | None = Field(None, description="about the long axis: 0 frontal, 90 lateral")
    size_px: tuple[Pixels, Pixels] = Field(description="rows, columns")
    mm_per_px: tuple[Positive, Positive] = Field(description="between rows, between columns; on the detector")
    source_detector_mm: Positive | None = None
    source_patient_mm: Positive | None = Field(None, description="to the middle of what was projected")
    origin_mm: Triple = Field(description="centre of the pixel in row 0, column 0")
    by_row_mm: Triple = Field(description="from a pixel to the one below")
    by_column_mm: Triple = Field(description="from a pixel to the next in its row")
    beam: Triple = Field(description="unit vector, the way the X-rays go")
    source_mm: Triple | None = Field(None, description="focal spot of a cone beam")
    grey_zero: float | None = Field(None, description="value = grey_zero + grey_step * grey")
    grey_step: float | None = None
    grey_unit: str = "none"

    @model_validator(mode="after")
    def _agrees(self) -> ViewRecord:
        if (self.projection == "cone") != (self.source_mm is not None):
            raise ValueError("a cone beam has a source_mm, and a parallel beam has none")
        normal = np.cross(self.by_row_mm, self.by_column_mm)
        if np.linalg.norm(normal) < 1e-9 or abs(np.linalg.norm(self.beam) - 1.0) > 1e-3 or not normal @ self.beam:
            raise ValueError(
                "by_row_mm and by_column_mm must span the detector, and beam must be a unit vector onto it"
            )
        return self

    def view(self) -> View:
        """The geometry alone."""
        vectors = (self.origin_mm, self.by_column_mm, self.by_row_mm, self.beam)
        origin, by_column, by_row, beam = (np.array(each) for each in vectors)
        source = None if self.source_mm is None else np.array(self.source_mm)
        return View(self.size_px, origin, by_column, by_row, beam, source)


def record_of(view: View, picture: str, **more: object) -> ViewRecord:
    """Make the record of a view for `views.json`.

    Args:
        view: Its geometry.
        picture: File name of its picture.
        **more: Other fields of `ViewRecord`: angle, distances, what a grey value means.
    """
    vectors = {
        name: np.asarray(getattr(view, name)).tolist() for name in ("origin_mm", "by_row_mm", "by_column_mm", "beam")
    }
    rows_and_columns = [float(np.linalg.norm(view.by_row_mm)), float(np.linalg.norm(view.by_column_mm))]
    found = {"picture": picture, "size_px": list(view.shape), "mm_per_px": rows_and_columns, **vectors, **more}
    if view.source_mm is not None:
        found["source_mm"] = np.asarray(view.source_mm).tolist()
    found["projection"] = "parallel" if view.source_mm is None else "cone"
    return ViewRecord.model_validate(found)


class ViewsFile(_Strict):
    """The whole of `views.json`.

    Args:
        schema_version: Schema version of this file.
        content: Meaning of the grey values.
        intensity: Storage of the grey values.
        views: Views by name: frontal, lateral, angle45 and so on.
    """

    schema_version: Literal[1] = 1
    made_from: str = Field(description="name of the scan or label map")
    content: Literal["attenuation", "path length"]
    intensity: str = "16 bit, bright = dense"
    views: dict[str, ViewRecord] = Field(min_length=1)


class _MappedAxis(_Strict):
    axis: Literal["x", "y", "z"]
    sign: Literal[-1, 1]
    offset_px: float
    mm_per_px: Positive

    def map(self) -> AxisMap:
        return AxisMap(self.axis, self.sign, self.offset_px, self.mm_per_px)


class _MappedView(_Strict):
    column: _MappedAxis
    row: _MappedAxis


class _MappedViews(_Strict):
    """Views along world axes: ``pixel = offset_px + sign * coordinate_mm / mm_per_px``."""

    projection: Literal["parallel"]
    size_px: tuple[Pixels, Pixels] = Field(description="columns, rows")
    intensity: str = ""
    frontal: _MappedView
    lateral: _MappedView | None = None
    meaning: str = ""

    def views(self) -> dict[str, View]:
        shape = self.size_px[1], self.size_px[0]
        found = {"frontal": self.frontal, "lateral": self.lateral}
        return {name: axis_view(shape, v.column.map(), v.row.map()) for name, v in found.items() if v is not None}


def write_views(path: Path, views: ViewsFile) -> None:
    """Write `views.json` whole or not at all.

    Raises:
        FileError: The disk refuses.
    """
    write_text(path, views.model_dump_json(indent=1, exclude_none=True) + "\n")


@dataclass(frozen=True)
class PlacedView:
    """Geometry of a radiograph in the patient.

    Args:
        view: Geometry: where the ray of each pixel runs.
        source_patient_mm: Distance from the focal spot to the patient's middle, of a cone beam, where it is known.
    """

    view: View
    source_patient_mm: float | None = None


def read_views(path: str | Path) -> Mapping[str, View]:
    """The same as `read_placed_views`, of the geometry alone."""
    return {name: placed.view for name, placed in read_placed_views(Path(path)).items()}


def read_placed_views(path: Path) -> Mapping[str, PlacedView]:
    """Read the geometry of radiographs by name: frontal, lateral and so on.

    Args:
        path: File that `lpm xray` wrote, or the shorter form of parallel views along world axes, in which each of
            ``frontal`` and ``lateral`` maps millimetres to pixels: ``pixel = offset_px + sign * mm / mm_per_px``.

    Raises:
        FileError: Missing, too large, or no JSON.
        SchemaError: JSON of another kind or version.
    """
    data = _json(path)
    if "views" not in data and "frontal" in data:
        return {name: PlacedView(view) for name, view in _parsed(path, data, _MappedViews).views().items()}
    version = data.get("schema_version")
    if version != _SCHEMA:
        raise SchemaError(str(path), f"schema version {version}", f"version {_SCHEMA}", "write it again: lpm xray")
    records = _parsed(path, data, ViewsFile).views
    return {name: PlacedView(record.view(), record.source_patient_mm) for name, record in records.items()}


def _json(path: Path) -> dict[str, object]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise FileError(str(path), f"{path.stat().st_size} bytes", f"at most {_MOST_BYTES}", "is it a views.json?")
        data = parse_json(path)
    except FileNotFoundError as error:
        raise FileError(str(path), "no such file", "a views.json", "lpm xray writes one") from error
    except (OSError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(str(path), f"cannot be read ({error})", "JSON", "lpm xray writes one") from error
    if not isinstance(data, dict):
        raise SchemaError(str(path), f"a {type(data).__name__}", "an object", "lpm xray writes one")
    return data


def _parsed(path: Path, data: dict[str, object], kind: type[_Kind]) -> _Kind:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise SchemaError(str(path), f"does not follow its schema ({error})", hint="write it again") from error
