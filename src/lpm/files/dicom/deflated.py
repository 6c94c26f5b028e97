"""DICOM files that are deflated as a whole, which are rare: pydicom inflates all of one to read any of it."""

from __future__ import annotations

import zlib
from pathlib import Path

from lpm.errors import FileError

_SYNTAX = b"1.2.840.10008.1.2.1.99"
_LENGTH_OF_META = b"\x02\x00\x00\x00UL\x04\x00"  # element (0002,0000), behind a preamble or without one
_META = 2048  # bytes that hold the transfer syntax
_CHUNK = 1 << 20  # bytes inflated at once
_MOST_INFLATED = 1024**3


def full_size(path: Path) -> int:
    """Bytes of a file; of one that is deflated as a whole, those that it inflates to.

    Raises:
        FileError: They are too many to be held in memory.
    """
    with path.open("rb") as file:
        start = file.read(_META)
        if _SYNTAX not in start:
            return path.stat().st_size
        length = start.find(_LENGTH_OF_META) + len(_LENGTH_OF_META)
        first = length + 4 + int.from_bytes(start[length : length + 4], "little")
        file.seek(first)
        inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), first
        while data := inflater.unconsumed_tail or file.read(_CHUNK):
            size += len(inflater.decompress(data, _CHUNK))
            if size > _MOST_INFLATED:
                given = f"a deflated file of more than {_MOST_INFLATED / 1024**3:.0f} GiB"
                raise FileError(path.name, given, "a smaller one", "export it uncompressed")
        return size
