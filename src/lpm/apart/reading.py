"""Files of strangers are read apart: what ends their reader, or never ends, is an error of that file.

Native readers (ITK, GDCM, VTK, Pillow, zlib) trust what they read more than anybody should. The command line, batches
and the viewer read by helpers; a program that imports LPM reads itself, unless it asks for `reading_apart`.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from lpm.apart.helper import HelperError, Limits
from lpm.apart.pool import HelperPool
from lpm.errors import FileError
from lpm.processes import most_memory

P = ParamSpec("P")
T = TypeVar("T")
_AT_HAND = ("lpm.files.scans", "lpm.files.meshes", "lpm.files.points")  # other readers are imported when needed
MOST_SECONDS = 900.0  # for a file or folder: a whole study from a slow disk takes minutes
_CAN_READ_APART = hasattr(os, "register_at_fork")  # elsewhere than on Unix files are not handed over


class _Readers:
    """Whether files are read by helpers, and those that wait for files."""

    def __init__(self) -> None:
        self.limits: Limits | None = None
        self.asked = 0  # how often, one within another or in several threads
        self.lock = threading.Lock()
        self.helpers = HelperPool(_AT_HAND)


_readers = _Readers()


@contextmanager
def reading_apart(seconds: float = MOST_SECONDS, memory: int | None = None) -> Iterator[None]:
    """While this lasts, files are read in helpers, whatever thread reads them; within another one it changes nothing.

    Args:
        seconds: Time that a file may take.
        memory: Bytes that its reader may take; None for three quarters of the machine's.
    """
    limits = Limits(seconds, memory or most_memory() * 3 // 4)
    with _readers.lock:
        _readers.asked += 1
        _readers.limits = _readers.limits or (limits if _CAN_READ_APART else None)
    try:
        yield
    finally:
        with _readers.lock:
            _readers.asked -= 1
            _readers.limits = _readers.limits if _readers.asked else None


def expect_files() -> None:
    """Start a helper, which is then there when the first file comes: its start takes a second."""
    if _readers.limits is not None:
        _readers.helpers.expect()


def read_apart(read: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that reads a file, its first argument.

    While `reading_apart` lasts, it also raises:
        FileError: Reading crashed, or took too much time or memory.
    """

    @functools.wraps(read)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        limits = _readers.limits
        if limits is None:
            return read(*args, **kwargs)
        with _readers.helpers.taken() as helper:
            try:
                result: T = helper.call(_read, wrapped, args, kwargs, limits=limits)
                return result
            except HelperError as error:
                subject = str(next(iter((*args, *kwargs.values()))))
                given, hint = f"cannot be read: it {error}", "copy it or save it again"
                raise FileError(subject, given, "an intact file", hint) from error

    return wrapped


def _read(read: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    return read(*args, **kwargs)
