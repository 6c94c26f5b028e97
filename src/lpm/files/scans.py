"""A CT as people have it: a NIfTI, NRRD or MHA file, a folder of DICOM files, or a zip of one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lpm.errors import FileError
from lpm.files.dicom import choose_series, find_series, holds_dicom, is_dicom, read_series, unzipped
from lpm.files.volumes import VOLUME_SUFFIXES, is_volume_name, read_volume
from lpm.geometry.volumes import Volume

_LOOKED_AT = 50


@dataclass(frozen=True)
class ScanFile:
    """A scan as read, before its values are checked.

    Args:
        volume: Values with slope and intercept applied.
        notes: What had to be mended, and which series was taken.
    """

    volume: Volume
    notes: tuple[str, ...] = ()


def is_scan_name(path: Path) -> bool:
    """Whether a file's name is that of a scan that `read_scan` reads by itself."""
    return is_volume_name(path) or path.suffix.lower() == ".zip"


def is_dicom_folder(folder: Path) -> bool:
    """Whether a folder holds DICOM files, at any depth."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return holds_dicom(path for path in islice(files, _LOOKED_AT) if not is_scan_name(path))


def read_scan(path: Path, series: str | None = None) -> ScanFile:
    """Read a scan.

    Args:
        path: A volume file, a DICOM folder, one of its files, or a zip.
        series: Which DICOM series: its number or (the end of) its UID; None for the thin-slice axial chest CT.

    Raises:
        FileError: Missing, damaged, or of another kind.
        InputError: No series of the folder can be used.
    """
    if path.is_file() and is_volume_name(path):
        return ScanFile(read_volume(path))
    if path.is_file() and path.suffix.lower() == ".zip":
        with unzipped(path) as folder:
            return _read_folder(folder, path.name, series)
    if path.is_dir():
        return _read_folder(path, path.name, series)
    if path.is_file() and is_dicom(path):
        return _read_folder(path.parent, path.parent.name, series)
    what = "no such file or folder" if not path.exists() else f"unknown kind {path.suffix!r}"
    raise FileError(str(path), what, f"a DICOM folder, a zip of one, or a file ending in {', '.join(VOLUME_SUFFIXES)}")


def _read_folder(folder: Path, subject: str, wanted: str | None) -> ScanFile:
    found = find_series(folder)
    chosen = choose_series(found, wanted, subject)
    read = read_series(chosen, subject)
    which = () if len(found) == 1 else (f"of {len(found)} series: {chosen}",)
    return ScanFile(read.volume, (*which, *read.notes))
