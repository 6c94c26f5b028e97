"""A CT as people have it: a NIfTI, NRRD or MHA file, a folder of DICOM files, one of these files, or a zip of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lpm.apart.reading import read_apart
from lpm.errors import FileError, InputError, LpmError
from lpm.files.dicom.folder import files_of_series, find_series, holds_dicom, visible_files
from lpm.files.dicom.headers import is_dicom
from lpm.files.dicom.masks import holds_only_masks, mask_kind, read_mask
from lpm.files.dicom.series import Series, choose_series
from lpm.files.dicom.volume import read_series
from lpm.files.itk_headers import check_itk_header
from lpm.files.segments.organ_folder import is_organ_folder, read_organ_folder
from lpm.files.volumes import VOLUME_SUFFIXES, VolumeFile, is_volume_name, read_volume_file
from lpm.files.zips import unzipped, zipped_volumes

_LISTED = 5  # names that a message lists


def is_scan_name(path: Path) -> bool:
    """Whether a file's name is that of a scan that `read_scan` reads by itself."""
    return is_volume_name(path) or path.suffix.lower() == ".zip"


def is_dicom_file(path: Path) -> bool:
    """Whether a path is a single DICOM file, whatever its name; names of other scans are believed."""
    return path.is_file() and not is_scan_name(path) and is_dicom(path)


def is_dicom_folder(folder: Path) -> bool:
    """Whether a folder holds DICOM files, at any depth."""
    return holds_dicom(path for path in visible_files(folder) if not is_scan_name(path))


def scan_files(path: Path) -> list[Path]:
    """All files that a scan is made of: for a DICOM file those of its series, for a folder all of it; sorted.

    A header that lies apart from its voxels (.nhdr, .mhd) comes with their file.

    Raises:
        FileError: A DICOM file without a series, or a damaged header.
    """
    if path.is_dir():
        return sorted(found for found in path.rglob("*") if found.is_file())
    return files_of_series(path) if is_dicom_file(path) else check_itk_header(path)


@read_apart
def read_scan(path: str | Path, series: str | None = None) -> VolumeFile:
    """Read a scan.

    Args:
        path: A volume file, a DICOM folder, a zip of either, or a DICOM file, which stands for its series in its
            folder. A DICOM SEG or RTSTRUCT is read as the label map that it is.
        series: DICOM series: its number or (the end of) its UID, with ``:`` and the acquisition number where it
            has several; None for the thin-slice axial chest CT, of one patient.

    Raises:
        FileError: Missing, damaged, or of another kind.
        InputError: No series of the folder can be used.
    """
    path = Path(path)
    if path.is_file() and is_volume_name(path):
        return read_volume_file(path)
    if is_organ_folder(path):
        return read_organ_folder(path)
    if is_mask_file(path) or (path.is_dir() and holds_only_masks(path)):
        return read_mask(path)
    if _is_zip(path) and (names := zipped_volumes(path)):
        return _read_zipped_volume(path, names)
    with found_series(path, series) as (chosen, found):
        return _read(chosen, found, path.name)


@contextmanager
def found_series(path: Path, series: str | None = None) -> Iterator[tuple[Series, list[Series]]]:
    """Find the series that `read_scan` reads, and all that it was chosen from; their files last as long as the context.

    Args:
        path: A DICOM folder, a zip, or a DICOM file.
        series: The series, as for `read_scan`.

    Raises:
        FileError: Missing, damaged, or no DICOM.
        InputError: No series can be used.
    """
    if _is_zip(path):
        with unzipped(path) as folder:
            found = find_series(folder, str(path))
            yield choose_series(found, series, path.name), found
        return
    if path.is_dir() or is_dicom_file(path):
        found = find_series(path) if path.is_dir() else _series_with(path, series)
        yield choose_series(found, series, path.name), found
        return
    what = "no such file or folder" if not path.exists() else f"unknown kind {path.suffix!r}"
    raise FileError(str(path), what, f"a DICOM folder, a zip of one, or a file ending in {', '.join(VOLUME_SUFFIXES)}")


def is_mask_file(path: Path) -> bool:
    """Whether a path is a DICOM SEG or RTSTRUCT."""
    return is_dicom_file(path) and mask_kind(path) is not None


@read_apart
def read_labels(path: Path) -> VolumeFile:
    """Read a label map.

    Args:
        path: A volume file, a DICOM SEG or RTSTRUCT, a folder with one mask an organ, or a folder or a zip that holds
            one of these.

    Raises:
        FileError: Missing, damaged, or of another kind.
        InputError: Not 3-D, or no mask.
    """
    if is_organ_folder(path):
        return read_organ_folder(path)
    if _is_zip(path) and (names := zipped_volumes(path)):
        return _read_zipped_volume(path, names)
    if _is_zip(path):
        with unzipped(path) as folder, _named(path):
            return read_mask(folder)
    if path.is_dir() or is_mask_file(path):
        return read_mask(path)
    if is_dicom_file(path):
        hint = "find its lungs with lpm segment, or fit them with lpm fit ct"
        raise InputError(str(path), "a DICOM image", "a mask", hint)
    return read_volume_file(path)


def _is_zip(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() == ".zip"


def _read_zipped_volume(path: Path, names: Sequence[str]) -> VolumeFile:
    """Read the only volume of a zip.

    Raises:
        InputError: There are several.
    """
    if len(names) > 1:
        given = f"{len(names)} volumes ({', '.join(names[:_LISTED])}{', ...' if len(names) > _LISTED else ''})"
        raise InputError(str(path), given, "one", "unpack it, and give the file or the folder")
    with unzipped(path) as folder, _named(path):
        return read_volume_file(next(each for each in visible_files(folder) if is_volume_name(each)))


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Refusals name the zip, and not the folder that it was unpacked to."""
    try:
        yield
    except LpmError as error:
        raise type(error)(str(path), error.given, error.expected, error.hint) from error


def _series_with(path: Path, wanted: str | None) -> list[Series]:
    """The series of a file; of its acquisitions the file's own, if that could be a chest CT."""
    found = find_series(path)
    own = [series for series in found if path in {each.path for each in series.slices}]
    return own if wanted is None and any(series.is_chest_ct for series in own) else found


def _read(chosen: Series, found: list[Series], subject: str) -> VolumeFile:
    read = read_series(chosen, subject)
    others = [series.label for series in found if series.uid == chosen.uid and series is not chosen and series.parts]
    beside = f"; the same series has {', '.join(others)}" if others else ""
    which = () if len(found) == 1 else (f"of {len(found)} series: {chosen}{beside}",)
    return VolumeFile(read.volume, (*which, *read.notes))
