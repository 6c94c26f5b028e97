"""What made a page, and when."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version


def made_with() -> str:
    """This package and Python, with their versions."""
    return f"lungs-parametric-model {version('lungs-parametric-model')}, Python {platform.python_version()}"


def now() -> str:
    """Date and minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
