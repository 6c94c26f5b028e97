"""Headers of NRRD and MetaImage, checked before a native reader sees them.

Both are text. A native reader takes a header's word for the number of axes, and opens whatever file it names: a header
could end the process, or make another file of this machine pass for the sender's voxels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

from lpm.errors import FileError
from lpm.records import is_plain_name

_MOST_BYTES = 4 * 1024**2  # of a header: one with names and colours of a thousand segments is a tenth of it
_MOST_AXES = 5  # a vector or layered volume has four
_LONGEST_TEXT = 65_536  # letters of a line, such as what a segment was made by
_LONGEST_LINE = 4096  # letters of a field, and
_LONGEST_NAME = 255  # of a word in it, such as a file's name, and
_LONGEST_WORD = 64  # of a number
_MOST_INFLATED, _MOST_UNZIPPED = 1032, 1 << 20  # times that gzip and bzip2 make data smaller, at most
_MOST_CHANNELS = 16  # values a voxel: more than one is refused later, by its name
_NUMBERS = re.compile(r"[\d\s.,()+\-eE]*")
_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
_ATTACHED = (".nrrd", ".mha")


def check_itk_header(path: Path) -> list[Path]:
    """Check a header, and find the files that hold its voxels.

    Args:
        path: .nrrd, .nhdr, .mha or .mhd; of another kind nothing is checked.

    Returns:
        The file, and the one that a .nhdr or .mhd names, beside it.

    Raises:
        FileError: No such header, of implausible size, or it names a file that it must not.
    """
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        return [path]
    fields = _nrrd_fields(path) if suffix in (".nrrd", ".nhdr") else _metaimage_fields(path)
    n_voxels = _check_axes(path, fields)
    named = fields.get("data file", fields.get("elementdatafile", "LOCAL"))
    files = [path] if named.upper() == "LOCAL" else [path, _beside(path, named)]
    most = files[-1].stat().st_size * _most_in_a_byte(fields)
    if n_voxels > most:
        given = f"{files[-1].stat().st_size} bytes for {n_voxels} voxels"
        raise FileError(str(path), given, "an intact volume", "copy it or save it again")
    return files


def _most_in_a_byte(fields: dict[str, str]) -> int:
    """Most voxels that a byte of the file can stand for."""
    encoding = fields.get("encoding", "")
    if encoding.lower() in ("bzip2", "bz2"):
        return _MOST_UNZIPPED
    is_zipped = encoding.lower() in ("gzip", "gz") or fields.get("compresseddata", "").lower() == "true"
    return _MOST_INFLATED if is_zipped else 1


def _check_axes(path: Path, fields: dict[str, str]) -> int:
    """The number of values."""
    for name, value in fields.items():
        longest = max(map(len, value.split()), default=0)
        if longest > _LONGEST_NAME or (_NUMBERS.fullmatch(value) and longest > _LONGEST_WORD):
            raise _damaged(path, f"{len(value)} letters of {name[:80]!r}")
    n_axes = _whole(path, fields, "dimension" if "dimension" in fields else "ndims", _MOST_AXES)
    sizes = fields.get("sizes", fields.get("dimsize", "")).split()
    if len(sizes) != n_axes or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise _damaged(path, f"{n_axes} axes of sizes {' '.join(sizes)[:80]!r}")
    if "elementnumberofchannels" in fields:
        _whole(path, fields, "elementnumberofchannels", _MOST_CHANNELS)
    return math.prod(int(size) for size in sizes)


def _whole(path: Path, fields: dict[str, str], name: str, most: int) -> int:
    value = fields.get(name, "")
    if not value.isdecimal() or not 1 <= int(value) <= most:
        raise _damaged(path, f"{name} {value[:40]!r}")
    return int(value)


def _beside(path: Path, named: str) -> Path:
    """The file of the voxels: of its own name, in the header's folder, for a header that may lie apart from them."""
    if path.suffix.lower() in _ATTACHED:
        given = f"its voxels in another file, {named[:80]!r}"
        raise FileError(str(path), given, "its own voxels", "save it as one file, or name it .nhdr or .mhd")
    data = path.parent / named
    if not is_plain_name(named) or "%" in named or named.upper().startswith("LIST") or data.resolve() == path.resolve():
        raise FileError(str(path), f"voxels in {named[:80]!r}", "a file of its own folder", "save it as .nrrd or .mha")
    if not data.is_file():
        raise FileError(str(path), f"no file {named!r} beside it, which holds the voxels", "both files", "copy both")
    return data


def _nrrd_fields(path: Path) -> dict[str, str]:
    """Fields of a NRRD's header by their names in small letters; what segments are called is no field."""
    lines = _lines(path)
    if not next(lines, "").startswith("NRRD"):
        raise _damaged(path, "no mark of a NRRD")
    fields: dict[str, str] = {}
    for line in lines:
        if not line:
            break
        if len(line) > (_LONGEST_TEXT if ":=" in line[:_LONGEST_LINE] else _LONGEST_LINE):
            raise _damaged(path, f"a line of {len(line)} letters")
        name, separator, value = line.partition(": ")
        if separator and not line.startswith("#") and ":=" not in name:
            fields[_synonym(name.strip().lower())] = value.strip()
    return fields


def _synonym(name: str) -> str:
    return {"datafile": "data file"}.get(name, name)


def _metaimage_fields(path: Path) -> dict[str, str]:
    """Fields of a MetaImage's header by their names in small letters; the last one names the voxels' file."""
    fields: dict[str, str] = {}
    for line in _lines(path):
        if len(line) > _LONGEST_LINE:
            raise _damaged(path, f"a line of {len(line)} letters")
        name, _, value = line.partition("=")
        fields[name.strip().lower()] = value.strip()
        if name.strip().lower() == "elementdatafile":
            return fields
    raise _damaged(path, "no ElementDataFile")


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            start = file.read(_MOST_BYTES)
    except OSError as error:
        raise FileError(str(path), f"cannot be read ({error.strerror})", "an intact volume") from error
    for line in start.split(b"\n"):
        yield line.decode("latin-1").rstrip("\r")


def _damaged(path: Path, what: str) -> FileError:
    return FileError(str(path), f"header cannot be read ({what})", "an intact volume", "copy it or save it again")
