from __future__ import annotations

import errno
import os
import shutil
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from lpm.errors import FileError, InputError
from lpm.files.arrays import write_arrays
from lpm.files.atomic import atomic_file, atomic_folder, check_gives_way, clear_left_overs, inside, write_text
from lpm.files.outputs.temporary import temporary_beside


class SomethingElseError(Exception):
    """Not of LPM, not of the disk."""


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.ply"
    with atomic_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.suffix == ".ply"
    assert path.read_text() == "half"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [SomethingElseError("x"), KeyboardInterrupt(), InputError("x", "y")])
@pytest.mark.parametrize("kind", [atomic_file, atomic_folder])
def test_an_error_in_the_middle_leaves_nothing(tmp_path: Path, error: BaseException, kind: type) -> None:
    def fail_inside(context: AbstractContextManager[Path]) -> None:
        with context as temporary:
            (temporary / "a" if temporary.is_dir() else temporary).write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail_inside(kind(tmp_path / "x"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [atomic_file, atomic_folder])
def test_a_full_disk_is_a_file_error_and_the_old_one_survives(tmp_path: Path, kind: type) -> None:
    path = tmp_path / "x"
    if kind is atomic_folder:
        path.mkdir()
    old = path / "a" if kind is atomic_folder else path
    old.write_text("old")

    def fill(context: AbstractContextManager[Path]) -> None:
        with context as temporary:
            (temporary / "a" if temporary.is_dir() else temporary).write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FileError, match=r"x: cannot be written .*No space left on device.*check free space"):
        fill(kind(path))
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", [atomic_file, atomic_folder])
def test_a_file_error_keeps_its_own_message(tmp_path: Path, kind: type) -> None:
    def fail(context: AbstractContextManager[Path]) -> None:
        with context:
            raise FileError("inner.ply", "unknown kind")

    with pytest.raises(FileError, match=r"^inner.ply: unknown kind$"):
        fail(kind(tmp_path / "x"))


@pytest.mark.parametrize("kind", [atomic_file, atomic_folder])
def test_a_file_in_the_place_of_the_folder(tmp_path: Path, kind: type) -> None:
    (tmp_path / "file").write_text("x")

    def enter(context: AbstractContextManager[Path]) -> None:
        with context:
            pass

    with pytest.raises(FileError, match="cannot be written"):
        enter(kind(tmp_path / "file" / "x"))
    assert (tmp_path / "file").read_text() == "x"


def test_a_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    for names in (("a", "b"), ("c",)):
        with atomic_folder(tmp_path / "x") as temporary:
            for name in names:
                (temporary / name).write_text(name)
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["c"]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_folder_that_others_remove_meanwhile_does_not_come_back_in_part(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_folder(tmp_path / "fit") as temporary:
            write_text(temporary / "first.txt", "1")
            shutil.rmtree(temporary)
            write_text(temporary / "last.txt", "2")

    with pytest.raises(FileError, match=r"cannot be written \(its folder was removed while it was written\)"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_the_old_folder_comes_back_if_the_new_one_cannot_take_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with atomic_folder(tmp_path / "x") as temporary:
        (temporary / "a").write_text("old")
    rename = Path.rename

    def refuse_new(self: Path, target: Path) -> Path:
        if ".part." in self.name:
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    monkeypatch.setattr("lpm.files.atomic._exchange", lambda *_: False)  # as on file systems that cannot
    with pytest.raises(FileError, match="Input/output error"), atomic_folder(tmp_path / "x") as temporary:
        (temporary / "a").write_text("new")
    assert (tmp_path / "x" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_text_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / "x.json", "größer")
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == "größer"


def test_arrays_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_arrays(tmp_path / "x.npz", {"a": np.zeros(3)})
    before = (tmp_path / "x.npz").read_bytes()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", refuse)
    with pytest.raises(FileError, match="No space left on device"):
        write_arrays(tmp_path / "x.npz", {"a": np.ones(3)})
    assert (tmp_path / "x.npz").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_left_overs_of_killed_runs_are_removed_and_nothing_else(tmp_path: Path) -> None:
    mine = temporary_beside(tmp_path / "x").name
    for name in (mine, mine.replace(".part.", ".old."), "x", ".hidden", ".ab.part.x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("1")
    temporary_beside(tmp_path / "y.ply").write_text("half")
    clear_left_overs(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".ab.part.x", ".hidden", "x"]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of folders bind nobody there")
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o555)
    if os.access(shut, os.W_OK):  # root, whom permissions do not bind
        shut = Path("/proc/self")
    with pytest.raises(FileError, match="where this user may not write; expected a place that may be written"):
        check_gives_way(shut / "new" / "fit", lambda name: False, "ours")


def test_a_folder_gives_way_only_if_nothing_of_others_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_own(name: str) -> bool:
        return name.startswith("own")

    check_gives_way(tmp_path / "new", is_own, "ours")
    (tmp_path / "own.txt").touch()
    check_gives_way(tmp_path, is_own, "ours")
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(FileError, match=r"holds thesis\.txt, which would be lost; expected a folder that is new"):
        check_gives_way(tmp_path, is_own, "ours")
    with pytest.raises(FileError, match="is a file"):
        check_gives_way(tmp_path / "own.txt", is_own, "ours")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileError, match="is the current folder"):
        check_gives_way(Path(), is_own, "ours")


def test_a_folder_may_be_named_by_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with atomic_folder(Path("a") / ".") as temporary:
        (temporary / "x").touch()
    assert (tmp_path / "a" / "x").exists()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "..", ".hidden", "", "a\\b", "C:x", "a\nb", "x" * 300, " x"])
def test_a_name_that_leads_out_of_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileError, match=r"the name .*plain name"):
        inside(tmp_path, "a", name)


def test_plain_names_of_any_language_are_paths_below_a_folder(tmp_path: Path) -> None:
    assert inside(tmp_path, "Müller 3 (b)", "left_lung.nii.gz") == tmp_path / "Müller 3 (b)" / "left_lung.nii.gz"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "to_folder").symlink_to("real")
    with atomic_folder(tmp_path / "to_folder") as temporary:
        (temporary / "a").write_text("new")
    (tmp_path / "to_file").symlink_to("real/a")
    write_text(tmp_path / "to_file", "newer")
    assert (tmp_path / "real" / "a").read_text() == "newer"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["real", "to_file", "to_folder"]
    assert (tmp_path / "to_folder").is_symlink()


def test_what_is_no_regular_file_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="no regular file"):
        write_text(tmp_path / "pipe", "x")
    assert (tmp_path / "pipe").is_fifo()


def test_a_disk_that_refuses_only_at_the_end_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(FileError, match="No space left"):
        write_text(tmp_path / "x", "half")
    assert not list(tmp_path.iterdir())
