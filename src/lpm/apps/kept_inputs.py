"""Every verb keeps its inputs: what it reads is told from what it writes by the names of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from lpm.files.outputs.inputs import keeping

OUTPUTS = (
    *("out", "csv_file", "json_file", "profiles", "picture", "preview", "dicom_seg", "rtstruct", "dicom_stl"),
    *("glb", "page"),
)
_TEXTS = ("model", "labels", "values")  # arguments that may name a file


def keeping_inputs(verb: Callable[..., None]) -> Callable[..., None]:
    """The same verb, which refuses before the work to write over what it reads."""

    @wraps(verb)
    def kept(**given: Any) -> None:
        read = {name: value for name, value in given.items() if name not in OUTPUTS}
        written = {name: value for name, value in given.items() if name in OUTPUTS}
        with keeping(_paths(read), (path for path in _paths(written) if str(path) != "-")):
            verb(**given)

    return kept


def _paths(given: Mapping[str, Any]) -> Iterator[Path]:
    for name, value in given.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Path) or (isinstance(one, str) and name in _TEXTS):
                yield Path(one)
