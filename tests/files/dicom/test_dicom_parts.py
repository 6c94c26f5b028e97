"""Several volumes in one series, and one volume under several series UIDs."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_writing import Writing, check, rewrite, write_series
from lpm.errors import InputError
from lpm.files.dicom.folder import files_of_series, find_series
from lpm.files.scans import read_scan


def two_at_a_place(folder: Path, n: int = 2, **told: tuple[object, ...]) -> None:
    """A series that holds each slice n times; values of each by attribute."""
    uid = write_series(folder / "0", Writing(), n=25)
    for k in range(1, n):
        write_series(folder / str(k), Writing(), n=25, uid=uid)
    for k in range(n):
        rewrite((folder / str(k)).iterdir(), **{name: values[k] for name, values in told.items()})


def test_kernels_are_told_apart_and_the_one_taken_is_named(tmp_path: Path) -> None:
    two_at_a_place(tmp_path, ConvolutionKernel=("B70f", "B30f"))
    assert [series.label for series in find_series(tmp_path)] == ["2:B30f", "2:B70f"]
    read = read_scan(tmp_path)
    check(read.volume)
    assert "series 2:B30f (CT, CHEST THIN, kernel B30f)" in read.notes[0]
    assert "the same series has 2:B70f" in read.notes[0]
    assert "series 2:B70f" in read_scan(tmp_path, "2:B70f").notes[0]
    with pytest.raises(InputError, match=r"--series 2:B50f: 0 of these"):
        read_scan(tmp_path, "2:B50f")


@pytest.mark.parametrize("name", ["TemporalPositionIdentifier", "NominalPercentageOfCardiacPhase", "AcquisitionTime"])
def test_phases_must_be_named(tmp_path: Path, name: str) -> None:
    values = ("101000", "101010", "101020") if name == "AcquisitionTime" else (1, 2, 3)
    two_at_a_place(tmp_path, 3, **{name: values}, SeriesDescription=("4D 0%", "4D 30%", "4D 60%"))
    with pytest.raises(InputError, match=rf"(?s)3 phases in one .*2:{values[0]} .*4D 0%.*2:{values[2]} .*4D 60%"):
        read_scan(tmp_path)
    check(read_scan(tmp_path, f"2:{values[1]}").volume)


def test_phases_of_kernels_are_told_apart_by_both(tmp_path: Path) -> None:
    told = {"TemporalPositionIdentifier": (1, 2, 1, 2), "ConvolutionKernel": ("B30f", "B30f", "B70f", "B70f")}
    two_at_a_place(tmp_path, 4, **told)
    assert [series.label for series in find_series(tmp_path)] == ["2:1:B30f", "2:1:B70f", "2:2:B30f", "2:2:B70f"]
    check(read_scan(tmp_path, "2:2:B70f").volume)
    with pytest.raises(InputError, match="--series 2:B70f: 2 of these"):
        read_scan(tmp_path, "2:B70f")


def test_what_differs_from_slice_to_slice_tells_nothing_apart(tmp_path: Path) -> None:
    two_at_a_place(tmp_path)
    for k, path in enumerate(sorted(tmp_path.rglob("2_*"))):
        rewrite([path], ContentTime=f"1010{k:02d}", RescaleIntercept=-1024 - k)
    with pytest.raises(InputError, match=r"several images at the same place .* no phase, kernel or time"):
        read_scan(tmp_path)


def one_uid_each(folder: Path, **told: object) -> list[Path]:
    paths = sorted(folder.iterdir())
    for k, path in enumerate(paths):
        rewrite([path], SeriesInstanceUID=f"1.2.9.{k}", **{"FrameOfReferenceUID": "1.2.7", **told})
    return paths


def test_slices_with_a_series_uid_each_are_one_series(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing())
    paths = one_uid_each(tmp_path / "d")
    for given in (tmp_path / "d", paths[3]):
        read = read_scan(given)
        check(read.volume)
        assert read.notes == ("slices of 30 series UIDs, joined: they make one stack",)
    assert files_of_series(paths[3]) == paths
    check(read_scan(tmp_path / "d", "2").volume)


def test_two_kernels_with_a_series_uid_for_each_image(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing(number=2))
    write_series(tmp_path / "d", Writing(number=3))
    for k, path in enumerate(one_uid_each(tmp_path / "d")):
        rewrite([path], ConvolutionKernel="B30f" if k < 30 else "B70f")
    assert [len(series.slices) for series in find_series(tmp_path / "d")] == [30, 30]


@pytest.mark.parametrize("told", [{"FrameOfReferenceUID": ""}, {"left_out": (7, 8)}, {"tail": True}])
def test_slices_that_are_no_one_stack_stay_apart(tmp_path: Path, told: dict[str, object]) -> None:
    left_out = told.pop("left_out", ())
    write_series(tmp_path / "d", Writing(left_out=left_out))  # type: ignore[arg-type]
    tail = told.pop("tail", False)
    paths = one_uid_each(tmp_path / "d", **told)
    if tail:
        rewrite(paths[::2], FrameOfReferenceUID="1.2.8")
        rewrite(paths[::2], StudyInstanceUID="1.2.8")
    with pytest.raises(InputError, match=r"(?s)no axial CT series of 20 slices.*name one with --series:.*and \d+ more"):
        read_scan(tmp_path / "d")


def test_a_localizer_beside_is_not_joined(tmp_path: Path) -> None:
    write_series(tmp_path / "d", Writing())
    one_uid_each(tmp_path / "d")
    write_series(tmp_path / "d", Writing(number=1, kind=("ORIGINAL", "PRIMARY", "LOCALIZER"), columns=20), n=1)
    assert sorted(len(series.slices) for series in find_series(tmp_path / "d")) == [1, 30]
