"""Files of one patient, gathered on the page, to be fitted together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lpm.apps.viewer.access_control import take_upload
from lpm.apps.viewer.connection import Connection
from lpm.apps.viewer.fits.recognition import SEVERAL, Recognised, recognised
from lpm.apps.viewer.fits.upload import Files, Kind
from lpm.apps.viewer.panels import UPLOADS
from lpm.errors import FileError, InputError

_WORDS: dict[Kind | None, str] = {
    None: "choose",
    "labels": "label map",
    "ct": "chest CT",
    "points": "surface points",
    "frontal": "frontal X-ray",
    "lateral": "lateral X-ray",
    "views": "views of X-rays",
}
_KINDS = {words: kind for kind, words in _WORDS.items()}
_ACCEPTED = ",".join([*(accepted for _, accepted, _ in UPLOADS.values()), ".dcm", SEVERAL])


@dataclass(frozen=True)
class _Listed:
    """A file in the list.

    Args:
        path: Where it lies.
        kind: Dropdown of its kind.
    """

    path: Path
    kind: Any


class PatientFiles:
    """The list of a patient's files: what each is taken for can be changed, and all are fitted in one fit.

    Args:
        connection: Connection of the client.
        gui: GUI to build the list in.
        most_mb: Size of all files together.
        fit: Told to fit files.
    """

    def __init__(self, connection: Connection, gui: Any, most_mb: int, fit: Callable[[Files], None]) -> None:
        self._connection, self._gui, self._most_bytes, self._fit = connection, gui, most_mb * 1024**2, fit
        self._listed: list[_Listed] = []
        self._kept, self._n_bytes = ExitStack(), 0
        with gui.add_folder("Several files of one patient"):
            hint = "Choose several at once, or add one after the other; points and masks in one frame."
            self._add = gui.add_upload_button("Add files", mime_type=_ACCEPTED, hint=hint)
            self._list = gui.add_folder("Taken for", visible=False)
            self._together = gui.add_button("Fit together", visible=False, hint="One fit to all of them.")
            self._clear = gui.add_button("Remove all", visible=False, hint="Forget these files.")
        self._add.on_upload(lambda event: self._on_add(*take_upload(event.target)))
        self._together.on_click(lambda _: self._on_fit())
        self._clear.on_click(lambda _: self._on_clear())

    def enable(self, *, is_enabled: bool) -> None:
        """Whether files may be added, fitted and removed: not while they are fitted."""
        for widget in (self._add, self._together, self._clear, *(each.kind for each in self._listed)):
            widget.disabled = not is_enabled

    def _on_add(self, name: str, content: bytes) -> None:
        self.enable(is_enabled=False)
        try:
            with ExitStack() as upload:
                with self._connection.lock:
                    self._check_room(name, len(content))
                    path = upload.enter_context(self._connection.upload(name, content))
                self._take(recognised(path))  # without the lock: it may take seconds
                self._n_bytes += len(content)
                self._kept.push(upload.pop_all())  # a file that was refused goes at once
        except Exception as error:  # an event's thread has nobody else to tell
            self._connection.report(error)
        finally:
            self.enable(is_enabled=True)

    def _check_room(self, name: str, n_bytes: int) -> None:
        if self._n_bytes + n_bytes > self._most_bytes:
            most = f"at most {self._most_bytes / 1024**2:.0f} MB of one patient"
            raise FileError(name, "too large beside the files that are listed", most, "Remove all")

    def _take(self, found: Recognised) -> None:
        with self._connection.lock, self._list:
            if self._connection.is_closed:
                return
            for path, kind in found:
                widget = self._gui.add_dropdown(path.name, tuple(_KINDS), initial_value=_WORDS[kind])
                self._listed.append(_Listed(path, widget))
            self._list.visible = self._together.visible = self._clear.visible = True

    def _on_fit(self) -> None:
        with self._connection.request():
            files = [(_KINDS[each.kind.value], each.path) for each in self._listed]
            chosen: Files = [(kind, path) for kind, path in files if kind is not None]
            if len(chosen) < len(files):
                unknown = next(path.name for kind, path in files if kind is None)
                raise InputError(unknown, "a file of unknown kind", "its kind", "choose it in the list")
            self._fit(chosen)

    def _on_clear(self) -> None:
        with self._connection.request():
            for each in self._listed:
                each.kind.remove()
            self._listed.clear()
            self._kept.close()
            self._n_bytes = 0
            self._list.visible = self._together.visible = self._clear.visible = False
