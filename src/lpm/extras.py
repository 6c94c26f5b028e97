"""Optional dependencies: imported when they are used, and named with their extra where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from lpm.errors import MissingExtraError


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
