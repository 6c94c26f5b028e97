from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from fake_client import Client

pytest.importorskip("viser")

from lpm.apps.viewer import fit_job
from lpm.apps.viewer.connection import Connection
from lpm.apps.viewer.fit_job import FitJob, FitService
from lpm.apps.viewer.fit_upload import Options
from lpm.errors import FileError
from lpm.workflows.outcome import Outcome, Tell

WAIT_S = 10.0
FIT: Any = SimpleNamespace(observed="120 surface points", notes=("a doubt",))


class Page:
    """A job on a page, with a fit that does what a test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, radiographs: Any = None) -> None:
        self.client, self.shown, self.known = Client(), [], []
        self.may_go, self.ended = threading.Event(), threading.Event()
        self.error: Exception | None = None
        self.radiographs = radiographs or {}
        monkeypatch.setattr(fit_job, "fit_upload", self.fit)
        service = FitService(SimpleNamespace(), 2)  # type: ignore[arg-type]
        client: Any = self.client
        self.job = FitJob(Connection(client), service, client.gui, self.shown.append)
        end = self.job._panel.end
        monkeypatch.setattr(self.job._panel, "end", lambda *a, **k: (end(*a, **k), self.ended.set()))

    def fit(self, model: Any, kind: str, path: Any, options: Options, known: Any, tell: Tell) -> Outcome:
        self.known.append(dict(known))
        tell("fitting", 0.5)
        assert self.may_go.wait(WAIT_S)
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
    monkeypatch.setattr("lpm.apps.viewer.panels.take_upload", lambda button: (button.value.name, button.value.content))


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
    page.job._refuse("large.nii.gz", 3 * 1024**2)
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
    page.ended.clear()
    while page.job._is_busy:  # its thread ends a moment later than its words
        pass
    page.upload()
    assert page.ended.wait(WAIT_S)
    assert len(page.shown) == 1


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


def test_nothing_is_shown_to_who_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch)
    page.upload()
    page.job._connection.is_closed = True
    page.may_go.set()
    while page.job._is_busy:
        pass
    assert page.shown == []
