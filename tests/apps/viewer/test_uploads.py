"""Files that are coming take no more memory than is set aside for those of all clients."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("viser")

from lpm.apps.viewer.access_control import UploadLimit
from lpm.apps.viewer.uploads import UploadBudget


class Page:
    """A client whose page keeps what has come as viser does."""

    def __init__(self, budget: UploadBudget) -> None:
        self.refused: list[tuple[str, str]] = []
        self.handlers: dict[str, Any] = {}
        self.open: dict[str, Any] = {}
        connection = SimpleNamespace(
            unregister_handler=lambda kind: None,
            register_handler=lambda kind, handler: self.handlers.update({kind.__name__: handler}),
            queue_message=lambda message: None,
        )
        gui = SimpleNamespace(
            _current_file_upload_states=self.open,
            _handle_file_transfer_start=self._started,
            _handle_file_transfer_part=self._came,
        )
        client = SimpleNamespace(gui=gui, _websock_connection=connection)
        self.limit = UploadLimit(client, budget, lambda name, reason: self.refused.append((name, reason)))

    def start(self, name: str, size: int) -> None:
        self.handlers["FileTransferStartUpload"](1, self._message(name, size_bytes=size, part_count=2))

    def part(self, name: str, n: int) -> None:
        self.handlers["FileTransferPart"](1, self._message(name, content=bytes(n)))

    def _message(self, name: str, **more: Any) -> Any:
        return SimpleNamespace(transfer_uuid=name, filename=name, source_component_uuid="b", **more)

    def _started(self, client_id: int, message: Any) -> None:
        self.open[message.transfer_uuid] = {
            "filename": message.filename,
            "total_bytes": message.size_bytes,
            "transferred_bytes": 0,
        }

    def _came(self, client_id: int, message: Any) -> None:
        state = self.open[message.transfer_uuid]
        state["transferred_bytes"] += len(message.content)
        if state["transferred_bytes"] == state["total_bytes"]:
            del self.open[message.transfer_uuid]


def test_files_of_all_clients_share_what_is_set_aside() -> None:
    budget = UploadBudget(100, 150)
    one, other, third = (Page(budget) for _ in range(3))
    one.start("a", 100)
    other.start("b", 60)
    assert other.refused == [("b", "cannot be taken now; expected less at a time. Try: in a minute")]
    other.start("b", 50)
    assert list(other.open) == ["b"]
    one.part("a", 50)
    one.part("a", 50)  # it has come
    third.start("c", 100)
    assert list(third.open) == ["c"]


def test_one_client_sends_one_file_at_a_time() -> None:
    page = Page(UploadBudget(100, 1000))
    page.start("a", 10)
    page.start("b", 10)
    assert list(page.open) == ["a"]
    assert page.refused == [("b", "sent while another file is; expected one at a time")]


@pytest.mark.parametrize("end", ["leaves", "stalls", "sends too much"])
def test_what_never_comes_is_given_back(end: str) -> None:
    budget = UploadBudget(100, 100, stall_s=0.2)
    page, other = Page(budget), Page(budget)
    page.start("a", 100)
    page.part("a", 10)
    match end:
        case "leaves":
            page.limit.close()
        case "sends too much":
            page.part("a", 91)
        case _:
            until = time.monotonic() + 10.0
            while not page.refused and time.monotonic() < until:
                time.sleep(0.01)
            assert page.refused == [("a", "nothing came for 0 s. Try: again")]
            time.sleep(0.05)
    assert page.open == {}
    other.start("b", 100)
    assert list(other.open) == ["b"]


def test_a_file_that_comes_slowly_is_not_dropped() -> None:
    page = Page(UploadBudget(100, 100, stall_s=0.5))
    page.start("a", 100)
    for _ in range(4):
        time.sleep(0.25)
        page.part("a", 25)
    assert page.refused == []
