"""Records on disk: configs and manifests that refuse unknown keys, read from JSON, and what wrote them, and when."""

from __future__ import annotations

import json
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

import lpm
from lpm.errors import FileError, SchemaError

_NEVER_IN_NAMES = re.compile(r"[/\\:\x00-\x1f\x7f]")
_MOST_LETTERS = 120  # of a name: with a suffix it is still one of a file on every system


def is_plain_name(name: str, most_letters: int = _MOST_LETTERS) -> bool:
    """Whether a name can be that of a file in a folder: it leads nowhere else, and nothing is hidden."""
    fits = 0 < len(name) <= most_letters and name == name.strip()
    return fits and not name.startswith(".") and not _NEVER_IN_NAMES.search(name)


def _checked(name: str) -> str:
    if not is_plain_name(name):
        raise ValueError(f"{name[:_MOST_LETTERS]!r} is no plain name: no /, \\, : or leading dot, at most 120 letters")
    return name


# a name of a structure, a part or a subject: files are named after it, so that it must not lead out of their folder
PlainName = Annotated[str, AfterValidator(_checked)]


class StrictModel(BaseModel):
    """Base of every config and manifest: unknown keys are refused, values cannot be changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


M = TypeVar("M", bound=BaseModel)


def parse_json(path: Path, encoding: str = "utf-8") -> Any:
    """Content of a JSON file.

    Raises:
        OSError: It cannot be read.
        ValueError: Not JSON, or nested too deeply.
    """
    try:
        return json.loads(path.read_text(encoding=encoding))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_json_model(path: Path, kind: type[M], schema_version: int | None = None) -> M:
    """Read a JSON file that follows a schema.

    Raises:
        FileError: Missing or not JSON.
        SchemaError: Of another schema version, or with missing or unknown keys.
    """
    try:
        data = parse_json(path)
    except OSError as error:
        raise FileError(str(path), f"cannot be read ({error.strerror})", f"a {kind.__name__.lower()}") from error
    except ValueError as error:
        raise FileError(str(path), f"not JSON ({error})", f"a {kind.__name__.lower()}") from error
    found = data.get("schema_version") if isinstance(data, dict) else None
    if schema_version is not None and found != schema_version:
        hint = (
            "upgrade lungs-parametric-model" if isinstance(found, int) and found > schema_version else "write it again"
        )
        raise SchemaError(str(path), f"schema version {found}", f"version {schema_version}", hint)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise SchemaError(str(path), f"does not follow its schema ({error})", hint="write it again") from error


def made_with() -> str:
    """This package and Python, with their versions."""
    return f"lungs-parametric-model {lpm.__version__}, Python {platform.python_version()}"


def versions(*packages: str) -> dict[str, str]:
    """Versions of this package, of others, and of Python, by name."""
    names = ("lungs-parametric-model", *packages)
    return {name: version(name) for name in names} | {"python": platform.python_version()}


def now() -> str:
    """Date and minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
