"""DICOM folders as hospitals give them: written here, slice by slice, with what goes wrong in them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

from lpm.errors import FileError, InputError
from lpm.files.dicom import choose_series, find_series, read_series, unzipped
from lpm.files.scans import is_dicom_folder, read_scan
from lpm.geometry.frames import Floats
from lpm.geometry.volumes import Volume

SPACING_MM = (1.5, 2.0, 4.0)
ORIGIN_LPS = np.array([-30.0, 20.0, -200.0])


@dataclass(frozen=True)
class Writing:
    """How a series is written."""

    number: int = 2
    modality: str = "CT"
    description: str = "CHEST THIN"
    tilt_mm: float = 0.0
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0)
    step_mm: float = 4.0
    compressed: bool = False
    left_out: tuple[int, ...] = ()
    acquisition: int = 1
    kind: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL")


def hu_at(points_ras: Floats) -> Floats:
    """Values that tell every place and direction apart."""
    x, y, z = points_ras.T
    return np.round(4.0 * x + 2.0 * y + 1.0 * z)


def write_series(folder: Path, how: Writing, n: int = 30, uid: str | None = None) -> str:
    """Write a series whose values are `hu_at`; slopes and intercepts differ from slice to slice."""
    folder.mkdir(parents=True, exist_ok=True)
    uid = uid or generate_uid()
    rows, columns = 12, 16
    row, column = np.array(how.orientation[:3], dtype=float), np.array(how.orientation[3:], dtype=float)
    normal = np.cross(row, column)
    for k in range(n):
        if k in how.left_out:
            continue
        position = ORIGIN_LPS + k * (how.step_mm * normal + how.tilt_mm * column)
        j, i = np.indices((rows, columns)).reshape(2, -1)
        places = position + i[:, None] * row * SPACING_MM[0] + j[:, None] * column * SPACING_MM[1]
        values = hu_at(places * [-1.0, -1.0, 1.0]).reshape(rows, columns)
        _write(folder / f"{how.number}_{k:03d}", how, uid, k, position, values)
    return str(uid)


def _write(path: Path, how: Writing, uid: str, k: int, position: Floats, values: Floats) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    image.PatientName, image.PatientID, image.StudyInstanceUID = "A^B", "1", "1.2.3"
    image.SeriesInstanceUID, image.SeriesNumber, image.SeriesDescription = uid, how.number, how.description
    image.Modality, image.ImageType, image.AcquisitionNumber = how.modality, list(how.kind), how.acquisition
    image.InstanceNumber, image.SliceThickness = k + 1, how.step_mm
    image.ImagePositionPatient = [f"{value:.6f}" for value in position]
    image.ImageOrientationPatient = list(how.orientation)
    image.PixelSpacing = [SPACING_MM[1], SPACING_MM[0]]
    image.Rows, image.Columns = values.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    image.RescaleSlope, image.RescaleIntercept = 1, -1024 - (k % 2)
    image.PixelData = (values + 1024 + (k % 2)).astype("<u2").tobytes()
    if how.compressed:
        image.compress(RLELossless)
    image.save_as(path, enforce_file_format=True)


def check(volume: Volume, *, tolerance: float = 0.51) -> None:
    """Every voxel has the value of its place."""
    inner = np.stack([axis.ravel() for axis in np.indices(volume.voxels.shape)], axis=1)
    expected = hu_at(volume.to_world(inner))
    np.testing.assert_allclose(volume.voxels.ravel(), expected, atol=tolerance)


@pytest.mark.parametrize(
    "how",
    [
        Writing(),
        Writing(compressed=True),
        Writing(orientation=(1, 0, 0, 0, -1, 0)),
        Writing(orientation=(0.96, 0.28, 0, -0.28, 0.96, 0)),
    ],
    ids=["plain", "RLE", "from above", "oblique"],
)
def test_values_lie_where_the_patient_has_them(tmp_path: Path, how: Writing) -> None:
    write_series(tmp_path / "d", how)
    read = read_scan(tmp_path / "d")
    assert read.volume.voxels.shape == (16, 12, 30)
    assert read.notes == ()
    check(read.volume)
    np.testing.assert_allclose(read.volume.spacing_mm, SPACING_MM)


def test_one_file_stands_for_its_series(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing())
    check(read_scan(tmp_path / "d" / "2_004").volume)


def test_the_thin_axial_chest_ct_is_chosen_of_several(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(number=1, kind=("ORIGINAL", "PRIMARY", "LOCALIZER")), n=40)
    thick = write_series(tmp_path / "d", Writing(number=3, step_mm=8.0), n=30)
    thin = write_series(tmp_path / "d", Writing(number=4), n=30)
    write_series(tmp_path / "d", Writing(number=5, modality="PT"), n=60)
    write_series(tmp_path / "d", Writing(number=6, orientation=(1, 0, 0, 0, 0, -1)), n=50)
    (tmp_path / "d" / "notes.txt").write_text("no DICOM")
    found = find_series(tmp_path / "d")
    assert [series.number for series in found] == [1, 3, 4, 5, 6]
    assert choose_series(found, None, "d").uid == thin
    assert choose_series(found, "3", "d").uid == thick
    assert choose_series(found, thick[-12:], "d").uid == thick
    assert (
        "of 5 series: series 4 (CT, CHEST THIN): 30 slices, 4.00 mm apart, axial" in read_scan(tmp_path / "d").notes[0]
    )
    with pytest.raises(InputError, match=r"--series 9: 0 of these; expected one of them"):
        choose_series(found, "9", "d")


def test_a_folder_without_a_chest_ct_lists_what_it_holds(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(number=7), n=10)
    with pytest.raises(InputError, match=r"(?s)no axial CT series of 20 slices.*--series.*series 7"):
        read_scan(tmp_path / "d")


def test_few_missing_slices_are_interpolated_and_named(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(left_out=(11,)), n=40)
    read = read_scan(tmp_path / "d")
    assert read.volume.voxels.shape[2] == 40
    assert read.notes == ("slices at uneven distances, 1 missing: interpolated",)
    check(read.volume, tolerance=1.01)


def test_many_missing_slices_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(left_out=tuple(range(10, 18))), n=40)
    with pytest.raises(InputError, match=r"about 8 of 40 slices missing, 36.0 mm between neighbours instead of 4.0 mm"):
        read_scan(tmp_path / "d")


def test_a_tilted_gantry_is_undone(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(tilt_mm=1.0))
    read = read_scan(tmp_path / "d")
    assert read.notes == ("gantry tilted by 14.0 degrees, slices moved onto each other",)
    affine = read.volume.world_from_voxel
    np.testing.assert_allclose(affine[:3, 2] / 4.0, (0, 0, 1), atol=1e-9)
    known = read.volume.voxels > -1000.0
    inner = np.argwhere(known)
    expected = hu_at(read.volume.to_world(inner))
    is_edge = np.abs(read.volume.voxels[known] - expected) > 1.5
    assert is_edge.mean() < 0.15  # planes blend into air at their borders only


def test_two_phases_at_the_same_places_become_two_series(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "d", Writing(), n=25)
    write_series(tmp_path / "d" / "second", replace(Writing(), acquisition=2), n=25, uid=uid)
    assert [len(series.slices) for series in find_series(tmp_path / "d")] == [25, 25]


def test_phases_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "d", Writing(), n=25)
    write_series(tmp_path / "d" / "second", Writing(), n=25, uid=uid)
    (series,) = find_series(tmp_path / "d")
    with pytest.raises(InputError, match="several images at the same place"):
        read_series(series, "d")


def test_a_copy_of_an_image_counts_once(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(), n=25)
    (tmp_path / "d" / "copy").write_bytes((tmp_path / "d" / "2_003").read_bytes())
    assert len(find_series(tmp_path / "d")[0].slices) == 25


def test_a_zip_is_read_and_chooses_no_path(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing())
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        for index, path in enumerate(sorted((tmp_path / "d").iterdir())):
            archive.write(path, f"../../escape/{index}")
    check(read_scan(tmp_path / "d.zip").volume)
    assert not (tmp_path.parent / "escape").exists()
    with unzipped(tmp_path / "d.zip") as folder:
        assert all(path.parent == folder for path in folder.rglob("*"))
    assert not folder.exists()


def test_a_damaged_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK nothing")
    with pytest.raises(FileError, match="cannot be unpacked"):
        read_scan(tmp_path / "x.zip")


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(compressed=True))
    path = tmp_path / "d" / "2_004"
    image = pydicom.dcmread(path)
    image.PixelData = image.PixelData[:60]
    image.save_as(path)
    with pytest.raises(FileError, match="2_004"):
        read_scan(tmp_path / "d")


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


def test_places_stored_roundly_do_not_stretch_the_volume(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(), n=41)
    for path in (tmp_path / "d").iterdir():
        image = pydicom.dcmread(path)
        x, y, z = (float(value) for value in image.ImagePositionPatient)
        image.ImagePositionPatient = [x, y, round((z - ORIGIN_LPS[2]) / 4.0 * 1.25 + 1e-6, 1)]
        image.save_as(path)
    (series,) = find_series(tmp_path / "d")
    read = read_series(series, "d")
    assert read.notes == ()
    assert read.volume.spacing_mm[2] == pytest.approx(1.25, abs=0.01)


def test_a_file_with_a_strange_header_is_passed_over(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing())
    image = pydicom.dcmread(tmp_path / "d" / "2_000")
    image.PixelSpacing = [0.7]
    image.SeriesInstanceUID = generate_uid()
    image.save_as(tmp_path / "d" / "strange")
    assert len(find_series(tmp_path / "d")) == 1
