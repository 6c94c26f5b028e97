"""Two runs never write into one folder; a dead one does not keep it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lpm.errors import FileError
from lpm.files.outputs import locks
from lpm.files.outputs.locks import LOCK, locked

HOLD = "import sys, time; from pathlib import Path; from lpm.files.outputs.locks import locked\n"
HOLD += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def test_another_run_is_named(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "out"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    expected = rf"out: another run writes here \(process {process.pid} on .+\); expected one at a time. Try: wait"
    with pytest.raises(FileError, match=expected), locked(tmp_path / "out"):
        pass
    process.kill()
    process.wait()
    with locked(tmp_path / "out"):
        pass
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_is_free_after_an_error_and_holds_nothing(tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path, tmp_path / "new"):
        with pytest.raises(KeyError), locked(out):
            raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken, is_free = [], locks._is_free

    def remove_first(descriptor: int) -> bool:
        if not taken:
            (tmp_path / LOCK).unlink()
        taken.append(descriptor)
        return is_free(descriptor)

    monkeypatch.setattr(locks, "_is_free", remove_first)
    with locked(tmp_path):
        assert (tmp_path / LOCK).exists()
    assert len(taken) == 2


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> bool:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks, "_is_free", refuse)
    words = "cannot be locked .*not supported.*no other run writes there"
    with pytest.warns(UserWarning, match=words), locked(tmp_path):
        (tmp_path / "x").touch()


def test_a_colleagues_lock_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuse_writing(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, mode)

    with locked(tmp_path):
        monkeypatch.setattr(os, "open", refuse_writing)
        with pytest.raises(FileError, match="another run writes here"), locked(tmp_path):
            pass
