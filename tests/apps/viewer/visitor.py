"""A client without a browser: speaks viser's protocol over a real connection, and remembers what it was told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Self

import msgspec
import viser
import zstandard
from viser import _messages
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

WAIT_S = 120.0  # on a busy machine


class Visitor:
    """A connection, from opening to closing.

    Args:
        port: Of the server.
    """

    def __init__(self, port: int) -> None:
        protocol = Subprotocol(f"viser-v{viser.__version__}")
        self._connection = connect(f"ws://127.0.0.1:{port}", subprotocols=[protocol], max_size=None)
        self.told: list[dict[str, Any]] = []
        self._values: dict[str, dict[str, Any]] = {}
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self.send(
            _messages.ViewerCameraMessage(
                wxyz=(1.0, 0.0, 0.0, 0.0),
                position=(0.0, 7.5, 0.9),
                fov=0.6,
                near=0.05,
                far=100.0,
                image_height=300,
                image_width=400,
                look_at=(0.0, 0.0, 0.0),
                up_direction=(0.0, 0.0, 1.0),
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._thread.join(WAIT_S)

    def send(self, message: Any) -> None:
        """Say something."""
        self._connection.send(msgspec.msgpack.encode(message.as_serializable_dict()))

    def wait_for(self, found: Callable[[], Any]) -> Any:
        """Wait until something was told; its value.

        Raises:
            TimeoutError: It was not.
        """
        with self._news:
            if not self._news.wait_for(lambda: bool(found()), WAIT_S):
                raise TimeoutError(f"not told; the last texts were {self.texts()[-4:]}")
            return found()

    def widget(self, label: str) -> str:
        """The identity of the widget with a label."""
        named = [each for each in self.told if (each.get("props") or {}).get("label") == label and "uuid" in each]
        return str(named[-1]["uuid"]) if named else ""

    def set(self, label: str, value: Any) -> None:
        """Use a widget."""
        uuid = self.wait_for(lambda: self.widget(label))
        self.send(_messages.GuiUpdateMessage(uuid, {"value": value}))

    def upload(self, label: str, name: str, content: bytes, *, claimed: int | None = None, parts: int = 2) -> None:
        """Send a file as the page does, in parts; it may claim another size."""
        uuid = self.wait_for(lambda: self.widget(label))
        transfer, size = f"{name}-{time.monotonic_ns()}", len(content) if claimed is None else claimed
        self.send(_messages.FileTransferStartUpload(uuid, transfer, name, "", parts, size))
        step = -(-len(content) // max(parts, 1))
        for index in range(parts):
            part = content[index * step : (index + 1) * step]
            self.send(_messages.FileTransferPart(uuid, transfer, index, part))

    def texts(self) -> list[str]:
        """Every text that any widget or notification showed, oldest first."""
        found = []
        for message in self.told:
            said = {**(message.get("props") or {}), **(message.get("updates") or {})}
            found += [str(said[key]) for key in ("content", "body") if said.get(key)]
        return found

    def heard(self, text: str) -> str:
        """Wait for a text that holds another; it."""
        return str(self.wait_for(lambda: next((said for said in self.texts() if text in said), "")))

    def surfaces(self, name: str) -> list[dict[str, Any]]:
        """Messages that showed or moved a surface."""
        return [message for message in self.told if message.get("name") == name]

    def _listen(self) -> None:
        try:
            for raw in self._connection:
                assert isinstance(raw, bytes)
                size = int.from_bytes(raw[8:16], "little")
                inner = zstandard.ZstdDecompressor().decompress(raw[16 : 16 + size])
                with self._news:
                    self.told += msgspec.msgpack.decode(inner)["messages"]
                    self._news.notify_all()
        except ConnectionClosed:
            pass
