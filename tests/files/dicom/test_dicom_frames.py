"""Multi-frame CT (Enhanced, Legacy Converted), and files without the mark that precedes DICOM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, LegacyConvertedEnhancedCTImageStorage

from dicom_writing import Writing, check, rewrite, write_multi_frame, write_series
from lpm.errors import FileError, InputError, LpmError
from lpm.files.dicom.headers import is_dicom
from lpm.files.scans import is_dicom_file, is_dicom_folder, read_scan


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, 1, 0), (0.96, 0.28, 0, -0.28, 0.96, 0)])
def test_frames_lie_where_the_patient_has_them(
    tmp_path: Path, compressed: bool, orientation: tuple[float, ...]
) -> None:
    """Slopes and intercepts differ from frame to frame, and frames are in no order."""
    write_series(tmp_path / "d", Writing(compressed=compressed, orientation=orientation))
    paths = sorted((tmp_path / "d").iterdir())
    write_multi_frame(tmp_path / "d", [paths[(k * 7) % 30] for k in range(30)])
    for given in (tmp_path / "d", tmp_path / "d" / "enhanced"):
        read = read_scan(given)
        assert (read.volume.voxels.shape, read.notes) == ((16, 12, 30), ())
        check(read.volume)


def test_a_legacy_converted_one_is_read(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing())
    path = write_multi_frame(tmp_path / "d", sorted((tmp_path / "d").iterdir()))
    rewrite([path], SOPClassUID=LegacyConvertedEnhancedCTImageStorage)
    check(read_scan(tmp_path / "d").volume)


def test_phases_within_a_file_are_told_apart(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "d", Writing(), n=25)
    write_series(tmp_path / "d", Writing(number=3), n=25, uid=uid)
    paths = sorted((tmp_path / "d").iterdir())
    write_multi_frame(tmp_path / "d", paths, per_frame=[{"TemporalPositionIndex": 1 + (k >= 25)} for k in range(50)])
    with pytest.raises(InputError, match=r"(?s)2 phases in one series.*series 2:1 .*phase 1.*series 2:2 .*phase 2"):
        read_scan(tmp_path / "d")
    check(read_scan(tmp_path / "d", "2:2").volume)


def test_a_truncated_one_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing())
    path = write_multi_frame(tmp_path / "d", sorted((tmp_path / "d").iterdir()))
    image = pydicom.dcmread(path)
    image.PixelData = image.PixelData[: 20 * 12 * 16 * 2]
    image.save_as(path)
    with pytest.raises(FileError, match="enhanced: 7,680 bytes for 30 frames of 12 x 16 pixels"):
        read_scan(tmp_path / "d")


def without_mark(path: Path, *, implicit: bool, big: bool = False) -> None:
    image = pydicom.dcmread(path)
    plain = pydicom.Dataset()
    plain.update({element.tag: element for element in image})
    if big:
        plain.PixelData = np.frombuffer(plain.PixelData, "<u2").astype(">u2").tobytes()
    pydicom.dcmwrite(path, plain, implicit_vr=implicit, little_endian=not big, enforce_file_format=False)
    assert path.read_bytes()[128:132] != b"DICM"


@pytest.mark.parametrize(("implicit", "big"), [(True, False), (False, False), (False, True)])
def test_files_without_the_mark_are_read(tmp_path: Path, implicit: bool, big: bool) -> None:
    write_series(tmp_path / "d", Writing())
    for path in (tmp_path / "d").iterdir():
        without_mark(path, implicit=implicit, big=big)
    assert is_dicom_folder(tmp_path / "d")
    assert is_dicom_file(tmp_path / "d" / "2_004")
    check(read_scan(tmp_path / "d").volume)
    check(read_scan(tmp_path / "d" / "2_004").volume)


@pytest.mark.parametrize("content", [b"", b"\x08\x00", b"\x08\x00\x05\x00" + b"x" * 400, b"\x02\x00" + bytes(500)])
def test_other_files_that_begin_alike_are_not_dicom(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert not is_dicom(tmp_path / "x")


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_transfer_syntaxes_of_frames(tmp_path: Path, syntax: str) -> None:
    write_series(tmp_path / "d", Writing())
    path = write_multi_frame(tmp_path / "d", sorted((tmp_path / "d").iterdir()))
    image = pydicom.dcmread(path)
    if syntax == ExplicitVRBigEndian:
        image.PixelData = np.frombuffer(image.PixelData, "<u2").astype(">u2").tobytes()
    image.file_meta.TransferSyntaxUID = syntax
    plain = pydicom.Dataset()
    plain.update({element.tag: element for element in image})
    plain.file_meta = image.file_meta
    plain.save_as(path, enforce_file_format=True)
    check(read_scan(tmp_path / "d").volume)


def test_a_group_that_is_cut_off_is_no_traceback(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing())
    path = write_multi_frame(tmp_path / "d", sorted((tmp_path / "d").iterdir()))
    data = bytearray(path.read_bytes())
    at = data.index(b"\x20\x00\x13\x91SQ")  # PlanePositionSequence of the first frame
    data[at + 8 : at + 12] = (2).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(LpmError):
        read_scan(path)
