from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_client import Client

pytest.importorskip("viser")

from lpm.apps.viewer.connection import Connection
from lpm.apps.viewer.fits.job import FitJob
from lpm.apps.viewer.fits.queue import Place
from lpm.apps.viewer.fits.service import FitService, Task
from lpm.errors import FileError
from lpm.workflows.outcome import Outcome, Tell

WAIT_S = 10.0
FIT: Any = SimpleNamespace(observed="120 surface points", notes=("a doubt",))


class Service(FitService):
    """Fits as a test wants, in this process."""

    def __init__(self, fit: Any) -> None:
        super().__init__(SimpleNamespace(), 2)  # type: ignore[arg-type]
        self._fit = fit

    def fit(self, place: Place, task: Task, tell: Tell) -> Outcome:
        place.wait_to_read()
        place.wait_to_fit()
        found: Outcome = self._fit(place, task, tell)
        return found


class Page:
    """A job on a page, with a fit that does what a test wants."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, radiographs: Any = None, service: Service | None = None
    ) -> None:
        self.client, self.shown, self.known = Client(), [], []
        self.files: list[list[tuple[str, str, bool]]] = []
        self.may_go, self.ended = threading.Event(), threading.Event()
        self.error: Exception | None = None
        self.radiographs = radiographs or {}
        self.service = service or Service(self.fit)
        client: Any = self.client
        self.job = FitJob(Connection(client), self.service, client.gui, self.shown.append)
        end = self.job._panel.end
        monkeypatch.setattr(self.job._panel, "end", lambda *a, **k: (end(*a, **k), self.ended.set()))

    def fit(self, place: Place, task: Task, tell: Tell) -> Outcome:
        self.known.append(dict(task.known))
        self.files.append([(kind, path.name, path.is_file()) for kind, path in task.files])
        tell("fitting", 0.5)
        with place.worked_on(self.may_go.set):
            assert self.may_go.wait(WAIT_S)
        if place.reason:
            raise place.reason
        if self.error:
            raise self.error
        tell("read", None)
        return Outcome(FIT, radiographs=self.radiographs)

    def upload(self, label: str = "Surface points", name: str = "p.csv") -> None:
        self.client.gui.widgets[label].fire(value=SimpleNamespace(name=name, content=b"1"), _impl=SimpleNamespace())

    @property
    def text(self) -> str:
        return self.job._panel._text.content


@pytest.fixture(autouse=True)
def files_without_content(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("panels", "fits.patient"):
        name = f"lpm.apps.viewer.{place}.take_upload"
        monkeypatch.setattr(name, lambda button: (button.value.name, button.value.content))


def test_a_fit_is_shown_and_its_doubts_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch)
    page.may_go.set()
    page.upload()
    assert page.ended.wait(WAIT_S)
    assert [found.fit for found in page.shown] == [FIT]
    assert page.text.count("<p>") == 3
    assert "120 surface points: done</p><p>read</p><p>a doubt" in page.text


def test_a_second_file_is_refused_while_one_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch)
    page.upload()
    assert page.client.gui.widgets["Chest CT"].disabled
    page.upload(name="other.csv")
    page.job._refuse("large.nii.gz", page.service.budget.refusal(3 * 1024**2))
    assert page.client.told == ["large.nii.gz: 3 MB; expected one file at a time, of at most 2 MB"]
    page.may_go.set()
    assert page.ended.wait(WAIT_S)
    assert len(page.shown) == 1
    assert not page.client.gui.widgets["Chest CT"].disabled


def test_what_goes_wrong_is_told_and_the_next_file_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch)
    page.error = FileError("p.csv", "no points", "ten")
    page.may_go.set()
    page.upload()
    assert page.ended.wait(WAIT_S)
    assert 'role="alert"><p class="bad">p.csv: no points; expected ten' in page.text
    page.error = None
    for after_failure in (True, False):
        page.ended.clear()
        while page.job._is_busy:  # its thread ends a moment later than its words
            pass
        page.upload()
        assert page.job._place.after_failure == after_failure
        assert page.ended.wait(WAIT_S)
    assert len(page.shown) == 2


def test_radiographs_go_together_until_they_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch, radiographs={"frontal": "picture"})
    page.may_go.set()
    for forget in (False, True):
        if forget:
            page.client.gui.widgets["Another patient"].fire()
        for _ in range(2):
            page.ended.clear()
            page.upload("Frontal X-ray")
            assert page.ended.wait(WAIT_S)
            while page.job._is_busy:
                pass
    assert page.known == [{}, {"frontal": "picture"}, {}, {"frontal": "picture"}]


def test_listed_files_are_fitted_together_until_they_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch, radiographs={"frontal": "picture"})
    page.may_go.set()
    widgets = page.client.gui.widgets
    for name in ("p.csv", "film.png"):
        page.upload("Add files", name)
    widgets["Fit together"].fire()
    assert page.client.told[-1].startswith("film.png: a file of unknown kind; expected its kind. Try: choose it in the")
    widgets["film.png"].value = "frontal X-ray"
    for _ in range(2):
        page.ended.clear()
        widgets["Fit together"].fire()
        assert page.ended.wait(WAIT_S)
        until(lambda: not page.job._is_busy)
    assert page.files == 2 * [[("points", "p.csv", True), ("frontal", "film.png", True)]]
    assert page.known == [{}, {}]  # pictures of the list are not remembered beside it
    widgets["Remove all"].fire()
    assert not widgets["Fit together"].visible
    assert widgets["p.csv"].is_removed
    assert list(Path(page.job._connection._folder.name).iterdir()) == []


def test_listed_files_stay_while_they_are_fitted_and_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch)
    page.upload("Add files", "p.csv")
    page.client.gui.widgets["Fit together"].fire()
    assert all(page.client.gui.widgets[name].disabled for name in ("Add files", "Fit together", "Remove all", "p.csv"))
    page.may_go.set()
    assert page.ended.wait(WAIT_S)
    assert not page.client.gui.widgets["Remove all"].disabled
    page.client.gui.widgets["Add files"].fire(value=SimpleNamespace(name="l.nii", content=bytes(2 * 1024**2)))
    assert "l.nii: too large beside the files that are listed; expected at most 2 MB" in page.client.told[-1]


def test_a_damaged_package_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is listed, so that nobody could remove it."""
    page = Page(monkeypatch)
    for _ in range(3):
        damaged = SimpleNamespace(name="3 files.tar", content=bytes([7]) * 1024**2)
        page.client.gui.widgets["Add files"].fire(value=damaged, _impl=SimpleNamespace())
        assert "3 files.tar: cannot be unpacked" in page.client.told[-1]
    page.upload("Add files", "p.csv")
    assert len(page.client.told) == 3
    assert not page.client.gui.widgets["Fit together"].disabled


def test_nothing_is_shown_to_who_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch)
    page.upload()
    page.job._connection.is_closed = True
    page.may_go.set()
    while page.job._is_busy:
        pass
    assert page.shown == []


def test_a_fit_is_stopped_and_the_next_file_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch)
    page.upload()
    assert page.client.gui.widgets["Stop"].visible
    page.client.gui.widgets["Stop"].fire()
    assert page.ended.wait(WAIT_S)
    assert "p.csv: stopped" in page.text
    assert not page.client.gui.widgets["Stop"].visible
    assert page.shown == []


def test_who_waits_is_told_how_many_are_ahead_and_can_go(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Page(monkeypatch)
    others = [Page(monkeypatch, service=first.service) for _ in range(2)]
    for page in (first, *others):
        page.upload()
        until(lambda page=page: page.job._is_busy and page.job._place in first.service.queue._places)  # type: ignore[misc]
    until(lambda: "p.csv: waiting for its turn, one file ahead" in others[0].text)
    until(lambda: "p.csv: waiting for its turn, 2 files ahead" in others[1].text)
    others[0].client.gui.widgets["Stop"].fire()
    until(lambda: "p.csv: waiting for its turn, one file ahead" in others[1].text)
    first.may_go.set()
    assert others[1].ended.wait(WAIT_S)
    assert [len(page.shown) for page in (first, *others)] == [1, 0, 1]


def until(done: Any) -> None:
    end = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)
