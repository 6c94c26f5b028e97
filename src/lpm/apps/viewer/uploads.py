"""Files as a browser sends them: under a safe name, in a folder of their own, until they are read."""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

_MOST_NAMED = 4


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


class UploadBudget:
    """Memory that files may take while they are coming.

    Args:
        most_bytes: Largest file.
        most_at_once: Bytes of all files of all clients that are coming.
        stall_s: Time after which a file is dropped of which nothing more came.
    """

    def __init__(self, most_bytes: int, most_at_once: int, stall_s: float = 60.0) -> None:
        self.most_bytes, self._left, self.stall_s = most_bytes, most_at_once, stall_s
        self._lock = threading.Lock()

    def refusal(self, size: int) -> str:
        """Why a file is too large; empty if it is not."""
        if 0 <= size <= self.most_bytes:
            return ""
        most = self.most_bytes / 1024**2
        return f"{size / 1024**2:,.0f} MB; expected one file at a time, of at most {most:.0f} MB"

    def take(self, size: int) -> bool:
        """Set memory aside for a file; False if too much of others is coming."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give_back(self, size: int) -> None:
        """A file has come, or never will."""
        with self._lock:
            self._left += size


def safe_name(name: str) -> str:
    """The last part of a name that a browser sent, so that it cannot lead anywhere else."""
    last = PurePosixPath(name.replace("\\", "/")).name
    kept = "".join(letter if letter.isalnum() or letter in "._- ()" else "_" for letter in last)[-120:]
    return kept if kept.strip(". ") else "upload"


def named(names: Sequence[str]) -> str:
    """Files in words; of many the first."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def without_folder(folder: str, text: str) -> str:
    """An error's text without the place where the server keeps the file for a moment."""
    return re.sub(re.escape(folder) + r"/[^/\s]+/", "", text)
