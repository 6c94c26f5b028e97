"""What a DICOM file claims is held against what it has, before memory is taken."""

from __future__ import annotations

import zlib
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from dicom_writing import Writing, write_series
from lpm.errors import FileError
from lpm.files.dicom import deflated
from lpm.files.dicom.headers import is_dicom, read_header
from lpm.files.dicom.sizes import check_sizes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom, of what is odd


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write_series(tmp_path / "d", Writing(), n=6)
    return tmp_path / "d" / "2_003"


def changed(path: Path, **values: object) -> None:
    plain = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(plain, name, value)
    plain.save_as(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_every_image_of_a_series_may_stay_as_it_is(tmp_path: Path, compressed: bool) -> None:
    write_series(tmp_path / "d", Writing(compressed=compressed), n=6)
    for path in (tmp_path / "d").iterdir():
        check_sizes(path)


@pytest.mark.parametrize("side", [20, 4000, 65_535])
def test_more_pixels_than_there_are_bytes(image: Path, side: int) -> None:
    changed(image, Rows=side, Columns=side)
    with pytest.raises(FileError, match=rf"2_003: 384 bytes for {side} x {side} pixels"):
        check_sizes(image)


def test_more_frames_than_there_are_bytes(image: Path) -> None:
    changed(image, NumberOfFrames=2_000_000)
    with pytest.raises(FileError, match=r"384 bytes for 2000000 frames of 12 x 16 pixels"):
        check_sizes(image)


@pytest.mark.parametrize("side", [16_000, 65_535])
def test_more_pixels_than_a_compressed_image_can_hold(image: Path, side: int) -> None:
    plain = pydicom.dcmread(image)
    plain.compress(RLELossless)
    plain.Rows = plain.Columns = side
    plain.save_as(image)
    with pytest.raises(FileError, match=rf"2_003: [\d,]+ bytes for {side} x {side} pixels"):
        check_sizes(image)


def test_an_element_that_ends_beyond_the_file(image: Path) -> None:
    data = image.read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00OW") + 8
    image.write_bytes(data[:at] + (0x7FFFFFF0).to_bytes(4, "little") + data[at + 4 :])
    with pytest.raises(FileError, match=r"2_003: damaged \(\(7FE0,0010\) ends at byte 2,147,484,"):
        check_sizes(image)


def test_a_deflated_file_that_inflates_without_end(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = pydicom.dcmread(image)
    plain.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    plain.save_as(image)
    check_sizes(image)
    data = image.read_bytes()
    first = 144 + int.from_bytes(data[140:144], "little")
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    image.write_bytes(data[:first] + deflater.compress(bytes(50 * 1024**2)) + deflater.flush())
    monkeypatch.setattr(deflated, "_MOST_INFLATED", 40 * 1024**2)
    for read in (check_sizes, is_dicom, read_header):
        with pytest.raises(FileError, match=r"2_003: a deflated file of more than 0 GiB"):
            read(image)
    image.write_bytes(image.read_bytes()[132:])  # without the preamble, as pydicom reads it too
    with pytest.raises(FileError, match=r"2_003: a deflated file of more than 0 GiB"):
        check_sizes(image)
