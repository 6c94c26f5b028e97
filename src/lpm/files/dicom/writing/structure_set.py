"""Labels as a DICOM structure set (RTSTRUCT): a contour around each piece in each slice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage
from skimage.measure import find_contours

from lpm.files.atomic import atomic_file
from lpm.files.dicom.codes import code_item
from lpm.files.dicom.series import Series
from lpm.files.dicom.writing.algorithm import Algorithm
from lpm.files.dicom.writing.source import DicomSource, new_object, reference_to, referenced_series
from lpm.files.segments.snomed import CODES, LUNG
from lpm.files.segments.writing import colour_of, spoken
from lpm.geometry.frames import Floats

_SERIES_NUMBER = 1002  # of the series that it becomes: scanners count from 1
_STUDY = "1.2.840.10008.3.1.2.3.1"  # kind of object that a study was, when the standard had one
_STRAIGHT = 1e-6  # of a pixel: points that lie on the line between their neighbours say nothing


def write_structure_set(
    path: Path, labels: NDArray[np.uint8], names: Mapping[int, str], source: DicomSource, algorithm: Algorithm
) -> None:
    """Write an RTSTRUCT with a region for each structure, on the images of the source.

    Args:
        path: File to write.
        labels: (slices, rows, columns) values, in the order of the source's slices.
        names: Structures by value.
        source: The series that they were found in.
        algorithm: What found them.

    Raises:
        FileError: The disk refuses.
    """
    found = new_object(source, RTStructureSetStorage, "RTSTRUCT", _SERIES_NUMBER)
    found.SeriesDescription = f"Lungs: {algorithm.name}"[:64]
    found.OperatorsName, found.ApprovalStatus = "", "UNAPPROVED"
    found.StructureSetLabel, found.StructureSetName = "LUNGS", "Lungs"
    found.StructureSetDate, found.StructureSetTime = found.InstanceCreationDate, found.InstanceCreationTime
    found.ReferencedFrameOfReferenceSequence = [_frame_of_reference(source)]
    present = [(value, name) for value, name in names.items() if (labels == value).any()]
    numbered = [(number, name, labels == value) for number, (value, name) in enumerate(present, start=1)]
    found.StructureSetROISequence = [_region(number, name, source, algorithm) for number, name, _ in numbered]
    found.ROIContourSequence = [_drawn(number, name, mask, source) for number, name, mask in numbered]
    found.RTROIObservationsSequence = [_observation(number, name) for number, name, _ in numbered]
    with atomic_file(path) as temporary:
        found.save_as(temporary, enforce_file_format=True)


def _frame_of_reference(source: DicomSource) -> Dataset:
    study, frame = Dataset(), Dataset()
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY, source.images[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = referenced_series(source)
    for series in study.RTReferencedSeriesSequence:
        series.ContourImageSequence = series.ReferencedInstanceSequence
        del series.ReferencedInstanceSequence
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = source.frame_of_reference, [study]
    return frame


def _region(number: int, name: str, source: DicomSource, algorithm: Algorithm) -> Dataset:
    item = Dataset()
    item.ROINumber, item.ROIName = number, spoken(name)
    item.ReferencedFrameOfReferenceUID = source.frame_of_reference
    item.ROIGenerationAlgorithm, item.ROIGenerationDescription = "AUTOMATIC", algorithm.name[:64]
    item.ROIDerivationAlgorithmIdentificationSequence = algorithm.items()
    return item


def _observation(number: int, name: str) -> Dataset:
    item = Dataset()
    item.ObservationNumber, item.ReferencedROINumber = number, number
    item.RTROIInterpretedType, item.ROIInterpreter = "ORGAN", ""
    item.RTROIIdentificationCodeSequence = [code_item(CODES.get(name, LUNG))]
    return item


def _drawn(number: int, name: str, mask: NDArray[np.bool_], source: DicomSource) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber, item.ROIDisplayColor = number, list(colour_of(name))
    item.ContourSequence = []
    for k in np.flatnonzero(mask.any(axis=(1, 2))):
        for points in contours_of(mask[k], source.series, int(k)):
            contour = Dataset()
            contour.ContourNumber = len(item.ContourSequence) + 1
            contour.ContourImageSequence = [_image(source, int(k))]
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
            contour.ContourData = [f"{value:.4f}" for value in points.ravel()]
            item.ContourSequence.append(contour)
    return item


def _image(source: DicomSource, k: int) -> Dataset:
    frame = source.series.slices[k].frame
    if frame is None:
        return reference_to(source.images[k])
    item = reference_to(source.images[0])
    item.ReferencedFrameNumber = frame + 1
    return item


def contours_of(mask: NDArray[np.bool_], series: Series, k: int) -> Iterator[Floats]:
    """Contours halfway between the pixels inside and outside; those of holes lie within others.

    Args:
        mask: (rows, columns) of one slice.
        series: Its series.
        k: Index of the slice.

    Yields:
        (n, 3) LPS mm, without the first point again at the end.
    """
    across = series.orientation * series.pixel_mm[::-1, None]
    for points in find_contours(np.pad(mask, 1).astype(np.float64), 0.5):
        corners = _corners(points[:-1] - 1.0)
        if len(corners) >= 3:
            yield series.slices[k].position_mm + corners[:, ::-1] @ across


def _corners(points: Floats) -> Floats:
    """A closed line without the points that lie straight between their neighbours."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return points[np.abs(turns) > _STRAIGHT]
