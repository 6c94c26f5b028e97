"""Verbs in processes of their own: run whole, or stopped at some moment; and who is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ORPHANS_AFTER_S = 2.0  # a process that still runs then was forgotten
_PATIENCE_S = 600


@dataclass(frozen=True)
class Ended:
    """What came of a process.

    Args:
        code: Exit code; negative for a signal.
        said: What it printed as errors.
        orphans: Processes of it that ran on after 2 s.
        who: Their command lines.
        seconds: Wall time.
    """

    code: int
    said: str
    orphans: int
    seconds: float
    who: str = ""


def _environment(temporary: Path | None) -> dict[str, str]:
    more = {"OMP_NUM_THREADS": "1"} | ({} if temporary is None else {"TMPDIR": str(temporary)})
    return os.environ | more


def lpm(arguments: Sequence[str], folder: Path, temporary: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    return subprocess.run(
        [sys.executable, "-m", "lpm.apps.start", *arguments],
        cwd=folder,
        env=_environment(temporary),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=_PATIENCE_S,
    )


class Started:
    """A verb that runs in a session of its own."""

    def __init__(self, arguments: Sequence[str], folder: Path, temporary: Path, said: Path) -> None:
        self._said = said.open("w+")
        self._began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lpm.apps.start", *arguments],
            cwd=folder,
            env=_environment(temporary),
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            start_new_session=True,
        )

    def wait_until_heard(self) -> None:
        """Wait until the program hears signals: before that the interpreter starts, which no program can guard."""
        while self.process.poll() is None and not _hears(self.process.pid, signal.SIGTERM):
            time.sleep(0.002)

    def stop(self, how: str) -> None:
        """Kill it, end it, or press Ctrl-C, which all of its processes hear."""
        try:
            if how == "Ctrl-C":
                os.killpg(self.process.pid, signal.SIGINT)
            else:
                self.process.send_signal(signal.SIGKILL if how == "kill -9" else signal.SIGTERM)
        except ProcessLookupError:  # it has ended meanwhile
            pass

    def workers(self) -> list[psutil.Process]:
        """Its children that work, without joblib's that keeps the books."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]

    def end(self) -> Ended:
        """Wait for the end, and count who is left."""
        code = self.process.wait(_PATIENCE_S)
        seconds = time.monotonic() - self._began
        left = self._left()
        until = time.monotonic() + ORPHANS_AFTER_S
        while left and time.monotonic() < until:
            time.sleep(0.05)
            left = self._left()
        who = "; ".join(_command(orphan) for orphan in left)
        for orphan in left:
            os.kill(orphan, signal.SIGKILL)
        self._said.seek(0)
        said = self._said.read()
        self._said.close()
        return Ended(code, said, len(left), seconds, who)

    def _left(self) -> list[int]:
        """Processes of its session; those that have ended and were not yet fetched are none."""
        found = []
        for each in psutil.process_iter(["pid", "status"]):
            try:
                if os.getsid(each.pid) == self.process.pid and each.info["status"] != psutil.STATUS_ZOMBIE:
                    found.append(each.pid)
            except (ProcessLookupError, PermissionError):
                continue
        return found


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())[-100:]
    except psutil.NoSuchProcess:
        return "gone"


def _hears(pid: int, number: int) -> bool:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    caught = next((line.split()[1] for line in lines if line.startswith("SigCgt")), "0")
    return bool(int(caught, 16) >> (number - 1) & 1)
