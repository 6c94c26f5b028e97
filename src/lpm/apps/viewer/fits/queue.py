"""The queue of all clients' fits: a few files are read at a time, and one of those that were read is fitted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

_AWAKE_S = 0.5  # between looks at the queue, should nobody be told of a change


class StoppedError(Exception):
    """The client stopped the fit, or has left."""


class Place:
    """A client's place in the queue: the last one when it is entered, until it is left.

    Args:
        queue: Queue that it is in.
        told: Told how many are ahead, whenever that changes while one waits.
        after_failure: Whether the client's last file could not be fitted. The next is read when none is ahead: a file
            that ends its process costs a new one, which others' fits would wait for.
    """

    def __init__(self, queue: FitQueue, told: Callable[[int], None], *, after_failure: bool = False) -> None:
        self._queue, self._told, self.after_failure = queue, told, after_failure
        self._end: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self.reason: Exception | None = None
        self.is_read = self.is_fitted = False

    def __enter__(self) -> Self:
        self._queue.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.leave(self)

    def wait_to_read(self) -> None:
        """Wait until the file may be read.

        Raises:
            Exception: What `stop` was given.
        """
        self._queue.wait(self, self._queue.may_read, self._told)

    def wait_to_fit(self) -> None:
        """Wait until the file, which was read, may be fitted; errors are those of `wait_to_read`."""
        if not self.is_fitted:
            self.is_read = True
            self._queue.wait(self, self._queue.may_fit, self._told)

    @contextmanager
    def worked_on(self, end: Callable[[], None]) -> Iterator[None]:
        """While this lasts, `stop` ends the work.

        Args:
            end: Ends it, from any thread.
        """
        with self._lock:
            self._end = end
        try:
            if self.reason is not None:  # stopped a moment before
                raise self.reason
            yield
        finally:
            with self._lock:  # whoever ends it now would end the work of another
                self._end = None

    def stop(self, reason: Exception) -> None:
        """Give the place up: who waits or works there is told the reason."""
        with self._lock:
            self.reason = self.reason or reason
            if self._end is not None:
                self._end()
        self._queue.wake()


class FitQueue:
    """Places in the order of arrival.

    Args:
        readers: Places, from the first, whose files are read or are waiting to be fitted: they take memory.
    """

    def __init__(self, readers: int) -> None:
        self._readers, self._changed = readers, threading.Condition()
        self._places: list[Place] = []

    def enter(self, place: Place) -> None:
        """Take the last place."""
        with self._changed:
            self._places.append(place)

    def leave(self, place: Place) -> None:
        """Let those behind step forward."""
        with self._changed:
            self._places.remove(place)
            self._changed.notify_all()

    def may_read(self, place: Place) -> bool:
        """Whether few are ahead; none, after a failure."""
        return self._places.index(place) < (1 if place.after_failure else self._readers)

    def may_fit(self, place: Place) -> bool:
        """Whether nothing is fitted, and it is the first that was read: one that is still read holds up nobody."""
        may = not any(each.is_fitted for each in self._places)
        place.is_fitted = may and next(each for each in self._places if each.is_read) is place
        return place.is_fitted

    def wait(self, place: Place, may: Callable[[Place], bool], told: Callable[[int], None]) -> None:
        """Wait for something that a place may do; see `Place`."""
        ahead = None
        with self._changed:
            while True:
                if place.reason is not None:
                    raise place.reason
                if may(place):
                    return
                if ahead != (ahead := self._places.index(place)):
                    told(ahead)
                self._changed.wait(_AWAKE_S)

    def wake(self) -> None:
        """Let all look again at what they may do."""
        with self._changed:
            self._changed.notify_all()
