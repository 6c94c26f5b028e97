"""What a DICOM file claims to hold, against what it has: memory is not taken on its word.

Native decoders take memory for all that a length or a size claims, and read zeros where an uncompressed image ends.
"""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from lpm.errors import FileError
from lpm.files.dicom.deflated import full_size
from lpm.files.dicom.headers import STRANGE

_DEFERRED = 1024  # bytes: values of longer elements stay on disk
_UNDEFINED = 0xFFFFFFFF  # length of what ends with a mark
_PIXEL_DATA = 0x7FE00010
_MOST_SIDE = 16_384  # pixels: of radiographs; a CT's are an eighth of it
_MOST_SHRUNK = 8192  # times that a compressed frame is smaller than its pixels: a blank JPEG 2000 reaches 4,000


def check_sizes(path: Path) -> None:
    """Refuse a file whose lengths lead beyond its end, or whose images cannot be in it.

    Args:
        path: DICOM, with or without images.

    Raises:
        FileError: That.
    """
    try:
        size = full_size(path)
        header = pydicom.dcmread(path, defer_size=_DEFERRED, force=True)
        held = _check_lengths(path, header, size)
        if "PixelData" in header:
            _check_pixels(path, header, held)
    except FileError:
        raise
    except (*STRANGE, OSError) as error:
        raise FileError(path.name, f"cannot be read ({error})", "an intact image", "copy it again") from error


def _check_lengths(path: Path, header: Dataset, size: int) -> int:
    """The bytes of pixels; of frames of unknown length those of the file."""
    held = size
    for element in header.values():
        if isinstance(element, RawDataElement) and element.length != _UNDEFINED:
            end = element.value_tell + element.length
            if end > size:
                given = f"{element.tag} ends at byte {end:,} of {size:,}"
                raise FileError(path.name, f"damaged ({given})", "an intact image", "copy it again")
            held = element.length if element.tag == _PIXEL_DATA else held
    return held


def _check_pixels(path: Path, header: Dataset, held: int) -> None:
    """Rows, columns, frames and bits against the bytes that there are."""
    rows, columns, frames = int(header.Rows), int(header.Columns), int(header.get("NumberOfFrames") or 1)
    bits = int(header.get("BitsAllocated") or 16) * int(header.get("SamplesPerPixel") or 1)
    is_packed = header.file_meta.get("TransferSyntaxUID", pydicom.uid.ImplicitVRLittleEndian).is_compressed
    claimed = rows * columns * frames * bits // 8
    if max(rows, columns) > _MOST_SIDE or claimed > held * (_MOST_SHRUNK if is_packed else 1):
        many = f"{frames} frames of " if frames > 1 else ""
        given = f"{held:,} bytes for {many}{rows} x {columns} pixels"
        raise FileError(path.name, given, "an intact image", "copy it again")
