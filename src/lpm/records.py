"""Records on disk: configs and manifests that refuse unknown keys, read from JSON, and what wrote them, and when."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from lpm.errors import FileError, SchemaError


class StrictModel(BaseModel):
    """Base of every config and manifest: unknown keys are refused, values cannot be changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


M = TypeVar("M", bound=BaseModel)


def read_json_model(path: Path, kind: type[M], schema_version: int | None = None) -> M:
    """Read a JSON file that follows a schema.

    Raises:
        FileError: Missing or not JSON.
        SchemaError: Of another schema version, or with missing or unknown keys.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
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
    return f"lungs-parametric-model {version('lungs-parametric-model')}, Python {platform.python_version()}"


def now() -> str:
    """Date and minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
