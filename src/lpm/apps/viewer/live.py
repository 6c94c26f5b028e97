"""Work that follows a hand: the newest wish at once and coarse, and fine when the hand rests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
REST_S = 0.25


class Live(Generic[T]):
    """Takes wishes from any thread and works on the newest, in a thread of its own; wishes overtaken are forgotten.

    Args:
        coarse: Shows a wish quickly.
        fine: Shows it well; called once no other wish has come for a while.
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
        self._wish: T | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="lpm-view-live", daemon=True)
        self._thread.start()

    def ask(self, wish: T) -> None:
        """Show this one next."""
        with self._changed:
            self._wish = wish
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
        while (wish := self._next()) is not None:
            self._try(self._coarse, wish)
            if self._rests():
                self._try(self._fine, wish)

    def _next(self) -> T | None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._wish is not None)
            wish, self._wish = self._wish, None
            return None if self._is_closed else wish

    def _rests(self) -> bool:
        """Whether nothing new comes for a while."""
        with self._changed:
            return not self._changed.wait_for(lambda: self._is_closed or self._wish is not None, self._rest_s)

    def _try(self, work: Callable[[T], None], wish: T) -> None:
        try:
            work(wish)
        except Exception as error:  # a thread that ends would leave a page whose sliders do nothing
            if not self._is_closed:
                self._failed(error)
