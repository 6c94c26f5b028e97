"""What a client looks at: lungs in their colours, what they are compared with, and slices of a scan."""

from __future__ import annotations

from typing import Any

import numpy as np

from lpm.apps.viewer.connection import Connection
from lpm.apps.viewer.fits.upload import read_truth
from lpm.apps.viewer.panels import Look, LookPanel
from lpm.apps.viewer.scene.mesher import Mesher
from lpm.apps.viewer.scene.scan_slices import ScanSlices
from lpm.apps.viewer.scene.scene import DISTANCE, Scene
from lpm.apps.viewer.scene.shown_lungs import (
    Meshes,
    ShownLungs,
    centred_on,
    decimated_for_display,
    middle_mm,
    width_mm,
)
from lpm.apps.viewer.scene.vertex_colours import vertex_colours
from lpm.errors import InputError
from lpm.geometry.frames import Floats
from lpm.workflows.outcome import Outcome

_GAP_MM = 40.0  # between lungs side by side
_SIGHT_MM = 450.0  # what the camera sees across at its first distance


class LungsView:
    """The lungs of a client's page and how they are looked at.

    Args:
        connection: Connection of the client.
        mesher: Makes the mean lungs, for comparison.
        gui: GUI to build the panel in.
    """

    def __init__(self, connection: Connection, mesher: Mesher, gui: Any) -> None:
        self._connection, self._mesher = connection, mesher
        self._scene = Scene(connection.client.scene)
        self.lungs: ShownLungs | None = None
        self._kept: Meshes | None = None
        self._truth: Meshes | None = None
        self._slices: ScanSlices | None = None
        self._points: Floats | None = None
        self._shift_mm = 0.0
        self._panel = LookPanel(gui, self._on_look, self._on_keep, self._on_truth, self._on_slice, self._on_points)

    def show(self, lungs: ShownLungs) -> None:
        """Make lungs those of the page; what only a fit has to show is shown no longer without one."""
        self.lungs = lungs
        if lungs.fit is None and self._panel.look.quantity == "uncertainty":
            self._panel.choose(quantity="structure")
        self._draw(self._panel.look)

    def show_coarse(self, meshes: Meshes) -> None:
        """Show meshes while a slider moves: plain, and without what they are compared with moving along."""
        with self._connection.client.atomic():
            self._scene.show("lungs", meshes, None, self._shift_mm)

    def show_evidence(self, outcome: Outcome) -> None:
        """Show points and the slices of a scan in place of earlier ones; lungs move to the scene's middle.

        Args:
            outcome: Outcome of a fit; the outlines of its lungs are drawn on the slices.
        """
        lungs, scan = outcome.fit.lungs, outcome.scan
        self._scene.clear_evidence()
        self._scene.center_mm = middle_mm(lungs)
        self._points = outcome.points_mm
        shown = decimated_for_display(lungs)
        self._slices = None if scan is None else ScanSlices(scan, outcome.is_ct, shown)
        self._panel.offer_evidence(has_scan=scan is not None, has_points=self._points is not None)
        self._on_points(self._panel.are_points_shown)

    def show_slice(self) -> None:
        """Show the slice that is chosen, if there is a scan."""
        if self._slices is not None:
            self._on_slice(*self._panel.slice)

    def _on_look(self, look: Look) -> None:
        with self._connection.request():
            self._draw(look)

    def _on_keep(self) -> None:
        with self._connection.request():
            self._kept = None if self.lungs is None else self.lungs.meshes
            self._panel.choose(other="kept lungs")
            self._draw(self._panel.look)

    def _on_truth(self, name: str, content: bytes) -> None:
        with self._connection.request(), self._connection.upload(name, content) as path:
            self._truth = read_truth(path)
            self._panel.choose(other="truth")
            self._draw(self._panel.look)

    def _on_slice(self, plane: str, share: float) -> None:
        with self._connection.request():
            if self._slices is None or plane == "none":
                self._scene.remove("/slice")
            else:
                self._scene.show_slice(self._slices.at(plane, round(share * (self._slices.n(plane) - 1))))

    def _on_points(self, are_shown: bool) -> None:
        with self._connection.request():
            self._scene.remove("/points")
            if are_shown and self._points is not None:
                self._scene.show_points(self._points)

    def _draw(self, look: Look) -> None:
        if self.lungs is None or self._connection.is_closed:
            return
        shown = decimated_for_display(self.lungs.meshes)
        try:
            colours = vertex_colours(look.quantity, shown, self.lungs, self._truth)
            other = self._other(look, shown)
        except InputError:
            self._panel.choose(quantity="structure", other="nothing")
            self._panel.explain_colors("")
            raise
        self._panel.explain_colors("" if colours is None else colours.legend())
        if colours is not None and look.placing == "overlaid":
            other = None  # it would veil the colours
        self._set_apart(shown, other if look.placing == "side by side" else None)
        with self._connection.client.atomic():
            self._scene.show("lungs", shown, colours, self._shift_mm)
            self._scene.show("other", decimated_for_display(other or {}), None, -self._shift_mm)

    def _set_apart(self, shown: Meshes, beside: Meshes | None) -> None:
        """Make room for lungs beside others; the camera steps back with it."""
        apart = 0.0 if beside is None else width_mm(shown) / 2 + width_mm(beside) / 2 + _GAP_MM
        if self._shift_mm != -apart / 2:
            self._shift_mm = -apart / 2
            self._step_back(apart)

    def _step_back(self, apart_mm: float) -> None:
        """Look from where all lungs are seen, along the same line."""
        camera = self._connection.client.camera
        middle = np.array(camera.look_at)
        line = np.array(camera.position) - middle
        far = DISTANCE * (1.0 + apart_mm / _SIGHT_MM)
        camera.position = middle + line * far / float(np.linalg.norm(line))
        camera.look_at = middle  # a new position takes the middle along

    def _other(self, look: Look, lungs: Meshes) -> Meshes | None:
        """What lungs are compared with: a truth where it lies, others with their middle at the lungs' own.

        Raises:
            InputError: There is none.
        """
        if look.other == "nothing":
            return None
        if look.other == "mean lungs":
            return centred_on(lungs, self._mesher.mean())
        found, hint = (self._kept, "keep some") if look.other == "kept lungs" else (self._truth, "upload a truth")
        if found is None:
            raise InputError(f"compare with {look.other}", "there are none", "lungs to compare with", hint)
        return found if look.other == "truth" else centred_on(lungs, found)
