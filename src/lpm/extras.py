"""Optional dependencies: imported when they are used, and named with their extra where they are missing."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from typing import Any

from lpm.errors import MissingExtraError

_OFF_SCREEN = ("libEGL.so.1", "libOSMesa.so.8", "libOSMesa.so")  # by which VTK draws on a Linux without a display


def import_extra(module: str, extra: str, subject: str, also: str = "") -> Any:
    """Import a module that an extra installs.

    Args:
        module: Its full name.
        extra: The extra of this package that installs it.
        subject: What needs it, for the message: a verb, an option, a file.
        also: Further advice, added to the advice to install the extra.

    Raises:
        MissingExtraError: It is not installed, or it is and cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: it is installed, and a library of the system is missing
        hint = f"pip install 'lungs-parametric-model[{extra}]'{also}"
        raise MissingExtraError(subject, f"needs {module} ({error})", f"the extra {extra}", hint) from error


def import_renderer(subject: str, extra: str = "pictures") -> Any:
    """Import pyvista, to draw off screen: where no library of the system lets VTK do so, it would end the process.

    Args:
        subject: What draws, for the message: a verb, an option, a file.
        extra: The extra of this package that installs it.

    Raises:
        MissingExtraError: pyvista is not installed, or the system lacks such a library.
    """
    pyvista = import_extra("pyvista", extra, subject)
    if sys.platform == "linux" and not os.environ.get("DISPLAY") and not any(map(_loads, _OFF_SCREEN)):
        given = f"needs one of {', '.join(_OFF_SCREEN)} to draw without a display"
        hint = "install libegl1 (Debian, Ubuntu) or mesa-libEGL (Fedora), or ask for no pictures"
        raise MissingExtraError(subject, given, "a library of the system", hint)
    return pyvista


def _loads(library: str) -> bool:
    """Whether a library of the system is there."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
