"""Processes of this package: the one place that starts workers, and how a process ends with the one that started it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing import connection, resource_tracker
from pathlib import Path
from typing import Any, Literal

from lpm.errors import LpmError, WorkerDiedError

Task = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]  # as `joblib.delayed` makes it
_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
_WATCHED_EVERY_S = 0.5
_CONTAINERS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # version 2, and 1
_SYNCHRONIZE, _FOR_EVER = 0x00100000, 0xFFFFFFFF  # of the Windows API


def die_with(parent: int) -> None:
    """End this process at once when the process that started it ends, however that happens; called in the child.

    On Linux the kernel does it, in the midst of native code too, and counts the *thread* that started this process as
    its parent: that thread must outlive it, else take `watch`.

    Args:
        parent: Process id of the parent, as the parent knew it.
    """
    if sys.platform != "linux":
        watch(parent)
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(1)


def watch(parent: int) -> None:
    """As `die_with`, by a thread that looks after the parent: native code that lets no thread run delays it."""
    threading.Thread(target=_watch, args=(parent,), name="lpm-watch-parent", daemon=True).start()


def _watch(parent: int) -> None:
    if sys.platform == "win32":
        kernel = ctypes.windll.kernel32
        kernel.WaitForSingleObject(kernel.OpenProcess(_SYNCHRONIZE, False, parent), _FOR_EVER)
    else:
        while os.getppid() == parent:
            time.sleep(_WATCHED_EVERY_S)
    os._exit(1)


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number."""
    if sys.platform == "win32":
        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(_SYNCHRONIZE, False, pid)
        is_running = bool(handle) and kernel.WaitForSingleObject(handle, 0) != 0
        kernel.CloseHandle(handle)
        return is_running
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # of another user; no number of a process
        pass
    return True


def most_memory() -> int:
    """Bytes of memory that this process may take: what the machine has, or a container or a scheduler allows."""
    if not hasattr(os, "sysconf"):
        return sys.maxsize
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _CONTAINERS:
        with suppress(OSError, ValueError):  # no container, or "max"
            found = min(found, int(Path(limit).read_text()))
    return found


def bound_memory(most: int) -> None:
    """Let this process, and those that it starts, fail rather than take all memory and be killed; on Linux only.

    Args:
        most: Bytes of each.
    """
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))


def in_processes(
    jobs: int, tasks: Iterable[Task], *, order: Literal["given", "finished"] = "given", ahead: int | None = None
) -> Iterator[Any]:
    """Results of tasks that worker processes of this machine work on.

    Workers end with this process, and when the results are no longer asked for; Ctrl-C reaches this process only.

    Args:
        jobs: Number of processes; 1 works in this process.
        tasks: Tasks, made by `joblib.delayed`.
        order: Whether results come in the order of the tasks or as they are finished.
        ahead: Most tasks that are given out at a time; None for twice as many as there are workers.

    Raises:
        WorkerDiedError: One was killed; it takes the others with it.
    """
    import joblib

    is_main = threading.current_thread() is threading.main_thread()
    pool = joblib.Parallel(
        n_jobs=jobs,
        return_as="generator" if order == "given" else "generator_unordered",
        batch_size=1,
        pre_dispatch=ahead or 2 * jobs,
        **({"initializer": _begin_work, "initargs": (os.getpid(), is_main)} if jobs > 1 else {}),
    )
    with _without_ctrl_c() if jobs > 1 else nullcontext():
        results = pool(tasks)
    try:
        yield from results
    except BrokenExecutor as error:
        hint = "fewer --jobs"
        raise WorkerDiedError("workers", "one died, often for want of memory", hint=hint) from error
    finally:
        results.close()


def _begin_work(parent: int, is_main: bool) -> None:  # joblib passes arguments by position
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    (die_with if is_main else watch)(parent)


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes that are started within never hear Ctrl-C, which a terminal sends to all of them; here it waits."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # started within, it would let Ctrl-C through to all that start after it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def in_step(n: int, work: Callable[..., Any], arguments: tuple[Any, ...] = ()) -> None:
    """Run a function in n new processes that work in step, as those that train a network together.

    The first that fails ends the others, which would wait for it for ever.

    Args:
        n: Number of processes.
        work: Called in each with its number, then the arguments.
        arguments: What all of them get.

    Raises:
        LpmError: One of them raised it.
        WorkerDiedError: One ended without a word.
    """
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in range(n)]
    processes = [
        context.Process(target=_keep_step, args=(os.getpid(), told, work, (number, *arguments)), daemon=False)
        for number, (_, told) in enumerate(pipes)
    ]
    with _without_ctrl_c():
        for process in processes:
            process.start()
    for _, told in pipes:
        told.close()
    try:
        waiting = [heard for heard, _ in pipes]
        while waiting:
            for heard in connection.wait(waiting):
                waiting.remove(heard)  # type: ignore[arg-type]
                _check_done(heard)  # type: ignore[arg-type]
    except BaseException:
        for process in processes:
            process.terminate()
        raise
    finally:
        for process in processes:
            process.join()


def _check_done(heard: connection.Connection) -> None:
    try:
        error = heard.recv()
    except EOFError as ended:
        raise WorkerDiedError("workers", "one ended without a word", hint="more memory, or fewer at a time") from ended
    if error is not None:
        raise error


def _keep_step(parent: int, told: connection.Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch(parent)
    try:
        work(*arguments)
    except LpmError as error:
        told.send(error)
    else:
        told.send(None)
