from __future__ import annotations

import threading

from lpm.apps.viewer.debounce import Debouncer

WAIT_S = 10.0


class Recorder:
    """Notes what was shown, and lets a test hold the first coarse work until it has asked for more."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, int]] = []
        self.errors: list[Exception] = []
        self.may_go, self.began, self.was_fine, self.failed = (threading.Event() for _ in range(4))

    def coarse(self, request: int) -> None:
        self.began.set()
        assert self.may_go.wait(WAIT_S)
        self.shown.append(("coarse", request))
        if request < 0:
            raise ValueError("negative")

    def fine(self, request: int) -> None:
        self.shown.append(("fine", request))
        self.was_fine.set()

    def fail(self, error: Exception) -> None:
        self.errors.append(error)
        self.failed.set()


def test_wishes_that_were_overtaken_are_forgotten_and_only_the_last_is_fine() -> None:
    seen = Recorder()
    debouncer = Debouncer(seen.coarse, seen.fine, seen.fail, rest_s=0.01)
    debouncer.ask(1)
    assert seen.began.wait(WAIT_S)
    for request in (2, 3, 4):
        debouncer.ask(request)
    seen.may_go.set()
    assert seen.was_fine.wait(WAIT_S)
    debouncer.close()
    assert seen.shown == [("coarse", 1), ("coarse", 4), ("fine", 4)]


def test_work_that_fails_is_told_and_the_next_wish_is_heard() -> None:
    seen = Recorder()
    seen.may_go.set()
    debouncer = Debouncer(
        seen.coarse, lambda request: seen.fine(request) if request > 0 else None, seen.fail, rest_s=0.01
    )
    debouncer.ask(-1)
    assert seen.failed.wait(WAIT_S)
    assert str(seen.errors[0]) == "negative"
    debouncer.ask(5)
    assert seen.was_fine.wait(WAIT_S)
    debouncer.close()
    assert ("fine", 5) in seen.shown


def test_nothing_is_shown_after_closing() -> None:
    seen = Recorder()
    seen.may_go.set()
    debouncer = Debouncer(seen.coarse, seen.fine, seen.fail, rest_s=0.01)
    debouncer.close()
    debouncer.join()
    debouncer.ask(1)
    assert seen.shown == []
