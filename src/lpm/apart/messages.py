"""What a program and its helpers send each other: pickled, and arrays in memory that both share."""

from __future__ import annotations

import io
import mmap
import os
import pickle
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

Kept = Mapping[str, object]
_ALIGNED = 64  # bytes: where arrays begin in shared memory, as numpy's own do


def send(channel: Any, message: object, kept: Kept) -> None:
    """Send something.

    Args:
        channel: Connection to the other process.
        message: Anything that can be pickled.
        kept: Objects that both have: only their names are sent.
    """
    content, arrays = _pickled(message, kept)
    channel.send_bytes(pickle.dumps((content, [(array.nbytes, array.readonly) for array in arrays])))
    if not arrays:
        return
    with _shared_file() as file:
        for array in arrays:
            file.write(array)
            file.write(bytes(-array.nbytes % _ALIGNED))
        file.flush()
        send_handle(channel, file.fileno(), None)


def receive(channel: Any, kept: Kept) -> Any:
    """What the other process sent; waits for it.

    Raises:
        EOFError: It has ended.
        ConnectionError: It has just ended.
    """
    content, sizes = pickle.loads(channel.recv_bytes())  # noqa: S301 (of a process of our own)
    return _Unpickler(content, _mapped(channel, sizes), kept).load()


def _pickled(message: object, kept: Kept) -> tuple[bytes, list[memoryview]]:
    arrays: list[pickle.PickleBuffer] = []
    file = io.BytesIO()
    _Pickler(file, arrays, kept).dump(message)
    return file.getvalue(), [array.raw() for array in arrays]


class _Pickler(pickle.Pickler):
    """Writes the names of what both processes keep in place of it; of a class, for Python 3.13 sets no method."""

    def __init__(self, file: io.BytesIO, arrays: list[pickle.PickleBuffer], kept: Kept) -> None:
        super().__init__(file, 5, buffer_callback=arrays.append)
        self.names = {id(each): name for name, each in kept.items()}

    def persistent_id(self, each: object) -> str | None:
        return self.names.get(id(each))


class _Unpickler(pickle.Unpickler):
    """Takes what both processes keep by its name."""

    def __init__(self, content: bytes, arrays: Sequence[memoryview], kept: Kept) -> None:
        super().__init__(io.BytesIO(content), buffers=arrays)
        self.kept = kept

    def persistent_load(self, name: str) -> object:
        return self.kept[name]


def _shared_file() -> Any:
    return os.fdopen(os.memfd_create("lpm"), "wb") if hasattr(os, "memfd_create") else tempfile.TemporaryFile()


def _mapped(channel: Any, sizes: Sequence[tuple[int, bool]]) -> list[memoryview]:
    if not sizes:
        return []
    handle = recv_handle(channel)
    try:
        whole = memoryview(mmap.mmap(handle, 0, access=mmap.ACCESS_COPY))
    finally:
        os.close(handle)
    found, at = [], 0
    for size, is_read_only in sizes:
        part = whole[at : at + size]
        found.append(part.toreadonly() if is_read_only else part)
        at += size + -size % _ALIGNED
    return found
