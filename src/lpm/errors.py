"""The errors LPM raises: what was looked at, what was given, what was expected, what to try."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class LpmError(Exception):
    """Base of every error that LPM raises on purpose.

    Args:
        subject: What the message is about: a case, a file, an argument.
        given: Value that was found.
        expected: Value that was expected.
        hint: Advice on what to try.
    """

    def __init__(self, subject: str, given: str, expected: str = "", hint: str = "") -> None:
        self.subject, self.given, self.expected, self.hint = subject, given, expected, hint
        super().__init__(subject, given, expected, hint)

    def __str__(self) -> str:
        text = f"{self.subject}: {self.given}"
        if self.expected:
            text += f"; expected {self.expected}"
        if self.hint:
            text += f". Try: {self.hint}"
        return text


class InputError(LpmError, ValueError):
    """A value that a caller gave cannot be used."""


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Let refused input name a subject, such as its files, where what refuses it does not know them."""
    try:
        yield
    except InputError as error:
        raise type(error)(subject, error.given, error.expected, error.hint) from error


class MisuseError(InputError):
    """An option has a value that it cannot have, or does not go with another; the command line exits with 2."""


class FrameError(LpmError, TypeError):
    """Something of one frame (world, model) was given where the other is needed."""


class FileError(LpmError, OSError):
    """A file is missing, damaged, of an unknown kind, or cannot be written."""


class SchemaError(FileError):
    """A manifest or bundle does not follow the schema that this version reads."""


class NoSurfaceError(LpmError, ValueError):
    """A field or mask has no surface to extract."""


class MissingExtraError(LpmError, ImportError):
    """An optional dependency is needed and not installed."""


class WorkerDiedError(LpmError, RuntimeError):
    """A worker process was killed, often for want of memory."""


class CasesFailedError(LpmError, RuntimeError):
    """Some cases of a batch failed; the others finished."""
