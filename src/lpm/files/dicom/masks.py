"""DICOM masks, SEG or RTSTRUCT, told from other files and read."""

from __future__ import annotations

from pathlib import Path

from lpm.errors import FileError, InputError, LpmError
from lpm.files.dicom.folder import visible_files
from lpm.files.dicom.headers import STRANGE, is_dicom, read_header
from lpm.files.dicom.sizes import check_sizes
from lpm.files.volumes import VolumeFile

_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # of segments; of a label map
_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"


def mask_kind(path: Path) -> str | None:
    """SEG, RTSTRUCT, or None for everything else.

    Raises:
        FileError: The disk does not give the file.
    """
    header = read_header(path)
    kind = "" if header is None else str(header.get("SOPClassUID") or "")
    return "SEG" if kind in _SEGMENTATIONS else "RTSTRUCT" if kind == _STRUCTURE_SET else None


def holds_only_masks(folder: Path) -> bool:
    """Whether the DICOM files of a folder, at any depth, are masks."""
    kinds = [path for path in visible_files(folder) if is_dicom(path)]
    return bool(kinds) and all(mask_kind(path) for path in kinds)


def mask_in(folder: Path) -> Path:
    """The only DICOM mask of a folder, at any depth.

    Raises:
        FileError: There is none.
        InputError: There are several.
    """
    masks = [each for each in visible_files(folder) if mask_kind(each)]
    if len(masks) == 1:
        return masks[0]
    named = ", ".join(each.name for each in masks[:5]) or "none"
    given, hint = f"{len(masks)} DICOM masks ({named})", "give the file itself"
    raise (InputError if masks else FileError)(str(folder), given, "one SEG or RTSTRUCT", hint)


def read_mask(path: Path) -> VolumeFile:
    """Read a DICOM SEG or RTSTRUCT as a label map, with the names of its values.

    Args:
        path: The file, or a folder that holds one of them at any depth.

    Raises:
        FileError: The folder holds none, or the file is damaged.
        InputError: The folder holds several, or the file no lungs that can be read.
    """
    path = mask_in(path) if path.is_dir() else path
    check_sizes(path)
    try:
        return _read(path)
    except LpmError:
        raise
    except (*STRANGE, OSError) as error:
        raise FileError(str(path), f"cannot be read ({error})", "an intact SEG or RTSTRUCT", "copy it again") from error


def _read(path: Path) -> VolumeFile:
    if mask_kind(path) == "SEG":
        from lpm.files.dicom.segmentation import read_segmentation

        return read_segmentation(path)
    from lpm.files.dicom.structure_set import read_structure_set

    return read_structure_set(path)
