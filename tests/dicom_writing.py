"""DICOM series as hospitals give them, written slice by slice, for tests of everything that reads them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

from lpm.geometry.frames import Floats
from lpm.geometry.volumes import Volume

SPACING_MM = (1.5, 2.0, 4.0)
ORIGIN_LPS = np.array([-30.0, 20.0, -200.0])


@dataclass(frozen=True)
class Writing:
    """How a series is written."""

    number: int = 2
    modality: str = "CT"
    description: str = "CHEST THIN"
    tilt_mm: float = 0.0
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0)
    step_mm: float = 4.0
    compressed: bool = False
    left_out: tuple[int, ...] = ()
    acquisition: int = 1
    kind: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL")
    patient: str = "1"
    sideways_mm: Callable[[int], float] | None = None
    columns: int = 16
    pixel_mm: tuple[float, float] = SPACING_MM[:2]


def hu_at(points_ras: Floats) -> Floats:
    """Values that tell every place and direction apart."""
    x, y, z = points_ras.T
    return np.round(4.0 * x + 2.0 * y + 1.0 * z)


def write_series(folder: Path, how: Writing, n: int = 30, uid: str | None = None) -> str:
    """Write a series whose values are `hu_at`; slopes and intercepts differ from slice to slice."""
    folder.mkdir(parents=True, exist_ok=True)
    uid = uid or generate_uid()
    rows, columns = 12, how.columns
    sideways = how.sideways_mm or (lambda k: k * how.tilt_mm)
    row, column = np.array(how.orientation[:3], dtype=float), np.array(how.orientation[3:], dtype=float)
    normal = np.cross(row, column)
    for k in range(n):
        if k in how.left_out:
            continue
        position = ORIGIN_LPS + k * how.step_mm * normal + sideways(k) * column
        j, i = np.indices((rows, columns)).reshape(2, -1)
        places = position + i[:, None] * row * SPACING_MM[0] + j[:, None] * column * SPACING_MM[1]
        values = hu_at(places * [-1.0, -1.0, 1.0]).reshape(rows, columns)
        _write(folder / f"{how.number}_{k:03d}", how, uid, k, position, values)
    return str(uid)


def write_scan(folder: Path, scan: Volume, how: Writing = Writing(), *, rng: np.random.Generator) -> str:
    """Write a CT in HU, with axes along R, A, S, as a series whose files have names in no order."""
    folder.mkdir(parents=True, exist_ok=True)
    across, along, step = (float(size) for size in scan.spacing_mm)
    how = replace(how, orientation=(-1, 0, 0, 0, -1, 0), step_mm=step, pixel_mm=(across, along))
    uid, n = generate_uid(), scan.voxels.shape[2]
    names = rng.permutation(n)
    for k in range(n):
        if k not in how.left_out:
            position = scan.to_world(np.array([[0, 0, k]]))[0] * [-1.0, -1.0, 1.0]
            values = np.round(scan.voxels[:, :, k].T).astype(np.float64)
            _write(folder / f"IM{how.number}{names[k]:05d}", how, uid, k, position, values)
    return str(uid)


def _write(path: Path, how: Writing, uid: str, k: int, position: Floats, values: Floats) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    image.PatientName, image.PatientID, image.StudyInstanceUID = "A^B", how.patient, "1.2.3"
    image.FrameOfReferenceUID = "1.2.4"
    image.SeriesInstanceUID, image.SeriesNumber, image.SeriesDescription = uid, how.number, how.description
    image.Modality, image.ImageType, image.AcquisitionNumber = how.modality, list(how.kind), how.acquisition
    image.InstanceNumber, image.SliceThickness = k + 1, how.step_mm
    image.ImagePositionPatient = [f"{value:.6f}" for value in position]
    image.ImageOrientationPatient = list(how.orientation)
    image.PixelSpacing = [how.pixel_mm[1], how.pixel_mm[0]]
    image.Rows, image.Columns = values.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    image.RescaleSlope, image.RescaleIntercept = 1, -1024 - (k % 2)
    image.PixelData = np.maximum(values + 1024 + (k % 2), 0).astype("<u2").tobytes()
    if how.compressed:
        image.compress(RLELossless)
    image.save_as(path, enforce_file_format=True)


def rewrite(paths: Iterable[Path], **values: object) -> None:
    """Give some files other values of their headers; None takes one away."""
    for path in paths:
        image = pydicom.dcmread(path)
        for name, value in values.items():
            if value is None:
                delattr(image, name)
            else:
                setattr(image, name, value)
        image.save_as(path)


def write_multi_frame(folder: Path, sources: Iterable[Path], *, per_frame: Iterable[dict[str, object]] = ()) -> Path:
    """Put images of one frame into one Enhanced CT file, and take them away.

    Args:
        folder: Takes it.
        sources: Images, in any order.
        per_frame: Attributes of each frame that go into a sequence of its own, such as ``StackID``.
    """
    images = [pydicom.dcmread(path) for path in sources]
    for path in [Path(str(image.filename)) for image in images]:
        path.unlink()
    whole, more = copy.deepcopy(images[0]), list(per_frame) or [{} for _ in images]
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    frames = []
    for image, further in zip(images, more, strict=True):
        content = {"FrameAcquisitionNumber": image.AcquisitionNumber, **further}
        values = {name: image[name].value for name in ("RescaleSlope", "RescaleIntercept")}
        place = {"ImagePositionPatient": image.ImagePositionPatient}
        groups = {"PlanePosition": place, "PixelValueTransformation": values, "FrameContent": content}
        frames.append(_items(groups))
    shared = {
        "PixelMeasures": {"PixelSpacing": whole.PixelSpacing, "SliceThickness": whole.SliceThickness},
        "PlaneOrientation": {"ImageOrientationPatient": whole.ImageOrientationPatient},
    }
    for group in (*shared.values(), place, values):
        for name in group:
            delattr(whole, name)
    whole.SharedFunctionalGroupsSequence, whole.PerFrameFunctionalGroupsSequence = [_items(shared)], frames
    whole.NumberOfFrames = len(images)
    if whole.file_meta.TransferSyntaxUID.is_compressed:
        whole.PixelData = encapsulate([get_frame(image.PixelData, 0, number_of_frames=1) for image in images])
    else:
        whole.PixelData = b"".join(image.PixelData for image in images)
    whole.save_as(folder / "enhanced", enforce_file_format=True)
    return folder / "enhanced"


def _items(groups: dict[str, dict[str, object]]) -> Dataset:
    frame = Dataset()
    for group, values in groups.items():
        item = Dataset()
        for name, value in values.items():
            setattr(item, name, value)
        setattr(frame, f"{group}Sequence", [item])
    return frame


def check(volume: Volume, *, tolerance: float = 0.51) -> None:
    """Every voxel has the value of its place."""
    inner = np.stack([axis.ravel() for axis in np.indices(volume.voxels.shape)], axis=1)
    expected = hu_at(volume.to_world(inner))
    np.testing.assert_allclose(volume.voxels.ravel(), expected, atol=tolerance)
