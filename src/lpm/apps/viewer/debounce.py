"""Debouncing of slider requests: the newest is served at once and coarse, and fine when no other comes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
REST_S = 0.25


class Debouncer(Generic[T]):
    """Takes requests from any thread and works on the newest, in a thread of its own; requests overtaken are forgotten.

    Args:
        coarse: Shows a request quickly.
        fine: Shows it well; called once no other request has come for a while.
        failed: Told what either raised.
        rest_s: That while.
    """

    def __init__(
        self,
        coarse: Callable[[T], None],
        fine: Callable[[T], None],
        failed: Callable[[Exception], None],
        rest_s: float = REST_S,
    ) -> None:
        self._coarse, self._fine, self._failed, self._rest_s = coarse, fine, failed, rest_s
        self._changed = threading.Condition()
        self._request: T | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="lpm-view-debouncer", daemon=True)
        self._thread.start()

    def ask(self, request: T) -> None:
        """Request work; it replaces a request that waits."""
        with self._changed:
            self._request = request
            self._changed.notify()

    def close(self) -> None:
        """Forget what was asked for, and end once the work at hand is done."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def join(self) -> None:
        """Wait until the work at hand is done, after `close`."""
        self._thread.join()

    def _run(self) -> None:
        while (request := self._next()) is not None:
            self._try(self._coarse, request)
            if self._rests():
                self._try(self._fine, request)

    def _next(self) -> T | None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._request is not None)
            request, self._request = self._request, None
            return None if self._is_closed else request

    def _rests(self) -> bool:
        """Whether nothing new comes for a while."""
        with self._changed:
            return not self._changed.wait_for(lambda: self._is_closed or self._request is not None, self._rest_s)

    def _try(self, work: Callable[[T], None], request: T) -> None:
        try:
            work(request)
        except Exception as error:  # a thread that ends would leave a page whose sliders do nothing
            if not self._is_closed:
                self._failed(error)
