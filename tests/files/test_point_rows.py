"""Tables whose points move and whose other columns stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lpm.errors import FileError, InputError
from lpm.files.point_rows import read_point_rows


def _rows(folder: Path, text: str) -> Path:
    path = folder / "points.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_other_columns_and_rows_stay(tmp_path: Path) -> None:
    table = read_point_rows(_rows(tmp_path, "name,x,y,z,rank\nA 1,1,2,3,first\nB,4,5,6,\n"))
    assert table.points_mm.tolist() == [[1, 2, 3], [4, 5, 6]]
    table.moved(np.array([[10.5, 20, 30], [np.nan, np.nan, np.nan]])).write(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "name,x,y,z,rank\nA 1,10.5,20,30,first\nB,,,,\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2,3\n", [[1, 2, 3]]),  # no header, one point
        ("L,P,S\n1,2,3\n", [[-1, -2, 3]]),
        ("id;x;y;z\n7;1,5;2;3\n", [[1.5, 2, 3]]),  # decimal commas
        ("x_cm,y_cm,z_cm\n1,2,3\n", [[10, 20, 30]]),
    ],
)
def test_spaces_and_units_come_back_as_they_were(tmp_path: Path, text: str, expected: list[list[float]]) -> None:
    table = read_point_rows(_rows(tmp_path, text))
    assert table.points_mm == pytest.approx(np.array(expected))
    table.moved(table.points_mm).write(tmp_path / "out.csv")
    assert read_point_rows(tmp_path / "out.csv").points_mm == pytest.approx(np.array(expected))


def test_what_is_no_table_of_points_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rows"):
        read_point_rows(_rows(tmp_path, "x,y,z\n"))
    with pytest.raises(InputError, match=r"expected columns x, y, z"):
        read_point_rows(_rows(tmp_path, "a,b,c\n1,2,3\n"))
    with pytest.raises(InputError, match="row 1 reads 4, five, 6"):
        read_point_rows(_rows(tmp_path, "x,y,z\n1,2,3\n4,five,6\n"))
    with pytest.raises(InputError, match="row 0 reads 1, nan, 3"):
        read_point_rows(_rows(tmp_path, "x,y,z\n1,nan,3\n"))
    with pytest.raises(FileError, match="cannot be read"):
        read_point_rows(tmp_path / "none.csv")
