"""Headers that could end the process, or read another file, are refused before a native reader sees them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lpm.errors import FileError
from lpm.files.itk_headers import check_itk_header
from lpm.files.scans import scan_files
from lpm.files.volumes import read_volume
from lpm.preparation.config import PreparationConfig, digest_case

VOXELS = np.arange(24, dtype=np.uint8)
META = "NDims = 3\nDimSize = 2 3 4\nElementType = MET_UCHAR\nElementSpacing = 1 1 1\nElementDataFile = "
NRRD = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 3 4\nspacings: 1 1 1\nencoding: raw\n"


def write(path: Path, header: str, *, attached: bool = False) -> Path:
    path.write_bytes(header.encode() + (VOXELS.tobytes() if attached else b""))
    return path


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file elsewhere, with as many bytes as the voxels need."""
    path = tmp_path / "secret" / "shadow.raw"
    path.parent.mkdir()
    path.write_bytes(VOXELS.tobytes())
    return path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


def test_intact_ones_are_read(own: Path) -> None:
    (own / "voxels.raw").write_bytes(VOXELS.tobytes())
    detached = [write(own / "a.mhd", META + "voxels.raw\n"), write(own / "b.nhdr", NRRD + "data file: voxels.raw\n")]
    attached = [
        write(own / "c.mha", META + "LOCAL\n", attached=True),
        write(own / "d.nrrd", NRRD + "\n", attached=True),
    ]
    for path in (*detached, *attached):
        assert np.array_equal(read_volume(path).voxels.transpose(2, 1, 0).ravel(), VOXELS)
    assert scan_files(detached[0]) == [detached[0], own / "voxels.raw"]
    assert scan_files(attached[0]) == [attached[0]]


def test_a_case_is_made_again_when_the_voxels_beside_its_header_change(own: Path) -> None:
    (own / "voxels.raw").write_bytes(VOXELS.tobytes())
    path = write(own / "a.mhd", META + "voxels.raw\n")
    before = digest_case(path, "a", PreparationConfig())
    (own / "voxels.raw").write_bytes(VOXELS[::-1].tobytes())
    assert digest_case(path, "a", PreparationConfig()) != before


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nhdr", ".nrrd"])
@pytest.mark.parametrize("how", ["absolute", "relative", "list"])
def test_a_header_that_names_a_file_elsewhere_is_refused(own: Path, secret: Path, suffix: str, how: str) -> None:
    named = {"absolute": str(secret), "relative": "../secret/shadow.raw", "list": f"LIST\n{secret}"}[how]
    header = META + named if suffix.startswith(".m") else NRRD + f"data file: {named}\n"
    with pytest.raises(FileError, match="voxels in"):
        read_volume(write(own / f"x{suffix}", header + "\n"))


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_a_pipe_beside_a_header_is_no_file_of_voxels(own: Path, suffix: str) -> None:
    os.mkfifo(own / "pipe")
    header = META + "pipe\n" if suffix == ".mhd" else NRRD + "datafile: pipe\n\n"
    with pytest.raises(FileError, match="no file 'pipe' beside it"):
        read_volume(write(own / f"x{suffix}", header))


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("x.mha", META.replace("NDims = 3", "NDims = 65535") + "LOCAL\n"),
        ("x.mha", META.replace("DimSize = 2 3 4", "DimSize = 2 3") + "LOCAL\n"),
        ("x.mha", META.replace("DimSize = 2 3 4", "DimSize = 2 -3 4") + "LOCAL\n"),
        ("x.mha", META.replace("NDims = 3", "ElementNumberOfChannels = 70000\nNDims = 3") + "LOCAL\n"),
        ("x.mha", META.replace("1 1 1", "1" * 5000 + " 1 1") + "LOCAL\n"),
        ("x.mha", "NDims = 3\n"),
        ("x.nrrd", NRRD.replace("dimension: 3", "dimension: 70000") + "\n"),
        ("x.nrrd", NRRD.replace("sizes: 2 3 4", "sizes: " + "9" * 5000 + " 3 4") + "\n"),
        ("x.nrrd", NRRD.replace("spacings: 1 1 1", "spacings: " + "1" * 5000 + " 1 1") + "\n"),
        ("x.nrrd", NRRD.replace("sizes: 2 3 4", "sizes: 2 3") + "\n"),
        ("x.nrrd", "no header at all\n"),
    ],
)
def test_a_header_that_cannot_be_is_refused(own: Path, name: str, header: str) -> None:
    with pytest.raises(FileError, match="header cannot be read"):
        check_itk_header(write(own / name, header, attached=True))
