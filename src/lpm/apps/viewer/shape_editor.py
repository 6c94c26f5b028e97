"""Lungs that sliders make: of shape parameters, and of attributes such as the volume."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from lpm.apps.viewer.attribute_sliders import AttributeEdit, ShapeRequest
from lpm.apps.viewer.connection import Connection
from lpm.apps.viewer.debounce import Debouncer
from lpm.apps.viewer.lungs_view import LungsView
from lpm.apps.viewer.measurement_table import measurement_table
from lpm.apps.viewer.panels import AttributePanel, MeasurePanel, ShapePanel
from lpm.apps.viewer.scene.mesher import Mesher
from lpm.apps.viewer.scene.shape_parameters import ShapeParameters
from lpm.apps.viewer.scene.shown_lungs import ShownLungs
from lpm.measurement.shapes import measure_shapes
from lpm.measurement.table import AttributeTable


@dataclass(frozen=True)
class Known:
    """What a server works out of its model for all clients.

    Args:
        mesher: Mesher: shape parameters to meshes.
        population: Population of the training subjects, as soon as that is known.
        edit: Attribute edit of the sliders, likewise; None of a model without them.
    """

    mesher: Mesher
    population: Future[AttributeTable]
    edit: Future[AttributeEdit | None]


class ShapeEditor:
    """Sliders, the lungs that they make, and what those measure.

    Args:
        connection: Connection of the client.
        known: Results computed from the model.
        view: View that shows the lungs.
        tabs: Tabs by name, to build in: ``Shape``, ``Knobs``, ``Measure``.
        code: Python that makes the lungs of shape parameters.
    """

    def __init__(
        self,
        connection: Connection,
        known: Known,
        view: LungsView,
        tabs: Mapping[str, Any],
        code: Callable[[ShapeParameters], str],
    ) -> None:
        self._connection, self._known, self._view = connection, known, view
        self._measured: Mapping[str, float] = {}
        self._fitted: ShownLungs | None = None
        self._tab, gui = tabs["Knobs"], connection.client.gui
        self._debouncer: Debouncer[ShapeRequest] = Debouncer(self._show_coarse, self._show_fine, connection.report)
        with tabs["Shape"]:
            self._shape = ShapePanel(gui, known.mesher.n_modes, self._on_shape, code)
        with self._tab:
            self._attributes = AttributePanel(gui, self._on_attribute)
        with tabs["Measure"]:
            self._table = MeasurePanel(gui)

    def start(self) -> None:
        """Show the first lungs, and what is worked out of the model as soon as it is there."""
        self._on_shape(self._shape.shape)
        self._known.population.add_done_callback(self._on_population)
        self._known.edit.add_done_callback(self._on_edit)

    def close(self) -> None:
        """Make no more lungs."""
        self._debouncer.close()

    def show_fitted(self, lungs: ShownLungs) -> None:
        """Show lungs of a fit; the sliders stand where its parameters are."""
        self._fitted = lungs
        if lungs.shape is not None:
            self._shape.take(lungs.shape, origin=True)
        self._show(lungs)

    def _show(self, lungs: ShownLungs) -> None:
        self._view.show(lungs)
        self._measure(lungs)

    def _measure(self, lungs: ShownLungs) -> None:
        values, population = measure_shapes(lungs.meshes), self._known.population
        self._measured = values if lungs.sized else {}
        self._attributes.stand_at(self._measured)
        percentiles = population.result().percentiles(values) if population.done() else {}
        self._table.show(measurement_table(lungs, values, percentiles))

    def _on_shape(self, shape: ShapeParameters) -> None:
        self._debouncer.ask(ShapeRequest(shape))

    def _on_attribute(self, wanted: Mapping[str, float]) -> None:
        """To first order while a slider moves; from the lungs on the page, not from those on the way."""
        edit, lungs = self._known.edit.result(), self._view.lungs
        if edit is not None and lungs is not None and lungs.shape is not None:
            self._debouncer.ask(ShapeRequest(edit.moved(lungs.shape, self._measured, wanted), wanted))

    def _on_edit(self, known: Future[AttributeEdit | None]) -> None:
        """It is known now what sliders of attributes do."""
        with self._connection.lock:
            if not self._connection.is_closed:
                edit = known.result()
                self._attributes.offer(self._tab, () if edit is None else edit.all)

    def _on_population(self, _: object) -> None:
        """It is known now where measurements stand."""
        with self._connection.lock:
            if self._view.lungs is not None and not self._connection.is_closed:
                self._measure(self._view.lungs)

    def _show_coarse(self, request: ShapeRequest) -> None:
        if self._is_fitted(request.shape):
            return
        meshes = self._known.mesher.coarse(request.shape)
        with self._connection.lock:
            if not self._connection.is_closed:
                self._view.show_coarse(meshes)

    def _show_fine(self, request: ShapeRequest) -> None:
        edit = self._known.edit.result() if request.wanted else None
        lungs = self._made(request, edit)
        with self._connection.lock:
            if self._connection.is_closed:
                return
            self._show(lungs)
            if edit is None or lungs.shape is None:
                self._shape.show_code()
            else:
                self._shape.take(lungs.shape)
                self._attributes.say(edit.missed(request.wanted, self._measured))

    def _made(self, request: ShapeRequest, edit: AttributeEdit | None) -> ShownLungs:
        if self._fitted is not None and self._is_fitted(request.shape):
            return self._fitted
        shape = request.shape if edit is None else edit.reached(request.shape, request.wanted)
        return ShownLungs("lungs of the sliders", self._known.mesher.fine(shape), shape)

    def _is_fitted(self, shape: ShapeParameters) -> bool:
        """Whether these are the lungs of the last fit, which knows more of them than their parameters."""
        return self._fitted is not None and self._fitted.shape is shape
