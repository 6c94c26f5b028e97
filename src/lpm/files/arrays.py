"""Arrays on disk: npz read without pickle, and whatever is damaged named."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpm.errors import FileError, InputError
from lpm.files.atomic import atomic_file
from lpm.files.zips import DAMAGE, check_unpacked

_MOST_BYTES = 8 * 1024**3  # of arrays, unpacked: a subject's are a hundredth of it
Arrays = dict[str, NDArray[Any]]


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an uncompressed npz whole or not at all.

    Raises:
        InputError: An array holds Python objects, which only pickle could store.
        FileError: The disk refuses.
    """
    if objects := sorted(name for name, array in arrays.items() if array.dtype.hasobject):
        raise InputError(str(path), f"{objects} hold Python objects", "arrays of numbers or text")
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # the stub takes any name for allow_pickle


def read_arrays(path: Path, names: tuple[str, ...]) -> Arrays:
    """Read named arrays of an npz, without pickle.

    Raises:
        FileError: Missing, truncated, or an array is not in it.
    """
    if not path.is_file():
        raise FileError(str(path), "no such file", "an npz", "check the name")
    if not zipfile.is_zipfile(path):
        raise FileError(str(path), "damaged or of another kind", "an intact npz", "check the name, or write it again")
    try:
        with np.load(path, allow_pickle=False) as archive:
            check_unpacked(path, archive.zip.infolist(), _MOST_BYTES)
            if missing := set(names) - set(archive.files):
                raise FileError(
                    str(path), f"holds {sorted(archive.files)}", f"also {sorted(missing)}", "prepare it again"
                )
            return {name: archive[name] for name in names}
    except (*DAMAGE, TypeError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(str(path), f"damaged ({error})", "an intact npz", "write it again") from error
