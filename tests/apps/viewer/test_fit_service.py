"""Fits in processes of their own: what one file does to its process nobody else notices."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("viser")

from hostile_reader import READING as READING_THERE
from hostile_reader import Given, hostile

from lpm.apart.helper import Limits
from lpm.apps.viewer.fits import service as fits
from lpm.apps.viewer.fits.queue import FitQueue, Place, StoppedError
from lpm.apps.viewer.fits.service import FitService
from lpm.apps.viewer.fits.upload import READING
from lpm.errors import FileError
from lpm.workflows.outcome import silent

SLOW_S = 30.0


@pytest.fixture(scope="module")
def service() -> Iterator[FitService]:
    made: Any = FitService({"a": 1}, 1, reading_s=4.0)  # type: ignore[arg-type]
    made._helpers.modules = ("hostile_reader",)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fits, "_fit", hostile)
        yield made
    made.end()


def task(name: str) -> Any:
    return Given(Path(name))


def fit(service: FitService, name: str) -> Any:
    with Place(service.queue, lambda _: None) as place:
        return service.fit(place, task(name), silent)


def test_a_client_whose_last_file_failed_leaves_a_helper_to_the_others(service: FitService) -> None:
    limits = Limits(SLOW_S, 1024**3)
    with service._helpers.taken() as waiting:
        waiting.call(abs, -1, limits=limits)
    with service._helpers.taken():
        while len(service._helpers):  # one waits, and no other
            with service._helpers.taken() as more:
                more.kill()
    with pytest.raises(FileError, match="SIGSEGV"), Place(service.queue, lambda _: None, after_failure=True) as place:
        service.fit(place, task("crash"), silent)
    with service._helpers.taken() as taken:
        assert taken is waiting


def in_background(service: FitService, name: str) -> tuple[threading.Thread, list[Any], list[Place]]:
    found: list[Any] = []
    places: list[Place] = []

    def work() -> None:
        with Place(service.queue, lambda _: None) as place:
            places.append(place)
            try:
                found.append(service.fit(place, task(name), silent))
            except Exception as error:
                found.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    until = time.monotonic() + SLOW_S
    while not (places and (places[0]._end or found)) and time.monotonic() < until:
        time.sleep(0.01)
    return thread, found, places


def test_a_crash_is_the_files_own(service: FitService) -> None:
    with pytest.raises(FileError, match=r"crash: cannot be fitted: it ended the process that works on it \(SIGSEGV\)"):
        fit(service, "crash")
    name, model = fit(service, "good")
    assert name == "good"
    assert model is service.model


def test_a_file_that_stalls_its_reader_holds_up_nobody(service: FitService) -> None:
    limits = Limits(SLOW_S, 1024**3)
    with service._helpers.taken() as one, service._helpers.taken() as other:
        assert [each.call(abs, -1, limits=limits) for each in (one, other)] == [1, 1]
    thread, found, _ = in_background(service, "stall")
    assert fit(service, "good")[0] == "good"
    assert found == []
    thread.join(SLOW_S)
    assert str(found[0]).startswith("stall: was not read within 4 s")


@pytest.mark.parametrize("name", ["stall", "long"])
def test_work_is_stopped_at_once(service: FitService, name: str) -> None:
    thread, found, places = in_background(service, name)
    time.sleep(1.0)
    children = psutil.Process().children()
    started = time.monotonic()
    places[0].stop(StoppedError("stopped"))
    thread.join(SLOW_S)
    assert time.monotonic() - started < 2.0
    assert str(found[0]) == "stopped"
    assert any(not child.is_running() for child in children)
    assert fit(service, "good")[0] == "good"


def test_who_is_stopped_while_waiting_is_told(service: FitService) -> None:
    first, _, firsts = in_background(service, "long")
    second, found, places = in_background(service, "good")
    time.sleep(0.5)
    assert found == []
    places[0].stop(StoppedError("stopped"))
    second.join(SLOW_S)
    assert str(found[0]) == "stopped"
    firsts[0].stop(StoppedError("stopped"))
    first.join(SLOW_S)


def test_reading_is_told_as_it_is_in_fits() -> None:
    assert READING_THERE == READING


def test_few_are_read_at_a_time() -> None:
    queue = FitQueue(readers=2)
    with Place(queue, print) as first, Place(queue, print) as second, Place(queue, print) as third:
        assert [queue.may_read(place) for place in (first, second, third)] == [True, True, False]
        second.wait_to_fit()
        assert not queue.may_fit(first)


def test_after_a_failure_a_file_is_read_when_none_is_ahead() -> None:
    queue = FitQueue(readers=2)
    with Place(queue, print, after_failure=True) as last, Place(queue, print) as fitted:
        assert queue.may_read(last)
        assert queue.may_read(fitted)
        with Place(queue, print, after_failure=True) as behind:
            assert not queue.may_read(behind)
