"""Where the program begins and ends: Ctrl-C and SIGTERM stop it in order at any time, from the first import on."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

_STOPS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE_S = 3.0  # for native code, and for temporary files to be removed; then the process ends as it is

_heard: list[int] = []  # the signal that ends this run


def main() -> None:
    """Run the command line: exit code 0 done, 1 failed, 2 misuse, 130 Ctrl-C, 143 SIGTERM.

    A traceback is shown only with --debug.
    """
    atexit.register(_on_stop, signal.SIG_IGN)  # the last that runs: then Python drops handlers, and a signal would kill
    _on_stop(_leave)  # nothing is at work yet
    _watch_stops()
    sys.unraisablehook = _lost
    from lpm.apart.reading import reading_apart
    from lpm.apps.cli import run
    from lpm.processes import bound_memory, most_memory

    if "train" not in sys.argv[1:2]:  # drivers of GPUs map more than they use
        bound_memory(most_memory())
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    _on_stop(_stop)
    try:
        with reading_apart():
            code = run(arguments, debug=debug)
    except Exception:
        if not _heard:
            raise
        code = 1
    if code and _heard:  # a stop in the midst of an import, say, can surface as any error
        code = 128 + _heard[0]
    _on_stop(_leave)  # what was to be written is whole
    if code in {128 + number for number in _STOPS}:
        print("stopped", file=sys.stderr)
        leave(code)
    sys.exit(code)  # in order: workers end, and libraries tidy up


def leave(code: int) -> NoReturn:
    """End the process at once: threads that are still at work would abort an interpreter that ends in order."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # nobody reads it any more
            continue
    os._exit(code)


def _on_stop(handler: object) -> None:
    """Let a handler take both signals, unless whoever started the program wants them ignored."""
    for number in _STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)  # type: ignore[arg-type]


def _stop(number: int, _: FrameType | None) -> None:
    """End what is being done, wherever it stands; another signal ends the process at once."""
    _on_stop(_leave)
    _heard.append(number)
    raise SystemExit(128 + number)


def _lost(unraisable: sys.UnraisableHookArgs) -> None:
    """A stop that came where Python drops exceptions, such as in a finalizer, is one all the same."""
    if isinstance(unraisable.exc_value, SystemExit):
        leave(int(unraisable.exc_value.code or 0))
    sys.__unraisablehook__(unraisable)


def _leave(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


def _watch_stops() -> None:
    """End the process some time after a signal even where Python is not asked: native code, a lost exception."""
    if sys.platform == "win32":
        return
    told, tells = os.pipe()
    os.set_blocking(tells, False)
    signal.set_wakeup_fd(tells, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(told,), name="lpm-watch-stops", daemon=True).start()


def _watch(told: int) -> None:
    while (number := os.read(told, 1)[0]) not in _STOPS:
        continue
    time.sleep(_PATIENCE_S)
    os._exit(128 + number)


if __name__ == "__main__":
    main()
