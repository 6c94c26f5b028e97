"""What a client looks at: lungs in their colours, what they are compared with, and slices of a scan."""

from __future__ import annotations

from typing import Any

import numpy as np

from lpm.apps.viewer.connection import Connection
from lpm.apps.viewer.fits.upload import read_truth
from lpm.apps.viewer.panels import Look, LookPanel
from lpm.apps.viewer.scene.differences import check_sized, laid
from lpm.apps.viewer.scene.mesher import Mesher
from lpm.apps.viewer.scene.scan_slices import ScanSlices
from lpm.apps.viewer.scene.scene import DISTANCE, Scene
from lpm.apps.viewer.scene.shown_lungs import (
    Meshes,
    ShownLungs,
    decimated_for_display,
    middle_mm,
    width_mm,
)
from lpm.apps.viewer.scene.vertex_colours import VertexColours, difference_colours, vertex_colours
from lpm.errors import InputError
from lpm.geometry.frames import Floats
from lpm.workflows.outcome import Outcome

_GAP_MM = 40.0  # between lungs side by side
_NEAR_MM = 60.0  # between the middles of lungs in one frame: a breath moves them by half of that
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
        self._kept: ShownLungs | None = None
        self._truth: Meshes | None = None
        self._slices: ScanSlices | None = None
        self._points: Floats | None = None
        self._apart_mm = 0.0
        connection.client.camera.on_update(lambda _: self._on_camera())
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
            self._scene.show("lungs", meshes)

    def show_pair(self, lungs: ShownLungs, other: ShownLungs) -> None:
        """Show lungs beside others, with the colours of their difference: where they lie, if those places are near."""
        self._kept = other
        far_mm = float(np.linalg.norm(middle_mm(lungs.meshes) - middle_mm(other.meshes)))
        laying = "where they lie" if far_mm < _NEAR_MM else "middle on middle"
        self._panel.choose(quantity="difference", other="kept lungs", placing="side by side", laying=laying)
        self.show(lungs)

    def centre_on(self, lungs: ShownLungs) -> None:
        """Bring lungs to the scene's middle; evidence of others goes."""
        self._scene.clear_evidence()
        self._scene.center_mm = middle_mm(lungs.meshes)

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
            self._kept = self.lungs
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
                self._scene.remove("/seen/slice")
            else:
                self._scene.show_slice(self._slices.at(plane, round(share * (self._slices.n(plane) - 1))))

    def _on_points(self, are_shown: bool) -> None:
        with self._connection.request():
            self._scene.remove("/seen/points")
            if are_shown and self._points is not None:
                self._scene.show_points(self._points)

    def _draw(self, look: Look) -> None:
        if self.lungs is None or self._connection.is_closed:
            return
        try:
            other = self._other(look)
            shown, beside = self._meshes(look, self.lungs, other)
            colours = self._colours(look, self.lungs, shown, beside)
        except InputError:
            self._panel.choose(quantity="structure", other="nothing")
            self._panel.explain_colors("")
            raise
        names = (self.lungs.name, "" if other is None else other.name)
        self._panel.explain_colors("" if colours is None else colours.legend(names))
        is_apart = look.placing == "side by side"
        if colours is not None and not is_apart:
            beside = None  # it would veil the colours
        with self._connection.client.atomic():
            self._set_apart(shown, beside if is_apart else None, names)
            self._scene.show("lungs", shown, colours)
            self._scene.show("other", beside or {}, colours if look.quantity == "difference" else None)

    def _meshes(self, look: Look, lungs: ShownLungs, other: ShownLungs | None) -> tuple[Meshes, Meshes | None]:
        """Meshes to show of lungs and of others, which are laid onto them."""
        laying = "where they lie" if look.other == "truth" else look.laying
        if look.quantity != "difference":
            shown = decimated_for_display(lungs.meshes)
            return shown, None if other is None else laid(shown, decimated_for_display(other.meshes), laying)
        if other is None:
            raise InputError("difference", "nothing to compare with", "lungs to compare with", "keep some, or the mean")
        check_sized(lungs, other)
        self._panel.explain_colors('<div class="lpm">The difference is being worked out: some seconds.</div>')
        return lungs.corresponding, laid(lungs.corresponding, other.corresponding, laying)

    def _colours(self, look: Look, lungs: ShownLungs, shown: Meshes, beside: Meshes | None) -> VertexColours | None:
        if look.quantity == "difference" and beside is not None:
            return difference_colours(shown, beside)
        return vertex_colours(look.quantity, shown, lungs, self._truth)

    def _set_apart(self, shown: Meshes, beside: Meshes | None, names: tuple[str, str]) -> None:
        """Make room for lungs beside others; the camera steps back with it."""
        apart = 0.0 if beside is None else width_mm(shown) / 2 + width_mm(beside) / 2 + _GAP_MM
        self._scene.set_apart(apart, names)
        if self._apart_mm != apart:
            self._apart_mm = apart
            self._step_back(apart)
        self._scene.face(self._connection.client.camera)

    def _on_camera(self) -> None:
        """Lungs stand beside others from wherever one looks."""
        if not self._apart_mm or not self._connection.lock.acquire(blocking=False):
            return  # who has the lock draws, and looks from where the camera is then
        try:
            if not self._connection.is_closed:
                with self._connection.client.atomic():
                    self._scene.face(self._connection.client.camera)
        finally:
            self._connection.lock.release()

    def _step_back(self, apart_mm: float) -> None:
        """Look from where all lungs are seen, along the same line."""
        camera = self._connection.client.camera
        middle = np.array(camera.look_at)
        line = np.array(camera.position) - middle
        far = DISTANCE * (1.0 + apart_mm / _SIGHT_MM)
        camera.position = middle + line * far / float(np.linalg.norm(line))
        camera.look_at = middle  # a new position takes the middle along

    def _other(self, look: Look) -> ShownLungs | None:
        """What lungs are compared with.

        Raises:
            InputError: There is none.
        """
        if look.other == "nothing":
            return None
        if look.other == "mean lungs":
            return ShownLungs("mean lungs", self._mesher.mean())
        truth = None if self._truth is None else ShownLungs("truth", self._truth)
        found, hint = (self._kept, "keep some") if look.other == "kept lungs" else (truth, "upload a truth")
        if found is None:
            raise InputError(f"compare with {look.other}", "there are none", "lungs to compare with", hint)
        return found
