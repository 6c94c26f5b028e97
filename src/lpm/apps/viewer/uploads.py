"""Files as a browser sends them: under a safe name, in a folder of their own, until they are read."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path, PurePosixPath


class Upload:
    """A file as it was sent, under its own name in a folder of its own, until it is read."""

    def __init__(self, folder: str, name: str, content: bytes) -> None:
        self._folder, self._name, self._content = folder, name, content

    def __enter__(self) -> Path:
        self._own = tempfile.TemporaryDirectory(dir=self._folder)
        path = Path(self._own.name) / safe_name(self._name)
        path.write_bytes(self._content)
        self._content = b""
        return path

    def __exit__(self, *_: object) -> None:
        self._own.cleanup()


def safe_name(name: str) -> str:
    """The last part of a name that a browser sent, so that it cannot lead anywhere else."""
    last = PurePosixPath(name.replace("\\", "/")).name
    kept = "".join(letter if letter.isalnum() or letter in "._- ()" else "_" for letter in last)[-120:]
    return kept if kept.strip(". ") else "upload"


def without_folder(folder: str, text: str) -> str:
    """An error's text without the place where the server keeps the file for a moment."""
    return re.sub(re.escape(folder) + r"/[^/\s]+/", "", text)
