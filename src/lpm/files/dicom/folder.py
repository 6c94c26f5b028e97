"""DICOM images of a folder, sorted into series by their headers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lpm.errors import FileError
from lpm.files.dicom.frames import picture_digest
from lpm.files.dicom.headers import images_of, is_dicom, patient_name, read_header
from lpm.files.dicom.parts import parts_of
from lpm.files.dicom.series import LEAST_SLICES, Series

_SAME_DIRECTION = 1e-3  # of unit vectors: what scanners round off, 0.3 mm over 300 mm
_SAME_PIXEL = 1e-3  # of a pixel's size: what scanners round off


def holds_dicom(paths: Iterable[Path]) -> bool:
    """Whether any of some files is DICOM."""
    return any(is_dicom(path) for path in paths)


def visible_files(folder: Path) -> list[Path]:
    """All files under a folder, at any depth, sorted, without hidden ones."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def series_uid(path: Path) -> str:
    """The series instance UID of a DICOM file; empty if it has none, as a DICOMDIR has not."""
    header = read_header(path)
    return "" if header is None else str(header.get("SeriesInstanceUID") or "")


def patient_of(path: Path) -> str:
    """Patient ID of a DICOM file, else name, else study UID."""
    header = read_header(path)
    return "unnamed" if header is None else patient_name(header)


def files_of_series(path: Path) -> list[Path]:
    """The files beside a DICOM file, itself among them, that are of its series; sorted.

    Of slices that have a series UID each, those of its joined series.

    Raises:
        FileError: It has no series, or a file of the folder cannot be read.
    """
    uid = series_uid(path)
    if not uid:
        what = "a DICOM file without a series"
        raise FileError(str(path), what, "an image of a CT series", "give the folder, or one of its images")
    beside = [one for one in path.parent.iterdir() if one.is_file() and (one == path or not one.name.startswith("."))]
    own = sorted(one for one in beside if is_dicom(one) and series_uid(one) == uid)
    if len(own) > 1:
        return own
    joined = [series for series in find_series_of(sorted(beside)) if path in {each.path for each in series.slices}]
    return sorted({each.path for series in joined for each in series.slices}) or own


def find_series(path: Path, subject: str = "") -> list[Series]:
    """All series under a folder, or the one of a DICOM file in its folder, sorted by number.

    A series whose images look in different directions, or differ in size, is taken for several. So is one with
    several acquisitions, phases or kernels at the same places; acquisitions that follow each other along the body are
    one. Slices that have a series UID each are one series if they make one stack. Files that are no images with a
    place in the patient are passed over.

    Args:
        path: A folder or a DICOM file.
        subject: Name for messages; by default the path.

    Raises:
        FileError: There is no DICOM image with a place in the patient, or a file cannot be read.
    """
    files = visible_files(path) if path.is_dir() else files_of_series(path)
    found = find_series_of(files)
    if not found:
        n = sum(1 for file in files if is_dicom(file))
        placeless = f" ({n} DICOM files, such as pictures of a screen)" if n else ""
        what = f"{len(files)} files, none of them a DICOM image with a place in the patient{placeless}"
        raise FileError(subject or str(path), what, "the images of a CT series", "give the folder of the series")
    return found


def find_series_of(files: Iterable[Path]) -> list[Series]:
    """All series of some files, sorted by number; see `find_series`."""
    headers = ((path, read_header(path)) for path in files)
    images = (image for path, header in headers if header is not None for image in images_of(path, header))
    stacks = _joined(list(_stacks(_without_copies(images))))
    found = [_without_twins(series) for stack in stacks for series in parts_of(stack)]
    return sorted(found, key=lambda series: (series.number, series.uid))


def _without_copies(images: Iterable[tuple[str, Series]]) -> Iterator[Series]:
    """An image counts once; some anonymisers give all images one UID, so a copy must lie at the same place too."""
    seen = set()
    for uid, image in images:
        (only,) = image.slices
        frame = None if only.frame is None else (only.frame, *only.told.values())
        key = (image.uid, uid, only.acquisition, frame, *only.position_mm)
        if key not in seen:
            seen.add(key)
            yield image


def _without_twins(series: Series) -> Series:
    """A series without images that show the same as another at their place, as of a study that was sent twice."""
    if not series.repeats_places:
        return series
    seen, kept = set(), []
    for image in series.slices:
        key = (*image.position_mm, picture_digest(image))
        if key not in seen:
            seen.add(key)
            kept.append(image)
    return replace(series, slices=tuple(kept))


def _stacks(images: Iterable[Series]) -> Iterator[Series]:
    """Images that can be stacked: of one patient, series and size, and parallel to the first within rounding."""
    stacks: dict[tuple[str, str, tuple[int, int]], list[list[Series]]] = defaultdict(list)
    for image in images:
        alike = stacks[image.patient, image.uid, image.shape]
        fitting = next((stack for stack in alike if _is_parallel(stack[0], image)), None)
        if fitting is None:
            alike.append([image])
        else:
            fitting.append(image)
    yield from (_stacked(stack) for alike in stacks.values() for stack in alike)


def _is_parallel(one: Series, other: Series) -> bool:
    turned = np.abs(one.orientation - other.orientation).max()
    return bool(turned < _SAME_DIRECTION and np.allclose(one.pixel_mm, other.pixel_mm, rtol=_SAME_PIXEL, atol=0.0))


def _stacked(stack: Sequence[Series]) -> Series:
    first = stack[0]
    slices = [each for image in stack for each in image.slices]
    slices.sort(key=lambda each: float(each.position_mm @ first.normal))
    return replace(first, slices=tuple(slices))


# --- Slices with a series UID each -----------------------------------------------------------------------------------


def _joined(stacks: Sequence[Series]) -> Iterator[Series]:
    """Stacks, those of few slices joined where together they are an evenly spaced chest CT of one frame of reference.

    Some anonymisers give every slice a series UID of its own.
    """
    groups: list[list[Series]] = []
    for stack in stacks:
        fitting = next((group for group in groups if _may_be_one(group[0], stack)), None)
        if fitting is None:
            groups.append([stack])
        else:
            fitting.append(stack)
    for group in groups:
        whole = replace(_stacked(group), n_uids=len(group))
        yield from [whole] if len(group) > 1 and all(map(_is_whole, parts_of(whole))) else group


def _may_be_one(one: Series, other: Series) -> bool:
    are_few = max(len(one.slices), len(other.slices)) < LEAST_SLICES
    return are_few and all(one.place) and _who_and_where(one) == _who_and_where(other) and _is_parallel(one, other)


def _who_and_where(series: Series) -> tuple[object, ...]:
    return (series.patient, series.place, series.modality, series.shape)


def _is_whole(series: Series) -> bool:
    return series.is_chest_ct and not series.repeats_places and not series.distances.missing_mm
