"""DICOM Segmentation objects (SEG) as label maps: binary, fractional and label maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from lpm.errors import FileError, InputError, LpmError
from lpm.files.dicom.codes import coded_lung
from lpm.files.dicom.headers import flattened, placed_image
from lpm.files.dicom.label_stack import label_volume, series_through, slices_of
from lpm.files.dicom.reference import find_reference, referenced_uids
from lpm.files.dicom.series import Series
from lpm.files.dicom.volume import check_series
from lpm.files.segments.names import lung_of, lungs_among
from lpm.files.volumes import VolumeFile

_HALF = 0.5  # of a fractional segment: more is inside


@dataclass(frozen=True, eq=False)
class _Frame:
    """A frame.

    Args:
        index: Its index in the file.
        image: Its place, as a series of one slice.
        segment: Number of its segment; None if its values are numbers of segments.
    """

    index: int
    image: Series
    segment: int | None


def read_segmentation(path: Path) -> VolumeFile:
    """Read the segments of a DICOM SEG as one label map; its values are the numbers of the segments.

    It comes on the grid of the series that it was drawn on, where that lies beside it.

    Args:
        path: File to read.

    Raises:
        FileError: Damaged, or not as the standard has it.
        InputError: It has no segments, or a name and a code that contradict each other.
    """
    plain = pydicom.dcmread(path, force=True)
    segments = [item for item in plain.get("SegmentSequence") or () if int(item.SegmentNumber)]  # 0 is the background
    if not segments:
        hint = "export it again, or convert it to a label map"
        raise InputError(str(path), "a DICOM SEG that does not say what its segments are", "SegmentSequence", hint)
    names = {int(item.SegmentNumber): str(item.get("SegmentLabel") or "") for item in segments}
    structures = lungs_among(_lung_names(segments, path.name))
    try:
        frames = list(_frames(plain, path))
        series, at, note = _series(path, plain, [frame.image for frame in frames])
        check_series(series, path.name)  # before memory is taken for it
        shape = (len(series.slices), *series.shape)
        labels = _label_stack(plain, frames, at, shape, {value for own in structures.values() for value in own})
    except LpmError:
        raise
    except (ValueError, AttributeError, KeyError, TypeError, IndexError, NotImplementedError, RuntimeError) as error:
        raise FileError(str(path), f"cannot be read ({error})", "a DICOM SEG as the standard has it") from error
    volume, notes = label_volume(series, labels, path.name)
    return VolumeFile(volume, (note, *notes, *ignored_notes(names, structures)), names, structures)


def ignored_notes(names: Mapping[int, str], structures: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """A note on the segments that are no lungs, where others are."""
    lungs = {value for values in structures.values() for value in values}
    others = [name for value, name in names.items() if value not in lungs]
    return (f"segments that are no lungs are ignored: {', '.join(others)}",) if structures and others else ()


def _lung_names(segments: Iterable[Dataset], subject: str) -> dict[int, str]:
    """A name for each segment: by its label, else by its code."""
    return {
        int(item.SegmentNumber): told_name(
            str(item.get("SegmentLabel") or ""), coded_lung(item, "SegmentedPropertyTypeCodeSequence"), subject
        )
        for item in segments
    }


def told_name(label: str, coded: str | None, subject: str) -> str:
    """A label if it names a lung, else what the code says.

    Args:
        label: Name that a person or program gave.
        coded: Lung or lobe by its code, if it is one.
        subject: Name for messages.

    Raises:
        InputError: One says left, the other right.
    """
    named, meant = lung_of(label), lung_of(coded or "")
    if named and meant and {named, meant} == {"left_lung", "right_lung"}:
        given = f"{label!r} is coded as {coded}"
        raise InputError(subject, given, "a name and a code of the same lung", "correct one of them")
    return coded if coded is not None and named in (None, "lungs") else label


def _frames(plain: Dataset, path: Path) -> Iterator[_Frame]:
    is_label_map = str(plain.get("SegmentationType")) == "LABELMAP"
    header = Dataset()
    header.update({element.tag: element for element in plain if element.keyword != "PixelData"})
    for index, groups in enumerate(plain.PerFrameFunctionalGroupsSequence):
        flat = flattened(header, groups)
        yield _Frame(index, placed_image(flat, path), None if is_label_map else int(flat.ReferencedSegmentNumber))


def _series(path: Path, plain: Dataset, images: Sequence[Series]) -> tuple[Series, NDArray[np.int64], str]:
    """The slices that frames lie on, which of them each does, and a note on where they are from."""
    for uid in referenced_uids(plain):
        series = find_reference(path, uid)
        found = None if series is None else slices_of(series, images)
        if series is not None and found is not None:
            return series, found, f"on the slices of series {series.number}, which it was drawn on"
    own = series_through(images[0], np.array([image.slices[0].position_mm for image in images]))
    found = slices_of(own, images)
    if found is None:
        raise ValueError("frames that look in different directions")
    return own, found, "the series that it was drawn on is not beside it: its own slices are used"


def _label_stack(
    plain: Dataset, frames: Sequence[_Frame], at: NDArray[np.int64], shape: tuple[int, ...], lungs: set[int]
) -> NDArray[np.uint16]:
    """(slices, rows, columns) numbers of segments; where they overlap, lungs lie above other organs."""
    labels, most = np.zeros(shape, dtype=np.uint16), float(plain.get("MaximumFractionalValue") or 1)
    for frame in sorted(frames, key=lambda each: each.segment in lungs):
        values, plane = _values(plain, frame.index), labels[at[frame.index]]
        if frame.segment is None:
            plane[values > 0] = values[values > 0]
        else:
            plane[values > _HALF * most] = frame.segment
    return labels


def _values(plain: Dataset, index: int) -> NDArray[np.uint16]:
    """(rows, columns) stored values of a frame; those of one bit may begin within a byte."""
    rows, columns = int(plain.Rows), int(plain.Columns)
    if int(plain.BitsAllocated) != 1 or plain.file_meta.TransferSyntaxUID.is_encapsulated:
        return pixel_array(plain, index=index).astype(np.uint16)
    start, n = index * rows * columns, rows * columns
    packed = np.frombuffer(plain.PixelData[start // 8 : (start + n + 7) // 8], dtype=np.uint8)
    bits = np.unpackbits(packed, bitorder="little")[start % 8 : start % 8 + n]
    return bits.reshape(rows, columns).astype(np.uint16)
