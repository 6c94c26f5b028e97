"""Tables of points as spreadsheets and programs write them: right, or refused with what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lpm.errors import InputError, MisuseError
from lpm.files.points import read_points

Text = Callable[[np.ndarray], str]


@pytest.fixture
def cloud(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(40, 3)) * (80.0, 50.0, 90.0) + (0.0, 30.0, -400.0)


def rows(cloud: np.ndarray, separator: str, digits: int = 2, comma: bool = False, quote: str = "") -> str:
    def cell(value: float) -> str:
        return quote + f"{value:.{digits}f}".replace(".", "," if comma else ".") + quote

    return "".join(separator.join(cell(value) for value in point) + "\n" for point in cloud)


@pytest.mark.parametrize("digits", [1, 2, 3, 6])
@pytest.mark.parametrize(
    ("name", "head", "separator", "quote"),
    [
        ("x.xyz", "", " ", ""),
        ("x.txt", "", "\t", ""),
        ("x.xyz", "", ";", ""),
        ("x.csv", "x;y;z\n", ";", ""),
        ("x.csv", "sep=;\nX;Y;Z\n", ";", ""),
        ("x.csv", "x\ty\tz\n", "\t", ""),
        ("x.csv", "x, y, z\n", ", ", ""),
        ("x.csv", "x,y,z\n", ",", '"'),
        ("x.txt", "", "  ", '"'),
    ],
)
def test_decimal_commas_where_something_else_separates(
    tmp_path: Path, cloud: np.ndarray, name: str, head: str, separator: str, quote: str, digits: int
) -> None:
    (tmp_path / name).write_text(head + rows(cloud, separator, digits, comma=True, quote=quote))
    read = read_points(tmp_path / name)
    np.testing.assert_allclose(read.points_mm, cloud, atol=0.51 * 10.0**-digits)
    assert read.notes == ("decimal commas were read",)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_excel_in_german_and_french(tmp_path: Path, cloud: np.ndarray, encoding: str) -> None:
    text = "Côté;x;y;z\r\n" + "".join(f"droit;{row}\r\n" for row in rows(cloud, ";", comma=True).splitlines())
    (tmp_path / "x.csv").write_bytes(text.encode(encoding))
    np.testing.assert_allclose(read_points(tmp_path / "x.csv").points_mm, cloud, atol=0.006)


@pytest.mark.parametrize("digits", [1, 2, 3])
@pytest.mark.parametrize("name", ["x.csv", "x.xyz", "x.txt"])
@pytest.mark.parametrize(("head", "label"), [("", ""), ("x,y,z\n", ""), ("name,x,y,z\n", "a,")])
def test_commas_that_separate_and_are_decimal_are_refused(
    tmp_path: Path, cloud: np.ndarray, name: str, head: str, label: str, digits: int
) -> None:
    lines = rows(cloud, ",", digits, comma=True).splitlines()
    (tmp_path / name).write_text(head + "".join(f"{label}{line}\n" for line in lines))
    with pytest.raises(InputError, match=r"cells: decimal commas\?; expected . cells. Try: save it with ; or tabs"):
        read_points(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            lambda c: "x,y,z\n" + "".join(f"{p[0]:.2f},{p[1]:.2f},{p[2]:.2f},7\n" for p in c),
            "has 4 cells under 3 names",
        ),
        (lambda c: "x;y;z\n1,5;2.5;3\n" + rows(c, ";"), r"decimal commas \(1,5\) beside decimal points \(2.5\)"),
        (lambda c: "x;y;z\n" + "-63,917;38,802;-147,500\n917;38,802;12\n" * 9, "or commas between thousands"),
        (lambda c: "x;y;z\n" + "1.234,5;2;3\n" * 20, "point 1 reads '1.234,5 2 3'"),
        (lambda c: "x;y;z\n" + "1_0;2;3\n" * 20, "point 1 reads '1_0 2 3'"),
        (lambda c: "i,j,k\n" + rows(abs(c), ",", 0), "voxel indices; expected columns x, y, z in mm"),
        (lambda c: rows(c.T, ","), r"3 lines of 40 numbers.*np.savetxt\(name, points.T\)"),
        (lambda c: "x,y,x\n" + rows(c, ",") + "", "expected columns x, y, z"),
        (
            lambda c: "px,py,pz,x_pos,y_pos,z_pos\n" + rows(np.c_[c, c], ","),
            "Try: rename the columns of the coordinates",
        ),
        (lambda c: "east,north,up,id\n" + rows(np.c_[c, c[:, :1]], ","), "Try: rename the columns of the coordinates"),
        (lambda c: "x_vox,y_vox,z_vox,id\n" + rows(np.c_[c, c[:, :1]], ","), "Try: rename the columns"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(tmp_path: Path, cloud: np.ndarray, text: Text, message: str) -> None:
    (tmp_path / "x.csv").write_text(text(cloud))
    with pytest.raises(InputError, match=message):
        read_points(tmp_path / "x.csv")


@pytest.mark.parametrize("separator", [" ", "\t", ","])
def test_transposed_text(tmp_path: Path, cloud: np.ndarray, separator: str) -> None:
    (tmp_path / "x.txt").write_text(rows(cloud.T, separator))
    with pytest.raises(InputError, match=r"3 lines of 40 numbers; expected a line for each point. Try: transpose it"):
        read_points(tmp_path / "x.txt")


@pytest.mark.parametrize("name", ["x.xyz", "x.txt"])
def test_points_with_a_number_before_them_are_refused(tmp_path: Path, cloud: np.ndarray, name: str) -> None:
    (tmp_path / name).write_text("".join(f"{i} {p[0]:.2f} {p[1]:.2f} {p[2]:.2f}\n" for i, p in enumerate(cloud)))
    with pytest.raises(InputError, match=r"whole numbers in the first column.*Try: name the columns"):
        read_points(tmp_path / name)
    (tmp_path / name).write_text("n x y z\n" + (tmp_path / name).read_text())
    np.testing.assert_allclose(read_points(tmp_path / name).points_mm, cloud, atol=0.006)


@pytest.mark.parametrize(
    ("name", "text", "note"),
    [
        (
            "x.csv",
            lambda c: '"Normals:0","Points:0","Points:1","Points:2"\n' + "0," + rows(c, ",")[:-1].replace("\n", "\n0,"),
            "",
        ),
        ("x.csv", lambda c: "0,1,2\n" + rows(c, ","), ""),
        ("x.csv", lambda c: "x_m,y_m,z_m\n" + rows(c / 1000.0, ",", 6), "coordinates are in m"),
        ("x.csv", lambda c: "x (cm);y (cm);z (cm)\n" + rows(c / 10.0, ";", 4), "coordinates are in cm"),
        ("x.csv", lambda c: "# LPS\nx,y,z\n" + rows(c * (-1, -1, 1), ","), "coordinates are LPS, as a comment says"),
        ("x.csv", lambda c: "one,two,three\n" + rows(c, ","), "columns one, two, three were taken as x, y, z"),
        ("x.csv", lambda c: "px,py,pz\n" + rows(c, ","), "columns px, py, pz were taken as x, y, z"),
        ("x.csv", lambda c: "X_coord;Y_coord;Z_coord;area\n" + rows(c, ";").replace("\n", ";7\n"), "as x, y, z"),
        ("x.csv", lambda c: "Position X,Position Y,Position Z\n" + rows(c, ","), "as x, y, z"),
        (
            "x.csv",
            lambda c: "vertex_x [cm],vertex_y [cm],vertex_z [cm]\n" + rows(c / 10.0, ",", 4),
            "coordinates are in cm",
        ),
        ("x.csv", lambda c: "# from LPS to RAS\n" + rows(c, ","), "comments name both RAS and LPS"),
        ("x.txt", lambda c: "//Z Y X\n" + rows(c[:, ::-1], " "), ""),
        ("x.txt", lambda c: "# z,y,x\n" + rows(c[:, ::-1], ","), ""),
        ("x.xyz", lambda c: rows(c, " ").replace("\n", " 128 0\n"), "columns after the third were left out"),
        ("x.xyz", lambda c: "40\n" + rows(c, " "), ""),
    ],
)
def test_other_manners(tmp_path: Path, cloud: np.ndarray, name: str, text: Text, note: str) -> None:
    (tmp_path / name).write_text(text(cloud))
    read = read_points(tmp_path / name)
    np.testing.assert_allclose(read.points_mm, cloud, atol=0.006)
    assert bool(read.notes) == bool(note)
    assert note in "".join(read.notes)


def test_a_space_that_the_caller_knows(tmp_path: Path, cloud: np.ndarray) -> None:
    (tmp_path / "x.csv").write_text("x,y,z\n" + rows(cloud * (-1, -1, 1), ","))
    np.testing.assert_allclose(read_points(tmp_path / "x.csv", "LPS").points_mm, cloud, atol=0.006)
    (tmp_path / "x.csv").write_text("l,p,s\n" + rows(cloud * (-1, -1, 1), ","))
    np.testing.assert_allclose(read_points(tmp_path / "x.csv", "LPS").points_mm, cloud, atol=0.006)
    with pytest.raises(MisuseError, match=r"points_space: RAS, and x.csv says LPS; .* Try: leave it out"):
        read_points(tmp_path / "x.csv", "RAS")


@pytest.mark.parametrize(
    ("head", "order", "space"),
    [
        ("x_lps;y_lps;z_lps", (0, 1, 2), "LPS"),
        ("X (LPS);Y (LPS);Z (LPS)", (0, 1, 2), "LPS"),
        ("lps_x;lps_y;lps_z", (0, 1, 2), "LPS"),
        ("x_ras [mm];y_ras [mm];z_ras [mm]", (0, 1, 2), "RAS"),
        ("Links;Hinten;Oben", (0, 1, 2), "LPS"),
        ("Vorne;Rechts;Oben", (1, 0, 2), "RAS"),
        ("Z-Koordinate;Y-Koordinate;X-Koordinate", (2, 1, 0), "RAS"),
        ("Coordonnée Z (mm);Coordonnée Y (mm);Coordonnée X (mm)", (2, 1, 0), "RAS"),
        ("valeur z;valeur y;valeur x", (2, 1, 0), "RAS"),
    ],
)
def test_columns_that_name_their_axis_or_space_in_other_words(
    tmp_path: Path, cloud: np.ndarray, head: str, order: tuple[int, ...], space: str
) -> None:
    written = cloud * (-1.0, -1.0, 1.0) if space == "LPS" else cloud
    (tmp_path / "x.csv").write_text(f"{head}\n" + rows(written[:, np.argsort(order)], ";"), encoding="utf-8")
    read = read_points(tmp_path / "x.csv")
    np.testing.assert_allclose(read.points_mm, cloud, atol=0.006)
    is_worded = not any(each in head for each in ("lps", "LPS", "ras"))
    assert [note.startswith("columns") for note in read.notes] == [True] * is_worded


def test_other_code_pages_of_names_do_not_hide_the_numbers(tmp_path: Path, cloud: np.ndarray) -> None:
    (tmp_path / "x.csv").write_bytes(
        ("点,x,y,z\n" + "".join(f"1,{row}\n" for row in rows(cloud, ",").split())).encode("cp932")
    )
    np.testing.assert_allclose(read_points(tmp_path / "x.csv").points_mm, cloud, atol=0.006)
