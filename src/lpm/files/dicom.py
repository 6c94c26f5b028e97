"""A folder of DICOM files, or a zip of one: its series, and the CT volume of one of them.

Headers are read by pydicom, pixels by GDCM through SimpleITK (JPEG, JPEG-LS, JPEG 2000 and RLE included), slice by
slice, so that each slice's own slope and intercept apply. Nothing of a patient but geometry and pixels is kept.
"""

from __future__ import annotations

import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from scipy.ndimage import shift

from lpm.errors import FileError, InputError
from lpm.geometry.frames import Floats
from lpm.geometry.volumes import Volume

_TAGS = [
    "Modality",
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
    "Rows",
    "Columns",
]
_RAS_FROM_LPS = np.array([-1.0, -1.0, 1.0])
_AIR_HU = -1024.0
_LEAST_SLICES, _LEAST_EXTENT_MM = 20, 100.0
_SAME_PLACE_MM = 0.01
_LEAST_UID = 6
_UNEVEN, _ROUNDED = 0.1, 0.2
_MOST_MISSING_TOGETHER, _MOST_MISSING_SHARE = 3, 0.05
_TILT_DEGREES = 0.5
_MOST_VOXELS = 2048**3
_MOST_UNZIPPED = 32 * 1024**3


@dataclass(frozen=True)
class Slice:
    """One image of a series.

    Args:
        path: Its file.
        position_mm: (3,) centre of the first voxel, LPS.
        acquisition: Its acquisition number, 0 if there is none.
    """

    path: Path
    position_mm: Floats
    acquisition: int


@dataclass(frozen=True)
class Series:
    """Images that make one volume.

    Args:
        uid: Series instance UID.
        number: Series number, 0 if there is none.
        description: What the scanner called it.
        modality: CT, MR, ...
        kind: ``ImageType``, such as ORIGINAL PRIMARY AXIAL.
        orientation: (2, 3) directions of rows and columns, LPS.
        pixel_mm: (2,) distance between rows, and between columns.
        shape: Rows and columns.
        thickness_mm: Nominal slice thickness.
        slices: Sorted along the normal.
    """

    uid: str
    number: int
    description: str
    modality: str
    kind: tuple[str, ...]
    orientation: Floats
    pixel_mm: Floats
    shape: tuple[int, int]
    thickness_mm: float
    slices: tuple[Slice, ...]

    @property
    def normal(self) -> Floats:
        """(3,) direction in which slices follow each other, LPS."""
        return np.cross(self.orientation[0], self.orientation[1])

    @property
    def heights_mm(self) -> Floats:
        """(n,) place of each slice along the normal."""
        return np.array([each.position_mm @ self.normal for each in self.slices])

    @property
    def step_mm(self) -> float:
        """Usual distance between slices: the mean of those that are no gaps, for places may be stored roundly."""
        if len(self.slices) < 2:
            return self.thickness_mm
        apart = np.diff(self.heights_mm)
        usual = float(np.median(apart))
        if usual < _SAME_PLACE_MM:
            return self.thickness_mm
        return float(apart[np.abs(apart - usual) < _ROUNDED * usual].mean())

    @property
    def is_axial(self) -> bool:
        """Whether the slices lie across the body, tilted or not."""
        return bool(abs(self.normal[2]) > 0.8)

    @property
    def is_chest_ct(self) -> bool:
        """Whether it could be a chest CT: axial, with enough slices over enough of the body, no localizer."""
        extent = float(np.ptp(self.heights_mm)) + self.step_mm
        is_picture = {"LOCALIZER", "MIP", "MPR"} & set(self.kind)
        return (
            self.modality == "CT"
            and self.is_axial
            and len(self.slices) >= _LEAST_SLICES
            and extent >= _LEAST_EXTENT_MM
            and not is_picture
        )

    def __str__(self) -> str:
        """One line for a list."""
        plane = "axial" if self.is_axial else "not axial"
        what = f"{len(self.slices)} slices, {self.step_mm:.2f} mm apart, {plane}"
        return f"series {self.number} ({self.modality}, {self.description or 'no description'}): {what}, {self.uid}"


@dataclass(frozen=True)
class DicomVolume:
    """A series as one volume.

    Args:
        volume: HU, RAS.
        series: What it was made of.
        notes: What was mended: missing slices, a tilted gantry.
    """

    volume: Volume
    series: Series
    notes: tuple[str, ...]


@contextmanager
def unzipped(path: Path) -> Iterator[Path]:
    """Give a temporary folder with a zip's files, under names of our own; nothing in the zip chooses a path.

    Raises:
        FileError: No zip, damaged, or larger than 32 GiB when unpacked.
    """
    with TemporaryDirectory(prefix="lpm-") as name:
        folder = Path(name)
        try:
            with zipfile.ZipFile(path) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
                size = sum(member.file_size for member in members)
                if size > _MOST_UNZIPPED:
                    raise FileError(str(path), f"{size / 1024**3:.0f} GiB unpacked", "at most 32 GiB", "unpack it")
                for index, member in enumerate(members):
                    _unpack(archive, member, folder / f"{index:06d}.dcm")
        except FileError:
            raise
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
            raise FileError(str(path), f"cannot be unpacked ({error})", "an intact zip without password") from error
        yield folder


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, to: Path) -> None:
    """A member may claim a size and hold another: no more than it claims is written."""
    with archive.open(member) as source, to.open("wb") as target:
        left = member.file_size
        while left > 0 and (chunk := source.read(min(1 << 20, left))):
            target.write(chunk)
            left -= len(chunk)


def find_series(folder: Path) -> list[Series]:
    """All series under a folder, sorted by number; other files are passed over.

    A series whose images look in different directions, or differ in size, is taken for several. So is one with
    several acquisitions at the same places.

    Raises:
        FileError: There is no DICOM image with a place in the patient.
    """
    groups: dict[tuple[Any, ...], list[tuple[pydicom.Dataset, Path]]] = defaultdict(list)
    n_files = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        n_files += 1
        header = _header(path)
        if header is not None:
            groups[_key(header)].append((header, path))
    found = [series for group in groups.values() for series in _series_of(group)]
    if not found:
        what = f"{n_files} files, none of them a DICOM image with a place in the patient"
        raise FileError(str(folder), what, "the images of a CT series", "give the folder of the series")
    return sorted(found, key=lambda series: (series.number, series.uid))


def _header(path: Path) -> pydicom.Dataset | None:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        return header if _is_placed(header) else None
    except (InvalidDicomError, OSError, ValueError, TypeError, AttributeError, KeyError, NotImplementedError):
        return None


def _is_placed(header: pydicom.Dataset) -> bool:
    """Whether an image has a place in the patient that can be used; values are converted here for the first time."""
    lengths = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
    numbers = {name: np.array(header.get(name, ()), dtype=float) for name in lengths}
    known = all(numbers[name].shape == (n,) and np.isfinite(numbers[name]).all() for name, n in lengths.items())
    if not known or not header.get("SeriesInstanceUID") or int(header.Rows) * int(header.Columns) <= 0:
        return False
    int(header.get("AcquisitionNumber") or 0), int(header.get("SeriesNumber") or 0)
    float(header.get("SliceThickness") or 0.0)
    sides = np.linalg.norm(numbers["ImageOrientationPatient"].reshape(2, 3), axis=1)
    return bool((sides > 0.5).all() and (numbers["PixelSpacing"] > 0).all())


def _key(header: pydicom.Dataset) -> tuple[Any, ...]:
    """Images that can be stacked share it."""
    orientation = np.round(np.array(header.ImageOrientationPatient, dtype=float), 2) + 0.0
    pixel = np.round(np.array(header.PixelSpacing, dtype=float), 4)
    return (str(header.SeriesInstanceUID), *orientation, *pixel, int(header.Rows), int(header.Columns))


def _series_of(group: Sequence[tuple[pydicom.Dataset, Path]]) -> Iterator[Series]:
    """One series, or one for each acquisition where places repeat."""
    unique = {str(header.get("SOPInstanceUID", path)): (header, path) for header, path in group}
    whole = _series(list(unique.values()))
    if not _places_repeat(whole.slices, whole.normal):
        yield whole
        return
    by_acquisition = defaultdict(list)
    for header, path in unique.values():
        by_acquisition[int(header.get("AcquisitionNumber") or 0)].append((header, path))
    for _, part in sorted(by_acquisition.items()):
        yield _series(part)


def _places_repeat(slices: Sequence[Slice], normal: Floats) -> bool:
    heights = np.array([each.position_mm @ normal for each in slices])
    return bool((np.diff(heights) < _SAME_PLACE_MM).any())


def _series(group: Sequence[tuple[pydicom.Dataset, Path]]) -> Series:
    header = group[0][0]
    orientation = np.array(header.ImageOrientationPatient, dtype=float).reshape(2, 3)
    orientation /= np.linalg.norm(orientation, axis=1, keepdims=True)
    normal = np.cross(orientation[0], orientation[1])
    slices = [
        Slice(path, np.array(one.ImagePositionPatient, dtype=float), int(one.get("AcquisitionNumber") or 0))
        for one, path in group
    ]
    slices.sort(key=lambda each: float(each.position_mm @ normal))
    return Series(
        uid=str(header.SeriesInstanceUID),
        number=int(header.get("SeriesNumber") or 0),
        description=str(header.get("SeriesDescription", "")).strip(),
        modality=str(header.get("Modality", "")),
        kind=tuple(str(value) for value in header.get("ImageType", ())),
        orientation=orientation,
        pixel_mm=np.array(header.PixelSpacing, dtype=float),
        shape=(int(header.Rows), int(header.Columns)),
        thickness_mm=float(header.get("SliceThickness") or 0.0),
        slices=tuple(slices),
    )


def choose_series(found: Sequence[Series], wanted: str | None, subject: str) -> Series:
    """The series that was asked for, or the thin-slice axial chest CT.

    Args:
        found: All of a folder.
        wanted: Series number, or (at least 6 characters of the end of) its UID; None to choose.
        subject: For messages.

    Raises:
        InputError: No series, or several, answer to it; or none is an axial CT of a chest's length.
    """
    listed = "\n  ".join(str(series) for series in found)
    if wanted is not None:
        named = [series for series in found if wanted == str(series.number)]
        if not named and len(wanted) >= _LEAST_UID:
            named = [series for series in found if series.uid.endswith(wanted)]
        if len(named) != 1:
            raise InputError(
                subject, f"--series {wanted}: {len(named)} of these", "one of them", f"choose:\n  {listed}"
            )
        return named[0]
    chests = [series for series in found if series.is_chest_ct]
    if not chests:
        what = f"no axial CT series of {_LEAST_SLICES} slices and {_LEAST_EXTENT_MM:.0f} mm"
        raise InputError(subject, what, "one", f"name one with --series:\n  {listed}")
    return min(chests, key=lambda series: (round(series.step_mm, 2), -len(series.slices), series.number))


def read_series(series: Series, subject: str) -> DicomVolume:
    """Read a series as one volume on a regular grid.

    A few missing slices are interpolated and a tilted gantry is undone, and the notes say so.

    Args:
        series: Of `find_series`.
        subject: For messages.

    Raises:
        InputError: Several images at one place, or too many slices missing.
        FileError: An image cannot be decoded, or the volume would be too large.
    """
    if len(series.slices) < 2:
        raise InputError(subject, f"{len(series.slices)} slice", "a series of slices", "is it a multi-frame file?")
    if _places_repeat(series.slices, series.normal):
        raise InputError(subject, f"several images at the same place in {series}", "one", "separate the phases")
    if len(series.slices) * np.prod(series.shape, dtype=object) > _MOST_VOXELS:
        raise FileError(subject, f"{len(series.slices)} slices of {series.shape}", f"at most {_MOST_VOXELS} voxels")
    pixels = np.stack([_pixels(each.path, series.shape) for each in series.slices], axis=2)
    pixels, origin, notes = _untilted(series, pixels)
    pixels, more = _evenly(series, pixels, subject)
    affine = np.eye(4)
    affine[:3, 0] = series.orientation[0] * series.pixel_mm[1]
    affine[:3, 1] = series.orientation[1] * series.pixel_mm[0]
    affine[:3, 2] = series.normal * series.step_mm
    affine[:3, 3] = origin
    affine[:3] *= _RAS_FROM_LPS[:, None]
    return DicomVolume(Volume(pixels, affine), series, (*notes, *more))


def _pixels(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """(columns, rows) values of one image, slope and intercept applied."""
    try:
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()[:200]
        raise FileError(path.name, f"cannot be decoded ({reason})", "an intact image", "copy it again") from error
    if image.size != shape[0] * shape[1]:
        raise FileError(path.name, f"an image of {image.shape}", f"one of {shape}", "multi-frame files are not read")
    return np.ascontiguousarray(image.reshape(shape).T.astype(np.float32))


def _untilted(series: Series, pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], Floats, list[str]]:
    """Slices moved within their planes so that they stand on each other, and the first voxel's place."""
    first = series.slices[0].position_mm
    apart = np.stack([each.position_mm - first for each in series.slices])
    sideways = apart @ series.orientation.T
    length = float(np.ptp(series.heights_mm))
    degrees = float(np.degrees(np.arctan2(np.linalg.norm(sideways[-1]), length)))
    if degrees < _TILT_DEGREES:
        return pixels, first, []
    spacing = series.pixel_mm[::-1]
    least = np.floor(sideways.min(axis=0) / spacing)
    room = np.ceil(sideways.max(axis=0) / spacing) - least
    if (room > 2 * np.array(pixels.shape[:2])).any():
        raise InputError(
            str(series), f"slices up to {np.abs(sideways).max():.0f} mm beside each other", "a stack of slices"
        )
    wide = np.full((*(np.array(pixels.shape[:2]) + room.astype(int)), pixels.shape[2]), _AIR_HU, dtype=np.float32)
    for k, moved in enumerate(sideways / spacing - least):
        plane = np.full(wide.shape[:2], _AIR_HU, dtype=np.float32)
        plane[: pixels.shape[0], : pixels.shape[1]] = pixels[:, :, k]
        wide[:, :, k] = shift(plane, moved, order=1, cval=_AIR_HU)
    origin = first + (least * spacing) @ series.orientation
    return wide, origin, [f"gantry tilted by {degrees:.1f} degrees, slices moved onto each other"]


def _evenly(series: Series, pixels: NDArray[np.float32], subject: str) -> tuple[NDArray[np.float32], list[str]]:
    """Slices at even distances; between far ones, interpolated ones."""
    heights, step = series.heights_mm - series.heights_mm[0], series.step_mm
    gaps = np.diff(heights) / step
    if np.abs(heights / step - np.arange(len(heights))).max() < _UNEVEN:
        return pixels, []
    n_missing = int(np.rint(gaps - 1.0).clip(min=0).sum())
    largest = int(gaps.argmax())
    if np.rint(gaps.max() - 1.0) > _MOST_MISSING_TOGETHER or n_missing > _MOST_MISSING_SHARE * len(gaps):
        where = f"{heights[largest + 1] - heights[largest]:.1f} mm between neighbours instead of {step:.1f} mm"
        given = f"about {n_missing} of {len(gaps) + 1 + n_missing} slices missing, {where}"
        raise InputError(subject, given, "a whole series", "copy the series again")
    wanted = np.arange(int(np.rint(heights[-1] / step)) + 1) * step
    above = np.clip(np.searchsorted(heights, wanted), 1, len(heights) - 1)
    share = np.clip((wanted - heights[above - 1]) / (heights[above] - heights[above - 1]), 0.0, 1.0)
    even = pixels[:, :, above - 1] * (1.0 - share) + pixels[:, :, above] * share
    return even.astype(np.float32), [f"slices at uneven distances, {n_missing} missing: interpolated"]


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def holds_dicom(paths: Iterable[Path]) -> bool:
    """Whether any of some files is DICOM."""
    return any(is_dicom(path) for path in paths)
