"""Inputs are never outputs: nothing that is written may replace what the run reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from lpm.errors import FileError

_HINT = "another name for the output"
# files of an input folder that no run reads: a table or a page beside scans may be written again
_UNREAD = (".csv", ".html", ".md", ".png", ".gif")
_RECORDS = {"bundle", "case", "cohort", "dataset", "fit", "lungs", "manifest", "quality", "split", "views"}


@dataclass(frozen=True)
class _Run:
    """What a run reads, and the folders that it was told to write into."""

    inputs: tuple[Path, ...] = ()
    outputs: tuple[Path, ...] = ()


_NO_RUN = _Run()
_run: ContextVar[_Run] = ContextVar("run", default=_NO_RUN)


@contextmanager
def keeping(inputs: Iterable[Path], outputs: Iterable[Path]) -> Iterator[None]:
    """Within, no input is replaced: neither by an output that is named, nor by a file that is written on the way.

    Args:
        inputs: Files and folders that are read.
        outputs: Files and folders that are written.

    Raises:
        FileError: An output is an input, whatever it is called: by a link, in other letters of a file system that does
            not tell them apart, or as a file in a folder that is read.
    """
    there = [path.resolve() for path in inputs if path.exists()]
    wanted = [path.resolve() for path in outputs]
    token = _run.set(_Run(tuple(there), tuple(path for path in wanted if not path.is_file())))
    try:
        for path in wanted:
            refuse_input(path)
        yield
    finally:
        _run.reset(token)


def refuse_input(path: Path, *, replaces_all: bool = False) -> None:
    """Refuse a path that must not be written, because the run reads it.

    Args:
        path: File or folder.
        replaces_all: Whether a folder is replaced with all that it holds.

    Raises:
        FileError: The run reads it, or something in it that would be replaced.
    """
    run, path = _run.get(), path.resolve()
    for given in run.inputs:
        if _is_same(path, given):
            raise FileError(str(path), "is an input of this run, and would be replaced", "a new name", _HINT)
        if replaces_all and given.is_relative_to(path):
            raise FileError(str(path), f"holds the input {given.name}, which would be lost", "a new folder", _HINT)
        is_own = any(path.is_relative_to(out) and out != given for out in run.outputs)
        if path.is_relative_to(given) and not is_own and _may_be_read(path):
            what = f"lies in the input {given.name}, and may be read from there"
            raise FileError(str(path), f"{what}; it would be replaced", "a new name", f"{_HINT}, or remove it first")


def refuse_inputs_in(folders: Mapping[str, Path], inputs: Mapping[str, Iterable[Path]]) -> None:
    """Refuse folders of cases, each of which is replaced, that hold an input of any case.

    Args:
        folders: Output folder by case.
        inputs: Files and folders by case.

    Raises:
        FileError: One does.
    """
    case_of = {folder.resolve(): case for case, folder in folders.items() if folder.exists()}
    for case, paths in inputs.items():
        for path in paths:
            place = path.resolve()
            if found := next((each for each in (place, *place.parents) if each in case_of), None):
                given = f"holds {path.name}, an input of {case}, and would be replaced by {case_of[found]}"
                raise FileError(str(found), given, "a folder that no case is read from", "another --out")


def _is_same(path: Path, given: Path) -> bool:
    """By the file itself, not by its name."""
    try:
        return path.samefile(given)
    except OSError:  # the output is not there yet
        return path == given


def _may_be_read(path: Path) -> bool:
    """Whether a file is there that a verb may read from a folder that it is given."""
    if not path.is_file() or path.suffix.lower() in _UNREAD:
        return False
    return path.suffix.lower() != ".json" or path.stem.lower() in _RECORDS
