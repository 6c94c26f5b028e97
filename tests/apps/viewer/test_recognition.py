"""What files of a patient are taken for, one by one and as the page packs them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_writing import Writing, rewrite, write_series
from lpm.apps.viewer.fits import recognition
from lpm.apps.viewer.fits.recognition import recognised
from lpm.errors import FileError
from lpm.files.volumes import write_volume
from lpm.geometry.volumes import Volume


def packed(folder: Path, files: list[tuple[str, bytes]]) -> Path:
    """As the page packs files."""
    path = folder / f"{len(files)} files.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as package:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))
    return path


def volume(values: list[float]) -> Volume:
    return Volume(np.resize(np.array(values, dtype=np.int16), (6, 6, 6)), np.eye(4))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cloud.PLY", "points"),
        ("Markups.mrk.json", "points"),
        ("views.json", "views"),
        ("series.zip", "ct"),
        ("chest_pa.png", "frontal"),
        ("Frontal 2.JPG", "frontal"),
        ("p-0017-lat.tif", "lateral"),
        ("plate.png", None),  # lat is a part of a word, and no word
        ("pa_and_lat.png", None),
        ("letter.docx", None),
    ],
)
def test_names_tell_kinds(name: str, kind: str | None, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"anything")
    assert recognised(tmp_path / name) == [(tmp_path / name, kind)]


@pytest.mark.parametrize(("values", "kind"), [([0, 1, 2], "labels"), ([-1000, -850, 40], "ct")])
def test_values_tell_a_ct_from_a_mask(values: list[float], kind: str, tmp_path: Path) -> None:
    write_volume(tmp_path / "scan.nii.gz", volume(values))
    assert [each for _, each in recognised(tmp_path / "scan.nii.gz")] == [kind]
    (tmp_path / "damaged.nii.gz").write_bytes(b"no gzip")
    assert [each for _, each in recognised(tmp_path / "damaged.nii.gz")] == [None]


def test_files_chosen_at_once_keep_their_names_and_lead_nowhere(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    path = packed(own, [("a.csv", b"1"), ("../../a.csv", b"2"), ("Lünge.csv", b"3")])
    found = recognised(path)
    assert [(each.name, each.read_bytes(), kind) for each, kind in found] == [
        ("a.csv", b"1", "points"),
        ("a.csv", b"2", "points"),
        ("Lünge.csv", b"3", "points"),
    ]
    assert [each.name for each in tmp_path.iterdir()] == ["own"]


def test_slices_become_one_scan_and_a_radiograph_stays_one(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", Writing(), n=5)
    write_series(tmp_path / "dx", Writing(modality="DX", number=3), n=1)
    content = [
        (path.name, path.read_bytes()) for folder in ("ct", "dx") for path in sorted((tmp_path / folder).iterdir())
    ]
    content += [("p.csv", b"x,y,z\n")]
    (tmp_path / "own").mkdir()
    found = recognised(packed(tmp_path / "own", content))
    assert [(path.name, kind) for path, kind in found] == [
        ("3_000", None),
        ("p.csv", "points"),
        ("DICOM (5 files)", "ct"),
    ]
    assert len(list(found[-1][0].iterdir())) == 5


def test_a_mask_beside_its_slices_is_the_label_map(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", Writing(), n=3)
    files = sorted((tmp_path / "ct").iterdir())
    rewrite(files[:1], SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", Modality="SEG")
    (tmp_path / "own").mkdir()
    found = recognised(packed(tmp_path / "own", [(path.name, path.read_bytes()) for path in files]))
    assert [(path.name, kind) for path, kind in found] == [("DICOM (3 files)", "labels")]


def test_a_radiograph_in_dicom_says_its_side(tmp_path: Path) -> None:
    write_series(tmp_path, Writing(modality="DX", columns=64), n=1)
    path = next(tmp_path.iterdir())
    rewrite([path], ViewPosition="LL", Rows=64, PixelData=np.arange(64 * 64, dtype="<u2").tobytes())
    assert recognised(path) == [(path, "lateral")]


def test_a_damaged_package_is_told(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "picture.png")
    (tmp_path / "2 files.tar").write_bytes((tmp_path / "picture.png").read_bytes() * 30)
    with pytest.raises(FileError, match=r"2 files\.tar: cannot be unpacked .*; expected files as the page packs them"):
        recognised(tmp_path / "2 files.tar")


def test_a_package_of_links_or_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tarfile.TarInfo("passwd")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(tmp_path / "link.tar", "w") as package:
        package.addfile(link)
    with pytest.raises(FileError, match=r"no files, or too many; expected at most 5000\. Try: choose fewer"):
        recognised(tmp_path / "link.tar")
    monkeypatch.setattr(recognition, "_MOST_FILES", 2)
    (tmp_path / "own").mkdir()
    with pytest.raises(FileError, match="too many; expected at most 2"):
        recognised(packed(tmp_path / "own", [(f"{n}.csv", b"") for n in range(3)]))
