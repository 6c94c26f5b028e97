"""One client's page: its parts, and how they are wired. Nothing here is shared with another client."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lpm.apps.viewer.connection import Connection
from lpm.apps.viewer.exports import Export, export
from lpm.apps.viewer.fits.job import FitJob
from lpm.apps.viewer.fits.service import FitService
from lpm.apps.viewer.lungs_view import LungsView
from lpm.apps.viewer.panels import ResultPanel, SavePanel
from lpm.apps.viewer.scene.shown_lungs import ShownLungs
from lpm.apps.viewer.shape_editor import Known, ShapeEditor
from lpm.errors import InputError
from lpm.reports.xray_pictures import pictures_of
from lpm.workflows.outcome import Outcome
from lpm.xray.fit import XrayFit

if TYPE_CHECKING:
    from viser import ClientHandle

_TABS = ("Shape", "Knobs", "Fit", "Look", "Measure", "Save")
_TABS_OF_A_PAIR = ("Look", "Shape", "Knobs", "Fit", "Measure", "Save")  # its first is seen first: the legend
_RENDER_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Shared:
    """What all clients of a server have in common: nothing that any of them brought.

    Args:
        source: Source of the model, as `lpm.load` takes it; None for the bundled one.
        fits: Resources that all fits share.
        known: Results computed from the model.
        shown: Lungs of the one or two fits that the server was started with, as soon as they are made; none without.
        n_shown: Number of those.
    """

    source: str | None
    fits: FitService
    known: Known
    shown: Future[list[ShownLungs]] = field(default_factory=Future)
    n_shown: int = 0


class Session:
    """A client's page from connecting to leaving.

    Args:
        client: Its handle.
        shared: The server's.
    """

    def __init__(self, client: ClientHandle, shared: Shared) -> None:
        self._client, self._connection = client, Connection(client)
        self._outcome: Outcome | None = None
        with self._connection.lock:  # what a client does before all of its page is there has to wait
            group = client.gui.add_tab_group()
            tabs = {name: group.add_tab(name) for name in (_TABS_OF_A_PAIR if shared.n_shown == 2 else _TABS)}
            with tabs["Fit"]:
                self._job = FitJob(self._connection, shared.fits, client.gui, self._show_fit)
                self._result = ResultPanel(client.gui, self._on_result)
                self._pictures: list[Any] = []
            with tabs["Look"]:
                self._view = LungsView(self._connection, shared.known.mesher, client.gui)
            with tabs["Save"]:
                SavePanel(client.gui, self._on_save)
            self._editor = ShapeEditor(
                self._connection, shared.known, self._view, tabs, lambda shape: shape.code(shared.source)
            )
            self._fit_tab = tabs["Fit"]
        self._editor.start()
        if shared.n_shown:
            shared.shown.add_done_callback(self._on_shown)

    def close(self) -> None:
        """The client has left: its files and its lungs go."""
        self._connection.close()
        self._job.close()
        self._editor.close()

    def _on_shown(self, made: Future[list[ShownLungs]]) -> None:
        """Lungs of the fits that the server was started with are there; the first is the page's."""
        with self._connection.request():
            if self._connection.is_closed:
                return
            first, *others = made.result()
            self._view.centre_on(first)
            self._editor.show_fitted(first)
            if others:
                self._view.show_pair(first, others[0])

    def _show_fit(self, found: Outcome) -> None:
        with self._connection.lock:
            self._outcome = found
            self._view.show_evidence(found)
            self._editor.show_fitted(ShownLungs.of(found.fit))
            self._show_pictures(found.fit)
            self._result.offer(is_dicom=found.dicom is not None)
        self._view.show_slice()

    def _show_pictures(self, fit: Any) -> None:
        for widget in self._pictures:
            widget.remove()
        pictures = pictures_of(fit) if isinstance(fit, XrayFit) else []
        with self._fit_tab:
            self._pictures = [self._client.gui.add_image(picture) for picture in pictures]

    def _on_result(self, what: Export) -> None:
        """Save of the last fit, whatever sliders made of its lungs since."""
        with self._connection.request():
            if self._outcome is not None:
                self._save(what, ShownLungs.of(self._outcome.fit))

    def _on_save(self, what: Export, mesh_format: str) -> None:
        with self._connection.request():
            if self._view.lungs is None:
                raise InputError("save", "no lungs yet", "lungs on the page", "wait a moment")
            self._save(what, self._view.lungs, mesh_format)

    def _save(self, what: Export, lungs: ShownLungs, mesh_format: str = "ply") -> None:
        name, content = export(what, lungs, self._outcome, mesh_format, self._rendered)
        self._client.send_file_download(name, content, save_immediately=True)

    def _rendered(self) -> np.ndarray:
        camera = self._client.camera
        size = camera.image_height, camera.image_width
        return self._client.get_render(*size, transport_format="png", timeout=_RENDER_TIMEOUT_S)
