"""A zip whose files may be looked at: unpacked into a temporary folder, within limits, under names of our own."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from lpm.errors import FileError
from lpm.files.outputs.temporary import temporary_folder

_MOST_MEMBERS = 100_000  # files: more than a study has, and not yet a trap
_MOST_UNZIPPED = 32 * 1024**3  # bytes: as a volume of the most voxels; more is a trap
_OTHER = ".dcm"
_WHOLE = (".nii.gz", ".nii", ".nrrd", ".mha")  # volumes that are one file; others need the names of their parts
DAMAGE = (  # what Python raises of a damaged or unusual zip
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


@contextmanager
def unzipped(path: Path) -> Iterator[Path]:
    """Give a temporary folder with a zip's files; nothing in the zip chooses a path.

    Raises:
        FileError: No zip, damaged, with more than 100,000 files, or larger than 32 GiB when unpacked.
    """
    with temporary_folder() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
                _check_limits(members, path)
                for index, member in enumerate(members):
                    _unpack(archive, member, folder / f"{index:06d}{_ending(member.filename)}")
        except FileError:
            raise
        except DAMAGE as error:
            raise FileError(str(path), f"cannot be unpacked ({error})", "an intact zip without password") from error
        yield folder


def zipped_volumes(path: Path) -> list[str]:
    """Names of the volumes in a zip that are one file each.

    Raises:
        FileError: No zip.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [name for name in archive.namelist() if _ending(name) != _OTHER]
    except DAMAGE as error:
        raise FileError(str(path), f"cannot be unpacked ({error})", "an intact zip without password") from error


def _ending(member: str) -> str:
    """The ending of a volume's name; DICOM's of every other, and of what macOS adds."""
    name = PurePosixPath(member).name.lower()
    return _OTHER if name.startswith(".") else next((each for each in _WHOLE if name.endswith(each)), _OTHER)


def _check_limits(members: Sequence[zipfile.ZipInfo], path: Path) -> None:
    """What the zip's table of contents claims, before anything is unpacked."""
    if len(members) > _MOST_MEMBERS:
        given, hint = f"{len(members):,} files", "zip the one series, or unpack it and give the folder"
        raise FileError(str(path), given, f"at most {_MOST_MEMBERS:,}", hint)
    check_unpacked(path, members, _MOST_UNZIPPED)


def check_unpacked(path: Path, members: Iterable[zipfile.ZipInfo], most: int) -> None:
    """Refuse members of a zip that claim too many bytes together; they give no more than they claim.

    Raises:
        FileError: More than `most`.
    """
    size = sum(member.file_size for member in members)
    if size > most:
        given, expected = f"{size / 1024**3:.1f} GiB unpacked", f"at most {most / 1024**3:.3g} GiB"
        raise FileError(str(path), given, expected, "a smaller one, or unpack it")


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, to: Path) -> None:
    """A member may claim a size and hold another: no more than it claims is written."""
    with archive.open(member) as source, to.open("wb") as target:
        left = member.file_size
        while left > 0 and (chunk := source.read(min(1 << 20, left))):
            target.write(chunk)
            left -= len(chunk)
