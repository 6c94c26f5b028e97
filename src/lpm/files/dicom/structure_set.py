"""DICOM structure sets (RTSTRUCT) as label maps: contours filled slice by slice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from skimage.draw import polygon

from lpm.errors import InputError
from lpm.files.dicom.codes import coded_lung
from lpm.files.dicom.label_stack import label_volume, series_through, slice_numbers
from lpm.files.dicom.reference import find_reference, referenced_uids
from lpm.files.dicom.segmentation import ignored_notes, told_name
from lpm.files.dicom.series import Series, Slice
from lpm.files.dicom.volume import check_series
from lpm.files.segments.names import lungs_among
from lpm.files.volumes import VolumeFile
from lpm.geometry.arrays import read_only_arrays
from lpm.geometry.frames import Floats

_PIXEL_MM = 1.0  # of slices that contours get of their own: finer than any drawn line is sure
_MARGIN = 3  # pixels around contours on such slices
_OFF_PLANE_MM = 0.2  # between a contour's points along the normal: places are written with few digits


@read_only_arrays
@dataclass(frozen=True, eq=False)
class Roi:
    """A region of interest.

    Args:
        number: Its number.
        label: Its name as stored.
        name: What it is, by its name or code.
        contours_mm: (n, 3) closed planar contours, LPS mm; what two of them enclose is outside.
    """

    number: int
    label: str
    name: str
    contours_mm: tuple[Floats, ...]


def read_structure_set(path: Path) -> VolumeFile:
    """Read the regions of a DICOM structure set as one label map; its values are the numbers of the regions.

    It comes on the grid of the series that it was drawn on where that lies beside it and contours lie on its slices,
    else on a grid through the contours.

    Args:
        path: File to read.

    Raises:
        InputError: It has no contours, or they make no stack of slices.
    """
    plain = pydicom.dcmread(path, force=True)
    rois = [roi for roi in _rois(plain, path.name) if roi.contours_mm]
    if not rois:
        given = "a DICOM structure set (RTSTRUCT) without closed contours"
        raise InputError(str(path), given, "contours of the lungs", "export it with its contours")
    structures = lungs_among({roi.number: roi.name for roi in rois})
    lungs = {value for values in structures.values() for value in values}
    drawn = [roi for roi in rois if roi.number in lungs] or rois
    series, note = _series(path, plain, [contour for roi in drawn for contour in roi.contours_mm])
    check_series(series, path.name)  # before memory is taken for it
    volume, notes = label_volume(series, _painted(series, drawn), path.name)
    names = {roi.number: roi.label for roi in rois}
    return VolumeFile(volume, (note, *notes, *ignored_notes(names, structures)), names, structures)


def _rois(plain: Dataset, subject: str) -> list[Roi]:
    labels = {
        int(item.ROINumber): str(item.get("ROIName") or "") for item in plain.get("StructureSetROISequence") or ()
    }
    coded: dict[int, str | None] = {}
    for item in plain.get("RTROIObservationsSequence") or ():
        labels.setdefault(int(item.ReferencedROINumber), str(item.get("ROIObservationLabel") or ""))
        coded[int(item.ReferencedROINumber)] = coded_lung(item, "RTROIIdentificationCodeSequence")
    contours = {int(item.ReferencedROINumber): _contours(item) for item in plain.get("ROIContourSequence") or ()}
    return [
        Roi(number, label, told_name(label, coded.get(number), subject), tuple(contours.get(number, ())))
        for number, label in labels.items()
    ]


def _contours(item: Dataset) -> list[Floats]:
    closed = (
        each
        for each in item.get("ContourSequence") or ()
        if str(each.get("ContourGeometricType") or "").startswith("CLOSED_PLANAR") and len(each.ContourData) >= 9
    )
    return [np.array(each.ContourData, dtype=np.float64).reshape(-1, 3) for each in closed]


# --- The slices that contours lie on ---------------------------------------------------------------------------------


def _series(path: Path, plain: Dataset, contours_mm: Sequence[Floats]) -> tuple[Series, str]:
    """The slices for contours, and a note on where they are from."""
    found = next((own for uid in referenced_uids(plain) if (own := find_reference(path, uid)) is not None), None)
    if found is not None and _are_on(found, contours_mm):
        return found, f"on the slices of series {found.number}, which it was drawn on"
    own = _own_series(path, contours_mm, found)
    why = "the series that it was drawn on is not beside it" if found is None else "contours lie on few of its slices"
    return (
        own,
        f"{why}: on slices through the contours, with pixels of {own.pixel_mm[1]:.3g} x {own.pixel_mm[0]:.3g} mm",
    )


def _are_on(series: Series, contours_mm: Sequence[Floats]) -> bool:
    """Whether contours lie on slices of a series, and on nearly all between the first and the last."""
    heights = [contour @ series.normal for contour in contours_mm]
    at = slice_numbers(series, np.array([each.mean() for each in heights]))
    if at is None or max(float(np.ptp(each)) for each in heights) > _OFF_PLANE_MM:
        return False
    drawn = np.unique(at)
    return len(drawn) < 2 or float(np.median(np.diff(drawn))) == 1.0


def _own_series(path: Path, contours_mm: Sequence[Floats], like: Series | None) -> Series:
    """Slices through the planes of contours; their axes and pixels are those of another series, if there is one."""
    directions = _directions(contours_mm) if like is None else like.orientation
    pixel = np.full(2, _PIXEL_MM) if like is None else like.pixel_mm
    normal = np.cross(*directions)
    if max(float(np.ptp(contour @ normal)) for contour in contours_mm) > _OFF_PLANE_MM:
        raise InputError(path.name, "contours that do not lie in parallel planes", "contours on the slices of a CT")
    points = np.concatenate(contours_mm) @ directions.T
    low = points.min(axis=0) - (_MARGIN + 0.5) * pixel[::-1]  # edges between pixels: none is half inside
    columns, rows = np.ceil((points.max(axis=0) - low) / pixel[::-1]).astype(int) + _MARGIN + 1
    places = np.array([low @ directions + normal * (contour @ normal).mean() for contour in contours_mm])
    shape, slices = (int(rows), int(columns)), (Slice(path, places[0], 0),)
    kind = Series("", "", 0, "", "CT", (), directions, pixel, shape, 0.0, slices)
    return series_through(kind, places)


def _directions(contours_mm: Sequence[Floats]) -> Floats:
    """(2, 3) directions across contours: of the patient's axes the two that lie most along them, turned into them."""
    largest = max(contours_mm, key=lambda each: float(np.ptp(each, axis=0).max()))
    normal = np.linalg.svd(largest - largest.mean(axis=0), full_matrices=False)[2][2]
    axis = int(np.abs(normal).argmax())
    normal *= np.sign(normal[axis])
    across = np.eye(3)[(axis + 1) % 3]
    first = across - (across @ normal) * normal
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(normal, first)])


def _painted(series: Series, rois: Iterable[Roi]) -> NDArray[np.uint16]:
    """(slices, rows, columns) numbers of regions; a region's contours within each other are holes and islands."""
    labels = np.zeros((len(series.slices), *series.shape), dtype=np.uint16)
    for roi in rois:
        mask = np.zeros(labels.shape, dtype=bool)
        heights = np.array([(contour @ series.normal).mean() for contour in roi.contours_mm])
        for contour, k in zip(
            roi.contours_mm, np.abs(series.heights_mm - heights[:, None]).argmin(axis=1), strict=True
        ):
            at = (contour - series.slices[k].position_mm) @ series.orientation.T / series.pixel_mm[::-1]
            rows, columns = polygon(at[:, 1], at[:, 0], series.shape)
            mask[k, rows, columns] ^= True
        labels[mask] = roi.number
    return labels
