"""Helpers that wait for work: their start takes seconds."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from lpm.apart.helper import Helper
from lpm.apart.messages import Kept

_cleaners: list[Callable[[], None]] = []


def when_one_died(clean: Callable[[], None]) -> None:
    """Have something cleaned up whenever a helper was ended in the midst of its work."""
    _cleaners.append(clean)


class HelperPool:
    """Helpers of one kind.

    Args:
        modules: Modules that they import before they are there.
        kept: Objects that calls and results name and do not bring, such as a model.
        most_idle: Most helpers that wait for work.
        most_calls: Calls after which one is replaced: memory that was taken is not all given back.
    """

    def __init__(
        self, modules: Sequence[str], kept: Kept | None = None, *, most_idle: int = 2, most_calls: int = 100
    ) -> None:
        self.modules, self._kept = modules, kept
        self._most_idle, self._most_calls = most_idle, most_calls
        self._idle: list[Helper] = []
        self._lock = threading.Lock()
        atexit.register(self.end)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._idle.clear)  # they are the parent's

    def expect(self) -> None:
        """Start a helper if none waits: work will come soon."""
        if not self._idle:
            self._give_back(Helper(self.modules, self._kept))

    @contextmanager
    def taken(self, leave: int = 0) -> Iterator[Helper]:
        """A helper of one's own; it comes back if it lives.

        Args:
            leave: How many go on waiting for others; a new one is started in their place.
        """
        with self._lock:
            helper = self._idle.pop() if len(self._idle) > leave else None
        helper = helper if helper is not None and helper.is_alive else Helper(self.modules, self._kept)
        try:
            yield helper
        finally:
            self._give_back(helper)

    def end(self) -> None:
        """End those that wait."""
        while self._idle:
            self._idle.pop().kill()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._idle)

    def _give_back(self, helper: Helper) -> None:
        with self._lock:
            if helper.is_alive and helper.calls < self._most_calls and len(self._idle) < self._most_idle:
                self._idle.append(helper)
                return
        is_dead = not helper.is_alive
        helper.kill()
        for clean in _cleaners if is_dead else ():
            clean()
