"""A helper's crash, silence and hunger are errors of the call; what it gives back is what was meant."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
import pytest

from lpm.apart.helper import Helper, HelperError, Limits

MODEL = {"a": 1}
LIMITS = Limits(20.0, 2 * 1024**3)
PARENT = """
import sys, time
from lpm.apart.helper import Helper, Limits
from test_helper import spin
helper = Helper()
print(helper._process.pid, flush=True)
helper.call(spin, limits=Limits(60, 1 << 30))
"""


def arrays(n: int) -> tuple[np.ndarray, np.ndarray]:
    fixed = np.arange(3)
    fixed.setflags(write=False)
    return np.arange(n, dtype=np.float32).reshape(2, -1).T, fixed


def same(each: object) -> tuple[bool, object]:
    return each == MODEL, each


def telling(n: int, tell: Callable[..., int]) -> list[int]:
    return [tell("step", k) for k in range(n)]


def refuse() -> None:
    raise KeyError("what was wrong")


def read_nowhere() -> None:
    ctypes.string_at(0)


def take_all() -> None:
    np.ones(2**34)


def unsendable() -> object:
    return lambda: 0


def spin() -> None:
    libc = ctypes.PyDLL(None)  # keeps other threads of Python from running, as native readers do
    libc.sleep(60)


@pytest.fixture(scope="module")
def helper() -> Iterator[Helper]:
    made = Helper([__name__], {"model": MODEL})
    yield made
    made.kill()


def test_arrays_come_back_as_they_were(helper: Helper) -> None:
    turned, fixed = helper.call(arrays, 1000, limits=LIMITS)
    assert np.array_equal(turned, arrays(1000)[0])
    assert turned.flags.writeable
    assert not fixed.flags.writeable


def test_what_is_kept_is_named_and_not_sent(helper: Helper) -> None:
    is_equal, found = helper.call(same, MODEL, limits=LIMITS)
    assert is_equal
    assert found is MODEL


def test_what_is_told_is_answered(helper: Helper) -> None:
    told: list[tuple[Any, ...]] = []
    assert helper.call(telling, 2, limits=LIMITS, listen=lambda *what: (told.append(what), 7)[1]) == [7, 7]
    assert told == [("step", 0), ("step", 1)]


def test_errors_come_back_and_it_lives(helper: Helper) -> None:
    with pytest.raises(KeyError, match="what was wrong"):
        helper.call(refuse, limits=LIMITS)
    with pytest.raises(RuntimeError, match="pickle"):
        helper.call(unsendable, limits=LIMITS)
    with pytest.raises(HelperError, match=r"takes more than 2\.0 GiB of memory"):
        helper.call(take_all, limits=LIMITS)
    assert helper.is_alive


@pytest.mark.parametrize(("crash", "name"), [(read_nowhere, "SIGSEGV"), (os.abort, "SIGABRT")])
def test_a_crash_is_an_error(crash: Callable[[], None], name: str) -> None:
    helper = Helper()
    with pytest.raises(HelperError, match=name):
        helper.call(crash, limits=LIMITS)
    assert not helper.is_alive


def test_what_never_ends_is_ended(helper: Helper) -> None:
    slow = Helper()
    started = time.monotonic()
    with pytest.raises(HelperError, match="did not end within 1 s"):
        slow.call(spin, limits=Limits(1.0, LIMITS.memory))
    assert time.monotonic() - started < 10.0
    assert not psutil.pid_exists(slow._process.pid)


def test_waiting_for_an_answer_is_not_its_time() -> None:
    helper = Helper()
    helper.call(same, 1, limits=LIMITS)
    assert helper.call(telling, 3, limits=Limits(1.0, LIMITS.memory), listen=lambda *_: time.sleep(0.5)) == [None] * 3
    helper.kill()


def test_a_call_can_be_cancelled_from_another_thread() -> None:
    helper = Helper()
    threading.Timer(0.5, helper.kill).start()
    started = time.monotonic()
    with pytest.raises(HelperError, match="SIGKILL"):
        helper.call(spin, limits=LIMITS)
    assert time.monotonic() - started < 5.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks")
def test_a_fork_has_helpers_of_its_own() -> None:
    code = "import os\nfrom lpm.apart.helper import Helper, Limits\n"
    code += "for one in (0, 1):\n    print(Helper().call(abs, -1, limits=Limits(60, 1 << 30)), flush=True)\n"
    code += "    if one == 0 and os.fork():\n        os.wait()\n        break\n"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=environment)
    assert (done.stdout, done.stderr) == ("1\n1\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing bounds memory")
def test_a_limit_of_the_users_stays_theirs() -> None:
    code = "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
    code += "from lpm.apart.helper import Helper, Limits\nprint(Helper().call(abs, -1, limits=Limits(60, 8 << 30)))"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a helper in native code outlives its parent")
def test_it_ends_with_its_parent_even_within_native_code() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    helper = psutil.Process(int(parent.stdout.readline()))
    time.sleep(2.0)
    parent.kill()
    parent.wait()
    assert psutil.wait_procs([helper], timeout=2.0)[1] == []
