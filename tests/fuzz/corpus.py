"""One small intact file of every kind that the package reads, made by code."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np
import pyvista
import SimpleITK as sitk
import trimesh
from PIL import Image
from pydicom import dcmread
from pydicom.uid import RLELossless

import lpm
from dicom_writing import Writing, write_multi_frame, write_series
from lpm.files.arrays import write_arrays
from lpm.files.dicom.writing.algorithm import segmenting
from lpm.files.dicom.writing.results import DicomFiles, FoundLungs
from lpm.files.meshes import write_mesh
from lpm.files.points import write_points
from lpm.files.scans import read_scan
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
        path: Where it lies.
        has_others: Whether what stands beside it belongs to it.
    """

    kind: str
    path: Path
    has_others: bool = False


def write_corpus(folder: Path) -> list[Seed]:
    """Write a file of each kind, each in a folder of its own."""
    made: list[Seed] = []
    for write in (_volumes, _dicom, _masks, _points, _meshes, _pictures, _records, _models):
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
        yield Seed("labels", own / name, has_others=True)
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
    yield Seed("volume", first, has_others=True)
    (folder / "multi").mkdir()
    write_series(folder / "frames", Writing(), n=30)  # they become one file
    multi = write_multi_frame(folder / "multi", sorted((folder / "frames").iterdir()))
    yield Seed("volume", multi)
    with zipfile.ZipFile(folder / "series.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((folder / "series").iterdir()):
            archive.write(path, path.name)
    yield Seed("volume", folder / "series.zip")
    (folder / "rle").mkdir()
    write_series(folder / "rle" / "series", Writing(compressed=True), n=30)
    yield Seed("volume", sorted((folder / "rle" / "series").iterdir())[0], has_others=True)
    picture = dcmread(first)
    picture.Rows, picture.Columns, picture.PixelData = 80, 80, bytes(range(128)) * 100
    picture.Modality, picture.ViewPosition, picture.BodyPartExamined = "DX", "PA", "CHEST"
    (folder / "dx").mkdir()
    picture.save_as(folder / "dx" / "x.dcm")
    yield Seed("radiograph", folder / "dx" / "x.dcm")


def _masks(folder: Path) -> Iterator[Seed]:
    """A DICOM SEG, also as others write it, and an RTSTRUCT, beside the series that they were drawn on."""
    series = folder / "series"
    write_series(series, Writing(), n=30)
    scan = read_scan(series).volume
    voxels = np.zeros(scan.voxels.shape, dtype=np.uint8)
    voxels[9:15, 2:10, 4:25], voxels[0:6, 3:9, 6:28] = 1, 2
    ball = trimesh.creation.icosphere(1, 60.0)
    meshes = dict.fromkeys(("left_lung", "right_lung"), WorldMesh(np.asarray(ball.vertices), np.asarray(ball.faces)))
    files = DicomFiles(folder / "seg.dcm", folder / "rs.dcm")
    found = files.source(series)
    if found is not None:
        lungs = FoundLungs(scan.with_voxels(voxels), {1: "left_lung", 2: "right_lung"}, meshes)
        files.write(lungs, found, segmenting("thresholds"))
    write_packed(folder / "rle.dcm", sorted(series.iterdir()), voxels)
    for name in ("seg.dcm", "rs.dcm", "rle.dcm"):
        own = folder / name[:-4]
        shutil.copytree(series, own)
        shutil.copy(folder / name, own / name)
        yield Seed("labels", own / name, has_others=True)


def write_packed(path: Path, series: Sequence[Path], voxels: np.ndarray) -> None:
    """Write a fractional SEG with compressed frames, as another program does."""
    images = [dcmread(each) for each in series]
    for image in images:
        image.PatientBirthDate = image.PatientSex = image.AccessionNumber = image.StudyID = ""
        image.StudyDate = image.StudyTime = image.ReferringPhysicianName = ""
    coded, uid = highdicom.sr.CodedConcept, highdicom.UID
    segments = [
        highdicom.seg.SegmentDescription(
            n, name, coded("123037004", "SCT", "Anatomical Structure"), coded("39607008", "SCT", "Lung"), "MANUAL"
        )
        for n, name in enumerate(("Left lung", "Right lung"), start=1)
    ]
    values = np.stack([voxels == 1, voxels == 2], axis=-1).transpose(2, 1, 0, 3).astype(np.float32)
    kind = "FRACTIONAL"
    found = highdicom.seg.Segmentation(
        images, values, kind, segments, uid(), 9, uid(), 1, "m", "m", "1", "1", transfer_syntax_uid=RLELossless
    )
    found.save_as(path)


def _points(folder: Path) -> Iterator[Seed]:
    folder.mkdir(parents=True)
    points = np.random.default_rng(0).normal(size=(40, 3)) * 60.0
    for suffix in (".ply", ".xyz", ".csv", ".npy", ".npz"):
        write_points(folder / f"a{suffix}", points)
        yield Seed("points", folder / f"a{suffix}")
    np.savez_compressed(folder / "b.npz", points_mm=points)
    yield Seed("points", folder / "b.npz")
    (folder / "b.pcd").write_bytes(
        _pcd(points).partition("ascii")[0].encode() + b"binary\n" + points.astype("<f4").tobytes()
    )
    yield Seed("points", folder / "b.pcd")
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
    for name, is_binary in (("b.vtk", True), ("c.vtk", False), ("b.vtp", False), ("d.stl", False)):
        pyvista.wrap(both).save(str(folder / name), binary=is_binary)
        yield Seed("mesh", folder / name)


def _pictures(folder: Path) -> Iterator[Seed]:
    folder.mkdir(parents=True)
    grey = np.random.default_rng(0).integers(0, 255, (200, 180)).astype(np.uint8)
    for name in ("a.png", "b.jpg", "c.tif"):
        Image.fromarray(grey).save(folder / name)
        yield Seed("radiograph", folder / name)
    Image.fromarray((grey > 128).astype(np.uint8) * 255).save(folder / "field.png")
    yield Seed("field", folder / "field.png")


def _models(folder: Path) -> Iterator[Seed]:
    """The bundled model and the reader of radiographs: each of their files, beside the other."""
    for kind, name in (("bundle", "lungs-v1"), ("reader", "xray-v1")):
        for file in ("bundle.json", "weights.safetensors"):
            shutil.copytree(Path(lpm.__file__).parent / "bundled" / name, folder / name / file[0])
            yield Seed(kind, folder / name / file[0] / file, has_others=True)


def _records(folder: Path) -> Iterator[Seed]:
    folder.mkdir(parents=True)
    record = record_of(turned_view((40, 40), (5.0, 5.0), 0.0, np.zeros(3)), "a.png")
    write_views(folder / "views.json", ViewsFile(made_from="ct", content="attenuation", views={"frontal": record}))
    yield Seed("views", folder / "views.json")
    (folder / "split.json").write_text('{"train": ["a"], "test": ["b"]}\n', encoding="utf-8")
    yield Seed("split", folder / "split.json")
    (folder / "config.toml").write_text('seed = 3\nscale = "subject"\n[sampling]\nn_surface = 1000\n', encoding="utf-8")
    yield Seed("config", folder / "config.toml")
    dataset = {"labels": {"background": 0, "left lung": 1, "right lung": 2}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
    yield Seed("dataset", folder / "dataset.json")
    write_arrays(folder / "a.npz", {name: np.ones((4, 3)) for name in ("points_mm", "normals", "structure")})
    yield Seed("arrays", folder / "a.npz")
