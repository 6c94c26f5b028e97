from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from lpm.errors import FileError, InputError, MisuseError
from lpm.files.mesh_space import Space
from lpm.files.meshes import write_mesh
from lpm.files.points import POINT_SUFFIXES, check_extent, read_points, write_points
from lpm.geometry.meshes import WorldMesh, sample_surface
from lpm.geometry.volumes import Volume
from lpm.preparation.cleaning import clean_labels
from lpm.preparation.config import MeshingConfig
from lpm.preparation.meshing import mesh_structure
from lpm.structures import DEFAULT_STRUCTURES

WRITTEN = (".ply", ".xyz", ".txt", ".csv", ".npy", ".npz")


@pytest.fixture
def cloud(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(50, 3)) * (80.0, 50.0, 90.0) + (0.0, 30.0, -400.0)


@pytest.fixture(scope="module")
def lung_points(phantom_labels: Volume) -> dict[str, np.ndarray]:
    masks = clean_labels(phantom_labels, DEFAULT_STRUCTURES, "phantom").masks
    meshes = {name: mesh_structure(mask, MeshingConfig())[0] for name, mask in masks.items()}
    rng = np.random.default_rng(0)
    return {name: sample_surface(mesh, 5000, rng=rng).points for name, mesh in meshes.items()}


@pytest.mark.parametrize("suffix", WRITTEN)
def test_round_trip(tmp_path: Path, cloud: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"points{suffix}"
    write_points(path, cloud)
    back = read_points(path)
    np.testing.assert_allclose(back.points_mm, cloud, atol=5e-5)
    assert back.structure is None
    assert list(tmp_path.iterdir()) == [path]


def test_vertices_of_a_mesh(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(subdivisions=1, radius=100.0)
    ball.export(str(tmp_path / "x.ply"))
    assert len(read_points(tmp_path / "x.ply").points_mm) == len(ball.vertices)


@pytest.mark.parametrize("suffix", [".stl", ".obj"])
@pytest.mark.parametrize("space", ["RAS", "LPS"])
def test_vertices_of_other_meshes(tmp_path: Path, suffix: str, space: Space) -> None:
    ball = trimesh.creation.icosphere(subdivisions=1, radius=100.0)
    ball.apply_translation([10.0, 20.0, 30.0])
    write_mesh(tmp_path / f"x{suffix}", WorldMesh(ball.vertices, ball.faces), space)
    points = read_points(tmp_path / f"x{suffix}").points_mm
    assert len(points) == len(ball.vertices)
    np.testing.assert_allclose(points.mean(axis=0), [10.0, 20.0, 30.0], atol=1e-3)
    other: Space = "RAS" if space == "LPS" else "LPS"
    with pytest.raises(MisuseError, match=f"{other}, and x{suffix} says {space}"):
        read_points(tmp_path / f"x{suffix}", other)


def test_a_spreadsheet_is_to_be_saved_as_text(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"unknown kind '.xlsx'; .* Try: save the sheet as .csv"):
        read_points(tmp_path / "points.xlsx")


def rows(cloud: np.ndarray, end: str = "", separator: str = ",") -> str:
    return "".join(separator.join(f"{v:.6f}" for v in p) + end + "\n" for p in cloud)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.csv", rows),
        ("x.csv", lambda c: "x,y,z\n" + rows(c)),
        ("x.csv", lambda c: "\ufeffX_mm, Y_mm ,Z_mm\n" + rows(c)),
        ("x.csv", lambda c: "x;y;z\n" + rows(c, separator=";")),
        ("x.csv", lambda c: "name,z,y,x\n" + "".join(f"p,{p[2]:.6f},{p[1]:.6f},{p[0]:.6f}\n" for p in c)),
        ("x.csv", lambda c: "r,a,s,weight\n" + rows(c, ",1")),
        ("x.xyz", lambda c: "# lungs\n\n" + rows(c, " 1 0 0", " ")),
        ("x.txt", lambda c: "x y z\n" + rows(c, separator="\t")),
        ("x.txt", lambda c: rows(c, separator=", ")),
    ],
)
def test_text_in_many_manners(tmp_path: Path, cloud: np.ndarray, name: str, text: object) -> None:
    (tmp_path / name).write_text(text(cloud), encoding="utf-8")  # type: ignore[operator]
    np.testing.assert_allclose(read_points(tmp_path / name).points_mm, cloud, atol=1e-5)


@pytest.mark.parametrize("column", ["side", "structure", "Side"])
@pytest.mark.parametrize("words", [("left", "right"), ("left_lung", "right_lung"), ("L", " r"), ("Left", "RIGHT_LUNG")])
def test_sides_are_named(tmp_path: Path, cloud: np.ndarray, column: str, words: tuple[str, str]) -> None:
    lines = [f"{words[i % 2]},{p[0]},{p[1]},{p[2]}" for i, p in enumerate(cloud)]
    (tmp_path / "x.csv").write_text("\n".join([f"{column},x,y,z", *lines]))
    read = read_points(tmp_path / "x.csv")
    assert read.structure is not None
    assert read.structure.tolist() == [words[0].strip(), words[1].strip()] * 25
    np.testing.assert_array_equal(read.points_mm, cloud)


@pytest.mark.parametrize("names", [("points_mm", "normals"), ("points", "other"), ("only",)])
def test_arrays_of_an_npz(tmp_path: Path, cloud: np.ndarray, names: tuple[str, ...]) -> None:
    np.savez(tmp_path / "x.npz", **dict(zip(names, (cloud, np.zeros(3)), strict=False)))
    np.testing.assert_array_equal(read_points(tmp_path / "x.npz").points_mm, cloud)


def test_an_npz_without_a_clear_choice(tmp_path: Path, cloud: np.ndarray) -> None:
    np.savez(tmp_path / "x.npz", a=cloud, b=cloud)
    with pytest.raises(FileError, match=r"holds \['a', 'b'\]; expected an array points_mm or points"):
        read_points(tmp_path / "x.npz")


def test_missing_and_unknown(tmp_path: Path, cloud: np.ndarray) -> None:
    with pytest.raises(FileError, match=r"x.ply: no such file; expected points \(.ply, .xyz"):
        read_points(tmp_path / "x.ply")
    with pytest.raises(FileError, match=r"unknown kind '.las'; expected one of .ply, .xyz"):
        read_points(tmp_path / "x.las")
    with pytest.raises(FileError, match=r"unknown kind ''"):
        write_points(tmp_path / "x", cloud)


@pytest.mark.parametrize("suffix", POINT_SUFFIXES)
def test_garbage(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"x{suffix}").write_bytes(b"\x00\x01garbage\xff" * 50)
    with pytest.raises(FileError, match=r"cannot be read as (points|a mesh) .* expected an intact"):
        read_points(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("suffix", [".ply", ".npy", ".npz"])
def test_truncated(tmp_path: Path, cloud: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    write_points(path, cloud)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(FileError, match="cannot be read as points"):
        read_points(path)


def test_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    objects = np.array([[object()] * 3] * 20)
    np.save(tmp_path / "x.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "x.npz", points=objects)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(FileError, match="it holds Python objects, not numbers"):
            read_points(tmp_path / name)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("array", [np.zeros((20, 2)), np.zeros(30), np.zeros((20, 3, 1))])
def test_other_shapes(tmp_path: Path, suffix: str, array: np.ndarray) -> None:
    (np.save if suffix == ".npy" else np.savez)(tmp_path / f"x{suffix}", array)
    with pytest.raises(InputError, match=r"x.np.: shape .* expected \(n, 3\)"):
        read_points(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("name", ["x.csv", "x.xyz"])
def test_nan_in_text(tmp_path: Path, cloud: np.ndarray, name: str) -> None:
    (tmp_path / name).write_text(rows(cloud) + "nan,1,2\n")
    with pytest.raises(InputError, match="1 of 51 points are NaN or infinite"):
        read_points(tmp_path / name)


def test_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="NaN or infinite"):
        write_points(tmp_path / "x.ply", np.full((10, 3), np.nan))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", WRITTEN)
def test_fewer_than_ten(tmp_path: Path, cloud: np.ndarray, suffix: str) -> None:
    write_points(tmp_path / f"x{suffix}", cloud[:9])
    with pytest.raises(InputError, match="9 points; expected at least 10"):
        read_points(tmp_path / f"x{suffix}")


def test_an_empty_csv(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("\n\n")
    with pytest.raises(InputError, match="no rows; expected at least 10 points"):
        read_points(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("x.xyz", "1,2", "point 51 has 2 values; expected at least 3"),
        ("x.xyz", "1,2,three", "point 51 reads '1 2 three'; expected three numbers"),
        ("x.csv", "1,2", "point 51 has 2 values; expected at least 3"),
        ("x.csv", "1,2,x", "point 51 reads '1 2 x'; expected three numbers"),
    ],
)
def test_lines_that_are_no_points_are_named(
    tmp_path: Path, cloud: np.ndarray, name: str, line: str, message: str
) -> None:
    (tmp_path / name).write_text(rows(cloud) + line + "\n")
    with pytest.raises(InputError, match=message):
        read_points(tmp_path / name)


def test_columns_without_names_beside_a_side(tmp_path: Path, cloud: np.ndarray) -> None:
    (tmp_path / "x.csv").write_text("side,a,b,c\n" + "".join(f"left,{p[0]},{p[1]},{p[2]}\n" for p in cloud))
    with pytest.raises(InputError, match=r"columns \['side', 'a', 'b', 'c'\]; expected columns x, y, z"):
        read_points(tmp_path / "x.csv")


def test_an_existing_file_survives_a_full_disk(
    tmp_path: Path, cloud: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.csv"
    write_points(path, cloud)
    before = path.read_bytes()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savetxt", refuse)
    with pytest.raises(FileError, match="No space left on device"):
        write_points(path, cloud + 1)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("which", ["left_lung", "right_lung", "both"])
@pytest.mark.parametrize(
    ("factor", "unit"), [(0.001, "1000, they look like metres"), (0.1, "10, they look like centimetres")]
)
def test_other_units_are_named(lung_points: dict[str, np.ndarray], which: str, factor: float, unit: str) -> None:
    points = np.concatenate(list(lung_points.values())) if which == "both" else lung_points[which]
    check_extent(points, "cloud")
    with pytest.raises(InputError, match=f"cloud: points extend over .* shapes. Try: multiply by {unit}"):
        check_extent(points[::25] * factor, "cloud")


def test_another_organ_has_another_size(lung_points: dict[str, np.ndarray]) -> None:
    small = 0.08 * lung_points["left_lung"]
    with pytest.raises(InputError, match=r"expected 150 to 700 mm for the model's shapes. Try: multiply by 10"):
        check_extent(small, "cloud")
    check_extent(small, "cloud", whole_mm=40.0)
    with pytest.raises(InputError, match=r"expected 12 to 56 mm for the model's shapes. Try: multiply by 0.001"):
        check_extent(1000.0 * small, "cloud", whole_mm=40.0)


def test_microns_are_named(lung_points: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match=r"multiply by 0.001, they look like microns"):
        check_extent(lung_points["left_lung"] * 1000, "cloud")


def test_an_extent_of_no_unit(lung_points: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match="give the points in millimetres"):
        check_extent(lung_points["left_lung"] * 10, "cloud")


def test_no_points_have_no_extent() -> None:
    with pytest.raises(InputError, match="cloud: no points; expected at least 10"):
        check_extent(np.zeros((0, 3)), "cloud")


@given(index=st.integers(0, 4999), radius_mm=st.floats(25, 80))
def test_a_part_of_a_lung_passes(lung_points: dict[str, np.ndarray], index: int, radius_mm: float) -> None:
    points = lung_points["right_lung"]
    part = points[np.linalg.norm(points - points[index], axis=1) < radius_mm]
    if len(part) >= 10 and np.linalg.norm(np.ptp(part, axis=0)) >= 30:
        check_extent(part, "cloud")


def test_a_flat_contour_passes() -> None:
    angle = np.linspace(0, 6, 60)
    check_extent(np.stack([20 * np.cos(angle), 20 * np.sin(angle), 0 * angle], axis=1), "cloud")


def test_columns_that_say_lps_are_turned(tmp_path: Path, cloud: np.ndarray) -> None:
    lines = [f"{-p[0]:.6f},{-p[1]:.6f},{p[2]:.6f}" for p in cloud]
    (tmp_path / "x.csv").write_text("\n".join(["L,P,S", *lines]))
    np.testing.assert_allclose(read_points(tmp_path / "x.csv").points_mm, cloud, atol=1e-5)


def test_more_columns_than_three_need_names(tmp_path: Path, cloud: np.ndarray) -> None:
    (tmp_path / "x.csv").write_text("".join(f"{i},{p[0]},{p[1]},{p[2]}\n" for i, p in enumerate(cloud)))
    with pytest.raises(InputError, match=r"4 columns without a header; expected columns x, y, z"):
        read_points(tmp_path / "x.csv")


@pytest.mark.parametrize("n", [1, 20])
def test_a_few_points_far_away_are_no_other_unit(lung_points: dict[str, np.ndarray], n: int) -> None:
    stray = np.tile([10_000.0, 0.0, 0.0], (n, 1))
    points = np.vstack([lung_points["left_lung"][::10], stray])
    given = rf"cloud: {n} of {500 + n} points lie far from all others, the first at 10000, 0, 0 \(point 501\)"
    with pytest.raises(InputError, match=given) as caught:
        check_extent(points, "cloud")
    kept = eval(caught.value.hint.removeprefix("leave them out: "), {"np": np, "points": points})  # noqa: S307
    np.testing.assert_array_equal(kept, points[:500])
    with pytest.raises(InputError, match=r"multiply by 1000, they look like metres"):
        check_extent(points / 1000.0, "cloud")


def test_records_with_named_fields(tmp_path: Path, cloud: np.ndarray) -> None:
    records = np.zeros(len(cloud), [("intensity", "f4"), ("z", "f8"), ("y", "f8"), ("x", "f8")])
    for axis, values in zip("xyz", cloud.T, strict=True):
        records[axis] = values
    np.save(tmp_path / "x.npy", records)
    np.testing.assert_array_equal(read_points(tmp_path / "x.npy").points_mm, cloud)


def test_inches_are_named_beside_centimetres(lung_points: dict[str, np.ndarray]) -> None:
    both = np.concatenate(list(lung_points.values()))
    with pytest.raises(InputError, match=r"multiply by 25.4, they look like inches"):
        check_extent(both / 25.4, "cloud")
    with pytest.raises(InputError, match=r"multiply by 100, they look like decimetres"):
        check_extent(both / 100.0, "cloud")


@pytest.mark.parametrize(("unit", "factor"), [("in", 25.4), ("inch", 25.4), ("dm", 100.0)])
def test_units_in_the_names_of_columns(tmp_path: Path, cloud: np.ndarray, unit: str, factor: float) -> None:
    header = ",".join(f"{axis} [{unit}]" for axis in "xyz")
    np.savetxt(tmp_path / "x.csv", cloud / factor, delimiter=",", header=header, comments="")
    found = read_points(tmp_path / "x.csv")
    np.testing.assert_allclose(found.points_mm, cloud, atol=1e-9)
    assert found.notes == (f"coordinates are in {unit}, by their columns' names, and were taken to mm",)


def test_a_unit_that_is_no_length(tmp_path: Path, cloud: np.ndarray) -> None:
    np.savetxt(tmp_path / "x.csv", cloud, delimiter=",", header="x [px],y [px],z [px]", comments="")
    with pytest.raises(InputError, match=r"coordinates in px, by their columns' names; expected one of mm, cm"):
        read_points(tmp_path / "x.csv")


def test_minus_signs_of_typeset_text(tmp_path: Path, cloud: np.ndarray) -> None:
    text = "".join(f"{x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in cloud).replace("-", "\u2212")
    (tmp_path / "x.xyz").write_text(text, encoding="utf-8")
    np.testing.assert_allclose(read_points(tmp_path / "x.xyz").points_mm, cloud, atol=1e-5)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark(tmp_path: Path, cloud: np.ndarray, encoding: str) -> None:
    text = "x,y,z\n" + "".join(f"{x:.6f},{y:.6f},{z:.6f}\n" for x, y, z in cloud)
    (tmp_path / "x.csv").write_bytes(text.encode(encoding))
    np.testing.assert_allclose(read_points(tmp_path / "x.csv").points_mm, cloud, atol=1e-5)


@pytest.mark.parametrize("number", ["-5.379,00", "-5'379.00", "-5\u202f379,00"])
def test_marks_between_thousands(tmp_path: Path, number: str) -> None:
    (tmp_path / "x.csv").write_text("x;y;z\n" + f"{number};{number};{number}\n" * 12, encoding="utf-8")
    with pytest.raises(InputError, match=r"marks between thousands\?; .* Try: save it without such marks"):
        read_points(tmp_path / "x.csv")


def test_all_numbers_in_one_line(tmp_path: Path, cloud: np.ndarray) -> None:
    (tmp_path / "x.txt").write_text(" ".join(f"{value:.6f}" for value in cloud.ravel()))
    with pytest.raises(InputError, match=r"1 lines of .* numbers; expected a line for each point") as caught:
        read_points(tmp_path / "x.txt")
    points = np.loadtxt(tmp_path / "x.txt")
    eval(caught.value.hint.split(": ")[1], {"np": np, "name": tmp_path / "y.txt", "points": points})  # noqa: S307
    np.testing.assert_allclose(read_points(tmp_path / "y.txt").points_mm, cloud, atol=1e-5)


def test_an_unknown_separator(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x|y|z\n" + "1.5|2.5|3.5\n" * 12)
    with pytest.raises(InputError, match=r"at least 3\. Try: part them with commas, semicolons, tabs or blanks"):
        read_points(tmp_path / "x.csv")
