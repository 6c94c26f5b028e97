"""Radiographs in DICOM: grey values as a viewer shows them, and what the header says of geometry.

Pixels are decoded by GDCM through SimpleITK (JPEG, JPEG-LS, JPEG 2000, RLE); the values of interest (VOI) are windowed
by pydicom.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from lpm.errors import FileError, InputError, LpmError
from lpm.files.dicom.sizes import check_sizes
from lpm.files.outputs.temporary import temporary_folder
from lpm.xray.files.image import Grey, ViewName, Xray, check_size, expected_spacing, is_spacing

_FRONTAL, _LATERAL = ("PA", "AP"), ("LL", "RL", "LLD", "RLD", "LAT", "LATERAL")
_OTHER_MODALITIES = ("CT", "MR", "PT", "NM", "US", "MG", "XA", "OPT", "SM", "SEG")
_CHEST = ("CHEST", "THORAX", "LUNG", "RIB", "HEART", "")
_SPACINGS = ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing")
_DEFERRED = 1024  # bytes: larger elements, the pixels, stay on disk
# pydicom's ways to say that a header is damaged
_DAMAGED = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    struct.error,
)


def read_dicom_xray(path: Path, mm_per_px: float | None) -> Xray:
    """Read a radiograph from DICOM; its grey values are those of the window, not yet from 0 to 1.

    Args:
        path: One file of one frame.
        mm_per_px: Pixel spacing by the caller; None for that of the header.

    Raises:
        FileError: Damaged, or without pixels.
        InputError: Not one projection radiograph, of a size that cannot be read, or of absurd spacing.
    """
    try:
        return _read(path, mm_per_px)
    except LpmError:
        raise
    except _DAMAGED as error:
        raise FileError(str(path), f"damaged DICOM ({error})", "an intact file", "export it again") from error


def _read(path: Path, mm_per_px: float | None) -> Xray:
    header = _header(path)
    _check(path, header)
    notes: list[str] = []
    spacing = _spacing(path, header, mm_per_px, notes)
    pixels = _shown(path, header, notes)
    view, position = _position(header, notes)
    detector, patient = _distances(header, notes)
    return Xray(pixels, spacing, view, position, detector, patient, tuple(notes))


# --- Header ----------------------------------------------------------------------------------------------------------


def _header(path: Path) -> Dataset:
    """All but the pixels, which stay on disk; what it holds is parsed where it is asked for."""
    syntax = pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID")
    if syntax == DeflatedExplicitVRLittleEndian:
        raise FileError(str(path), "a deflated DICOM file", "another transfer syntax", "export it uncompressed")
    return pydicom.dcmread(path, defer_size=_DEFERRED)


def _check(path: Path, header: Dataset) -> None:
    modality = str(header.get("Modality", ""))
    if not {"PixelData", "Rows", "Columns"} <= set(header.dir()):
        kind = f"DICOM ({modality or 'no modality'}) without pixels"
        raise FileError(str(path), kind, "a radiograph", "give the image, not a report or a presentation state")
    if modality in _OTHER_MODALITIES:
        hint = "for a CT: lpm segment, or lpm xray to simulate one" if modality == "CT" else "export the radiograph"
        raise InputError(str(path), f"modality {modality}", "a projection radiograph (CR, DX)", hint)
    frames = int(header.get("NumberOfFrames") or 1)
    if frames != 1:
        raise InputError(str(path), f"{frames} frames", "one radiograph", "export one frame by itself")
    photometric = str(header.get("PhotometricInterpretation", "no photometric interpretation"))
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(str(path), f"colours ({photometric})", "MONOCHROME1 or MONOCHROME2", "export it in grey")
    check_size(path, int(header.Rows or 0), int(header.Columns or 0))


def _spacing(path: Path, header: Dataset, given_mm: float | None, notes: list[str]) -> tuple[float, float] | None:
    """Rows and columns; of several that differ the detector's own, which geometry is computed with."""
    found = {name: pair for name in _SPACINGS if (pair := _pair(header, name)) is not None}
    if given_mm is not None:
        notes += [f"{name} says {_text(pair)}; {given_mm:g} mm was given" for name, pair in found.items()]
        return float(given_mm), float(given_mm)
    if not found:
        notes.append("no pixel spacing: shape can be told, size cannot")
        return None
    name, pair = next(iter(found.items()))
    if not all(is_spacing(each) for each in pair):
        raise InputError(str(path), f"{name} {_text(pair)}", expected_spacing(), "give the spacing yourself")
    notes.append(f"spacing {_text(pair)} from {name}{_meaning(header, name)}")
    notes += [f"{other} says {_text(pair)}" for other, pair in found.items() if other != name]
    factor = _number(header, "EstimatedRadiographicMagnificationFactor")
    if factor is not None:
        notes.append(f"the header estimates a magnification of {factor:g}")
    return pair


def _meaning(header: Dataset, name: str) -> str:
    if name != "PixelSpacing":
        return ", at the detector" if name == "ImagerPixelSpacing" else ", of the scanned film"
    kind = str(header.get("PixelSpacingCalibrationType", "") or "")
    return f", calibrated ({kind}): perhaps at the patient" if kind else ", taken to be at the detector"


def _pair(header: Dataset, name: str) -> tuple[float, float] | None:
    value = header.get(name)
    if value is None or value == "":
        return None
    try:
        row, column = (float(each) for each in value)
    except (TypeError, ValueError):
        return float("nan"), float("nan")
    return row, column


def _text(pair: tuple[float, float]) -> str:
    row, column = pair
    return f"{row:g} mm" if row == column else f"{row:g} x {column:g} mm"


def _number(header: Dataset, name: str) -> float | None:
    try:
        value = float(header.get(name))
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) and value > 0 else None


def _distances(header: Dataset, notes: list[str]) -> tuple[float | None, float | None]:
    detector, patient = (_number(header, f"DistanceSourceTo{end}") for end in ("Detector", "Patient"))
    if detector is not None and not 500.0 <= detector <= 5000.0:
        notes.append(f"DistanceSourceToDetector {detector:g} mm cannot be, and is left out")
        detector = None
    if patient is not None and (detector is None or patient >= detector):
        notes.append(f"DistanceSourceToPatient {patient:g} mm does not go with the detector's, and is left out")
        patient = None
    return detector, patient


def _position(header: Dataset, notes: list[str]) -> tuple[ViewName | None, str | None]:
    position = str(header.get("ViewPosition", "") or "").strip().upper() or None
    view: ViewName | None = "frontal" if position in _FRONTAL else "lateral" if position in _LATERAL else None
    part = str(header.get("BodyPartExamined", "") or "").strip().upper()
    if part and not any(name and name in part for name in _CHEST):
        notes.append(f"BodyPartExamined says {part}")
    orientation = [str(each) for each in header.get("PatientOrientation") or ()]
    if view == "frontal" and orientation and not orientation[0].startswith("L"):
        notes.append(f"PatientOrientation says {'/'.join(orientation)}: perhaps mirrored or turned; left as it is")
    return view, position


# --- Pixels ----------------------------------------------------------------------------------------------------------


def _shown(path: Path, header: Dataset, notes: list[str]) -> Grey:
    """Grey values of the window, bright = dense."""
    with np.errstate(over="ignore"):  # too large for float32: refused below
        values = _windowed(_decoded(path, header), header, notes).astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(str(path), "NaN or infinite pixels", "finite grey values", "export it again")
    is_negative = header.PhotometricInterpretation == "MONOCHROME1"
    sign = header.get("PixelIntensityRelationshipSign")
    if sign is not None and sign == (-1 if is_negative else 1):
        notes.append("PixelIntensityRelationshipSign contradicts PhotometricInterpretation: perhaps a negative")
    return -values if is_negative else values


def _decoded(path: Path, header: Dataset) -> NDArray[Any]:
    """(rows, columns) values, with slope and intercept or modality table applied."""
    check_sizes(path)
    try:
        with _as_monochrome2(path, header) as readable:
            image = sitk.GetArrayFromImage(sitk.ReadImage(str(readable), imageIO="GDCMImageIO"))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()[:200]
        given = f"cannot be decoded ({_syntax(header).name}: {reason})"
        raise FileError(str(path), given, "an intact image", "export it uncompressed") from error
    shape = int(header.Rows), int(header.Columns)
    if image.size != shape[0] * shape[1]:
        raise FileError(str(path), f"an image of {image.shape}", f"one of {shape}, as its header says")
    values = image.reshape(shape)
    return apply_modality_lut(values, header) if header.get("ModalityLUTSequence") else values


def _syntax(header: Dataset) -> UID:
    return UID(header.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian))


@contextmanager
def _as_monochrome2(path: Path, header: Dataset) -> Iterator[Path]:
    """GDCM turns MONOCHROME1 around before slope and window: such an image is decoded from a copy."""
    if header.PhotometricInterpretation == "MONOCHROME2":
        yield path
        return
    with temporary_folder() as folder:
        copy = pydicom.dcmread(path)
        copy.PhotometricInterpretation = "MONOCHROME2"
        copy.save_as(folder / "copy.dcm")
        yield folder / "copy.dcm"


def _windowed(values: NDArray[Any], header: Dataset, notes: list[str]) -> NDArray[Any]:
    """What a viewer would show: the window or table of the header, the first of several."""
    has_table, centers = bool(header.get("VOILUTSequence")), header.get("WindowCenter")
    if not has_table and (centers is None or header.get("WindowWidth") is None):
        return values
    whole = np.rint(values).astype(np.int32) if has_table else values
    try:
        shown = apply_voi_lut(whole, header, index=0)
    except (ValueError, NotImplementedError, AttributeError, IndexError, KeyError, TypeError) as error:
        notes.append(f"its window cannot be used ({error}); all values are shown")
        return values
    if float(np.ptp(shown)) == 0.0:
        notes.append("its window shows nothing; all values are shown")
        return values
    notes.append("grey values by its VOI table" if has_table else "grey values by its window")
    return np.asarray(shown)
