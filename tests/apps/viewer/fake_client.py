"""A client without a server: widgets keep what they are set to, and events are fired by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation


class Widget(SimpleNamespace):
    """Anything that a page shows; also a tab or a folder that others are built in."""

    def __enter__(self) -> Widget:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add_tab(self, label: str) -> Widget:
        return Widget(label=label)

    def remove(self) -> None:
        self.is_removed = True

    def _take(self, handler: Callable[[Any], None]) -> None:
        self.handler = handler

    on_update = on_click = on_upload = _take

    def fire(self, **values: Any) -> None:
        """Do what its reader does: set it, click it, or send it a file."""
        vars(self).update(values)
        self.handler(SimpleNamespace(client="someone", target=self))


class Gui:
    """Builds widgets, and remembers them by their labels."""

    def __init__(self) -> None:
        self.widgets: dict[str, Widget] = {}
        self._current_file_upload_states: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("add_"):
            raise AttributeError(name)
        return self._add

    def _add(self, *arguments: Any, **options: Any) -> Widget:
        label = str(arguments[0]) if arguments else f"widget {len(self.widgets)}"
        value = options.get("initial_value", arguments[-1] if len(arguments) > 1 else None)
        if isinstance(value, tuple):  # the first of several
            value = value[0]
        made = Widget(label=label, value=value, content=label, visible=options.get("visible", True), disabled=False)
        if len(arguments) > 2:
            made.min, made.max = arguments[1], arguments[2]
        self.widgets[label or f"text {len(self.widgets)}"] = made
        return made


class Scene:
    """Remembers what stands in it."""

    def __init__(self) -> None:
        self.parts: dict[str, Widget] = {}

    def __getattr__(self, name: str) -> Any:
        return self._add

    def _add(self, name: str = "", *arguments: Any, **options: Any) -> Widget:
        if "color" in options:  # as the real one keeps it
            options["color"] = tuple(options["color"])
        made = Widget(name=name, vertices=arguments[0] if arguments else None, **options)
        if len(arguments) > 1:
            made.faces = arguments[1]
        self.parts[name] = made
        return made


class Client:
    """Has a page, a scene and a camera; remembers notifications."""

    def __init__(self) -> None:
        self.gui, self.scene, self.told = Gui(), Scene(), []
        self.camera = SimpleNamespace(look_at=(0.0, 0.0, 0.0), position=(0.0, 7.5, 0.0), on_update=self._take)
        self.look_from(0.0)
        self._websock_connection = SimpleNamespace(
            unregister_handler=lambda kind: None, register_handler=lambda kind, handler: None
        )

    def _take(self, moved: Callable[[Any], None]) -> None:
        self.moved = moved

    def look_from(self, degrees: float) -> None:
        """Stand the camera on a circle around the middle: at 0 in front of the patient, at 90 on the left."""
        turn = Rotation.from_euler("z", degrees, degrees=True)
        self.camera.position = tuple(turn.apply([0.0, np.linalg.norm(self.camera.position), 0.0]))
        right, down, away = turn.apply([[-1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]])
        self.camera.wxyz = np.roll(Rotation.from_matrix(np.stack([right, down, away], axis=1)).as_quat(), 1)

    def add_notification(self, title: str, text: str, **_: Any) -> None:
        self.told.append(text)

    @contextmanager
    def atomic(self) -> Iterator[None]:
        yield
