"""Label values of a data set of nnU-Net, from its dataset.json."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lpm.errors import FileError
from lpm.files.segments.names import lungs_among
from lpm.records import parse_json


def read_dataset_labels(path: Path) -> dict[str, tuple[int, ...]]:
    """Label values of the lungs by structure, by the names that a data set gives its labels.

    Args:
        path: A dataset.json, of version 1 (``"1": "left lung"``) or 2 (``"left lung": 1``).

    Raises:
        FileError: Missing, damaged, or it names no lung.
    """
    try:
        labels = parse_json(path)["labels"]
        names = dict(_names(labels))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError(str(path), f"cannot be read ({error})", "a dataset.json of nnU-Net, with labels") from error
    found = lungs_among(names)
    if not found:
        named = ", ".join(f"{value} {name}" for value, name in names.items())
        hint = "name the values, as in --labels left_lung=1,right_lung=2"
        raise FileError(str(path), f"labels {named}", "one that is named as a lung", hint)
    return found


def _names(labels: dict[str, Any]) -> Iterator[tuple[int, str]]:
    for key, value in labels.items():
        if isinstance(value, str):
            yield int(key), value
        else:  # a region of several labels is a list
            for one in value if isinstance(value, list) else [value]:
                yield int(one), key
