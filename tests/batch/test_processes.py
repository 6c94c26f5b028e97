"""Processes end with the one that started them, and one file starts them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import psutil
import pytest

import lpm
from lpm.errors import WorkerDiedError
from lpm.processes import in_processes, most_memory

SOURCE = Path(lpm.__file__).parent
WORK = """
import sys, time
from pathlib import Path
import joblib
from lpm.processes import in_processes, most_memory

def work(path):
    Path(path).touch()
    time.sleep(60)

if __name__ == "__main__":
    {before}
    for _ in in_processes(2, (joblib.delayed(work)(path) for path in sys.argv[1:])):
        pass
"""


def started(tmp_path: Path, before: str = "") -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
    """A process whose two workers are at work."""
    script, marks = tmp_path / "script.py", [tmp_path / "0", tmp_path / "1"]
    script.write_text(WORK.format(before=before))
    process = subprocess.Popen([sys.executable, script, *marks], stderr=subprocess.PIPE, start_new_session=True)
    until = time.monotonic() + 60
    while not all(mark.exists() for mark in marks):
        assert time.monotonic() < until, "the workers did not begin"
        time.sleep(0.05)
    return process, psutil.Process(process.pid).children()


def all_end(children: list[psutil.Process], within_s: float) -> bool:
    gone, alive = psutil.wait_procs(children, timeout=within_s)
    for each in alive:
        each.kill()
    return not alive and bool(gone)


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    process, children = started(tmp_path)
    process.kill()
    assert all_end(children, 2.0)


def test_workers_that_are_watched_end_with_it_too(tmp_path: Path) -> None:
    process, children = started(tmp_path, "import lpm.processes as p; p.die_with = p.watch")
    process.kill()
    assert all_end(children, 2.0)


@pytest.mark.skipif(os.name == "nt", reason="groups of processes of Unix")
def test_workers_do_not_hear_ctrl_c_and_say_nothing(tmp_path: Path) -> None:
    process, children = started(tmp_path, "import signal; signal.signal(signal.SIGINT, lambda *_: sys.exit(130))")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to all
    assert process.communicate(timeout=10) == (None, b"")
    assert process.returncode == 130
    assert all_end(children, 2.0)


@pytest.mark.skipif(sys.platform != "linux", reason="signals of a process are read from /proc")
def test_workers_are_deaf_to_ctrl_c_before_they_run_any_python(tmp_path: Path) -> None:
    process, children = started(tmp_path)
    workers = [child for child in children if "popen_loky_posix" in " ".join(child.cmdline())]
    blocked = [re.search(r"SigBlk:\s*(\w+)", Path(f"/proc/{one.pid}/status").read_text()) for one in workers]
    process.kill()
    assert all_end(children, 2.0)
    assert [int(found[1], 16) >> (signal.SIGINT - 1) & 1 for found in blocked if found] == [1, 1]


def end(number: int) -> int:
    if number == 1:
        os._exit(1)
    return number


def test_a_killed_worker_is_an_error_in_words() -> None:
    with pytest.raises(WorkerDiedError, match=r"workers: one died, often for want of memory. Try: fewer --jobs"):
        list(in_processes(2, (joblib.delayed(end)(number) for number in range(4))))


def test_results_come_in_the_order_of_their_tasks() -> None:
    assert list(in_processes(2, (joblib.delayed(abs)(-number) for number in range(9)))) == list(range(9))


def test_one_file_starts_workers_and_one_starts_helpers() -> None:
    starts = re.compile(r"Parallel\(|ProcessPool|multiprocessing|Popen\(|subprocess")
    found = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if starts.search(path.read_text("utf-8"))}
    assert found <= {"processes.py", "apart/helper.py", "apart/messages.py"}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing bounds it")
def test_a_process_fails_rather_than_take_all_memory() -> None:
    code = "from lpm.processes import bound_memory; import numpy as np; bound_memory(2**30); np.ones(2**28)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Unable to allocate 2.00 GiB" in done.stderr
    assert 2**28 < most_memory() < 2**50
