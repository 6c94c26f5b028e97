"""Names of temporary files and folders: they tell whose they are, so that those of dead processes are removed."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

from lpm.apart.pool import when_one_died
from lpm.processes import is_alive

_RUN = uuid4().hex[:6]  # tells this process from an earlier one of the same number
_NAME = re.compile(r"\.?lpm-([0-9a-f]{8})-(\d+)-([0-9a-f]{6})-.*", re.DOTALL)
_MOST_BYTES = 150  # of the final name within a temporary one: file systems take 255


@cache
def _place() -> str:
    """Where the number of a process has a meaning: a machine, on Linux one of its process namespaces."""
    try:
        name = f"{platform.node()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        name = platform.node()
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def temporary_prefix() -> str:
    """Begin the name of a temporary file or folder of this process."""
    return f"lpm-{_place()}-{os.getpid()}-{_RUN}-"


def temporary_beside(path: Path, what: str = "part") -> Path:
    """A hidden name beside a path, with its suffixes, so that writers that look at them behave the same."""
    name = os.fsdecode(os.fsencode(path.name)[-_MOST_BYTES:])
    return path.with_name(f".{temporary_prefix()}{uuid4().hex[:8]}.{what}.{name}")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder of the system's temporary one, which is removed at the end; nobody else may read it."""
    with tempfile.TemporaryDirectory(prefix=temporary_prefix(), ignore_cleanup_errors=True) as name:
        yield Path(name)


def is_temporary(name: str) -> bool:
    """Whether a name was made here, by whatever process."""
    return _NAME.fullmatch(name) is not None


def is_stale(name: str) -> bool:
    """Whether a name was made by a process of this machine that has ended; of other machines nobody knows."""
    found = _NAME.fullmatch(name)
    if found is None or found[1] != _place():
        return False
    return found[3] != _RUN if int(found[2]) == os.getpid() else not is_alive(int(found[2]))


def remove_stale(folder: Path) -> None:
    """Remove what processes that were killed left in a folder under temporary names."""
    with suppress(OSError):  # it is not there, or may not be read
        for entry in [entry.name for entry in os.scandir(folder) if is_stale(entry.name)]:
            _put_back_or_remove(folder / entry)


def remove_stale_folders() -> None:
    """Remove what processes that were killed left in the system's temporary folder."""
    remove_stale(Path(tempfile.gettempdir()))


when_one_died(remove_stale_folders)


def _put_back_or_remove(path: Path) -> None:
    """A folder that had stepped aside when its process was killed gets its name back, unless another has it."""
    _, is_old, name = path.name.partition(".old.")
    if is_old and name and not path.with_name(name).exists():
        path.rename(path.with_name(name))
    else:
        remove(path)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that it holds, as far as that is allowed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
