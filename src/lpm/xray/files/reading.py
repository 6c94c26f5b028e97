"""Radiographs as people have them: PNG, JPEG, TIFF and DICOM, as grey values from 0 to 1 with what is known of them.

Sizes are looked at before any memory is taken. A picture's own resolution (PNG's pHYs, JPEG's dpi) is that of a screen
or printer, not of the detector, and is not believed.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lpm.apart.reading import read_apart
from lpm.calibration import count, number
from lpm.errors import FileError, InputError
from lpm.files.atomic import atomic_file
from lpm.files.dicom.headers import is_dicom
from lpm.xray.files.dicom import read_dicom_xray
from lpm.xray.files.image import MOST_MEGAPIXELS, Xray, check_size, expected_spacing, is_spacing, scaled

T = TypeVar("T")

__all__ = ["Xray", "read_field", "read_xray", "write_picture"]

_KINDS = ("PNG", "JPEG", "TIFF")
_COLOURED = count("xray.coloured")
_MOST_COLOURED = number("xray.most_coloured")
_MOST_BETWEEN = number("xray.most_between")
_ORIENTATION_TAG = 274  # EXIF
_PHOTOMETRIC_TAG = 262  # TIFF 6.0, PhotometricInterpretation
_WHITE_IS_ZERO = 0  # TIFF 6.0, a value of PhotometricInterpretation
# pillow's ways to say that a file is damaged
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, KeyError, TypeError, IndexError, struct.error, zlib.error)


@read_apart
def read_xray(path: str | Path, *, mm_per_px: float | None = None) -> Xray:
    """Read one radiograph.

    Args:
        path: PNG, JPEG or TIFF of 8 or 16 bits, or DICOM; told apart by content, not by name.
        mm_per_px: Distance between pixels on the detector; what a file says is then only noted.

    Returns:
        Grey values from 0 to 1 over the range that the picture uses. Pictures that are not DICOM are taken to show
        dense tissue bright.

    Raises:
        FileError: Missing, damaged, of another kind, or without pixels.
        InputError: No single grey picture of 64 pixels a side to 100 megapixels; blank or saturated; absurd spacing.
    """
    path = Path(path)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise FileError(str(path), what, "one radiograph", f"a {', '.join(_KINDS)} or DICOM file")
    if mm_per_px is not None and not is_spacing(mm_per_px):
        given = f"{mm_per_px:g} mm between pixels"
        raise InputError("mm_per_px", given, expected_spacing(), "chest radiographs have 0.1 to 1")
    if is_dicom(path):
        found = read_dicom_xray(path, mm_per_px)
    else:
        spacing = None if mm_per_px is None else (float(mm_per_px), float(mm_per_px))
        found = replace(_read_picture(path), mm_per_px=spacing)
    return replace(found, pixels=scaled(found.pixels, path))


# --- Pictures --------------------------------------------------------------------------------------------------------


def _read_picture(path: Path) -> Xray:
    return _opened(path, lambda image: _grey(path, image))


def _opened(path: Path, read: Callable[[Image.Image], T]) -> T:
    """What `read` makes of a picture, once its size is known to be harmless."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # sizes are checked here, more strictly
        try:
            with Image.open(path, formats=_KINDS) as image:
                check_size(path, image.height, image.width)
                return read(image)
        except UnidentifiedImageError as error:
            expected = f"a {', '.join(_KINDS)} or DICOM file"
            raise FileError(str(path), "not an image of a kind that is read", expected, "convert it to PNG") from error
        except Image.DecompressionBombError as error:
            most = f"at most {MOST_MEGAPIXELS} megapixels"
            raise InputError(str(path), str(error), most, "scale it down") from error
        except InputError:
            raise
        except _DAMAGED as error:
            raise FileError(str(path), f"damaged ({error})", "an intact picture", "copy or export it again") from error


def _grey(path: Path, image: Image.Image) -> Xray:
    frames = int(getattr(image, "n_frames", 1))
    if frames != 1:
        raise InputError(str(path), f"{frames} pictures in one file", "one radiograph", "save one of them by itself")
    notes = []
    is_inverted = _is_inverted(image)
    if image.getexif().get(_ORIENTATION_TAG, 1) != 1:
        notes.append("turned upright as its EXIF says")
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("L", "F", "I") or upright.mode.startswith("I;16"):
        pixels = np.asarray(upright)
    elif upright.mode == "1":
        raise InputError(str(path), "black and white only", "grey values", "give the radiograph, not its mask")
    else:
        pixels = _grey_of_colours(path, upright)
        notes.append(f"colour ({image.mode}) turned to grey; its channels are equal")
    if not np.isfinite(pixels).all():
        raise InputError(str(path), "NaN or infinite pixels", "finite grey values", "export it again")
    return Xray(-pixels.astype(np.float32) if is_inverted else pixels, notes=tuple(notes))


def _is_inverted(image: Image.Image) -> bool:
    """Whether a TIFF's 0 is white; pillow turns those of 8 bits itself."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO and image.mode not in ("1", "L")


def _grey_of_colours(path: Path, image: Image.Image) -> NDArray[np.uint8]:
    """Of a picture whose channels are equal but for what JPEG and a coloured mark make of them."""
    channels = np.asarray(image.convert("RGB"))
    apart = channels.max(axis=2) - channels.min(axis=2)
    share = float((apart > _COLOURED).mean())
    if share > _MOST_COLOURED:
        given = f"{share:.0%} of the pixels are coloured"
        raise InputError(str(path), given, "a grey radiograph", "save it as grey if it is one, and no photograph")
    return np.asarray(image.convert("RGB").convert("L"))


@read_apart
def read_field(path: Path) -> NDArray[np.bool_]:
    """Read a lung field that somebody drew.

    Args:
        path: PNG, JPEG or TIFF, of the size of its radiograph. Black is no lung; white is lung, or 1 the patient's left
            and 2 the right one.

    Returns:
        (r, c) both lungs; of a file with 0, 1 and 2: (2, r, c) left and right.

    Raises:
        FileError: Missing, damaged, or of another kind.
        InputError: No mask: many greys, colours, nothing or everything drawn; or too large.
    """
    if not path.is_file():
        raise FileError(str(path), "no such file", "a drawn lung field", f"a {', '.join(_KINDS)}")
    image = _opened(path, lambda opened: np.asarray(opened.convert("L") if opened.mode != "P" else opened))
    values = np.unique(image)
    if np.array_equal(values, [0, 1, 2]):
        return np.stack([image == 1, image == 2])
    half = float(image.max()) / 2.0
    between = float(np.mean((image > 0.2 * half) & (image < 1.8 * half)))
    field: NDArray[np.bool_] = image > half
    if between > _MOST_BETWEEN or not field.any() or field.all():
        given = f"{len(values)} grey values, {float(field.mean()):.0%} of the pixels drawn"
        raise InputError(str(path), given, "black, and white where the lungs are", "draw the field, not the picture")
    return field


def write_picture(path: Path, levels: NDArray[np.uint16]) -> None:
    """Write a PNG of 16 bits whole or not at all.

    Args:
        path: Ends in .png.
        levels: (rows, columns).

    Raises:
        FileError: The disk refuses.
    """
    with atomic_file(path) as temporary:
        Image.fromarray(levels).save(temporary, format="PNG")
