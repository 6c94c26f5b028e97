"""Files that crash, stall or burst their reader are errors, and the next file is read."""

from __future__ import annotations

import ast
import ctypes
import functools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lpm
from lpm.apart.reading import _readers, read_apart, reading_apart
from lpm.batch.attempt import attempt
from lpm.errors import FileError
from lpm.files.meshes import read_mesh
from lpm.files.outputs.temporary import temporary_folder
from lpm.files.points import read_points
from lpm.files.scans import read_labels, read_scan
from lpm.files.volumes import count_voxels, read_volume_file, write_volume
from lpm.geometry.volumes import Volume
from lpm.xray.files.reading import read_field, read_xray

SOURCE = Path(lpm.__file__).parent
READERS = (read_volume_file, count_voxels, read_scan, read_labels, read_mesh, read_points, read_xray, read_field)
NATIVE = {"ReadImage", "ImageFileReader", "pixel_array"}
# where native code meets a file, each reached by one of the readers only; a volume is also read after it was written
OPENED_IN = {
    "files/volumes.py",
    "files/dicom/frames.py",
    "files/dicom/segmentation.py",
    "xray/files/dicom.py",
    "xray/files/reading.py",
    "files/meshes.py",
    "preparation/preview.py",  # pictures that were just written
}


@read_apart
def crash(path: Path) -> None:
    ctypes.string_at(0)


@read_apart
def stall(path: Path) -> None:
    ctypes.PyDLL(None).sleep(60)


@read_apart
def burst(path: Path) -> None:
    np.ones(2**34)


@pytest.mark.parametrize(
    ("read", "match"),
    [
        (crash, r"a\.mha: cannot be read: it ended the process that works on it \(SIGSEGV\); expected an intact file"),
        (stall, r"a\.mha: cannot be read: it did not end within 3 s"),
        (burst, r"a\.mha: cannot be read: it takes more than 2\.0 GiB of memory"),
    ],
)
def test_the_end_of_a_reader_is_the_files_error(read: Callable[[Path], None], match: str, tmp_path: Path) -> None:
    write_volume(tmp_path / "b.nii", Volume(np.ones((3, 4, 5), np.int16), np.eye(4)))
    with reading_apart(seconds=3.0, memory=2 * 1024**3):
        with pytest.raises(FileError, match=match):
            read(Path("a.mha"))
        found = read_scan(tmp_path / "b.nii")
    assert np.array_equal(found.volume.voxels, np.ones((3, 4, 5)))


def test_files_are_those_of_the_folder_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with reading_apart():
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            monkeypatch.chdir(tmp_path / name)
            with pytest.raises(FileError, match=r"^x\.ply: no such file"):
                read_mesh(Path("x.ply"))
            np.savetxt("p.xyz", np.random.default_rng(0).normal(size=(20, 3)))
            assert len(read_points(Path("p.xyz")).points_mm) == 20


def test_a_case_that_crashes_its_reader_fails_alone(tmp_path: Path) -> None:
    tried = attempt("a", functools.partial(crash, Path("a.mha")))
    assert tried.error.startswith("a.mha: cannot be read: it ended the process")
    assert tried.trace == ""


def test_helpers_are_kept_and_few() -> None:
    with reading_apart():
        with pytest.raises(FileError):
            read_mesh(Path("x.ply"))
        started = time.monotonic()
        for _ in range(20):
            with pytest.raises(FileError):
                read_mesh(Path("x.ply"))
        assert time.monotonic() - started < 1.0
    assert 1 <= len(_readers.helpers) <= 2


def test_nothing_is_read_apart_unless_asked_for() -> None:
    assert _readers.limits is None
    with reading_apart(seconds=1.0), reading_apart(seconds=2.0):
        assert _readers.limits is not None
        assert _readers.limits.seconds == 1.0
    assert _readers.limits is None


def test_every_reader_of_strangers_files_is_read_apart() -> None:
    assert all(hasattr(read, "__wrapped__") for read in READERS)


def test_native_readers_are_called_where_readers_are_guarded() -> None:
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _calls_native(node.func)
    }
    assert found == OPENED_IN


def _calls_native(called: ast.expr) -> bool:
    name = ast.unparse(called)
    return name.rpartition(".")[2] in NATIVE or name in ("Image.open", "pyvista.read", "reader.read")


@read_apart
def crash_while_unpacking(path: Path) -> None:
    with temporary_folder() as folder:
        (folder / "slice.dcm").write_bytes(b"1")
        path.write_text(str(folder))
        ctypes.string_at(0)


def test_what_a_crashed_reader_left_is_removed(tmp_path: Path) -> None:
    with reading_apart(), pytest.raises(FileError, match="SIGSEGV"):
        crash_while_unpacking(tmp_path / "a")
    assert not Path((tmp_path / "a").read_text()).exists()
