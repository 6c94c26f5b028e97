"""One case tried: what came of it, or why it failed, so that one bad case never stops the others."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from lpm.apart.reading import reading_apart
from lpm.errors import InputError, LpmError
from lpm.processes import most_memory

Result = TypeVar("Result")


@dataclass(frozen=True)
class Attempt(Generic[Result]):
    """Outcome of the work on one case.

    Args:
        result: What came of it; None if it failed.
        seconds: Wall time.
        error: Why it failed.
        trace: The traceback of a failure that LPM did not foresee.
    """

    result: Result | None
    seconds: float
    error: str = ""
    trace: str = ""


def attempt(subject: str, work: Callable[[], Result]) -> Attempt[Result]:
    """Work on a case, whatever happens; its files are read apart.

    Args:
        subject: Its name, for messages.
        work: The work.
    """
    started = time.perf_counter()
    try:
        with reading_apart():
            return Attempt(work(), time.perf_counter() - started)
    except LpmError as error:
        return Attempt(None, time.perf_counter() - started, str(error))
    except Exception as error:  # a case that breaks in a way nobody foresaw must not stop the others
        if is_want_of_memory(error):
            return Attempt(None, time.perf_counter() - started, str(out_of_memory(subject, error)))
        given = f"{subject}: {type(error).__name__}: {error}"
        return Attempt(None, time.perf_counter() - started, given, traceback.format_exc())


def is_want_of_memory(error: BaseException) -> bool:
    """Whether memory did not suffice: torch and native libraries say so in errors of their own."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "bad_alloc" in str(error)


def out_of_memory(subject: str, error: BaseException) -> InputError:
    """The error that says so.

    Args:
        subject: What was worked on.
        error: What was raised.
    """
    amount = f" ({error})" if str(error) else ""
    hint = "crop or resample it, or fewer --jobs"
    return InputError(subject, f"it does not fit into memory{amount}", f"at most {most_memory() / 2**30:.0f} GiB", hint)
