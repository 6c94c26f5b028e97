"""A report in a real browser, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from chromium import browser, executable

from lpm.reports.document import Section, Table, write_report
from lpm.reports.plots import ERROR_MAP
from lpm.reports.view3d import Coloring, Part, View3D

pytestmark = pytest.mark.browser
pytest.importorskip("playwright", reason="playwright is not installed: make test-browser")
if executable() is None:
    pytest.skip("no Chromium on this machine: make test-browser", allow_module_level=True)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=60.0)
    points, faces = np.asarray(ball.vertices) * (1.0, 0.7, 1.3), np.asarray(ball.faces)
    error = Coloring("error, mm", 8.0, ERROR_MAP)
    parts = [Part("lung", points, faces, "#d98a74", {error.name: np.abs(points[:, 0]) / 8.0})]
    parts.append(Part("truth", points * 1.1, faces, "#8a8f98", opacity=0.4, shown=False))
    path = tmp_path_factory.mktemp("page") / "report.html"
    table = Table(["a measure with a long name, mm"] * 6, [[1234.5] * 6], "Wide")
    write_report(path, "Lungs", "Lead.", [Section("S", [View3D(parts, "C", [error]), table])], {"seed": "0"})
    return path


@pytest.fixture(scope="module")
def opened() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.mark.parametrize("width", [1280, 400])
def test_a_report_is_whole_and_quiet_without_a_network(opened: Any, report: Path, width: int) -> None:
    context = opened.new_context(viewport={"width": width, "height": 800}, offline=True)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    page.locator(".view3d.live canvas").wait_for()
    assert not said
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_a_view_is_worked_by_keyboard(opened: Any, report: Path) -> None:
    page = opened.new_page()
    page.goto(report.as_uri())
    canvas = page.locator(".view3d.live canvas")
    canvas.focus()
    seen = [page.screenshot()]
    for act in (
        lambda: page.keyboard.press("ArrowRight"),
        lambda: page.keyboard.press("+"),
        lambda: page.get_by_role("checkbox", name="truth").press("Space"),
        lambda: page.get_by_label("Colour by").select_option("structure"),
        lambda: page.get_by_role("button", name="above").press("Enter"),
    ):
        act()
        seen.append(page.screenshot())
    assert all(before != after for before, after in pairwise(seen))
    assert page.locator(".side.top").text_content() == "A"
    page.get_by_role("button", name="below").press("Enter")
    assert [page.locator(f".side.{side}").text_content() for side in ("top", "left")] == ["A", "R"]
    assert page.locator(".legend").is_hidden()
    page.close()
