"""Pixels of the slices of a series, whether each is a file or they are frames of one.

Pixels are decoded by GDCM through SimpleITK (JPEG, JPEG-LS, JPEG 2000 and RLE included), slice by slice, so that each
slice's own slope and intercept apply.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.errors import InvalidDicomError
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from lpm.errors import FileError
from lpm.files.dicom.headers import STRANGE, flattened
from lpm.files.dicom.series import Slice
from lpm.files.dicom.sizes import check_sizes
from lpm.files.outputs.temporary import temporary_folder

_PICTURE = (
    "SOPInstanceUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
)


def picture_digest(image: Slice) -> str:
    """What is the same for two images with the same pixels, as stored; of frames and strange files their own."""
    own = f"{image.path} {image.frame}"
    if image.frame is not None:
        return own
    try:
        header = pydicom.dcmread(image.path, force=True)
        told = "".join(f"{name}={header.get(name)};" for name in _PICTURE if name != "SOPInstanceUID")
        return hashlib.sha256(told.encode() + bytes(header.PixelData)).hexdigest()
    except (*STRANGE, OSError):
        return own


def read_pixels(slices: Sequence[Slice], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Values of slices, slope and intercept applied.

    Args:
        slices: In order.
        shape: Rows and columns of each.

    Returns:
        (columns, rows, slices).

    Raises:
        FileError: An image cannot be decoded, or has another size.
    """
    pixels = np.empty((len(slices), *shape), dtype=np.float32)
    for k, image in enumerate(_images(slices, shape)):
        pixels[k] = image
    return pixels.transpose(2, 1, 0)


def _images(slices: Sequence[Slice], shape: tuple[int, int]) -> Iterator[NDArray[np.float32]]:
    for path, group in groupby(slices, key=lambda each: each.path):
        frames = [each.frame for each in group]
        if frames[0] is None:
            yield _image(path, shape)
        else:
            yield from _frames(path, [frame or 0 for frame in frames], shape)


def _image(path: Path, shape: tuple[int, int], name: str = "") -> NDArray[np.float32]:
    """(rows, columns) values of a file of one image."""
    check_sizes(path)
    try:
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()[:200]
        given = f"cannot be decoded ({_stored_as(path)}: {reason})"
        raise FileError(name or path.name, given, "an intact image", "copy it again") from error
    if image.size != shape[0] * shape[1]:
        raise FileError(
            path.name, f"an image of {image.shape}", f"one of {shape}", "frames without places are not read"
        )
    return np.asarray(image.reshape(shape), dtype=np.float32)


def _stored_as(path: Path) -> str:
    """The transfer syntax by name, such as JPEG 2000 Image Compression."""
    try:
        syntax = pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID")
    except InvalidDicomError:
        syntax = None
    return "no transfer syntax" if syntax is None else str(syntax.name)


def _frames(path: Path, indices: Sequence[int], shape: tuple[int, int]) -> Iterator[NDArray[np.float32]]:
    """(rows, columns) values of frames, each decoded from a file of its own: slopes may differ between them."""
    check_sizes(path)
    try:
        whole = pydicom.dcmread(path, force=True)
        groups, header = whole.PerFrameFunctionalGroupsSequence, _without_pixels(whole)
    except (*STRANGE, OSError, AttributeError) as error:
        raise FileError(path.name, f"cannot be read ({error})", "an intact image", "copy it again") from error
    with temporary_folder() as folder:
        single = folder / "frame.dcm"
        for index in indices:
            try:
                _write_single(single, whole, flattened(header, groups[index]), index)
            except (AttributeError, ValueError, IndexError) as error:
                raise FileError(path.name, f"frame {index + 1} cannot be read ({error})", "an intact image") from error
            yield _image(single, shape, f"{path.name}, frame {index + 1}")


def _without_pixels(whole: Dataset) -> Dataset:
    header = Dataset()
    header.update({element.tag: element for element in whole if element.keyword != "PixelData"})
    return header


def _write_single(path: Path, whole: Dataset, flat: Dataset, index: int) -> None:
    """Write one frame, with its own slope and intercept, as a CT image of one frame."""
    syntax = whole.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)
    image = Dataset()
    image.update({flat[name].tag: flat[name] for name in _PICTURE if name in flat})
    if syntax.is_encapsulated:
        image.PixelData = encapsulate([get_frame(whole.PixelData, index, number_of_frames=int(whole.NumberOfFrames))])
    else:
        n_bytes = int(flat.Rows) * int(flat.Columns) * int(flat.BitsAllocated) // 8
        image.PixelData = whole.PixelData[index * n_bytes : (index + 1) * n_bytes]
        syntax = syntax if syntax == ExplicitVRBigEndian else ExplicitVRLittleEndian
    image["PixelData"].VR = "OB" if int(flat.BitsAllocated) == 8 or syntax.is_encapsulated else "OW"
    image.SOPClassUID = CTImageStorage
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    image.file_meta.MediaStorageSOPClassUID = CTImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.save_as(path, enforce_file_format=True)
