"""What is found in a folder of DICOM files: series, acquisitions, copies, patients, and what is passed over."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from dicom_writing import Writing, rewrite, write_series
from lpm.errors import FileError
from lpm.files.dicom.folder import files_of_series, find_series, series_uid
from lpm.files.dicom.headers import is_dicom


def test_two_phases_at_the_same_places_become_two_series(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "d", Writing(), n=25)
    write_series(tmp_path / "d" / "second", replace(Writing(), acquisition=2), n=25, uid=uid)
    assert [len(series.slices) for series in find_series(tmp_path / "d")] == [25, 25]


def test_a_copy_of_an_image_counts_once(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(), n=25)
    (tmp_path / "d" / "copy").write_bytes((tmp_path / "d" / "2_003").read_bytes())
    assert len(find_series(tmp_path / "d")[0].slices) == 25


def test_a_file_with_a_strange_header_is_passed_over(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing())
    image = pydicom.dcmread(tmp_path / "d" / "2_000")
    image.PixelSpacing = [0.7]
    image.SeriesInstanceUID = generate_uid()
    image.save_as(tmp_path / "d" / "strange")
    assert len(find_series(tmp_path / "d")) == 1


def test_acquisitions_at_the_same_places_are_named(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "d", Writing(), n=25)
    write_series(tmp_path / "d" / "second", replace(Writing(), acquisition=2), n=25, uid=uid)
    found = find_series(tmp_path / "d")
    assert [series.label for series in found] == ["2:1", "2:2"]
    assert [str(series).split(" (")[0] for series in found] == ["series 2:1", "series 2:2"]
    assert all({each.acquisition for each in series.slices} == {int(series.parts[0].value)} for series in found)


def test_acquisitions_that_follow_each_other_are_one_volume(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(), n=30)
    for k, path in enumerate(sorted((tmp_path / "d").iterdir())):
        rewrite([path], AcquisitionNumber=1 + k // 10)
    (series,) = find_series(tmp_path / "d")
    assert (len(series.slices), series.parts) == (30, ())
    assert str(series).startswith("series 2 (CT")


def test_images_of_one_uid_at_different_places_are_no_copies(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(), n=25)
    rewrite((tmp_path / "d").iterdir(), SOPInstanceUID="1.2.3.4")
    assert len(find_series(tmp_path / "d")[0].slices) == 25


def test_images_without_a_uid_are_no_copies(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "d", Writing(), n=25)
    write_series(tmp_path / "d" / "second", Writing(), n=25, uid=uid)
    for folder in (tmp_path / "d", tmp_path / "d" / "second"):
        rewrite((path for path in folder.iterdir() if path.is_file()), SOPInstanceUID="")
    image = pydicom.dcmread(tmp_path / "d" / "second" / "2_003")
    rewrite([tmp_path / "d" / "second" / "2_003"], PixelData=bytes(len(image.PixelData)))
    assert find_series(tmp_path / "d")[0].repeats_places


@pytest.mark.parametrize("turn", [1e-6, 1e-4])
def test_directions_that_differ_by_rounding_are_one_series(tmp_path: Path, turn: float) -> None:
    write_series(tmp_path / "d", Writing(), n=25)
    for k, path in enumerate(sorted((tmp_path / "d").iterdir())):
        angle = np.radians(5.739170) + (turn if k % 2 else -turn)  # its sine is 0.1: a border of rounding
        rewrite([path], ImageOrientationPatient=[np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle), 0])
    assert [len(series.slices) for series in find_series(tmp_path / "d")] == [25]


@pytest.mark.parametrize("values", [{"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, {"PixelSpacing": [1.9, 1.5]}])
def test_images_that_cannot_be_stacked_are_another_series(tmp_path: Path, values: dict[str, object]) -> None:
    write_series(tmp_path / "d", Writing(), n=25)
    rewrite([tmp_path / "d" / "2_000"], **values)
    assert sorted(len(series.slices) for series in find_series(tmp_path / "d")) == [1, 24]


@pytest.mark.parametrize(
    "values",
    [
        {"PixelSpacing": [0.7]},
        {"PixelSpacing": [0.7, 0.0]},
        {"ImagePositionPatient": None},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
        {"Rows": 0},
        {"SeriesInstanceUID": ""},
    ],
    ids=str,
)
def test_an_image_without_a_usable_place_is_passed_over(tmp_path: Path, values: dict[str, object]) -> None:
    write_series(tmp_path / "d", Writing(), n=3)
    rewrite([tmp_path / "d" / "2_000"], **values)
    assert [len(series.slices) for series in find_series(tmp_path / "d")] == [2]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # pydicom, of UIDs that break off
def test_a_header_that_breaks_off_is_passed_over(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(), n=2)
    whole = (tmp_path / "d" / "2_000").read_bytes()
    before_rows = whole.index(b"\x28\x00\x10\x00")
    for n_bytes in range(130, before_rows, 5):
        (tmp_path / "d" / "2_000").write_bytes(whole[:n_bytes])
        assert [len(series.slices) for series in find_series(tmp_path / "d")] == [1]


def test_pictures_of_a_screen_are_named_as_such(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(), n=3)
    rewrite((tmp_path / "d").iterdir(), ImagePositionPatient=None)
    (tmp_path / "d" / "notes.txt").write_text("x")
    with pytest.raises(FileError, match=r"4 files, none of them .*\(3 DICOM files, such as pictures of a screen\)"):
        find_series(tmp_path / "d")


def test_hidden_files_and_folders_are_nobodys_scan(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(), n=3)
    write_series(tmp_path / "d" / ".trash", Writing(number=9), n=3)
    shutil.copy(tmp_path / "d" / "2_000", tmp_path / "d" / "._2_000")
    assert [(series.number, len(series.slices)) for series in find_series(tmp_path / "d")] == [(2, 3)]


def test_a_file_that_the_disk_does_not_give_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    write_series(tmp_path / "d", Writing(), n=3)
    monkeypatch.setattr(pydicom, "dcmread", broken)
    with pytest.raises(FileError, match=r"2_000: cannot be read \(Input/output error\)"):
        find_series(tmp_path / "d")
    monkeypatch.setattr(Path, "open", broken)
    with pytest.raises(FileError, match=r"2_000: cannot be read \(Input/output error\)"):
        is_dicom(tmp_path / "d" / "2_000")


def test_the_patient_is_an_id_or_a_name_or_a_study(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(), n=3)
    for values, patient in [
        ({}, "1"),
        ({"PatientID": " 7 "}, "7"),
        ({"PatientID": ""}, "A^B"),
        ({"PatientName": None}, "1.2.3"),
        ({"StudyInstanceUID": None}, "unnamed"),
    ]:
        rewrite((tmp_path / "d").iterdir(), **values)
        (series,) = find_series(tmp_path / "d")
        assert series.patient == patient
        assert patient == "1" or patient not in str(series).replace(series.uid, "")


def test_the_files_of_a_files_series(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "d", Writing(), n=3)
    write_series(tmp_path / "d", Writing(number=3), n=3)
    write_series(tmp_path / "d" / "deeper", Writing(), n=3, uid=uid)
    (tmp_path / "d" / "notes.txt").write_text("no DICOM")
    assert [path.name for path in files_of_series(tmp_path / "d" / "2_001")] == ["2_000", "2_001", "2_002"]
    assert [series.number for series in find_series(tmp_path / "d" / "3_001")] == [3]


def test_a_file_without_a_series_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(), n=1)
    rewrite((tmp_path / "d").iterdir(), SeriesInstanceUID=None)
    assert series_uid(tmp_path / "d" / "2_000") == ""
    with pytest.raises(FileError, match="2_000: a DICOM file without a series; expected an image of a CT series"):
        files_of_series(tmp_path / "d" / "2_000")


def test_a_series_that_was_sent_twice_counts_once_where_its_pictures_are_the_same(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "d", Writing(), n=25)
    write_series(tmp_path / "d" / "again", Writing(), n=25, uid=uid)
    for path in (tmp_path / "d" / "again").iterdir():
        rewrite([path], SOPInstanceUID=generate_uid())
    (series,) = find_series(tmp_path / "d")
    assert (len(series.slices), series.repeats_places) == (25, False)
    image = pydicom.dcmread(tmp_path / "d" / "again" / "2_003")
    rewrite([tmp_path / "d" / "again" / "2_003"], PixelData=bytes(len(image.PixelData)))
    (series,) = find_series(tmp_path / "d")
    assert (len(series.slices), series.repeats_places) == (26, True)
