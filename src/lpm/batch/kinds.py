"""What counts as a case: names of files, DICOM, columns of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lpm.files.points import POINT_SUFFIXES
from lpm.files.scans import is_dicom_file, is_scan_name
from lpm.files.volumes import VOLUME_SUFFIXES

_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom")
_VOLUMES = f"files ending in {', '.join(VOLUME_SUFFIXES)}"


@dataclass(frozen=True)
class Kind:
    """What counts as a case of a command.

    Args:
        what: Its files, in words.
        known: What they end in, in words.
        is_name: Whether a file's name is that of a case.
        called: Names, without ending, that mark the file of a subject's folder.
        not_called: Names of other files of a subject.
        has_dicom: Whether DICOM folders are cases, and single DICOM files slices of them.
        has_organs: Whether a folder with one mask an organ is a case.
        files: Columns of a table that name files, of which each row has at least one. The first is that of files which
            are named without a table; files of a subject's folder that are called like a column are of that column.
        values: Further columns that are understood.
        keeps_others: Whether other columns are kept as attributes; else those with nearly a known name are refused.
    """

    what: str
    known: str
    is_name: Callable[[Path], bool]
    called: tuple[str, ...] = ()
    not_called: tuple[str, ...] = ()
    has_dicom: bool = False
    has_organs: bool = False
    files: tuple[str, ...] = ("path",)
    values: tuple[str, ...] = ()
    keeps_others: bool = False


def _is_point_name(path: Path) -> bool:
    name = path.name.lower()
    return name.endswith(POINT_SUFFIXES) and (not name.endswith(".json") or name.endswith(".mrk.json"))


def _is_picture_name(path: Path) -> bool:
    return path.suffix.lower() in _PICTURES or (not path.suffix and is_dicom_file(path))


SCANS = Kind(
    "label maps, scans",
    f"{_VOLUMES}, or DICOM",
    is_scan_name,
    called=("labels",),
    has_dicom=True,
    has_organs=True,
    keeps_others=True,
)
"""Of `lpm prepare`: label maps or CTs."""

CTS = Kind(
    "CTs",
    f"{_VOLUMES}, or DICOM",
    is_scan_name,
    called=("ct",),
    not_called=("labels", "lobes", "parts"),
    has_dicom=True,
)
LABEL_MAPS = Kind(
    "label maps",
    f"{_VOLUMES}, DICOM SEG or RTSTRUCT",
    is_scan_name,
    called=("labels",),
    has_dicom=True,
    has_organs=True,
)
POINTS = Kind("surface points", f"files ending in {', '.join(POINT_SUFFIXES)}", _is_point_name, files=("path", "grid"))
RADIOGRAPHS = Kind(
    "radiographs",
    f"files ending in {', '.join(_PICTURES)}",
    _is_picture_name,
    files=("frontal", "lateral", "frontal_mask", "views"),
    values=("mm_per_px", "ap", "projection", "source_detector_mm", "patient_detector_mm"),
)
