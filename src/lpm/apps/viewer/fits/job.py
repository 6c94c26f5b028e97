"""The fit of what a client uploads: one at a time, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from lpm.apps.viewer.access_control import UploadLimit
from lpm.apps.viewer.connection import Connection
from lpm.apps.viewer.fits.patient import PatientFiles
from lpm.apps.viewer.fits.queue import Place, StoppedError
from lpm.apps.viewer.fits.service import FitService, Task
from lpm.apps.viewer.fits.upload import Files, Kind, Options
from lpm.apps.viewer.panels import ProgressPanel, UploadPanel
from lpm.apps.viewer.uploads import Upload, named
from lpm.workflows.outcome import Outcome
from lpm.xray.radiograph import Radiograph


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
        self._name, self._place = "", Place(service.queue, self._wait)
        self._is_busy = self._has_failed = False
        self._uploads = UploadLimit(connection.client, service.budget, self._refuse)
        self._single = UploadPanel(gui, service.most_mb, self._on_upload, self._on_forget)
        self._patient = PatientFiles(connection, gui, service.most_mb, self._on_together)
        self._panel = ProgressPanel(gui, self._enable, self._on_stop)

    def close(self) -> None:
        """The client has left: its uploads and its fit end."""
        self._uploads.close()
        self._place.stop(StoppedError("the client has left"))

    def _enable(self, is_enabled: bool) -> None:
        self._single.enable(is_enabled=is_enabled)
        self._patient.enable(is_enabled=is_enabled)

    def _on_upload(self, kind: Kind, name: str, content: bytes) -> None:
        self._start(name, _one(kind, self._connection.upload(name, content)))

    def _on_together(self, files: Files) -> None:
        self._start(named([path.name for _, path in files]), nullcontext(files))

    def _start(self, name: str, uploads: AbstractContextManager[Files]) -> None:
        """Fit files in the background; the page refuses others meanwhile."""
        with self._connection.lock:  # also until the page is built
            if self._is_busy or self._connection.is_closed:
                return
            self._is_busy = True
            self._name, self._notes = name, []
            self._place = Place(self._service.queue, self._wait, after_failure=self._has_failed)
            self._panel.begin(name)
        threading.Thread(target=self._run, args=(uploads, self._single.options), daemon=True).start()

    def _run(self, uploads: AbstractContextManager[Files], options: Options) -> None:
        try:
            with uploads as files, self._place:
                task = Task(files, options, self._radiographs)
                found = self._service.fit(self._place, task, self._step)
                self._step("drawing", 0.9)
                self._finish(found, is_single=len(files) == 1)
            self._has_failed = False
        except StoppedError as stopped:
            self._end([f"{self._name}: {stopped}"], failed=False)
        except Exception as error:  # the thread has nobody else to tell
            self._has_failed = True
            self._end([self._connection.words_of(error)], failed=True)
        finally:
            self._is_busy = False

    def _end(self, lines: list[str], *, failed: bool) -> None:
        if not self._connection.is_closed:
            self._panel.end(lines, failed=failed)

    def _wait(self, ahead: int) -> None:
        """Say how many are ahead in the queue."""
        if not self._connection.is_closed:
            files = "one file" if ahead == 1 else f"{ahead} files"
            self._panel.step(f"{self._name}: waiting for its turn, {files} ahead", 0.0)

    def _step(self, text: str, share: float | None) -> None:
        """Show how far the work is, and keep notes for its end; there is no work for a client who has left."""
        if self._connection.is_closed:
            raise StoppedError("the client has left")
        if share is None:
            self._notes.append(text)
        else:
            self._panel.step(text, share)

    def _finish(self, found: Outcome, *, is_single: bool) -> None:
        self._radiographs = found.radiographs if is_single else {}  # a list keeps its own files
        self._show(found)
        self._panel.end([f"{found.fit.observed}: done", *self._notes, *found.fit.notes])

    def _on_stop(self) -> None:
        self._place.stop(StoppedError("stopped"))

    def _on_forget(self) -> None:
        with self._connection.lock:
            self._radiographs = {}
            if not self._is_busy:
                self._panel.end(["The X-rays that were uploaded are forgotten."])

    def _refuse(self, name: str, reason: str) -> None:
        """Say why an upload was not taken."""
        with self._connection.lock:
            if self._is_busy:
                self._connection.notify(f"{name}: {reason}")
            else:
                self._panel.end([f"{name}: {reason}"], failed=True)


@contextmanager
def _one(kind: Kind, upload: Upload) -> Iterator[Files]:
    with upload as path:
        yield [(kind, path)]
