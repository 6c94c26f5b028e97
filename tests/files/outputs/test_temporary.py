"""What killed processes left under temporary names goes; what living ones use, and all else, stays."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import lpm
from lpm.files.atomic import atomic_folder, write_text
from lpm.files.outputs import temporary
from lpm.files.outputs.temporary import (
    is_stale,
    is_temporary,
    remove_stale_folders,
    temporary_beside,
    temporary_folder,
)

SOURCE = Path(lpm.__file__).parent
DIE = "import os, sys; from pathlib import Path; from lpm.files.outputs.temporary import *\n"
WITHIN = DIE + "with temporary_folder() as f: (f / 'x').touch(); print(f, flush=True); os._exit(9)"
BESIDE = DIE + "p = temporary_beside(Path(sys.argv[1]), sys.argv[2]); p.mkdir(); (p / 'x').touch(); os._exit(9)"


def test_folders_of_dead_processes_go_and_of_living_ones_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    left = Path(
        subprocess.run([sys.executable, "-c", WITHIN], env=environment, stdout=-1, check=False).stdout.decode()[:-1]
    )
    (tmp_path / "lpm-of-somebody").mkdir()
    with temporary_folder() as mine:
        assert left.exists()
        remove_stale_folders()
        assert not left.exists()
        assert mine.stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["lpm-of-somebody"]


@pytest.mark.parametrize("what", ["part", "old"])
def test_writing_beside_a_left_over_removes_it(tmp_path: Path, what: str) -> None:
    (tmp_path / "fit").mkdir()
    subprocess.run([sys.executable, "-c", BESIDE, tmp_path / "fit", what], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    write_text(tmp_path / "y", "y")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit", "y"]


def test_a_folder_that_had_stepped_aside_comes_back(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", BESIDE, tmp_path / "fit", "old"], check=False)
    write_text(tmp_path / "y", "y")
    assert (tmp_path / "fit" / "x").exists()


def test_a_folder_is_never_missing_while_it_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the midst, the old one is there, or the new one."""
    if sys.platform != "linux":
        pytest.skip("other systems exchange no folders")
    with atomic_folder(tmp_path / "x") as folder:
        (folder / "a").write_text("old")

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Path, "rename", refuse)
    with atomic_folder(tmp_path / "x") as folder:
        (folder / "a").write_text("new")
    assert [path.read_text() for path in tmp_path.rglob("a")] == ["new"]


def test_names_tell_whose_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    name = temporary_beside(Path("x" * 300 + ".nii.gz")).name
    assert name.endswith("x.nii.gz")
    assert len(name) < 255
    assert is_temporary(name)
    assert not is_stale(name)
    assert not is_temporary(".x.nii.gz")
    monkeypatch.setattr(temporary, "_RUN", "abcdef")
    assert is_stale(name), "an earlier process had the same number"
    monkeypatch.setattr(temporary, "_place", lambda: "01234567")
    assert not is_stale(name), "of another machine nobody knows"


def test_temporary_folders_are_made_in_one_place() -> None:
    made = re.compile(r"mkdtemp|mkstemp|NamedTemporary|TemporaryDirectory\((?!prefix=temporary_prefix\(\)|dir=)")
    found = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if made.search(path.read_text("utf-8"))}
    assert found <= set()
