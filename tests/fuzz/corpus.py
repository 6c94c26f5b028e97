"""One small intact file of every kind that the package reads, made by code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyvista
import SimpleITK as sitk
import trimesh
from PIL import Image
from pydicom import dcmread

from dicom_writing import Writing, write_multi_frame, write_series
from lpm.files.arrays import write_arrays
from lpm.files.meshes import write_mesh
from lpm.files.points import write_points
from lpm.files.volumes import write_volume
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.projection import turned_view
from lpm.geometry.volumes import Volume
from lpm.xray.files.views import ViewsFile, record_of, write_views

_COLUMNS = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"


@dataclass(frozen=True)
class Seed:
    """A file that is intact.

    Args:
        kind: Which reader takes it.
        path: Where it lies; what stands beside it belongs to it.
    """

    kind: str
    path: Path


def write_corpus(folder: Path) -> list[Seed]:
    """Write a file of each kind, each in a folder of its own."""
    made: list[Seed] = []
    for write in (_volumes, _dicom, _points, _meshes, _pictures, _records):
        made += write(folder / write.__name__)
    return made


def _volumes(folder: Path) -> Iterator[Seed]:
    folder.mkdir(parents=True)
    voxels = np.zeros((10, 9, 8), dtype=np.uint8)
    voxels[1:4, 2:7, 1:7], voxels[6:9, 2:7, 1:7] = 1, 2
    labels = Volume(voxels, np.diag([20.0, 20.0, 30.0, 1.0]))
    for name in ("a.nii", "b.nii.gz", "c.nrrd", "d.mha"):
        write_volume(folder / name, labels)
        yield Seed("labels", folder / name)
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
    for name in ("e.mhd", "f.nhdr"):
        own = folder / name[0]
        own.mkdir()
        sitk.WriteImage(image, str(own / name))
        yield Seed("labels", own / name)
    sitk.WriteImage(_with_segments(image), str(folder / "g.seg.nrrd"))
    yield Seed("labels", folder / "g.seg.nrrd")


def _with_segments(image: sitk.Image) -> sitk.Image:
    for number, name in enumerate(("left lung", "right lung")):
        for key, value in {"Name": name, "LabelValue": str(number + 1), "Layer": "0", "ID": f"S{number}"}.items():
            image.SetMetaData(f"Segment{number}_{key}", value)  # type: ignore[no-untyped-call]
    return image


def _dicom(folder: Path) -> Iterator[Seed]:
    write_series(folder / "series", Writing(), n=30)
    first = sorted((folder / "series").iterdir())[0]
    yield Seed("volume", first)
    (folder / "multi").mkdir()
    write_series(folder / "frames", Writing(), n=30)  # they become one file
    multi = write_multi_frame(folder / "multi", sorted((folder / "frames").iterdir()))
    yield Seed("volume", multi)
    picture = dcmread(first)
    picture.Rows, picture.Columns, picture.PixelData = 80, 80, bytes(range(128)) * 100
    picture.Modality, picture.ViewPosition, picture.BodyPartExamined = "DX", "PA", "CHEST"
    (folder / "dx").mkdir()
    picture.save_as(folder / "dx" / "x.dcm")
    yield Seed("radiograph", folder / "dx" / "x.dcm")


def _points(folder: Path) -> Iterator[Seed]:
    folder.mkdir(parents=True)
    points = np.random.default_rng(0).normal(size=(40, 3)) * 60.0
    for suffix in (".ply", ".xyz", ".csv", ".npy", ".npz"):
        write_points(folder / f"a{suffix}", points)
        yield Seed("points", folder / f"a{suffix}")
    rows = [",".join(map(str, (n, *point, 0, 0, 0, 1, 1, 1, 0, n, "", ""))) for n, point in enumerate(points)]
    texts = {
        "b.fcsv": "\n".join(["# Markups fiducial file version = 4.11", "# CoordinateSystem = LPS", _COLUMNS, *rows]),
        "c.mrk.json": json.dumps(_markups(points)),
        "d.pcd": _pcd(points),
        "e.vtk": _legacy_vtk(points),
        "f.txt": "\n".join(";".join(f"{value:.2f}".replace(".", ",") for value in point) for point in points),
    }
    for name, text in texts.items():
        (folder / name).write_text(text + "\n", encoding="utf-8")
        yield Seed("points", folder / name)


def _markups(points: np.ndarray) -> dict[str, object]:
    controls = [{"id": str(n), "position": point.tolist()} for n, point in enumerate(points)]
    return {"markups": [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": controls}]}


def _pcd(points: np.ndarray) -> str:
    header = "VERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 40\nHEIGHT 1\nPOINTS 40\nDATA ascii"
    return "\n".join([header, *(" ".join(map(str, point)) for point in points)])


def _legacy_vtk(points: np.ndarray) -> str:
    header = "# vtk DataFile Version 3.0\npoints\nASCII\nDATASET POLYDATA\nPOINTS 40 float"
    return "\n".join([header, *(" ".join(map(str, point)) for point in points)])


def _meshes(folder: Path) -> Iterator[Seed]:
    folder.mkdir(parents=True)
    balls = [trimesh.creation.icosphere(2, 60.0).apply_translation((x, 0, 0)) for x in (-80.0, 80.0)]
    both = trimesh.util.concatenate(balls)
    mesh = WorldMesh(np.asarray(both.vertices), np.asarray(both.faces))
    for suffix in (".ply", ".stl", ".obj", ".glb", ".vtp"):
        write_mesh(folder / f"a{suffix}", mesh)
        yield Seed("mesh", folder / f"a{suffix}")
    pyvista.wrap(both).save(str(folder / "b.vtk"))
    yield Seed("mesh", folder / "b.vtk")


def _pictures(folder: Path) -> Iterator[Seed]:
    folder.mkdir(parents=True)
    grey = np.random.default_rng(0).integers(0, 255, (200, 180)).astype(np.uint8)
    for name in ("a.png", "b.jpg", "c.tif"):
        Image.fromarray(grey).save(folder / name)
        yield Seed("radiograph", folder / name)
    Image.fromarray((grey > 128).astype(np.uint8) * 255).save(folder / "field.png")
    yield Seed("field", folder / "field.png")


def _records(folder: Path) -> Iterator[Seed]:
    folder.mkdir(parents=True)
    record = record_of(turned_view((40, 40), (5.0, 5.0), 0.0, np.zeros(3)), "a.png")
    write_views(folder / "views.json", ViewsFile(made_from="ct", content="attenuation", views={"frontal": record}))
    yield Seed("views", folder / "views.json")
    (folder / "split.json").write_text('{"train": ["a"], "test": ["b"]}\n', encoding="utf-8")
    yield Seed("split", folder / "split.json")
    (folder / "config.toml").write_text('seed = 3\nscale = "subject"\n[sampling]\nn_surface = 1000\n', encoding="utf-8")
    yield Seed("config", folder / "config.toml")
    write_arrays(folder / "a.npz", {name: np.ones((4, 3)) for name in ("points_mm", "normals", "structure")})
    yield Seed("arrays", folder / "a.npz")
