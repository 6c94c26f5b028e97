"""Zips that come from anywhere."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from dicom_writing import Writing, check, write_series
from lpm.errors import FileError
from lpm.files import zips
from lpm.files.scans import read_scan
from lpm.files.zips import unzipped


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


def write_zip(path: Path, n_files: int, n_folders: int = 0) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(n_folders):
            archive.writestr(f"folder{k}/", b"")
        for k in range(n_files):
            archive.writestr(str(k), b"x" * 10)


def test_a_zip_of_too_many_files_is_refused_before_any_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked: list[Path] = []
    monkeypatch.setattr(zips, "_unpack", lambda archive, member, to: unpacked.append(to))
    write_zip(tmp_path / "x.zip", 100_001)
    with pytest.raises(FileError, match=r"x.zip: 100,001 files; expected at most 100,000. Try: zip the one series"):
        read_scan(tmp_path / "x.zip")
    assert unpacked == []


def test_folders_of_a_zip_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "_MOST_MEMBERS", 3)
    write_zip(tmp_path / "x.zip", 3, n_folders=2)
    with unzipped(tmp_path / "x.zip") as folder:
        assert len(list(folder.iterdir())) == 3


def test_a_zip_that_would_fill_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "_MOST_UNZIPPED", 29)
    write_zip(tmp_path / "x.zip", 3)
    with pytest.raises(FileError, match=r"x.zip: 0.0 GiB unpacked; expected at most 2\.7e-08 GiB. Try: a smaller one"):
        read_scan(tmp_path / "x.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_damaged_anywhere_is_refused_or_read(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as archive:
        archive.writestr("0", bytes(range(256)) * 4)
    whole = (tmp_path / "x.zip").read_bytes()
    n_refused = 0
    for at in range(0, len(whole), max(len(whole) // 60, 1)):
        (tmp_path / "x.zip").write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            with unzipped(tmp_path / "x.zip"):
                pass
        except FileError as error:
            assert "cannot be unpacked" in str(error) or "GiB" in str(error)  # noqa: PT017
            n_refused += 1
    assert n_refused > 10


def test_a_zip_without_dicom_is_named(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", 3)
    with pytest.raises(FileError, match=r"x\.zip: 3 files, none of them a DICOM image"):
        read_scan(tmp_path / "x.zip")
