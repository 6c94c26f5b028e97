"""Writers on a disk that is full: at any size, an error that names the file, and no file under the final name.

Run as a program: `python disks.py WORLD FOLDER`, in a process whose files may not grow beyond a limit.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from full_disk import room_for
from lpm.errors import FileError
from lpm.files.arrays import write_arrays
from lpm.files.atomic import atomic_folder, write_text
from lpm.files.dicom.writing.algorithm import segmenting
from lpm.files.dicom.writing.mesh import write_encapsulated_stl
from lpm.files.dicom.writing.results import dicom_source
from lpm.files.dicom.writing.segmentation import write_segmentation
from lpm.files.dicom.writing.source import labels_on
from lpm.files.dicom.writing.structure_set import write_structure_set
from lpm.files.meshes import read_mesh, write_mesh
from lpm.files.points import write_points
from lpm.files.volumes import read_volume, write_volume
from lpm.files.zips import unzipped
from lpm.model.tensors import write_tensors
from lpm.preparation.preview import write_png
from lpm.reports.scenes import save_png

SIZES = 20
_SMALLEST = 16  # bytes
_NAMES = {1: "left_lung", 2: "right_lung"}
Write = Callable[[Path], object]


def writers(world: Path) -> dict[str, Write]:
    """Every writer, by the name of a file that it writes."""
    labels, mesh = read_volume(world / "masks" / "case0.nii.gz"), read_mesh(world / "expiration" / "left_lung.ply")
    noise = np.random.default_rng(0).random((200, 100, 3))
    found: dict[str, Write] = {}
    for suffix in ("nii", "nii.gz", "nrrd", "seg.nrrd", "mha"):
        found[f"labels.{suffix}"] = partial(_volume, labels)
    for suffix in ("ply", "stl", "obj", "glb", "vtp"):
        found[f"mesh.{suffix}"] = lambda path: write_mesh(path, mesh)
    for suffix in ("ply", "csv", "xyz", "npy", "npz"):
        found[f"points.{suffix}"] = lambda path: write_points(path, mesh.vertices)
    return found | _of_dicom(world) | _of_others(world, noise)


def _volume(labels: object, path: Path) -> None:
    write_volume(path, labels)  # type: ignore[arg-type]


def _of_dicom(world: Path) -> dict[str, Write]:
    source, algorithm = dicom_source(world / "dicom"), segmenting("thresholds")
    labels = labels_on(source.series, read_volume(world / "masks" / "case0.nii.gz"))
    mesh = read_mesh(world / "expiration" / "left_lung.ply")
    return {
        "seg.dcm": lambda path: write_segmentation(path, labels, _NAMES, source, algorithm),
        "rtstruct.dcm": lambda path: write_structure_set(path, labels, _NAMES, source, algorithm),
        "stl.dcm": lambda path: write_encapsulated_stl(path, mesh, "left_lung", source, algorithm),
    }


def _of_others(world: Path, noise: np.ndarray) -> dict[str, Write]:
    return {
        "arrays.npz": lambda path: write_arrays(path, {"a": noise}),
        "weights.safetensors": lambda path: write_tensors(path, {"a": torch.from_numpy(noise)}, {}),
        "table.csv": lambda path: write_text(path, "1,2,3\n" * 5000),
        "record.json": lambda path: write_text(path, json.dumps([1.5] * 5000)),
        "page.html": lambda path: write_text(path, "<p>lungs</p>" * 5000),
        "picture.png": lambda path: write_png((255 * noise).astype(np.uint8), path),
        "figure.png": _figure,
        "folder": partial(_folder, noise),
        "scan.zip, unpacked": partial(_unpacked, world),
    }


def _figure(path: Path) -> None:
    figure = plt.figure()
    figure.add_subplot().plot(np.random.default_rng(0).random(500))
    save_png(figure, path)
    plt.close(figure)


def _folder(noise: np.ndarray, path: Path) -> None:
    with atomic_folder(path) as folder:
        write_arrays(folder / "a.npz", {"a": noise})


def _unpacked(world: Path, path: Path) -> int:
    """Reading a zip writes its files into the temporary folder; returns the bytes of the largest."""
    packed = path.with_name("packed")
    if not packed.exists():
        with zipfile.ZipFile(packed, "w") as archive:
            for index, file in enumerate(sorted((world / "dicom").iterdir())):
                archive.write(file, f"{index}.dcm")
    with unzipped(packed) as folder:
        return max(file.stat().st_size for file in folder.iterdir())


def tried(write: Write, folder: Path, name: str) -> list[str]:
    """What is wrong with a writer at any of the sizes."""
    path, faults = folder / name, list[str]()
    said = write(path)
    whole = said if isinstance(said, int) else _bytes(path)
    _remove(path)
    for share in np.linspace(0.0, 0.999, SIZES):
        most = max(int(whole * share), _SMALLEST)
        try:
            with room_for(most):
                write(path)
            faults.append(f"{most} bytes: no error")
        except FileError:
            pass
        except Exception as error:  # what it is shall be said
            faults.append(f"{most} bytes: {type(error).__name__}: {error}"[:200])
        if left := [each.name for each in folder.iterdir() if each.name != "packed"]:
            faults.append(f"{most} bytes: leaves {', '.join(left)}")
            _remove(path)
    return faults


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else list(path.rglob("*"))
    return sum(file.stat().st_size for file in files if file.is_file())


def _remove(path: Path) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)


def main(world: Path, folder: Path, names: list[str]) -> None:
    """Try all writers, and print what is wrong with each, as JSON."""
    found = {}
    for name, write in writers(world).items():
        if names and name not in names:
            continue
        place = folder / name.replace(", ", "-")
        place.mkdir(parents=True, exist_ok=True)
        found[name] = tried(write, place, name.partition(",")[0])
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
