"""Where the numbers of a report come from: versions, digests of what was read, date."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from lpm.model.bundle import ModelBundle
from lpm.records import made_with, now

_DIGITS = 16


def provenance(model: ModelBundle, inputs: Iterable[Path] = (), **more: object) -> dict[str, str]:
    """Rows of a report's last section.

    Args:
        model: That was used.
        inputs: Files that were read; a folder is named without a digest.
        **more: Further rows, such as ``seed``; None is left out.
    """
    manifest = model.manifest
    subjects = len(manifest.training_subjects)
    rows = {f"input {path.name}": digest(path) for path in inputs}
    rows |= {"model": f"{manifest.config.preset}, {subjects} training subjects", "model's data": manifest.data}
    rows |= {name.replace("_", " "): str(value) for name, value in more.items() if value is not None}
    rows["made with"] = made_with()
    rows["model trained with"] = ", ".join(f"{name} {number}" for name, number in manifest.versions.items())
    rows["date"] = now()
    return rows


def digest(path: Path) -> str:
    """First digits of a file's SHA-256, and its size."""
    if path.is_dir():
        return "a folder"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return f"SHA-256 {found[:_DIGITS]}…, {path.stat().st_size:,} bytes"
