from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lpm.errors import FileError, InputError
from lpm.files.arrays import read_arrays, write_arrays


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_arrays(tmp_path / "x.npz", {"a": np.arange(1000.0), "b": np.array(["left", "right"])})
    return tmp_path / "x.npz"


def test_round_trip(written: Path) -> None:
    back = read_arrays(written, ("a", "b"))
    np.testing.assert_array_equal(back["a"], np.arange(1000.0))
    assert back["b"].tolist() == ["left", "right"]
    assert read_arrays(written, ("b",)).keys() == {"b"}
    with np.load(written) as archive:
        assert sorted(archive.files) == ["a", "b"]


def test_objects_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\['bad'\] hold Python objects; expected arrays of numbers or text"):
        write_arrays(tmp_path / "x.npz", {"bad": np.array([{}]), "good": np.zeros(3)})
    assert not list(tmp_path.iterdir())


def test_objects_are_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.array([{}]))
    with pytest.raises(FileError, match=r"damaged .*Object arrays cannot be loaded"):
        read_arrays(tmp_path / "x.npz", ("a",))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none.npz: no such file; expected an npz"):
        read_arrays(tmp_path / "none.npz", ("a",))


def test_missing_array(written: Path) -> None:
    with pytest.raises(FileError, match=r"holds \['a', 'b'\]; expected also \['c'\]"):
        read_arrays(written, ("a", "c"))


@pytest.mark.parametrize("keep", [0, 10, 500, -30])
def test_truncated(written: Path, keep: int) -> None:
    written.write_bytes(written.read_bytes()[:keep])
    with pytest.raises(FileError, match=r"x.npz: damaged .* expected an intact npz"):
        read_arrays(written, ("a", "b"))


def test_flipped_bits(written: Path) -> None:
    content = bytearray(written.read_bytes())
    content[1000] ^= 0xFF
    written.write_bytes(content)
    with pytest.raises(FileError, match=r"damaged .*CRC"):
        read_arrays(written, ("a",))


def test_an_npy_is_not_an_npz(tmp_path: Path) -> None:
    with (tmp_path / "x.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(FileError, match="damaged"):
        read_arrays(tmp_path / "x.npz", ("a",))


@pytest.mark.parametrize("field", ["compression", "flag"])
def test_a_method_that_zip_does_not_know_and_a_password(written: Path, field: str) -> None:
    """In the local and in the central header, at their places by the format."""
    data = bytearray(written.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        place = data.index(mark) + offset + (8 if field == "compression" else 6)
        data[place] = 77 if field == "compression" else data[place] | 1
    written.write_bytes(bytes(data))
    with pytest.raises(FileError, match="damaged"):
        read_arrays(written, ("a", "b"))


def test_a_table_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "breath.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FileError, match=r"breath.csv: damaged or of another kind; expected an intact npz. Try: check"):
        read_arrays(tmp_path / "breath.csv", ("a",))
