"""From a TOML file and options to a checked config."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from lpm.errors import FileError, MisuseError
from lpm.records import StrictModel

T = TypeVar("T", bound=StrictModel)


def build_config(
    kind: type[T], path: Path | None, given: Mapping[str, Any] | None = None, base: Mapping[str, Any] | None = None
) -> T:
    """Build a config from a file and options.

    Args:
        kind: Kind of the config.
        path: TOML file, if there is one.
        given: Values of options; they win over the file.
        base: Values where neither has any, instead of the kind's defaults.

    Raises:
        FileError: The file cannot be read, or is not TOML.
        InputError: A key is unknown, or a value is not allowed.
    """
    values = _merged(_merged(base or {}, _read_toml(path)), given or {})
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise MisuseError(f"--config {path}", problems, f"the keys of {kind.__name__}") from error


def _read_toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise FileError(str(path), f"cannot be read ({error.strerror})", "a TOML file") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, nested too deeply
        raise FileError(
            str(path), f"not TOML ({error})", "lines such as  seed = 1  and tables such as  [sampling]"
        ) from error


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The first, with the second's values; tables in both are merged likewise."""
    merged = dict(base)
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if nested else value
    return merged
