"""What a folder holds, but for what the clock says: equal for a run that was disturbed and one that was not."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pydicom
from safetensors import safe_open

from lpm.files.outputs.locks import LOCK

_CLOCK = {"seconds", "date", "made", "written", "training_seconds"}  # keys and columns
_TIMES = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?(\.\d+)?)?(Z|\+00:00| UTC)?|\b\d+(\.\d+)? (s|seconds|ms)\b")

_TABLE, _ROW = re.compile(r"<table.*?</table>", re.DOTALL), re.compile(r"<tr.*?</tr>", re.DOTALL)
_CELL = re.compile(r"<t[hd].*?</t[hd]>", re.DOTALL)


def fingerprints(folder: Path) -> dict[str, str]:
    """Digest by file, hidden ones but for the lock as well."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
    return {str(path.relative_to(folder)): digest(path) for path in found}


def digest(path: Path) -> str:
    """SHA-256 of what does not depend on the clock."""
    return hashlib.sha256(_READERS.get(path.suffix, Path.read_bytes)(path)).hexdigest()[:16]


def _of_json(path: Path) -> bytes:
    return json.dumps(_without_clock(json.loads(path.read_text())), sort_keys=True).encode()


def _without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if key not in _CLOCK and not key.endswith(".html")}
        return {key: _without_clock(each) for key, each in kept.items()}
    if isinstance(value, list):
        return [_without_clock(each) for each in value]
    return _TIMES.sub("", value) if isinstance(value, str) else value


def _of_csv(path: Path) -> bytes:
    return _of_rows(path.read_text())


def _of_rows(text: str) -> bytes:
    rows = list(csv.reader(io.StringIO(text)))
    kept = [place for place, name in enumerate(rows[0]) if name not in _CLOCK] if rows else []
    return repr([[row[place] for place in kept if place < len(row)] for row in rows]).encode()


def _of_page(path: Path) -> bytes:
    page = _TABLE.sub(
        lambda found: repr(_timeless([_CELL.findall(row) for row in _ROW.findall(found[0])])), _text(path)
    )
    return page.encode()


def _of_markdown(path: Path) -> bytes:
    parts = groupby(_text(path).splitlines(), lambda line: line.startswith("|"))
    return repr(
        [_timeless([line.split("|") for line in lines]) if table else list(lines) for table, lines in parts]
    ).encode()


def _timeless(rows: list[list[str]]) -> list[list[str]]:
    """A table without the columns whose names the clock owns."""
    kept = [place for place, name in enumerate(rows[0]) if re.sub(r"<[^>]*>", "", name).strip() not in _CLOCK]
    return [[row[place] for place in kept if place < len(row)] for row in rows]


def _text(path: Path) -> str:
    return _TIMES.sub("", path.read_text())


def _of_dicom(path: Path) -> bytes:
    """Without UIDs of its own, which are new each time, and times."""
    found = pydicom.dcmread(path)
    found.file_meta = pydicom.dataset.FileMetaDataset()
    found.walk(_drop, recursive=True)
    return repr(found).encode()


def _of_tensors(path: Path) -> bytes:
    """Weights, and the notes beside them, one of which is the table of epochs."""
    with safe_open(str(path), "np") as file:
        notes = {name: _of_rows(text) if name == "log" else text for name, text in (file.metadata() or {}).items()}
        tensors = {name: hashlib.sha256(file.get_tensor(name).tobytes()).hexdigest() for name in file.keys()}  # noqa: SIM118
    return repr((sorted(notes.items()), sorted(tensors.items()))).encode()


def _drop(dataset: pydicom.Dataset, element: pydicom.DataElement) -> None:
    if element.VR in ("UI", "DA", "TM", "DT") or element.keyword.endswith("UID"):
        del dataset[element.tag]


_READERS = {
    ".json": _of_json,
    ".csv": _of_csv,
    ".html": _of_page,
    ".md": _of_markdown,
    ".dcm": _of_dicom,
    ".safetensors": _of_tensors,
}


def differing(found: dict[str, str], wanted: dict[str, str], but: Sequence[str] = ()) -> list[str]:
    """Files that are not as they should be: of another content, or too many; but those of some names, or folders."""
    return [name for name, value in found.items() if wanted.get(name) != value and not set(Path(name).parts) & set(but)]
