"""Headers of DICOM files: what is DICOM, and what a file's images say of themselves (pydicom).

Of a patient only the geometry and the pixels are kept. An ID tells patients apart, and is named when several are found
in one folder.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from lpm.errors import FileError
from lpm.files.dicom.deflated import full_size
from lpm.files.dicom.parts import PART_TAGS
from lpm.files.dicom.series import Series, Slice
from lpm.geometry.frames import Floats

_TAGS = [
    "SOPClassUID",
    "Modality",
    "PatientID",
    "PatientName",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "FrameOfReferenceUID",
    "SeriesNumber",
    "AcquisitionNumber",
    "InstanceNumber",
    "ImageType",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    *PART_TAGS,
]
_WHO = ("PatientID", "PatientName", "StudyInstanceUID")
_NOT_SQUARE = 0.01  # cosine between rows and columns above which an image is damaged
_FIRST_GROUPS = (b"\x08\x00", b"\x02\x00", b"\x00\x08")  # of what begins without a preamble, in both byte orders
_UIDS = "1.2.840.10008."  # root of the UIDs that DICOM itself gives, as those of the kinds of its files
_NO_PICTURES = ("SEG", "RTSTRUCT", "RTDOSE")  # modalities of what is placed as images are and shows no patient
STRANGE = (
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
    """Whether a file begins as DICOM does, or holds its elements without the mark that should precede them.

    Raises:
        FileError: The disk does not give the file; or it is deflated, and too large to be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(132)
        is_marked = start[128:] == b"DICM"
        if not is_marked and start[:2] not in _FIRST_GROUPS:
            return False
        with suppress(zlib.error):  # damaged, which reading it says
            full_size(path)
    except FileError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error
    return is_marked or _names_its_kind(path)


def _names_its_kind(path: Path) -> bool:
    """Planning systems and old archives leave the mark out; any bytes could then be taken for elements."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of what other bytes look like to pydicom
            kind = pydicom.dcmread(path, force=True, specific_tags=["SOPClassUID"], stop_before_pixels=True)
            return str(kind.get("SOPClassUID") or "").startswith(_UIDS)
    except (*STRANGE, OSError):
        return False


def patient_name(header: Dataset) -> str:
    """Patient ID, else name, else study UID: what tells patients apart."""
    return next((who for name in _WHO if (who := str(header.get(name) or "").strip())), "unnamed")


def read_header(path: Path) -> Dataset | None:
    """What this package asks of a file's header; None if it is no DICOM, or strange.

    Raises:
        FileError: As `is_dicom`: a slice would be lost unseen.
    """
    if not is_dicom(path):
        return None
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS), force=True)
        for name in _TAGS:  # values are converted when they are first asked for
            header.get(name)
    except STRANGE:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    return header


def _unreadable(path: Path, error: OSError) -> FileError:
    return FileError(str(path), f"cannot be read ({error.strerror or error})", "a readable file", "copy it again")


def images_of(path: Path, header: Dataset) -> Iterator[tuple[str, Series]]:
    """Each image of a file as its own UID and a series of one slice; none that has no place that can be used."""
    frames = header.get("PerFrameFunctionalGroupsSequence")
    for index, one in enumerate([None] if frames is None else frames):
        try:
            flat = header if one is None else flattened(header, one)
            image = placed_image(flat, path, None if one is None else index)
        except (*STRANGE, OSError):  # of items that are cut off, in memory; the disk was read before
            continue
        if flat.get("Modality") not in _NO_PICTURES:
            yield str(header.get("SOPInstanceUID") or path), image


def flattened(header: Dataset, frame: Dataset) -> Dataset:
    """Header of one frame of a multi-frame image, with its attributes where single images have them.

    Args:
        header: Header of the file.
        frame: Item of its per-frame functional groups.
    """
    flat = Dataset()
    flat.update(header)
    for groups in (*(header.get("SharedFunctionalGroupsSequence") or ()), frame):
        for group in groups:
            if group.VR == "SQ" and group.value:
                flat.update(group.value[0])
    if "FrameAcquisitionNumber" in flat:
        flat.AcquisitionNumber = flat.FrameAcquisitionNumber
    return flat


def placed_image(header: Dataset, path: Path, frame: int | None = None) -> Series:
    """An image as a series of one slice.

    Args:
        header: Its header.
        path: Its file.
        frame: Its index in a multi-frame file.

    Raises:
        ValueError: It has no place in the patient that can be used; others of what a strange header raises.
    """
    position, orientation = _numbers(header, "ImagePositionPatient", 3), _numbers(header, "ImageOrientationPatient", 6)
    pixel, shape = _numbers(header, "PixelSpacing", 2), (int(header.Rows), int(header.Columns))
    sides = np.linalg.norm(orientation.reshape(2, 3), axis=1, keepdims=True)
    if not header.get("SeriesInstanceUID") or min(shape) <= 0 or (pixel <= 0).any() or (sides < 0.5).any():
        raise ValueError("no place")
    directions = orientation.reshape(2, 3) / sides
    if abs(directions[0] @ directions[1]) > _NOT_SQUARE:
        raise ValueError("rows and columns are not at right angles")
    acquisition, kind = int(header.get("AcquisitionNumber") or 0), header.get("ImageType") or ()
    told = {name: _told(header.get(name)) for name in PART_TAGS}
    return Series(
        uid=str(header.SeriesInstanceUID),
        patient=patient_name(header),
        number=int(header.get("SeriesNumber") or 0),
        description=str(header.get("SeriesDescription") or "").strip(),
        modality=str(header.get("Modality") or ""),
        kind=(kind,) if isinstance(kind, str) else tuple(str(value) for value in kind),
        orientation=directions,
        pixel_mm=pixel,
        shape=shape,
        thickness_mm=float(header.get("SliceThickness") or 0.0),
        slices=(Slice(path, position, acquisition, frame, int(header.get("InstanceNumber") or 0), told),),
        place=(str(header.get("StudyInstanceUID") or ""), str(header.get("FrameOfReferenceUID") or "")),
    )


def _told(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value or "").strip()


def _numbers(header: Dataset, name: str, n: int) -> Floats:
    values = np.array(header.get(name, ()), dtype=float)
    if values.shape != (n,) or not np.isfinite(values).all():
        raise ValueError(f"{name} has no {n} numbers")
    return values
