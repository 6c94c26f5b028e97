"""The server of `lpm view`: a page for every browser that connects, each with a session of its own."""

from __future__ import annotations

import gc
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

from lpm.apart.reading import reading_apart
from lpm.apps.viewer.access_control import AccessControl, check_address, with_access_control, without_tunnel
from lpm.apps.viewer.attribute_sliders import AttributeEdit
from lpm.apps.viewer.fits.service import MOST_MEMORY, MOST_READING_S, FitService
from lpm.apps.viewer.scene.mesher import Mesher
from lpm.apps.viewer.scene.scene import DISTANCE
from lpm.apps.viewer.scene.shown_lungs import ShownLungs
from lpm.apps.viewer.session import Session, Shared
from lpm.apps.viewer.shape_editor import Known
from lpm.errors import InputError, MisuseError
from lpm.extras import import_extra
from lpm.fitting.fitted_field import FittedField
from lpm.model.bundle import ModelBundle
from lpm.population.attributes import attributes_of
from lpm.population.knobs import Knobs

if TYPE_CHECKING:
    from viser import ClientHandle


@dataclass(frozen=True)
class ViewConfig:
    """How a viewer is served.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 for any.
        source: Source of the model, as `lpm.load` takes it; None for the bundled one.
        most_mb: Largest upload.
        with_token: Whether visitors need a token.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    source: str | None = None
    most_mb: int = 500
    with_token: bool = True


class ViewServer:
    """Serves a model until it is stopped.

    Args:
        model: Trained.
        config: Config: address and limits.
        fits: Fits to show first, by name: one, or two side by side.

    Raises:
        MissingExtraError: viser is not installed.
        InputError: The address cannot be listened on, or is to be without a token though others reach it; or the fits
            are those of a network.
    """

    def __init__(self, model: ModelBundle, config: ViewConfig, fits: Mapping[str, FittedField] | None = None) -> None:
        viser = import_extra("viser", "view", "lpm view")
        check_address(config.host, config.port)
        self.access = AccessControl.of(config.host, with_token=config.with_token)
        self._fits, mesher = dict(fits or {}), Mesher(model)
        if self._fits and not mesher.is_atlas:
            hint = "fit again with an atlas"
            raise MisuseError("lpm view", "fits of a network", "fits of an atlas, whose places correspond", hint)
        known = Known(mesher, Future(), Future())
        self._shared = Shared(config.source, FitService(model, config.most_mb), known, n_shown=len(self._fits))
        self._reading = ExitStack()
        self._reading.enter_context(reading_apart(MOST_READING_S, MOST_MEMORY))
        self._sessions: dict[int, Session] = {}
        self._lock = threading.Lock()
        gc.collect()
        gc.freeze()  # libraries and the model stay: looking through them for what clients left takes a second
        threading.Thread(target=self._prepare, name="lpm-view-prepare", daemon=True).start()
        with with_access_control(self.access), redirect_stdout(StringIO()):  # viser prints addresses without the token
            self._server = viser.ViserServer(config.host, config.port, label="LPM", verbose=False)
        without_tunnel(self._server)
        self._server.gui.configure_theme(show_logo=False, show_share_button=False)
        self._server.gui.main_panel.dock_right()
        camera = self._server.initial_camera
        camera.far, camera.near, camera.fov = 100.0, 0.05, 0.6
        camera.look_at, camera.up, camera.position = (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, DISTANCE, 0.9)
        self._server.on_client_connect(self._on_connect)
        self._server.on_client_disconnect(self._on_leave)

    def _prepare(self) -> None:
        """What takes a while and all clients need: the first picture, what is known of the population, the knobs."""
        model, known = self._shared.fits.model, self._shared.known
        self._shared.fits.warm()
        known.mesher.warm()
        if self._fits:
            self._shared.shown.set_result([ShownLungs.read(name, field) for name, field in self._fits.items()])
        known.population.set_result(attributes_of(model))
        known.edit.set_result(_attribute_edit(model, known.mesher))

    @property
    def port(self) -> int:
        """Port that the server listens on."""
        return int(self._server.get_port())

    @property
    def address(self) -> str:
        """Address to open in a browser."""
        name = f"[{self.access.host}]" if ":" in self.access.host else self.access.host
        return f"http://{name}:{self.port}/" + (f"?token={self.access.token}" if self.access.token else "")

    def stop(self) -> None:
        """Close all sessions and the port."""
        self._server.stop()
        with self._lock:
            for session in self._sessions.values():
                session.close()
            self._sessions.clear()
        self._shared.fits.end()
        self._reading.close()
        gc.unfreeze()

    def _on_connect(self, client: ClientHandle) -> None:
        session = Session(client, self._shared)
        with self._lock:
            self._sessions[client.client_id] = session
        if client.client_id not in self._server.get_clients():  # gone meanwhile
            self._on_leave(client)

    def _on_leave(self, client: ClientHandle) -> None:
        with self._lock:
            session = self._sessions.pop(client.client_id, None)
        if session is not None:
            session.close()
            gc.collect()  # a page's parts know each other: its lungs would stay until Python happens to look


def _attribute_edit(model: ModelBundle, mesher: Mesher) -> AttributeEdit | None:
    """Knobs of an atlas, if enough lungs taught it; a network takes seconds for each of the shapes that they need."""
    if not mesher.is_atlas:
        return None
    try:
        edit = AttributeEdit(Knobs.of(model), mesher)
    except InputError:
        return None
    edit.prepare()
    return edit
