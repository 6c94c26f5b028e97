"""Ctrl-C and SIGTERM end the program at any time, in order: no traceback, the exit code says what came."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of Unix")

PROGRAM = """
import hashlib, sys, time
from pathlib import Path
import lpm.apps.cli as cli, lpm.apps.start as start
from lpm.files.atomic import atomic_file

def begin():
    Path(sys.argv[1]).touch()

class Loses:
    def __del__(self):
        begin()
        time.sleep(60)

def wait():
    begin()
    time.sleep(60)

def write():
    with atomic_file(Path(sys.argv[1]).with_name("out.txt")) as temporary:
        temporary.write_text("half")
        wait()

def in_native_code():
    begin()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

def turned_into_another_error():
    try:
        wait()
    except BaseException:
        pass
    raise NameError("half a module")

def lost():
    Loses()
    time.sleep(60)

def run(arguments, *, debug):
    try:
        {work}()
    except SystemExit as stop:
        return stop.code
    return 0

cli.run, start._PATIENCE_S = run, 0.5
start.main()
"""


def stopped(tmp_path: Path, work: str, number: int) -> tuple[int, bytes]:
    """Exit code and words of a program that was stopped at work."""
    mark = tmp_path / "begun"
    command = [sys.executable, "-c", PROGRAM.format(work=work), mark]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while not mark.exists():
        assert time.monotonic() < until, "it did not begin"
        time.sleep(0.02)
    process.send_signal(number)
    said = process.communicate(timeout=20)[1]
    return process.returncode, said


@pytest.mark.parametrize(
    ("work", "said"),
    [("write", b"stopped\n"), ("in_native_code", b""), ("lost", b""), ("turned_into_another_error", b"stopped\n")],
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it(tmp_path: Path, work: str, said: bytes, number: int, code: int) -> None:
    assert stopped(tmp_path, work, number) == (code, said)
    assert [path.name for path in tmp_path.iterdir()] == ["begun"], "nothing half-written is left"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_while_it_is_imported() -> None:
    process = subprocess.Popen([sys.executable, "-m", "lpm.apps.start", "--version"], stderr=subprocess.PIPE)
    while not is_caught(process.pid, signal.SIGTERM):
        assert process.poll() is None, "it ended before it heard of signals"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[1] == b""
    assert process.returncode == 130


def is_caught(pid: int, number: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(line.split()[1] for line in lines if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_a_signal_that_is_to_be_ignored_stays_ignored(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); import lpm.apps.start as s; "
    code += "s._on_stop(s._leave); signal.raise_signal(signal.SIGINT); print('goes on')"
    assert subprocess.check_output([sys.executable, "-c", code]) == b"goes on\n"


def test_a_signal_after_the_end_changes_nothing(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("""
import os, signal
import lpm.apps.cli as cli, lpm.apps.start as start

class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGTERM):
        kill(pid, number)

late = Late()
cli.run = lambda arguments, *, debug: 0
start.main()
""")
    assert subprocess.run([sys.executable, program], check=False, timeout=60).returncode == 0


def test_workers_leave_nothing_to_complain_of(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("""
import joblib
import lpm.apps.cli as cli, lpm.apps.start as start
from lpm.processes import in_processes

def run(arguments, *, debug):
    list(in_processes(2, (joblib.delayed(abs)(number) for number in range(4))))
    return 1

if __name__ == "__main__":
    cli.run = run
    start.main()
""")
    done = subprocess.run([sys.executable, program], stderr=subprocess.PIPE, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, b"")
