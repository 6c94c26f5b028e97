"""One case tried: what came of it, or why it failed, so that one bad case never stops the others."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from lpm.apart.reading import reading_apart
from lpm.errors import LpmError

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
    except MemoryError as error:
        amount = f" ({error})" if str(error) else ""
        given = f"{subject}: it does not fit into memory{amount}"
        return Attempt(None, time.perf_counter() - started, given)
    except Exception as error:  # a case that breaks in a way nobody foresaw must not stop the others
        given = f"{subject}: {type(error).__name__}: {error}"
        return Attempt(None, time.perf_counter() - started, given, traceback.format_exc())
