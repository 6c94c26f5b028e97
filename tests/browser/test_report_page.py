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


def test_a_breath_is_played_stopped_and_stepped_through(opened: Any, tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=60.0)
    points, faces = np.asarray(ball.vertices), np.asarray(ball.faces)
    frames = [points * (1.0, 1.0, 1.0 + 0.1 * number) for number in range(4)]
    view = View3D([Part("lung", points, faces, "#d98a74", frames=frames)], "C", frames=[f"phase {n}" for n in range(4)])
    write_report(tmp_path / "breath.html", "A breath", "Lead.", [Section("S", [view])], {})
    page = opened.new_context(viewport={"width": 1100, "height": 900}, offline=True).new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((tmp_path / "breath.html").as_uri())
    canvas, shown, button = (page.locator(each) for each in (".live canvas", ".player output", "button.play"))
    canvas.wait_for()
    first = canvas.screenshot()
    page.locator("input.frame").evaluate("e => { e.value = e.max; e.dispatchEvent(new Event('input')); }")
    assert shown.text_content() == "phase 3"
    assert canvas.screenshot() != first
    button.click()
    page.locator(".player output", has_text="phase 0").wait_for()
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    stopped = shown.text_content()
    page.wait_for_timeout(500)
    assert shown.text_content() == stopped
    assert not said
    page.context.close()


@pytest.mark.parametrize("width", [1100, 400])
def test_the_effects_of_a_study_are_not_cut(opened: Any, tmp_path: Path, width: int) -> None:
    """What stands on a page of usual width; on a telephone the table scrolls, and a shade at its edge says so."""
    header = [
        "",
        "expiration",
        "inspiration",
        "difference [95 %]",
        "Hedges' g of the differences [95 %]",
        "p",
        "p corrected",
        "q",
    ]
    row = ["right lung section at 95 %, cm²", "1,123", "-1,456", "-33.31 [-45.12, -21.51]", "-10.12 [-12.34, -8.51]"]
    page = opened.new_page(viewport={"width": width, "height": 900})
    table = Table(header, [[*row, "0.0156", "0.0156", "0.00488"]], "Effects")
    write_report(tmp_path / "study.html", "A study", "Lead.", [Section("S", [table])], {})
    page.goto((tmp_path / "study.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide, room = page.evaluate("(e => [e.scrollWidth, e.clientWidth])(document.querySelector('.scroll'))")
    assert (wide <= room) == (width == 1100)
    page.close()
