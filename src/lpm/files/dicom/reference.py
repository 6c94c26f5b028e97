"""The series that a DICOM segmentation or structure set was drawn on, looked for beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydicom.dataset import Dataset

from lpm.files.dicom.folder import find_series, series_uid
from lpm.files.dicom.headers import is_dicom
from lpm.files.dicom.series import Series

_MOST_FILES = 20_000  # that are looked at: a folder of everything is no patient's
_ALONE = 5  # files of a folder, at most, whose series may lie in a folder beside it


def referenced_uids(plain: Dataset) -> list[str]:
    """Series that a SEG or an RTSTRUCT was drawn on, by their UIDs.

    Args:
        plain: The whole file.
    """
    frames = plain.get("ReferencedFrameOfReferenceSequence") or ()
    studies = [study for frame in frames for study in frame.get("RTReferencedStudySequence") or ()]
    drawn = [series for study in studies for series in study.get("RTReferencedSeriesSequence") or ()]
    return [
        str(each.get("SeriesInstanceUID") or "") for each in (*(plain.get("ReferencedSeriesSequence") or ()), *drawn)
    ]


def find_reference(path: Path, uid: str) -> Series | None:
    """The series of a UID in a file's folder, in folders in it, or for a file with few others in folders beside it.

    Args:
        path: The file that refers to the series.
        uid: Its series instance UID.
    """
    for folder in _folders(path):
        try:
            beside = sorted(each for each in folder.iterdir() if each.is_file() and not each.name.startswith("."))
        except OSError:
            continue
        own = next((each for each in beside[:_MOST_FILES] if is_dicom(each) and series_uid(each) == uid), None)
        if own is not None:
            found = find_series(own)
            return max(found, key=lambda series: len(series.slices))
    return None


def _folders(path: Path) -> Iterator[Path]:
    folder = path.resolve().parent
    yield folder
    inside = [each for each in sorted(folder.iterdir()) if each.is_dir()]
    yield from inside
    is_alone = sum(1 for each in folder.iterdir() if each.is_file()) <= _ALONE
    if is_alone and folder.parent != Path(folder.anchor):
        yield from (each for each in sorted(folder.parent.iterdir()) if each.is_dir() and each != folder)
