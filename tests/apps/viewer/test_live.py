from __future__ import annotations

import threading

from lpm.apps.viewer.live import Live

WAIT_S = 10.0


class Recorder:
    """Notes what was shown, and lets a test hold the first coarse work until it has asked for more."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, int]] = []
        self.errors: list[Exception] = []
        self.may_go, self.began, self.was_fine, self.failed = (threading.Event() for _ in range(4))

    def coarse(self, wish: int) -> None:
        self.began.set()
        assert self.may_go.wait(WAIT_S)
        self.shown.append(("coarse", wish))
        if wish < 0:
            raise ValueError("negative")

    def fine(self, wish: int) -> None:
        self.shown.append(("fine", wish))
        self.was_fine.set()

    def fail(self, error: Exception) -> None:
        self.errors.append(error)
        self.failed.set()


def test_wishes_that_were_overtaken_are_forgotten_and_only_the_last_is_fine() -> None:
    seen = Recorder()
    live = Live(seen.coarse, seen.fine, seen.fail, rest_s=0.01)
    live.ask(1)
    assert seen.began.wait(WAIT_S)
    for wish in (2, 3, 4):
        live.ask(wish)
    seen.may_go.set()
    assert seen.was_fine.wait(WAIT_S)
    live.close()
    assert seen.shown == [("coarse", 1), ("coarse", 4), ("fine", 4)]


def test_work_that_fails_is_told_and_the_next_wish_is_heard() -> None:
    seen = Recorder()
    seen.may_go.set()
    live = Live(seen.coarse, lambda wish: seen.fine(wish) if wish > 0 else None, seen.fail, rest_s=0.01)
    live.ask(-1)
    assert seen.failed.wait(WAIT_S)
    assert str(seen.errors[0]) == "negative"
    live.ask(5)
    assert seen.was_fine.wait(WAIT_S)
    live.close()
    assert ("fine", 5) in seen.shown


def test_nothing_is_shown_after_closing() -> None:
    seen = Recorder()
    seen.may_go.set()
    live = Live(seen.coarse, seen.fine, seen.fail, rest_s=0.01)
    live.close()
    live.join()
    live.ask(1)
    assert seen.shown == []
