"""`views.json`: what is written is read, in both forms, and what contradicts itself is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from lpm.errors import FileError, SchemaError
from lpm.geometry.projection import PARALLEL, Beam, View, turned_view
from lpm.xray.files.views import ViewsFile, read_views, record_of, write_views

MAPPED: dict[str, Any] = {
    "projection": "parallel",
    "size_px": [400, 500],
    "frontal": {
        "column": {"axis": "x", "sign": -1, "offset_px": 231.1, "mm_per_px": 0.622},
        "row": {"axis": "z", "sign": -1, "offset_px": 159.2, "mm_per_px": 0.6},
    },
}


def view(beam: Beam) -> View:
    return turned_view((40, 30), (0.5, 0.6), 25.0, [10.0, -20.0, 30.0], beam)


def written(path: Path, beam: Beam = PARALLEL) -> dict[str, Any]:
    record = record_of(view(beam), "a.png", angle_deg=25.0)
    write_views(path, ViewsFile(made_from="ct.nii.gz", content="attenuation", views={"a": record}))
    data: dict[str, Any] = json.loads(path.read_text())
    return data


@pytest.mark.parametrize("beam", [PARALLEL, Beam(1800.0, 300.0)])
def test_a_view_comes_back(tmp_path: Path, beam: Beam, rng: np.random.Generator) -> None:
    data = written(tmp_path / "views.json", beam)
    assert data["views"]["a"]["projection"] == ("parallel" if beam is PARALLEL else "cone")
    np.testing.assert_allclose(data["views"]["a"]["mm_per_px"], [0.5, 0.6])
    (name, found), *_ = read_views(tmp_path / "views.json").items()
    points = rng.uniform(-50.0, 50.0, (9, 3))
    np.testing.assert_allclose(found.to_pixels(points), view(beam).to_pixels(points), atol=1e-9)
    assert (name, found.shape) == ("a", (40, 30))
    np.testing.assert_allclose(found.beam, view(beam).beam)


def test_maps_of_axes_are_read(tmp_path: Path) -> None:
    (tmp_path / "views.json").write_text(json.dumps(MAPPED))
    found = read_views(tmp_path / "views.json")
    assert list(found) == ["frontal"]
    assert found["frontal"].shape == (500, 400)
    pixel = found["frontal"].to_pixels(np.array([[62.2, 7.0, -60.0]]))
    np.testing.assert_allclose(pixel, [[259.2, 131.1]])


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("{", FileError, r"views.json: cannot be read \(.*; expected JSON. Try: lpm xray writes one"),
        ("[1]", SchemaError, r"views.json: a list; expected an object"),
        ('{"schema_version": 9}', SchemaError, r"views.json: schema version 9; expected version 1"),
        ('{"schema_version": 1}', SchemaError, r"(?s)does not follow its schema .*made_from.*write it again"),
        (" " * 1_000_001, FileError, r"views.json: 1000001 bytes; expected at most 1000000"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, error: type[Exception], message: str) -> None:
    (tmp_path / "views.json").write_text(content)
    with pytest.raises(error, match=message):
        read_views(tmp_path / "views.json")


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"views.json: no such file; expected a views.json. Try: lpm xray"):
        read_views(tmp_path / "views.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"projection": "cone"}, "a cone beam has a source_mm"),
        ({"source_mm": [0, 0, 0]}, "a parallel beam has none"),
        ({"by_row_mm": [0, 0, 0]}, "must span the detector"),
        ({"beam": [0, 0, 1]}, "a unit vector onto it"),
        ({"beam": [0, 9, 0]}, "a unit vector onto it"),
        ({"size_px": [0, 30]}, "size_px"),
        ({"other": 1}, "other"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    data = written(tmp_path / "views.json")
    data["views"]["a"].update(change)
    (tmp_path / "views.json").write_text(json.dumps(data))
    with pytest.raises(SchemaError, match=rf"(?s)does not follow its schema .*{message}"):
        read_views(tmp_path / "views.json")


def test_a_map_with_a_size_of_zero_is_refused(tmp_path: Path) -> None:
    (tmp_path / "views.json").write_text(json.dumps({**MAPPED, "size_px": [0, 500]}))
    with pytest.raises(SchemaError, match=r"(?s)does not follow its schema .*size_px"):
        read_views(tmp_path / "views.json")


def test_a_record_that_contradicts_itself_cannot_be_made() -> None:
    with pytest.raises(ValidationError, match="grey_step"):
        record_of(view(PARALLEL), "a.png", grey_step="wide")
