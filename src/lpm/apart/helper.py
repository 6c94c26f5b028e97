"""A process that calls functions for this one: what crashes it, hangs or takes too much is an error here."""

from __future__ import annotations

import functools
import importlib
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from pickle import dumps, loads
from time import monotonic
from typing import Any

from lpm.apart.messages import Kept, receive, send
from lpm.processes import die_with

Listen = Callable[..., Any] | None
_START_S = 300.0  # on a busy machine


class HelperError(Exception):
    """A helper did not do what it was asked for; says why, as ``it ...``."""


@dataclass(frozen=True)
class Limits:
    """How much a call may take.

    Args:
        seconds: Time until its result must be there.
        memory: Bytes beyond what the helper has when it is asked.
    """

    seconds: float
    memory: int


class Helper:
    """A process of its own, started at once; the first call waits until it is there.

    Args:
        modules: Modules that it imports before it is there.
        kept: Objects that calls and results name and do not bring, such as a model.
        nice: How far it stands back behind other processes.
    """

    def __init__(self, modules: Iterable[str] = (), kept: Kept | None = None, nice: int = 0) -> None:
        self._kept = dict(kept or {})
        self._channel, theirs = Pipe()
        bond = f"from lpm.processes import die_with; die_with({os.getpid()})"  # before slower imports
        start = f"{bond}; from lpm.apart.helper import serve; serve({theirs.fileno()}, {os.getpid()}, {nice})"
        command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {start}"]
        self._process = _starting(os.getpid()).submit(_started, command, theirs.fileno()).result()
        theirs.close()
        self.is_alive, self._is_busy, self._is_there = True, False, False
        self.calls = 0
        with suppress(ConnectionError):  # it cannot start, which its first call will say
            send(self._channel, (list(modules), self._kept), {})

    def call(self, function: Callable[..., Any], *args: Any, limits: Limits, listen: Listen = None) -> Any:
        """Call a function there.

        Args:
            function: Of a module.
            args: Its arguments.
            limits: How much it may take; what it waits for `listen` does not count.
            listen: Told whatever the function tells; its last argument there is a function of the same arguments.

        Raises:
            HelperError: The helper died, took too long, and is gone; or it had not enough memory.
            Exception: Whatever the function or `listen` raises; if it was `listen`, the helper is gone, too.
        """
        self._is_busy = True
        self.calls += 1
        try:
            if not self._is_there:
                self._answer(_START_S, None)
                self._is_there = True
            send(self._channel, (function, args, limits.memory, _here(), listen is not None), self._kept)
            return self._answer(limits.seconds, listen)
        except (EOFError, ConnectionError) as error:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)  # it is ending, and its code says why
            raise HelperError(_why(self._process.poll())) from error
        finally:
            if self._is_busy:
                self.kill()

    def kill(self) -> None:
        """End it, whatever it does; a call that waits for it raises `HelperError`."""
        self.is_alive = False
        self._process.kill()
        self._process.wait()

    def _answer(self, seconds: float, listen: Listen) -> Any:
        self._is_busy, until = True, monotonic() + seconds
        while True:
            if not self._channel.poll(max(until - monotonic(), 0.0)):
                raise HelperError(f"did not end within {seconds:.0f} s")
            kind, content = receive(self._channel, self._kept)
            if kind == "told" and listen is not None:
                asked = monotonic()
                send(self._channel, listen(*content), self._kept)
                until += monotonic() - asked
                continue
            self._is_busy = False
            if kind == "error":
                raise content
            return content


@functools.cache
def _starting(pid: int) -> ThreadPoolExecutor:
    """A thread of this process that lasts: helpers end with the one that started them; a fork has not its parent's."""
    return ThreadPoolExecutor(1, f"lpm-helpers-{pid}")


def _started(command: Sequence[str], handle: int) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL  # native readers print
    return subprocess.Popen(command, pass_fds=[handle], stdin=quiet, stdout=quiet, stderr=quiet)  # noqa: S603


def _here() -> str:
    with suppress(OSError):
        return str(Path.cwd())
    return "/"  # it was deleted


def _why(code: int | None) -> str:
    name = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
    return f"ended the process that works on it ({name})"


# --- In the helper ---------------------------------------------------------------------------------------------------


def serve(handle: int, parent: int, nice: int) -> None:
    """Do what the parent asks for until it is gone; Ctrl-C is the parent's."""
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(nice)
    channel = Connection(handle)
    with suppress(EOFError, ConnectionError):
        modules, kept = receive(channel, {})
        for module in modules:
            importlib.import_module(module)
        send(channel, ("result", None), kept)
        while True:
            answer = _done(channel, kept, receive(channel, kept))
            try:
                send(channel, answer, kept)
            except (TypeError, AttributeError, ValueError) as error:  # what cannot be pickled
                send(channel, ("error", RuntimeError(f"{type(error).__name__}: {error}")), kept)


def _done(
    channel: Any, kept: Kept, task: tuple[Callable[..., Any], tuple[Any, ...], int, str, bool]
) -> tuple[str, Any]:
    """``result`` and what a function gives, or ``error`` and what it raises."""

    def tell(*content: Any) -> Any:
        send(channel, ("told", content), kept)
        return receive(channel, kept)

    function, args, memory, folder, tells = task
    try:
        _limit(memory)
        os.chdir(folder)
        return "result", function(*args, *([tell] if tells else []))
    except MemoryError:
        return "error", HelperError(f"takes more than {memory / 1024**3:.1f} GiB of memory")
    except Exception as error:
        return "error", _sendable(error)


def _sendable(error: Exception) -> Exception:
    trace = traceback.format_exc()
    try:
        copy: Exception = loads(dumps(error))  # noqa: S301 (its own)
    except Exception:  # whatever an error's own constructor may raise
        return RuntimeError(trace)
    copy.add_note(trace)
    return copy


def _limit(memory: int) -> None:
    """Bound what this process may take from now on; elsewhere than on Linux nothing bounds it."""
    if sys.platform == "linux":
        import resource

        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        own, hard = taken + memory, resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (own if hard == resource.RLIM_INFINITY else min(own, hard), hard))
