"""DICOM images of a folder, sorted into series by their headers (pydicom).

Of a patient only the geometry and the pixels are kept. An ID tells patients apart, and is named when several are found
in one folder.
"""

from __future__ import annotations

import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError

from lpm.errors import FileError
from lpm.files.dicom.series import Series, Slice
from lpm.geometry.frames import Floats

_TAGS = [
    "Modality",
    "PatientID",
    "PatientName",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "AcquisitionNumber",
    "ImageType",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "NumberOfFrames",
    "Rows",
    "Columns",
]
_WHO = ("PatientID", "PatientName", "StudyInstanceUID")
_SAME_DIRECTION = 1e-3  # of unit vectors: what scanners round off, 0.3 mm over 300 mm
_SAME_PIXEL = 1e-3  # of a pixel's size: what scanners round off
_NOT_SQUARE = 0.01  # cosine between rows and columns above which an image is damaged
_STRANGE = (
    InvalidDicomError,
    BytesLengthException,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    OverflowError,
    RecursionError,
    NotImplementedError,
    EOFError,
    struct.error,
    zlib.error,
)


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does.

    Raises:
        FileError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError as error:
        raise _unreadable(path, error) from error


def holds_dicom(paths: Iterable[Path]) -> bool:
    """Whether any of some files is DICOM."""
    return any(is_dicom(path) for path in paths)


def visible_files(folder: Path) -> list[Path]:
    """All files under a folder, at any depth, sorted, without hidden ones."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def series_uid(path: Path) -> str:
    """The series instance UID of a DICOM file; empty if it has none, as a DICOMDIR has not."""
    header = _header(path)
    return "" if header is None else str(header.get("SeriesInstanceUID") or "")


def files_of_series(path: Path) -> list[Path]:
    """The files beside a DICOM file, itself among them, that are of its series; sorted.

    Raises:
        FileError: It has no series, or a file of the folder cannot be read.
    """
    uid = series_uid(path)
    if not uid:
        what = "a DICOM file without a series"
        raise FileError(str(path), what, "an image of a CT series", "give the folder, or one of its images")
    beside = (one for one in path.parent.iterdir() if one.is_file() and (one == path or not one.name.startswith(".")))
    return sorted(one for one in beside if is_dicom(one) and series_uid(one) == uid)


def find_series(path: Path, subject: str = "") -> list[Series]:
    """All series under a folder, or the one of a DICOM file in its folder, sorted by number.

    A series whose images look in different directions, or differ in size, is taken for several. So is one with
    several acquisitions at the same places; acquisitions that follow each other along the body are one. Files that are
    no images with a place in the patient are passed over.

    Args:
        path: A folder or a DICOM file.
        subject: Name for messages; by default the path.

    Raises:
        FileError: There is no DICOM image with a place in the patient, or a file cannot be read.
    """
    files = visible_files(path) if path.is_dir() else files_of_series(path)
    images = [image for file in files for image in _images(file)]
    found = [series for stack in _stacks(_without_copies(images)) for series in _series_of(stack)]
    if not found:
        what = f"{len(files)} files, none of them a DICOM image with a place in the patient{_multi_frame(files)}"
        raise FileError(subject or str(path), what, "the images of a CT series", "give the folder of the series")
    return sorted(found, key=lambda series: (series.number, series.uid, series.acquisition or 0))


def _unreadable(path: Path, error: OSError) -> FileError:
    return FileError(str(path), f"cannot be read ({error.strerror or error})", "a readable file", "copy it again")


def _header(path: Path) -> pydicom.Dataset | None:
    """None if it is no DICOM, or strange; a file that the disk does not give would be a slice lost unseen."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        for name in _TAGS:  # values are converted when they are first asked for
            header.get(name)
    except _STRANGE:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    return header


def _multi_frame(paths: Sequence[Path]) -> str:
    """A hint for the modern kind of DICOM, whose images are all in one file."""
    headers = (_header(path) for path in paths)
    n = sum(1 for header in headers if header is not None and header.get("NumberOfFrames"))
    return f" ({n} multi-frame, which are not read: convert to single frames or to NIfTI)" if n else ""


def _images(path: Path) -> Iterator[tuple[str, Series]]:
    """An image as its own UID and a series of one slice; nothing if it has no place that can be used."""
    header = _header(path)
    if header is None:
        return
    try:
        image, uid = _image(header, path), str(header.get("SOPInstanceUID") or path)
    except _STRANGE:
        return
    if image is not None:
        yield uid, image


def _image(header: pydicom.Dataset, path: Path) -> Series | None:
    position, orientation = _numbers(header, "ImagePositionPatient", 3), _numbers(header, "ImageOrientationPatient", 6)
    pixel, shape = _numbers(header, "PixelSpacing", 2), (int(header.Rows), int(header.Columns))
    sides = np.linalg.norm(orientation.reshape(2, 3), axis=1, keepdims=True)
    if not header.get("SeriesInstanceUID") or min(shape) <= 0 or (pixel <= 0).any() or (sides < 0.5).any():
        return None
    directions = orientation.reshape(2, 3) / sides
    if abs(directions[0] @ directions[1]) > _NOT_SQUARE:
        return None
    acquisition, kind = int(header.get("AcquisitionNumber") or 0), header.get("ImageType") or ()
    return Series(
        uid=str(header.SeriesInstanceUID),
        patient=next((who for name in _WHO if (who := str(header.get(name) or "").strip())), "unnamed"),
        number=int(header.get("SeriesNumber") or 0),
        description=str(header.get("SeriesDescription") or "").strip(),
        modality=str(header.get("Modality") or ""),
        kind=(kind,) if isinstance(kind, str) else tuple(str(value) for value in kind),
        orientation=directions,
        pixel_mm=pixel,
        shape=shape,
        thickness_mm=float(header.get("SliceThickness") or 0.0),
        slices=(Slice(path, position, acquisition),),
    )


def _numbers(header: pydicom.Dataset, name: str, n: int) -> Floats:
    values = np.array(header.get(name, ()), dtype=float)
    if values.shape != (n,) or not np.isfinite(values).all():
        raise ValueError(f"{name} has no {n} numbers")
    return values


def _without_copies(images: Iterable[tuple[str, Series]]) -> Iterator[Series]:
    """An image counts once; some anonymisers give all images one UID, so a copy must lie at the same place too."""
    seen = set()
    for uid, image in images:
        (only,) = image.slices
        key = (image.uid, uid, only.acquisition, *only.position_mm)
        if key not in seen:
            seen.add(key)
            yield image


def _stacks(images: Iterable[Series]) -> Iterator[list[Series]]:
    """Images that can be stacked: of one patient, series and size, and parallel to the first within rounding."""
    stacks: dict[tuple[str, str, tuple[int, int]], list[list[Series]]] = defaultdict(list)
    for image in images:
        alike = stacks[image.patient, image.uid, image.shape]
        fitting = next((stack for stack in alike if _is_parallel(stack[0], image)), None)
        if fitting is None:
            alike.append([image])
        else:
            fitting.append(image)
    for alike in stacks.values():
        yield from alike


def _is_parallel(one: Series, other: Series) -> bool:
    turned = np.abs(one.orientation - other.orientation).max()
    return bool(turned < _SAME_DIRECTION and np.allclose(one.pixel_mm, other.pixel_mm, rtol=_SAME_PIXEL, atol=0.0))


def _series_of(stack: Sequence[Series]) -> Iterator[Series]:
    """One series, or one for each acquisition where places repeat."""
    whole = _stacked(stack)
    by_acquisition = defaultdict(list)
    for image in stack:
        by_acquisition[image.slices[0].acquisition].append(image)
    if not whole.repeats_places or len(by_acquisition) == 1:
        yield whole
        return
    for acquisition, part in sorted(by_acquisition.items()):
        yield replace(_stacked(part), acquisition=acquisition)


def _stacked(stack: Sequence[Series]) -> Series:
    first = stack[0]
    slices = [each for image in stack for each in image.slices]
    slices.sort(key=lambda each: float(each.position_mm @ first.normal))
    return replace(first, slices=tuple(slices))
