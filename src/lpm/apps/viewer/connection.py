"""A client's connection: its lock, its folder of temporary files, and how its errors are told."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lpm.apps.viewer.uploads import Upload, without_folder
from lpm.errors import LpmError
from lpm.files.outputs.temporary import temporary_prefix

if TYPE_CHECKING:
    from viser import ClientHandle

_log = logging.getLogger(__name__)
_ERROR_COLOR = (163, 24, 13)


class Connection:
    """A client from connecting to leaving.

    Whatever changes what a client sees holds its lock: events and the work that they start come from many threads.

    Args:
        client: Its handle.
    """

    def __init__(self, client: ClientHandle) -> None:
        self.client, self.lock, self.is_closed = client, threading.RLock(), False
        self._folder = tempfile.TemporaryDirectory(prefix=temporary_prefix())

    def close(self) -> None:
        """The client has left: its files go."""
        self.is_closed = True
        self._folder.cleanup()

    def upload(self, name: str, content: bytes) -> Upload:
        """A file that the client sent; it lies in the client's folder while it is read."""
        return Upload(self._folder.name, name, content)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Hold the lock while a request of the client is served, and tell the client what went wrong in it."""
        try:
            with self.lock:
                yield
        except Exception as error:  # an event's thread has nobody else to tell
            self.report(error)

    def report(self, error: Exception) -> None:
        """Show an error as a notification."""
        if not self.is_closed:
            self.notify(self.words_of(error))

    def notify(self, text: str) -> None:
        """Show that something did not work."""
        self.client.add_notification("That did not work", text, color=_ERROR_COLOR)

    def words_of(self, error: Exception) -> str:
        """What a client reads of an error: all that LPM says, and of a fault of ours that there was one."""
        if isinstance(error, LpmError):
            return without_folder(self._folder.name, str(error))
        _log.error("a request failed", exc_info=error)
        return f"Something went wrong here ({type(error).__name__}); the server's log says more."
