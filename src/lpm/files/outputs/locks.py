"""One run at a time writes into a folder: a lock that the system holds, and lets go when the run ends or dies."""

from __future__ import annotations

import json
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lpm.errors import FileError

LOCK = ".lpm.lock"
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # Windows has none
_MOST_BYTES = 1000  # of what a lock says of its holder; Windows locks the byte behind them


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold a folder for this run, by a hidden file in it.

    The folder is made if need be, and goes again if nothing is written. Where the file system has no locks, as some
    network ones, or forbids writing, the run goes on with a warning.

    Raises:
        FileError: Another run holds it.
    """
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        descriptor = _held(out)
    except FileError:
        raise
    except OSError as error:
        given = f"{out} cannot be locked ({error.strerror}): see to it that no other run writes there meanwhile"
        warnings.warn(given, stacklevel=3)
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):  # of a colleague, or Windows: it stays, and nobody holds it
            (out / LOCK).unlink()
        os.close(descriptor)
        with suppress(OSError):  # nothing was written, as where an input was refused
            if is_new:
                out.rmdir()


def _held(out: Path) -> int:
    """A descriptor of the locked file.

    Raises:
        FileError: Another run holds it.
        OSError: It cannot be opened, or there are no locks.
    """
    while True:
        descriptor = _opened(out / LOCK)
        try:
            if not _is_free(descriptor):
                hint = "wait until it ends, or choose another --out"
                raise FileError(str(out), f"another run writes here{_holder(descriptor)}", "one at a time", hint)
            if _is_still_there(descriptor, out / LOCK):
                _sign(descriptor)
                return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its last holder has removed it meanwhile


def _opened(path: Path) -> int:
    """A descriptor; of a colleague's file, which this user may not write, one to read."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o666)
    except PermissionError:
        return os.open(path, os.O_RDONLY | _NO_LINK)


def _is_free(descriptor: int) -> bool:
    """Take the lock, unless another has it."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _MOST_BYTES, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still_there(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    """Say who holds it, for the messages of others."""
    record = json.dumps({"pid": os.getpid(), "host": platform.node()}).encode()[:_MOST_BYTES]
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, record)


def _holder(descriptor: int) -> str:
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        record = json.loads(os.read(descriptor, _MOST_BYTES))
        return f" (process {int(record['pid'])} on {record['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
