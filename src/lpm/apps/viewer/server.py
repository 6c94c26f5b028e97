"""The server of `lpm view`: a page for every browser that connects, each with a session of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from lpm.apps.viewer.mesher import Mesher
from lpm.apps.viewer.session import Session
from lpm.extras import import_extra
from lpm.model.bundle import ModelBundle

if TYPE_CHECKING:
    from viser import ClientHandle


class ViewServer:
    """Serves a model until it is stopped.

    Args:
        model: Trained.
        host: Address to listen on.
        port: Port to listen on.

    Raises:
        MissingExtraError: viser is not installed.
    """

    def __init__(self, model: ModelBundle, host: str, port: int) -> None:
        viser = import_extra("viser", "view", "lpm view")
        self._model, self._mesher = model, Mesher(model)
        self._sessions: dict[int, Session] = {}
        self._lock = threading.Lock()
        self._server = viser.ViserServer(host, port, label="LPM", verbose=False)
        self._server.gui.configure_theme(show_logo=False, show_share_button=False)
        self._server.gui.main_panel.dock_right()
        camera = self._server.initial_camera
        camera.far, camera.near, camera.fov = 100.0, 0.05, 0.6
        camera.look_at, camera.up, camera.position = (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 7.5, 0.9)
        self._server.on_client_connect(self._on_connect)
        self._server.on_client_disconnect(self._on_leave)

    @property
    def port(self) -> int:
        """That it listens on."""
        return int(self._server.get_port())

    def stop(self) -> None:
        """Close all sessions and the port."""
        self._server.stop()
        with self._lock:
            for session in self._sessions.values():
                session.close()
            self._sessions.clear()

    def _on_connect(self, client: ClientHandle) -> None:
        session = Session(client, self._model, self._mesher)
        with self._lock:
            self._sessions[client.client_id] = session

    def _on_leave(self, client: ClientHandle) -> None:
        with self._lock:
            session = self._sessions.pop(client.client_id, None)
        if session is not None:
            session.close()
