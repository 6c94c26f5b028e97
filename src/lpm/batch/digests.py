"""Digests of inputs: what a case was made from, so that a later run knows whether it is still the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from lpm.errors import FileError
from lpm.files.dicom.folder import series_uid
from lpm.files.scans import is_dicom_file, scan_files

_CHUNK = 1 << 20  # bytes read at a time


def digest_inputs(paths: Iterable[Path], *parts: str) -> str:
    """SHA-256 over the bytes of files, and over words.

    Args:
        paths: Files and folders; a DICOM file stands for all of its series.
        *parts: All else that a result depends on.

    Raises:
        FileError: A file is missing or cannot be read.
    """
    hasher = hashlib.sha256()
    for path in paths:
        if not path.exists():
            raise FileError(str(path), "no such file or folder", "what the case is made from")
        alone = is_dicom_file(path) and not series_uid(path)  # a radiograph may have none
        files, folder = [path] if alone else scan_files(path), path if path.is_dir() else path.parent
        for one in files:
            hasher.update(b"" if files == [path] else one.relative_to(folder).as_posix().encode())
            _update(hasher, one)
    for part in parts:
        hasher.update(part.encode())
    return hasher.hexdigest()


def _update(hasher: hashlib._Hash, path: Path) -> None:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
    except OSError as error:
        raise FileError(str(path), f"cannot be read ({error.strerror})", "a readable file") from error
