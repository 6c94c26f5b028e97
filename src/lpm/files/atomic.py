"""Outputs appear under their final name only when they are whole."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from lpm.errors import FileError
from lpm.files.outputs.inputs import refuse_input
from lpm.files.outputs.temporary import is_temporary, remove, remove_stale, temporary_beside
from lpm.records import is_plain_name

_MOST_LETTERS = 240  # of a file's name with its suffix: what file systems take, less what a temporary name adds


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it becomes ``path``, on any error it is removed.

    The temporary name keeps the suffixes, so that writers that look at them behave the same. A link stays one: what it
    names is replaced.

    Raises:
        FileError: The disk refuses (full, read-only, no permission), or what is there is no regular file, or an input.
    """
    path = path.resolve()
    refuse_input(path)
    if path.exists() and not path.is_file():
        raise FileError(str(path), "is no regular file", "the name of a file, new or to be replaced")
    temporary = temporary_beside(path)
    try:
        _create(path.parent)
        _remove_stale_once(path.parent)
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(str(path), f"cannot be written ({error})", hint="check free space and permissions") from error
    finally:
        remove(temporary)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``path``; on success it replaces ``path``, on any error it is removed.

    Raises:
        FileError: The disk refuses (full, read-only, no permission), or what is there is, or holds, an input.
    """
    refuse_input(path, replaces_all=True)
    path = path.resolve()  # "." has no name, and a link stays one: the folder that it names is replaced
    temporary = temporary_beside(path)
    try:
        _create(path.parent)
        temporary.mkdir()
        _remove_stale_once(path.parent)
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        _replace_folder(temporary, path)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(str(path), f"cannot be written ({error})", hint="check free space and permissions") from error
    finally:
        remove(temporary)


def _create(folder: Path) -> None:
    """Create a folder, but not within a temporary one that others removed: a part of that would come back.

    Raises:
        OSError: One was removed, or the disk refuses.
    """
    if any(is_temporary(each.name) and not each.is_dir() for each in (folder, *folder.parents)):
        raise OSError("its folder was removed while it was written")
    folder.mkdir(parents=True, exist_ok=True)


@cache
def _remove_stale_once(folder: Path) -> None:
    """Remove what killed processes left beside a path that is written."""
    remove_stale(folder)


def _sync(file: Path) -> None:
    """Wait until a file lies on the disk: some file systems refuse only then what does not fit.

    Raises:
        OSError: It could not be written.
    """
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def inside(folder: Path, *names: str) -> Path:
    """A path below a folder, one plain name a level.

    Raises:
        FileError: A name that could lead out of the folder.
    """
    for name in names:
        if not is_plain_name(name, _MOST_LETTERS):
            raise FileError(str(folder), f"the name {name!r}", "a plain name, without / or leading dot", "rename it")
    return folder.joinpath(*names)


def check_gives_way(folder: Path, is_own: Callable[[str], bool], what: str) -> None:
    """Refuse a folder that cannot be replaced without losing what others put there.

    Args:
        folder: Folder to replace; absent, empty, or an earlier output.
        is_own: Whether an entry of that name belongs to such an output.
        what: Such an output, in words.

    Raises:
        FileError: It holds something else or an input, is a file, is the folder in which the program runs, or lies
            where nothing may be written.
    """
    refuse_input(folder, replaces_all=True)
    if folder.exists() and not folder.is_dir():
        raise FileError(str(folder), "is a file", "a folder, new or empty", "choose another name")
    if Path.cwd().is_relative_to(folder.resolve()):
        raise FileError(str(folder), "is the current folder, or holds it", "one of its own", "choose another name")
    others = sorted(entry.name for entry in folder.iterdir() if not is_own(entry.name)) if folder.exists() else []
    if others:
        given = f"holds {', '.join(others[:3])}{' ...' if len(others) > 3 else ''}, which would be lost"
        raise FileError(str(folder), given, f"a folder that is new, empty, or {what}", "choose another name")
    _check_writable(folder)


def _check_writable(folder: Path) -> None:
    """Refuse a folder that could not be written or replaced: sooner than after the work.

    Raises:
        FileError: It lies where this user may not write, or on a disk that is mounted to be read only.
    """
    there = next(each for each in folder.resolve().parents if each.exists())
    as_who = {"effective_ids": True} if os.access in os.supports_effective_ids else {}
    if not os.access(there, os.W_OK | os.X_OK, **as_who):
        given = f"lies in {there}, where this user may not write"
        raise FileError(str(folder), given, "a place that may be written to", "choose another, or check permissions")


def _replace_folder(new: Path, path: Path) -> None:
    """Let a new folder take a name; the old one, if any, ends up under the new one's name or under none."""
    if not path.exists():
        new.rename(path)
    elif not _exchange(new, path):
        old = temporary_beside(path, "old")
        path.rename(old)
        try:
            new.rename(path)
        except OSError:
            old.rename(path)
            raise
        remove(old)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two folders in one step, so that a kill leaves no moment without either; False where none can."""
    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2 if sys.platform == "linux" else None
    except AttributeError:  # an old C library
        swap = None
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
    return swap is not None and swap(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0


def clear_left_overs(folder: Path) -> None:
    """Remove what killed runs and workers left half done in a folder; nothing else may be writing there."""
    for path in [path for path in folder.glob(".lpm-*") if is_temporary(path.name)]:
        remove(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(text)
