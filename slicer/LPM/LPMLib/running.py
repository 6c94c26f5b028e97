"""A command that runs beside Slicer: its lines are read as they come, and it can be stopped."""

from __future__ import annotations

import queue
import re
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PATIENCE_S = 10.0  # that a command has to end in order
_CALM = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # no console on Windows


class Running:
    """A command at work.

    Args:
        command: Program and arguments.
        environment: Its variables.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.said: list[str] = []
        self._lines: queue.Queue = queue.Queue()
        self._process = subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            creationflags=_CALM,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        if self._process.stdout is None:
            return
        for line in self._process.stdout:
            text = _CONTROL.sub("", line).rstrip()
            if text:
                self._lines.put(text)

    def new_lines(self) -> list[str]:
        """Lines since the last call; it returns at once, so that a timer of the window may call it."""
        found = []
        while not self._lines.empty():
            found.append(self._lines.get_nowait())
        self.said += found
        return found

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait for its end, and return its exit code."""
        code = self._process.wait()
        self._reader.join()
        return code

    def stop(self) -> None:
        """End it in order, or at once if it does not."""
        if self._process.poll() is None:
            self._process.send_signal(getattr(signal, "SIGTERM", signal.SIGINT))
            try:
                self._process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()

    @property
    def trouble(self) -> str:
        """What `lpm` said was wrong: its line of error, else the last ones."""
        errors = [line.partition("error:")[2].strip() for line in self.said if line.startswith("error:")]
        return errors[-1] if errors else "\n".join(self.said[-5:])
