from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trimesh
from fake_client import Client, Widget

pytest.importorskip("viser")

from lpm.apps.viewer.attribute_sliders import AttributeSlider, ShapeRequest
from lpm.apps.viewer.connection import Connection
from lpm.apps.viewer.lungs_view import LungsView
from lpm.apps.viewer.scene.shape_parameters import ShapeParameters
from lpm.apps.viewer.scene.shown_lungs import ShownLungs
from lpm.apps.viewer.shape_editor import Known, ShapeEditor
from lpm.geometry.meshes import WorldMesh


class Balls:
    """Makes two balls, larger by each unit of the first shape parameter."""

    n_modes = 3

    def fine(self, shape: ShapeParameters) -> dict[str, WorldMesh]:
        solid = trimesh.creation.icosphere(subdivisions=3, radius=40.0 + 5.0 * shape.beta[0])
        places = np.asarray(solid.vertices)
        ends = (("left_lung", -60.0), ("right_lung", 60.0))
        return {name: WorldMesh(places + np.array([x, 0.0, 0.0]), np.asarray(solid.faces)) for name, x in ends}

    coarse = fine


class Page:
    """An editor whose work is done at once, in the test's own thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client: Any = Client()
        mesher: Any = Balls()
        self.connection = Connection(self.client)
        self.view = LungsView(self.connection, mesher, self.client.gui)
        self.population: Future[Any] = Future()
        self.edit: Future[Any] = Future()
        tabs = {name: Widget(label=name) for name in ("Shape", "Knobs", "Measure")}
        known = Known(mesher, self.population, self.edit)
        self.editor = ShapeEditor(self.connection, known, self.view, tabs, lambda shape: str(shape.beta[0]))
        monkeypatch.setattr(self.editor, "_debouncer", SimpleNamespace(ask=self.work, close=lambda: None))
        self.editor.start()

    def work(self, request: ShapeRequest) -> None:
        self.editor._show_coarse(request)
        self.editor._show_fine(request)

    @property
    def texts(self) -> str:
        return " ".join(str(widget.content) for widget in self.client.gui.widgets.values())

    @property
    def total_ml(self) -> float:
        assert self.view.lungs is not None
        return sum(mesh.volume_ml for mesh in self.view.lungs.meshes.values())


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    made = Page(monkeypatch)
    yield made
    made.connection.close()


def ball_ml(radius: float) -> float:
    return 2.0 * 4.0 / 3.0 * np.pi * radius**3 / 1000.0


def test_a_slider_makes_lungs_and_their_measurements(page: Page) -> None:
    assert page.total_ml == pytest.approx(ball_ml(40.0), rel=0.02)
    page.client.gui.widgets["beta 1"].fire(value=2.0)
    assert page.total_ml == pytest.approx(ball_ml(50.0), rel=0.02)
    assert "total volume" in page.texts


def test_percentiles_come_when_the_population_is_known(page: Page) -> None:
    assert "<td>37</td>" not in page.texts
    page.population.set_result(SimpleNamespace(percentiles=lambda values: dict.fromkeys(values, 37.0)))
    assert "<td>37</td>" in page.texts


def test_a_slider_of_an_attribute_moves_shape_parameters(page: Page) -> None:
    asked: list[Any] = []

    def moved(shape: ShapeParameters, measured: Any, wanted: Any) -> ShapeParameters:
        asked.append((measured["total_volume_ml"], wanted))
        return shape.moved(0, 1.0)

    reached: Callable[..., ShapeParameters] = lambda shape, wanted: shape.moved(0, 1.2)  # noqa: E731
    slider = AttributeSlider("total_volume_ml", 100.0, 2000.0)
    edit = SimpleNamespace(all=(slider,), moved=moved, reached=reached, missed=lambda wanted, measured: "not all of it")
    page.edit.set_result(edit)
    page.client.gui.widgets["total volume, ml"].fire(value=900.0)
    assert asked[0][0] == pytest.approx(ball_ml(40.0), rel=0.02)
    assert asked[0][1] == {"total_volume_ml": 900.0}
    assert page.total_ml == pytest.approx(ball_ml(46.0), rel=0.02)
    assert page.client.gui.widgets["beta 1"].value == 1.2
    assert "not all of it" in page.texts


def test_a_model_without_attributes_says_so(page: Page) -> None:
    page.edit.set_result(None)
    assert "Knobs need an atlas" in page.texts


def test_reset_comes_back_to_the_fit_and_not_to_lungs_of_its_parameters(page: Page) -> None:
    fit: Any = SimpleNamespace(interval=lambda name: (1.0, 2.0))
    fitted = ShownLungs("fit", Balls().fine(ShapeParameters(np.array([1.0, 0.0, 0.0]))), ShapeParameters.mean(3), fit)
    page.editor.show_fitted(fitted)
    page.client.gui.widgets["beta 1"].fire(value=2.0)
    assert page.view.lungs is not fitted
    page.client.gui.widgets["Lungs"].fire(value="reset")
    assert page.view.lungs is fitted


def test_nothing_is_shown_to_who_has_left(page: Page) -> None:
    before = page.view.lungs
    page.connection.is_closed = True
    page.work(ShapeRequest(ShapeParameters.mean(3).moved(0, 3.0)))
    page.population.set_result(None)
    page.edit.set_result(None)
    assert page.view.lungs is before
