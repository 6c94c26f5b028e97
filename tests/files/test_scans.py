"""What a path stands for: a file, a folder, a series, a zip."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_writing import Writing, check, write_series
from lpm.errors import FileError, InputError
from lpm.files.scans import is_dicom_file, is_dicom_folder, read_labels, read_scan, scan_files
from lpm.files.volumes import VolumeFile, write_volume
from lpm.geometry.volumes import Volume


def test_one_file_stands_for_its_series(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing())
    check(read_scan(tmp_path / "d" / "2_004").volume)


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: None])
def test_no_dicom_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "d")
    with pytest.raises(FileError, match=r"none of them a DICOM image|no such file or folder"):
        read_scan(tmp_path / "d")


def test_a_dicom_folder_is_known_from_others(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(), n=3)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "x.txt").write_text("text")
    assert is_dicom_folder(tmp_path / "d")
    assert not is_dicom_folder(tmp_path / "e")


def test_one_file_does_not_stand_for_other_series_of_its_folder(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(step_mm=8.0))
    write_series(tmp_path / "d", Writing(number=3))
    assert read_scan(tmp_path / "d").volume.spacing_mm[2] == 4.0
    read = read_scan(tmp_path / "d" / "2_004")
    assert (read.volume.spacing_mm[2], read.notes) == (8.0, ())
    with pytest.raises(InputError, match=r"2_004: --series 3: 0 of these"):
        read_scan(tmp_path / "d" / "2_004", "3")


def test_one_file_stands_for_its_acquisition(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "d", Writing(), n=25)
    write_series(tmp_path / "e", replace(Writing(), acquisition=2), n=35, uid=uid)
    for path in (tmp_path / "e").iterdir():
        path.rename(tmp_path / "d" / f"second{path.name}")
    assert read_scan(tmp_path / "d" / "second2_004").volume.voxels.shape[2] == 35
    assert read_scan(tmp_path / "d" / "2_004").volume.voxels.shape[2] == 25
    assert read_scan(tmp_path / "d" / "2_004", "2:2").volume.voxels.shape[2] == 35


def test_a_localizer_stands_for_the_chest_ct_of_its_series(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "d", Writing(number=2))
    write_series(tmp_path / "d", Writing(number=1, orientation=(1, 0, 0, 0, 0, -1)), n=1, uid=uid)
    assert read_scan(tmp_path / "d" / "1_000").volume.voxels.shape[2] == 30


def test_the_files_of_a_scan(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(), n=3)
    write_series(tmp_path / "d", Writing(number=3), n=3)
    (tmp_path / "a.nii").touch()
    names = {path: [one.name for one in scan_files(tmp_path / path)] for path in ("a.nii", "d", "d/2_001")}
    series = ["2_000", "2_001", "2_002"]
    assert names == {"a.nii": ["a.nii"], "d": [*series, "3_000", "3_001", "3_002"], "d/2_001": series}


def test_a_dicom_folder_is_known_behind_many_other_files(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for k in range(120):
        (tmp_path / "d" / f"{k:03d}.txt").write_text("text")
    write_series(tmp_path / "d" / "images", Writing(), n=3)
    assert is_dicom_folder(tmp_path / "d")


def test_the_name_of_a_volume_is_believed(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(), n=1)
    assert is_dicom_file(tmp_path / "d" / "2_000")
    assert not is_dicom_file((tmp_path / "d" / "2_000").rename(tmp_path / "x.nii"))
    assert not is_dicom_file(tmp_path / "none")


@pytest.mark.parametrize("read", [read_scan, read_labels])
@pytest.mark.parametrize("name", ["x.nii.gz", "x.nrrd"])
def test_a_zip_of_one_volume_is_that_volume(tmp_path: Path, read: Callable[[Path], VolumeFile], name: str) -> None:
    volume = Volume(np.arange(60, dtype=np.int16).reshape(3, 4, 5) % 3, np.diag([2.0, 3.0, 4.0, 1.0]))
    write_volume(tmp_path / name, volume)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / name, f"study/{name}")
        archive.writestr(f"__MACOSX/study/._{name}", "of macOS")
    found = read(tmp_path / "x.zip").volume
    np.testing.assert_array_equal(found.voxels, volume.voxels)
    np.testing.assert_allclose(found.world_from_voxel, volume.world_from_voxel)
    with zipfile.ZipFile(tmp_path / "x.zip", "a") as archive:
        archive.write(tmp_path / name, f"study/other_{name}")
    with pytest.raises(InputError, match=r"x\.zip: 2 volumes .*other_.*Try: unpack it"):
        read(tmp_path / "x.zip")


@pytest.mark.parametrize("member", ["x.nii.gz", "x.txt"])
def test_what_a_zip_holds_is_refused_by_its_own_name(tmp_path: Path, member: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(member, "none")
    with pytest.raises(FileError, match=r"/x\.zip: "):
        read_labels(tmp_path / "x.zip")
