"""One client's page: its panels, its scene, its lungs. Nothing here is shared with another client."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lpm.apps.viewer.live import Live
from lpm.apps.viewer.mesher import Mesher
from lpm.apps.viewer.shape import N_SLIDERS, REACH, Shape
from lpm.apps.viewer.stage import Stage
from lpm.model.bundle import ModelBundle

if TYPE_CHECKING:
    import viser


class Session:
    """A client from connecting to leaving.

    Args:
        client: Its connection.
        model: That the sliders move.
        mesher: Of that model.
    """

    def __init__(self, client: viser.ClientHandle, model: ModelBundle, mesher: Mesher) -> None:
        self._client, self._mesher = client, mesher
        self._n_modes = model.latents.n_modes
        self._shape = Shape.mean(self._n_modes)
        self._rng = np.random.default_rng()
        self._stage = Stage(client.scene)
        self._live: Live[Shape] = Live(self._show_coarse, self._show_fine, self._failed)
        self._build()
        self._live.ask(self._shape)

    def close(self) -> None:
        """The client has left."""
        self._live.close()

    def _show_coarse(self, shape: Shape) -> None:
        self._stage.show(self._mesher.coarse(shape))

    def _show_fine(self, shape: Shape) -> None:
        self._stage.show(self._mesher.fine(shape))

    def _failed(self, error: Exception) -> None:
        self._client.add_notification("Something went wrong", str(error), color="red")

    def _build(self) -> None:
        gui: Any = self._client.gui
        self._buttons = gui.add_button_group("Lungs", ("random", "mean", "reset"))
        self._buttons.on_click(self._on_button)
        n = min(N_SLIDERS, self._n_modes)
        self._sliders = [gui.add_slider(f"beta {i + 1}", -REACH, REACH, 0.05, 0.0) for i in range(n)]
        for mode, slider in enumerate(self._sliders):
            slider.on_update(partial(self._on_slider, mode))

    def _on_slider(self, mode: int, event: Any) -> None:
        if event.client is None:  # set by us
            return
        self._shape = self._shape.moved(mode, event.target.value)
        self._live.ask(self._shape)

    def _on_button(self, event: Any) -> None:
        chosen = event.target.value
        self._take(Shape.random(self._n_modes, rng=self._rng) if chosen == "random" else Shape.mean(self._n_modes))

    def _take(self, shape: Shape) -> None:
        self._shape = shape
        for mode, slider in enumerate(self._sliders):
            slider.value = float(shape.beta[mode])
        self._live.ask(shape)
