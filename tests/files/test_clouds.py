"""Points of 3D Slicer, the Point Cloud Library and VTK."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lpm.errors import FileError, InputError
from lpm.files.points import read_points

LPS = np.array([-1.0, -1.0, 1.0])


@pytest.fixture
def cloud(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(40, 3)) * (80.0, 50.0, 90.0) + (0.0, 30.0, -400.0)


@pytest.mark.parametrize(("space", "turn"), [("LPS", LPS), ("RAS", 1.0), ("1", LPS), ("0", 1.0)])
@pytest.mark.parametrize("name", ["x.fcsv", "renamed.csv"])
@pytest.mark.parametrize(
    "columns", ["id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID", "label,x,y,z,sel,vis"]
)
def test_fiducials(tmp_path: Path, cloud: np.ndarray, name: str, space: str, turn: Any, columns: str) -> None:
    head = f"# Markups fiducial file version = 4.11\n# CoordinateSystem = {space}\n# columns = {columns}\n"
    ends = "".join(",0" for _ in columns.split(",")[4:])
    (tmp_path / name).write_text(head + "".join(f"F,{x:.4f},{y:.4f},{z:.4f}{ends}\n" for x, y, z in cloud * turn))
    np.testing.assert_allclose(read_points(tmp_path / name).points_mm, cloud, atol=1e-4)


def test_fiducials_in_voxels_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.fcsv").write_text("# CoordinateSystem = 2\n# columns = id,x,y,z\n" + "F,1.0,2.0,3.0\n" * 20)
    with pytest.raises(InputError, match=r"voxel indices \(IJK\); expected mm in RAS or LPS"):
        read_points(tmp_path / "x.fcsv")


def markups(points: np.ndarray, **other: Any) -> dict[str, Any]:
    placed = [{"id": str(i), "position": p.tolist(), "positionStatus": "defined"} for i, p in enumerate(points)]
    return {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": placed, **other}


def write_markups(path: Path, *each: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"@schema": "markups-schema-v1.0.3.json", "markups": each}))
    return path


def test_control_points_of_all_markups(tmp_path: Path, cloud: np.ndarray) -> None:
    unplaced = markups(cloud[:25] * LPS)
    unplaced["controlPoints"] += [{"positionStatus": "undefined", "position": [0, 0, 0]}, {"positionStatus": "preview"}]
    path = write_markups(tmp_path / "x.mrk.json", unplaced, markups(cloud[25:], coordinateSystem="RAS", type="Curve"))
    read = read_points(path)
    np.testing.assert_allclose(read.points_mm, cloud)
    assert read.notes == ("2 control points without a position were left out",)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"type": "Plane"}, "a markup of type Plane; expected point lists or curves"),
        ({"coordinateSystem": "IJK"}, "coordinates in IJK mm; expected LPS or RAS, mm"),
        ({"coordinateUnits": ["cm", "UCUM", "centimeter"]}, "coordinates in LPS cm"),
    ],
)
def test_other_markups_are_refused(tmp_path: Path, cloud: np.ndarray, other: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_points(write_markups(tmp_path / "x.mrk.json", markups(cloud, **other)))


def test_other_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"points": []}')
    with pytest.raises(FileError, match="JSON without markups"):
        read_points(tmp_path / "x.json")


def pcd(cloud: np.ndarray, kind: str, n: int | None = None) -> bytes:
    """Fields of several kinds, x, y, z not first."""
    header = (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS rgb x y z _ normal\nSIZE 4 8 4 4 1 4\nTYPE U F F F U F\nCOUNT 1 1 1 1 3 3\n"
    )
    header += f"WIDTH {len(cloud)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {n or len(cloud)}\nDATA {kind}\n"
    if kind == "ascii":
        return (header + "".join(f"7 {x:.5f} {y:.5f} {z:.5f} 0 0 0 1 0 0\n" for x, y, z in cloud)).encode()
    fields = [("rgb", "<u4"), ("x", "<f8"), ("y", "<f4"), ("z", "<f4"), ("pad", "u1", 3), ("normal", "<f4", 3)]
    records = np.zeros(len(cloud), fields)
    for axis, values in zip("xyz", cloud.T, strict=True):
        records[axis] = values
    return header.encode() + records.tobytes()


@pytest.mark.parametrize("kind", ["ascii", "binary"])
def test_pcd(tmp_path: Path, cloud: np.ndarray, kind: str) -> None:
    unseen = np.vstack([cloud[:10], np.full((3, 3), np.nan), cloud[10:]])
    (tmp_path / "x.pcd").write_bytes(pcd(unseen, kind))
    read = read_points(tmp_path / "x.pcd")
    np.testing.assert_allclose(read.points_mm, cloud, atol=1e-4)
    assert read.notes == ("3 points that are NaN were left out",)


@pytest.mark.parametrize("kind", ["ascii", "binary"])
def test_a_pcd_that_announces_more_than_it_holds(tmp_path: Path, cloud: np.ndarray, kind: str) -> None:
    (tmp_path / "x.pcd").write_bytes(pcd(cloud, kind, n=10**12))
    with pytest.raises(FileError, match=r"of \d+ (points|bytes); expected an intact file"):
        read_points(tmp_path / "x.pcd")


def test_a_compressed_pcd_is_refused(tmp_path: Path, cloud: np.ndarray) -> None:
    (tmp_path / "x.pcd").write_bytes(pcd(cloud, "binary").replace(b"DATA binary", b"DATA binary_compressed"))
    with pytest.raises(FileError, match="DATA binary_compressed; expected ascii or binary"):
        read_points(tmp_path / "x.pcd")


def vtk(cloud: np.ndarray, kind: str, title: str = "x", n: int | None = None) -> bytes:
    head = f"# vtk DataFile Version 4.2\n{title}\n{kind}\nDATASET POLYDATA\nPOINTS {n or len(cloud)} float\n".encode()
    if kind == "ASCII":
        return head + "".join(f"{x:.4f} {y:.4f} {z:.4f} " for x, y, z in cloud).encode() + b"\n"
    return head + cloud.astype(">f4").tobytes() + b"\n"


@pytest.mark.parametrize("kind", ["ASCII", "BINARY"])
@pytest.mark.parametrize(("title", "turn"), [("vtk output", 1.0), ("3D Slicer output. SPACE=LPS", LPS)])
def test_points_of_vtk(tmp_path: Path, cloud: np.ndarray, kind: str, title: str, turn: Any) -> None:
    (tmp_path / "x.vtk").write_bytes(vtk(cloud * turn, kind, title))
    np.testing.assert_allclose(read_points(tmp_path / "x.vtk").points_mm, cloud, atol=1e-4)


@pytest.mark.parametrize("kind", ["ASCII", "BINARY"])
def test_a_vtk_that_announces_more_than_it_holds(tmp_path: Path, cloud: np.ndarray, kind: str) -> None:
    (tmp_path / "x.vtk").write_bytes(vtk(cloud, kind, n=10**12))
    with pytest.raises(FileError, match=r"of \d+ (numbers|bytes); expected an intact file"):
        read_points(tmp_path / "x.vtk")


def test_a_vtk_image_is_refused(tmp_path: Path, cloud: np.ndarray) -> None:
    (tmp_path / "x.vtk").write_bytes(vtk(cloud, "ASCII").replace(b"POLYDATA", b"STRUCTURED_POINTS"))
    with pytest.raises(FileError, match="a data set STRUCTURED_POINTS; expected one of POLYDATA"):
        read_points(tmp_path / "x.vtk")
