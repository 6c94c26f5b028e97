"""Threads: every operation has one; work is shared out in pieces among threads that sleep while they wait.

The threads of one operation wait for each other in a busy loop, thousands of times in a fit: on a machine that does
something else as well, two of them take ten times as long as one. They also round otherwise than one does, and a search
that stops on a plateau may then stop elsewhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


@dataclass
class _Shared:
    """What the threads of this process share: how many are within `one_thread`, and torch's number outside of it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    inside: int = 0
    usual: int = 1


_SHARED, _HERE = _Shared(), threading.local()


@contextmanager
def one_thread() -> Iterator[int]:
    """Run each operation of torch on one thread while this lasts.

    A new thread takes torch's number from whichever set it last: so that several, as in the viewer, do not take the one
    of another for the usual one, that is remembered while any of them is within.

    Yields:
        How many threads there may be; 1 within another `one_thread`.
    """
    is_outer = not getattr(_HERE, "is_inside", False)
    with _SHARED.lock:
        if _SHARED.inside == 0:
            _SHARED.usual = torch.get_num_threads()
        _SHARED.inside += 1
        usual = _SHARED.usual
    _HERE.is_inside = True
    torch.set_num_threads(1)
    try:
        yield usual if is_outer else 1
    finally:
        if is_outer:
            _HERE.is_inside = False
            torch.set_num_threads(usual)
        with _SHARED.lock:
            _SHARED.inside -= 1


def shared_out(function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Apply a function to parts, on as many threads as torch may use; the same results for any number of them.

    Args:
        function: Spends its time in torch or numpy, which let other threads run meanwhile.
        parts: Pieces of work, each of milliseconds at least.
    """
    with one_thread() as n:
        if min(n, len(parts)) < 2:
            return [function(part) for part in parts]
        with ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(function, parts))
