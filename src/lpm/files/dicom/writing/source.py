"""The DICOM series that results refer to: its headers, and labels brought onto its own images."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from scipy.ndimage import map_coordinates

import lpm
from lpm.errors import InputError
from lpm.files.dicom.series import Series
from lpm.geometry.frames import Floats
from lpm.geometry.volumes import Volume

_RAS_FROM_LPS = np.array([-1.0, -1.0, 1.0])  # left and back are right and front, negative
MANUFACTURER = "LPM"
MODEL_NAME = "Lungs Parametric Model"
_OF_PATIENT_AND_STUDY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)


@dataclass(frozen=True, eq=False)
class DicomSource:
    """A series with its headers.

    Args:
        series: Its slices.
        images: Header of each of its files, in the order of the slices; of a multi-frame file one.
    """

    series: Series
    images: tuple[Dataset, ...]

    @property
    def is_multi_frame(self) -> bool:
        """Whether its slices are frames of one file."""
        return self.series.slices[0].frame is not None

    @property
    def frame_of_reference(self) -> str:
        """UID of the frame that all places are in."""
        return str(self.images[0].FrameOfReferenceUID)


def source_of(series: Series, subject: str) -> DicomSource:
    """A series with its headers, if results can refer to it.

    Args:
        series: Series that was read.
        subject: Name for messages.

    Raises:
        InputError: It has no frame of reference, or it is spread over several multi-frame files.
    """
    paths = list(dict.fromkeys(each.path for each in series.slices))
    if series.slices[0].frame is not None and len(paths) > 1:
        raise InputError(subject, f"a series of {len(paths)} multi-frame files", "one", "give one of the files")
    images = tuple(_header(path) for path in paths)
    if not all(image.get("FrameOfReferenceUID") for image in images):
        what = "a DICOM series without a frame of reference (FrameOfReferenceUID)"
        raise InputError(subject, what, "one that results can refer to", "write a label map instead")
    return DicomSource(series, images)


def _header(path: Path) -> Dataset:
    """A header, with empty values for what every DICOM file must name."""
    header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    for name in _OF_PATIENT_AND_STUDY:
        if name not in header:
            setattr(header, name, "")
    return header


def labels_on(series: Series, labels: Volume) -> NDArray[np.uint8]:
    """Labels on the images of a series, each voxel's from the nearest of the label map.

    Args:
        series: Its images may be tilted, or lie at uneven distances.
        labels: On the volume that was read of the series, or on any other grid.

    Returns:
        (slices, rows, columns).
    """
    rows, columns = series.shape
    found = np.zeros((len(series.slices), rows, columns), dtype=np.uint8)
    j, i = np.indices((rows, columns), dtype=np.float64)
    across = series.orientation[0] * series.pixel_mm[1], series.orientation[1] * series.pixel_mm[0]
    for k, each in enumerate(series.slices):
        places = each.position_mm + i[..., None] * across[0] + j[..., None] * across[1]
        at = labels.to_voxel((places * _RAS_FROM_LPS).reshape(-1, 3))
        found[k] = _nearest(labels.voxels, at).reshape(rows, columns)
    return found


def _nearest(voxels: NDArray[np.uint8], at: Floats) -> NDArray[np.uint8]:
    return np.asarray(map_coordinates(voxels, np.rint(at).T, order=0, mode="constant", cval=0), dtype=np.uint8)


def new_object(source: DicomSource, kind: UID, modality: str, series_number: int) -> Dataset:
    """A DICOM object of the source's patient and study, in a series of its own.

    Args:
        source: The series that it is made from.
        kind: Its SOP class.
        modality: Such as RTSTRUCT.
        series_number: Its series number.
    """
    found, first, moment = Dataset(), source.images[0], datetime.now(UTC)
    for name in ("SpecificCharacterSet", "StudyInstanceUID", *_OF_PATIENT_AND_STUDY):
        if name in first:
            found[name] = first[name]
    found.SOPClassUID, found.SOPInstanceUID, found.SeriesInstanceUID = kind, generate_uid(), generate_uid()
    found.Modality, found.SeriesNumber, found.InstanceNumber = modality, series_number, 1
    found.Manufacturer, found.ManufacturerModelName = MANUFACTURER, MODEL_NAME
    found.DeviceSerialNumber, found.SoftwareVersions = "none", lpm.__version__
    found.FrameOfReferenceUID, found.PositionReferenceIndicator = source.frame_of_reference, ""
    found.InstanceCreationDate, found.InstanceCreationTime = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID, found.file_meta.MediaStorageSOPInstanceUID = kind, found.SOPInstanceUID
    return found


def reference_to(image: Dataset) -> Dataset:
    """A reference to an image, as an item of one of DICOM's sequences."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return item


def referenced_series(source: DicomSource) -> list[Dataset]:
    """The series of the source with all its images; several where each slice has a series UID of its own."""
    by_uid: dict[str, list[Dataset]] = {}
    for image in source.images:
        by_uid.setdefault(str(image.SeriesInstanceUID), []).append(reference_to(image))
    items = []
    for uid, images in by_uid.items():
        item = Dataset()
        item.SeriesInstanceUID, item.ReferencedInstanceSequence = uid, images
        items.append(item)
    return items
