"""From slices to a volume: places, orientations, tilts, gaps and compression."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import RLELossless

from dicom_writing import ORIGIN_LPS, SPACING_MM, Writing, check, hu_at, rewrite, write_series
from lpm.errors import FileError, InputError
from lpm.files.dicom import volume as dicom_volume
from lpm.files.dicom.folder import find_series
from lpm.files.dicom.volume import read_series
from lpm.files.scans import read_scan
from lpm.geometry.volumes import Volume


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


def test_few_missing_slices_are_interpolated_and_named(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(left_out=(11,)), n=40)
    read = read_scan(tmp_path / "d")
    assert read.volume.voxels.shape[2] == 40
    assert read.notes == ("slices at uneven distances, 1 missing (at -156.0 mm along the normal): interpolated",)
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


def test_phases_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "d", Writing(), n=25)
    write_series(tmp_path / "d" / "second", Writing(), n=25, uid=uid)
    rewrite((tmp_path / "d" / "second").iterdir(), RescaleIntercept=-1000)
    (series,) = find_series(tmp_path / "d")
    with pytest.raises(InputError, match="several images at the same place"):
        read_series(series, "d")


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(compressed=True))
    path = tmp_path / "d" / "2_004"
    image = pydicom.dcmread(path)
    image.PixelData = image.PixelData[:60]
    image.save_as(path)
    with pytest.raises(FileError, match="2_004"):
        read_scan(tmp_path / "d")


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


@pytest.mark.parametrize("flip", [1, -1])
def test_oblique_slices_lie_where_the_patient_has_them(tmp_path: Path, flip: int) -> None:
    a, b = np.radians(20.0), np.radians(12.0)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turned = about_y @ about_x
    orientation = (*np.round(turned[:, 0], 6), *np.round(flip * turned[:, 1], 6))
    write_series(tmp_path / "d", Writing(orientation=orientation))
    read = read_scan(tmp_path / "d")
    assert read.notes == ()
    assert np.sign(np.linalg.det(read.volume.world_from_voxel[:3, :3])) == 1  # LPS and RAS turn the same way
    check(read.volume)


def test_slices_are_sorted_by_place_not_by_name(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing())
    for k, path in enumerate(sorted((tmp_path / "d").iterdir())):
        path.rename(path.with_name(f"{(k * 7) % 30:03d}"))
    check(read_scan(tmp_path / "d").volume)


def test_many_missing_slices_say_where(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(left_out=tuple(range(10, 18))), n=40)
    where = r"Try: copy the series again; missing along the normal at -160.0, -156.0, -152.0, -148.0, -144.0, ... mm"
    with pytest.raises(InputError, match=where):
        read_scan(tmp_path / "d")


def check_where_known(volume: Volume, tolerance: float = 1.5) -> float:
    """The share of voxels that differ from their place's value by more; air beside the slices is left out."""
    known = np.argwhere(volume.voxels > -1000.0)
    values = volume.voxels[tuple(known.T)]
    return float((np.abs(values - hu_at(volume.to_world(known))) > tolerance).mean())


def test_a_small_tilt_over_a_long_scan_is_undone(tmp_path: Path) -> None:
    """0.4 degrees are 2.1 mm over 300 mm: more than a pixel."""
    how = Writing(tilt_mm=4.0 * np.tan(np.radians(0.4)))
    write_series(tmp_path / "d", how, n=75)
    read = read_scan(tmp_path / "d")
    assert read.notes == ("gantry tilted by 0.4 degrees, slices moved onto each other",)
    assert check_where_known(read.volume) < 0.1


def test_a_large_tilt_of_a_few_slices_may_be_negligible(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(tilt_mm=0.1), n=4)  # 1.4 degrees, 0.3 mm at the end, pixels of 2 mm
    (series,) = find_series(tmp_path / "d")
    read = read_series(series, "d")
    assert read.notes == ()
    assert read.volume.voxels.shape == (16, 12, 4)


def test_a_tilt_is_judged_by_all_slices(tmp_path: Path) -> None:
    """The last slice lies above the first, those between do not."""
    write_series(tmp_path / "d", Writing(sideways_mm=lambda k: 6.0 * np.sin(np.pi * k / 29)))
    read = read_scan(tmp_path / "d")
    assert read.notes == ("slices up to 6.0 mm beside each other, moved onto each other",)
    assert check_where_known(read.volume) < 0.25
    assert check_where_known(replace_voxels(tmp_path / "d", read.volume)) > 0.5


def replace_voxels(folder: Path, moved: Volume) -> Volume:
    """The slices as they are stored, on the same axes: what a reader that ignores the tilt gives."""
    stored = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    values = np.stack([image.pixel_array.T + float(image.RescaleIntercept) for image in stored], axis=2)
    affine = moved.world_from_voxel.copy()
    affine[:3, 3] = ORIGIN_LPS * [-1, -1, 1]
    return Volume(values, affine)


def test_a_tilt_along_rows_with_oblique_directions_is_undone(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(tilt_mm=-0.8, orientation=(0.96, 0.28, 0, -0.28, 0.96, 0)))
    read = read_scan(tmp_path / "d")
    assert read.notes == ("gantry tilted by 11.3 degrees, slices moved onto each other",)
    assert check_where_known(read.volume) < 0.15


def test_slices_beside_each_other_are_no_stack(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(sideways_mm=lambda k: 60.0 * (k == 12)))
    with pytest.raises(InputError, match=r"d: slices up to 60 mm beside each other in series 2 .*; expected a stack"):
        read_scan(tmp_path / "d")


@pytest.mark.parametrize("name", ["MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_RLE"])
def test_compressed_images_are_the_plain_ones(tmp_path: Path, name: str) -> None:
    volumes = [read_twice(tmp_path / one, f"{one}.dcm") for one in ("MR_small", name)]
    np.testing.assert_array_equal(volumes[0].voxels, volumes[1].voxels)
    assert np.ptp(volumes[0].voxels) > 100


def read_twice(folder: Path, name: str) -> Volume:
    """One of pydicom's own images as two slices."""
    folder.mkdir()
    for k in range(2):
        image = pydicom.dcmread(str(get_testdata_file(name)))
        image.ImagePositionPatient = [0, 0, 5.0 * k]
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.{k}"
        image.save_as(folder / str(k))
    (series,) = find_series(folder)
    return read_series(series, name).volume


def test_an_image_that_cannot_be_decoded_says_how_it_is_stored(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing())
    path = tmp_path / "d" / "2_004"
    image = pydicom.dcmread(path)
    image.compress(RLELossless)
    frame = bytearray(image.PixelData)
    frame[20:24] = b"\xff" * 4  # the number of segments
    image.PixelData = bytes(frame)
    image.save_as(path)
    with pytest.raises(FileError, match=r"2_004: cannot be decoded \(RLE Lossless: .*Try: copy it again"):
        read_scan(tmp_path / "d")


def test_frames_within_an_image_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing())
    path = tmp_path / "d" / "2_004"
    image = pydicom.dcmread(path)
    image.NumberOfFrames, image.PixelData = 2, image.PixelData * 2
    image.save_as(path)
    with pytest.raises(FileError, match=r"2_004: an image of \(2, 12, 16\); expected one of \(12, 16\)"):
        read_scan(tmp_path / "d")


def test_one_slice_is_no_volume(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(), n=1)
    with pytest.raises(InputError, match="d: 1 slice; expected a series of slices"):
        read_scan(tmp_path / "d", "2")


def test_a_volume_beyond_all_measure_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_volume, "_MOST_VOXELS", 16 * 12 * 30 - 1)
    write_series(tmp_path / "d", Writing())
    with pytest.raises(FileError, match=r"30 slices of \(12, 16\); expected at most 5759 voxels"):
        read_scan(tmp_path / "d")
