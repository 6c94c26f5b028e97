"""Labels as a DICOM Segmentation object (SEG), by highdicom."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

import lpm
from lpm.extras import import_extra
from lpm.files.atomic import atomic_file
from lpm.files.dicom.writing.algorithm import Algorithm
from lpm.files.dicom.writing.source import MANUFACTURER, MODEL_NAME, DicomSource, referenced_series
from lpm.files.segments.snomed import CODES, LUNG, ORGAN, SCHEME
from lpm.files.segments.writing import colour_of, spoken

_SERIES_NUMBER = 1001  # of the series that it becomes: scanners count from 1


def write_segmentation(
    path: Path, labels: NDArray[np.uint8], names: Mapping[int, str], source: DicomSource, algorithm: Algorithm
) -> None:
    """Write a SEG with a binary segment for each structure, on the images of the source.

    Args:
        path: File to write.
        labels: (slices, rows, columns) values, in the order of the source's slices.
        names: Structures by value.
        source: The series that they were found in.
        algorithm: What found them.

    Raises:
        MissingExtraError: highdicom is not installed.
        FileError: The disk refuses.
    """
    highdicom = import_extra("highdicom", "dicom", "a DICOM SEG")
    present = [(value, name) for value, name in names.items() if (labels == value).any()]
    images, frames = _as_one_series(source), _on_frames(labels, source)
    segments = [_described(highdicom, number, name, algorithm) for number, (_, name) in enumerate(present, start=1)]
    numbered = np.zeros_like(frames)
    for number, (value, _) in enumerate(present, start=1):
        numbered[frames == value] = number
    with warnings.catch_warnings():
        # names of one word, as de-identified patients have them
        warnings.filterwarnings("ignore", message="The string .* unlikely to represent the intended person name")
        found = _segmentation(highdicom, images, numbered, segments, algorithm)
    found.ReferencedSeriesSequence = referenced_series(source)
    with atomic_file(path) as temporary:
        found.save_as(temporary)


def _segmentation(
    highdicom: Any, images: list[Dataset], numbered: NDArray[np.uint8], segments: list[Any], algorithm: Algorithm
) -> Any:
    return highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=numbered,
        segmentation_type="BINARY",
        segment_descriptions=segments,
        series_instance_uid=highdicom.UID(),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=lpm.__version__,
        device_serial_number="none",
        content_label="LUNGS",
        content_description="Lungs",
        series_description=f"Lungs: {algorithm.name}",
    )


def _as_one_series(source: DicomSource) -> list[Dataset]:
    """Headers with one series UID: highdicom takes slices that have one each for several series."""
    if source.series.n_uids == 1:
        return list(source.images)
    images = []
    for image in source.images:
        own = Dataset()
        own.update(image)
        own.file_meta, own.SeriesInstanceUID = image.file_meta, source.series.uid
        images.append(own)
    return images


def _on_frames(labels: NDArray[np.uint8], source: DicomSource) -> NDArray[np.uint8]:
    """Labels of all frames of a multi-frame file, of which the series may be a part."""
    if not source.is_multi_frame:
        return labels
    frames = np.zeros((int(source.images[0].NumberOfFrames), *labels.shape[1:]), dtype=np.uint8)
    frames[[each.frame or 0 for each in source.series.slices]] = labels
    return frames


def _described(highdicom: Any, number: int, name: str, algorithm: Algorithm) -> Any:
    code = CODES.get(name, LUNG)
    coded = highdicom.sr.CodedConcept
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=spoken(name),
        segmented_property_category=coded(ORGAN[0], SCHEME, ORGAN[1]),
        segmented_property_type=coded(code[0], SCHEME, code[1]),
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            algorithm.name,
            coded(algorithm.family[0], "DCM", algorithm.family[1]),
            lpm.__version__,
            source=MANUFACTURER,
        ),
        tracking_uid=highdicom.UID(),
        tracking_id=name,
        display_color=highdicom.color.CIELabColor.from_rgb(*colour_of(name)),
    )
