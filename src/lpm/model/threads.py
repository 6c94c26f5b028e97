"""Threads: every operation has one; work is shared out in pieces among threads that sleep while they wait.

The threads of one operation wait for each other in a busy loop, thousands of times in a fit: on a machine that does
something else as well, two of them take ten times as long as one. They also round otherwise than one does, and a search
that stops on a plateau may then stop elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


@contextmanager
def one_thread() -> Iterator[int]:
    """Run each operation of torch on one thread while this lasts; gives how many there were before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def shared_out(function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Apply a function to parts, on as many threads as torch may use; the same results for any number of them.

    Args:
        function: Spends its time in torch or numpy, which let other threads run meanwhile.
        parts: Pieces of work, each of milliseconds at least.
    """
    with one_thread() as n:
        if min(n, len(parts)) < 2:
            return [function(part) for part in parts]
        with ThreadPoolExecutor(n, thread_name_prefix="lpm") as pool:
            return list(pool.map(function, parts))
