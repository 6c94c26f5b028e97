"""The fit of what a client uploads: one file at a time, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lpm.apps.viewer.access_control import UploadLimit
from lpm.apps.viewer.connection import Connection
from lpm.apps.viewer.fit_upload import Kind, Options, fit_upload
from lpm.apps.viewer.panels import FitPanel
from lpm.apps.viewer.uploads import Upload
from lpm.model.bundle import ModelBundle
from lpm.workflows.outcome import Outcome
from lpm.xray.radiograph import Radiograph


@dataclass(frozen=True)
class FitService:
    """What the fits of all clients share.

    Args:
        model: Trained.
        most_mb: Largest upload.
        turns: Taken while a fit runs; it takes all cores.
    """

    model: ModelBundle
    most_mb: int
    turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(1))


class FitJob:
    """A client's uploads, and the fit that runs of them.

    Args:
        connection: Connection of the client.
        service: The server's.
        gui: GUI to build the panel in.
        show: Shows the lungs that were fitted.
    """

    def __init__(self, connection: Connection, service: FitService, gui: Any, show: Callable[[Outcome], None]) -> None:
        self._connection, self._service, self._show = connection, service, show
        self._radiographs: Mapping[str, Radiograph] = {}
        self._notes: list[str] = []
        self._is_busy = False
        UploadLimit(connection.client, service.most_mb * 1024**2, self._refuse)
        self._panel = FitPanel(gui, service.most_mb, self._on_upload, self._on_forget)

    def _on_upload(self, kind: Kind, name: str, content: bytes, options: Options) -> None:
        """Fit a file in the background; the page refuses another one meanwhile."""
        with self._connection.lock:  # also until the page is built
            if self._is_busy or self._connection.is_closed:
                return
            self._is_busy = True
            self._notes = []
            self._panel.begin(name)
        upload = self._connection.upload(name, content)
        threading.Thread(target=self._run, args=(kind, upload, options), daemon=True).start()

    def _run(self, kind: Kind, upload: Upload, options: Options) -> None:
        try:
            with upload as path, self._service.turns:
                found = fit_upload(self._service.model, kind, path, options, self._radiographs, self._step)
                self._step("drawing", 0.9)
                self._finish(found)
        except Exception as error:  # the thread has nobody else to tell
            if not self._connection.is_closed:
                self._panel.end([self._connection.words_of(error)], failed=True)
        finally:
            self._is_busy = False

    def _step(self, text: str, share: float | None) -> None:
        """Show how far the work is, and keep notes for its end; there is no work for a client who has left."""
        if self._connection.is_closed:
            raise ConnectionAbortedError("the client has left")
        if share is None:
            self._notes.append(text)
        else:
            self._panel.step(text, share)

    def _finish(self, found: Outcome) -> None:
        self._radiographs = found.radiographs
        self._show(found)
        self._panel.end([f"{found.fit.observed}: done", *self._notes, *found.fit.notes])

    def _on_forget(self) -> None:
        with self._connection.lock:
            self._radiographs = {}
            if not self._is_busy:
                self._panel.end(["The X-rays that were uploaded are forgotten."])

    def _refuse(self, name: str, size: int) -> None:
        most = self._service.most_mb
        given = f"{size / 1024**2:,.0f} MB" if size > most * 1024**2 else "sent while another file is"
        text = f"{name}: {given}; expected one file at a time, of at most {most} MB"
        with self._connection.lock:
            if self._is_busy:
                self._connection.notify(text)
            else:
                self._panel.end([text], failed=True)
