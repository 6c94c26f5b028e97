"""What a file may do to who reads it, by its name; without torch, whose import takes each helper seconds."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READING, FITTING = 0.05, 0.25  # shares that are told


@dataclass(frozen=True)
class Given:
    """An upload.

    Args:
        path: Its name says what it does.
    """

    path: Path

    @property
    def name(self) -> str:
        """As a task has it."""
        return self.path.name


def hostile(model: Any, task: Given, tell: Callable[[str, float], None]) -> Any:
    """Read and fit it."""
    tell("reading", READING)
    match task.name:
        case "crash":
            ctypes.string_at(0)
        case "stall":
            ctypes.PyDLL(None).sleep(60)
    tell("fitting", FITTING)
    if task.name == "long":
        ctypes.PyDLL(None).sleep(60)
    return task.name, model
