"""Small files that claim much, or unpack to much, are refused before memory or time is taken for it."""

from __future__ import annotations

import gzip
import io
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from lpm.errors import FileError, LpmError
from lpm.files import nifti, points
from lpm.files.arrays import read_arrays
from lpm.files.meshes import read_mesh, write_mesh
from lpm.files.points import read_points
from lpm.files.volumes import read_volume, write_volume
from lpm.geometry.meshes import WorldMesh
from lpm.geometry.volumes import Volume
from lpm.xray.files.reading import read_xray

LARGE = (2000, 2000, 2000)  # voxels: within what is read, and 8 GB


def huge_nifti(folder: Path) -> Path:
    header = nib.Nifti1Header()
    header.set_data_shape(LARGE)
    header.set_data_dtype(np.uint8)
    header.set_sform(np.eye(4), 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    path = folder / "a.nii"
    path.write_bytes(header.binaryblock + bytes(4 + 1000))
    return path


def huge_zipped_nifti(folder: Path) -> Path:
    path = folder / "a.nii.gz"
    path.write_bytes(gzip.compress(huge_nifti(folder).read_bytes()))
    return path


def huge_header(folder: Path, name: str, old: bytes, new: bytes) -> Path:
    path = folder / name
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4, 4), np.uint8)), str(path), useCompression=True)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    return path


def huge_vtp(folder: Path, old: bytes, new: bytes) -> Path:
    pytest.importorskip("pyvista")
    path = folder / "a.vtp"
    vertices = np.array([[0.0, 0, 0], [50, 0, 0], [0, 50, 0], [0, 0, 50]])
    write_mesh(path, WorldMesh(vertices, np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])))
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    return path


def huge_png(folder: Path) -> Path:
    path, packed = folder / "a.png", io.BytesIO()
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(packed, "PNG")
    data = bytearray(packed.getvalue())
    data[16:24] = (12_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    return path


def huge_stl(folder: Path) -> Path:
    path = folder / "a.stl"
    path.write_bytes(bytes(80) + (0xFFFFFFF0).to_bytes(4, "little") + bytes(500))
    return path


def huge_ply(folder: Path) -> Path:
    path = folder / "a.ply"
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 4000000000\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    path.write_bytes(header.encode() + bytes(120))
    return path


def huge_npy(folder: Path) -> Path:
    path, packed = folder / "a.npy", io.BytesIO()
    np.lib.format.write_array_header_1_0(packed, {"descr": "<f8", "fortran_order": False, "shape": (2**33, 3)})
    path.write_bytes(packed.getvalue() + bytes(240))
    return path


@pytest.mark.parametrize(
    ("make", "read", "match"),
    [
        (huge_nifti, read_volume, r"holds at most 1352 of 8000000000 bytes of voxels"),
        (huge_zipped_nifti, read_volume, r"holds at most \d+ of 8000000000 bytes of voxels"),
        (
            lambda folder: huge_header(folder, "a.nrrd", b"sizes: 4 4 4", b"sizes: 2000 2000 2000"),
            read_volume,
            r"\d+ bytes for 8000000000 voxels",
        ),
        (
            lambda folder: huge_header(folder, "a.mha", b"DimSize = 4 4 4", b"DimSize = 2000 2000 2000"),
            read_volume,
            r"\d+ bytes for 8000000000 voxels",
        ),
        (
            lambda folder: huge_vtp(folder, b'NumberOfPoints="4"', b'NumberOfPoints="4000000000"'),
            read_mesh,
            r"NumberOfPoints '4000000000'; expected 0 to \d+",
        ),
        (
            lambda folder: huge_vtp(folder, b'NumberOfComponents="3"', b'NumberOfComponents="-1"'),
            read_mesh,
            r"NumberOfComponents '-1'; expected 1 to 64",
        ),
        (huge_png, read_xray, r"12000 x 12000 pixels; expected at most 100 megapixels"),
        (huge_stl, read_mesh, r"a\.stl: cannot be read as a mesh"),
        (huge_ply, read_points, r"a\.ply: cannot be read as points"),
        (huge_npy, read_points, r"a\.npy: cannot be read as points"),
    ],
)
def test_what_a_file_cannot_hold(
    make: Callable[[Path], Path], read: Callable[[Path], object], match: str, tmp_path: Path
) -> None:
    path, started = make(tmp_path), time.process_time()
    with pytest.raises(LpmError, match=match):
        read(path)
    assert time.process_time() - started < 2.0


def test_what_lies_behind_voxels_is_not_unpacked_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nifti, "_MOST_BEHIND", 8 * 1024**2)
    write_volume(tmp_path / "a.nii", Volume(np.ones((4, 4, 4), np.uint8), np.eye(4)))
    data = (tmp_path / "a.nii").read_bytes()
    for n_mb, name in ((4, "b.nii.gz"), (20, "c.nii.gz")):
        (tmp_path / name).write_bytes(gzip.compress(data + bytes(n_mb * 1024**2)))
    assert read_volume(tmp_path / "b.nii.gz").voxels.sum() == 64
    with pytest.raises(FileError, match=r"more than 8 MiB behind its voxels; expected nothing there"):
        read_volume(tmp_path / "c.nii.gz")


def test_arrays_that_unpack_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", points_mm=np.zeros((100_000, 3)))
    monkeypatch.setattr(points, "_MOST_BYTES", 1024**2)
    monkeypatch.setattr("lpm.files.arrays._MOST_BYTES", 1024**2)
    match = r"a\.npz: 0\.0 GiB unpacked; expected at most 0\.000977 GiB"
    with pytest.raises(FileError, match=match):
        read_points(tmp_path / "a.npz")
    with pytest.raises(FileError, match=match):
        read_arrays(tmp_path / "a.npz", ("points_mm",))


def test_an_array_that_is_longer_than_its_zip_says(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, archive.open("points_mm.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 3)})
    with pytest.raises(FileError, match=r"a\.npz: cannot be read as points"):
        read_points(tmp_path / "a.npz")
