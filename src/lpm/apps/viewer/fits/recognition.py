"""What the files of a patient are taken for: by their names, their headers, and what they hold."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from lpm.apart.reading import read_apart
from lpm.apps.viewer.fits.upload import Kind, check_size
from lpm.apps.viewer.uploads import safe_name
from lpm.errors import FileError, LpmError
from lpm.files.dicom.headers import read_header
from lpm.files.dicom.masks import mask_kind
from lpm.files.points import POINT_SUFFIXES
from lpm.files.scans import is_dicom_file, read_scan
from lpm.files.volumes import is_volume_name
from lpm.xray.files.reading import read_xray

SEVERAL = ".tar"  # what the page packs files into that are chosen at once
_MOST_FILES = 5000  # slices of a CT among them
_PROJECTIONS = ("CR", "DX", "RF", "XA")  # DICOM modalities of radiographs
_AIR_HU = -200.0  # no label map has values below that, and every CT of a chest has
_LATERAL, _FRONTAL = {"lat", "lateral", "ll", "rl"}, {"frontal", "front", "pa", "ap"}

Recognised = list[tuple[Path, Kind | None]]


@read_apart
def recognised(path: Path) -> Recognised:
    """Tell files of a patient apart.

    Args:
        path: One file, or several packed by the page, in a folder of its own, where they are unpacked.

    Returns:
        Each with its kind, None where a person has to say it; slices of DICOM become one folder.

    Raises:
        FileError: The package is damaged, or holds too many files.
    """
    files = _unpacked(path) if path.suffix == SEVERAL else [path]
    dicom = [each for each in files if is_dicom_file(each)]
    pictures = [each for each in dicom if _modality(each) in _PROJECTIONS]
    slices = [each for each in dicom if each not in pictures]
    single = [(each, _kind_of(each)) for each in files if each not in slices]
    return [*single, *_as_folder(slices)]


def _unpacked(path: Path) -> list[Path]:
    """Files of a package, each under a name of its own."""
    try:
        with tarfile.open(path, "r:") as package:
            return list(_unpack(package, path.parent))
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise FileError(path.name, f"cannot be unpacked ({error})", "files as the page packs them") from error


def _unpack(package: tarfile.TarFile, folder: Path) -> Iterator[Path]:
    for index, member in enumerate(package):
        content = package.extractfile(member) if member.isreg() else None
        if index >= _MOST_FILES or content is None:
            raise FileError("files", "no files, or too many", f"at most {_MOST_FILES}", "choose fewer")
        own = folder / f"{index:04d}"
        own.mkdir()
        found = own / safe_name(member.name)
        found.write_bytes(content.read())
        yield found


def _modality(path: Path) -> str:
    header = read_header(path)
    return "" if header is None else str(header.get("Modality") or "")


def _kind_of(path: Path) -> Kind | None:
    """The kind of a file that is no slice."""
    name = path.name.lower()
    if name.endswith(".json") and not name.endswith(".mrk.json"):
        return "views"
    if name.endswith(POINT_SUFFIXES):
        return "points"
    if is_volume_name(path):
        return _of_volume(path)
    if name.endswith(".zip"):
        return "ct"
    return _side(path)


def _of_volume(path: Path) -> Kind | None:
    try:
        check_size(path)
        return "ct" if read_scan(path).volume.voxels.min() < _AIR_HU else "labels"
    except LpmError:
        return None  # the fit tells what is wrong with it


def _side(path: Path) -> Kind | None:
    """The side of a radiograph, as DICOM or its name says it."""
    if is_dicom_file(path):
        try:
            return read_xray(path).view
        except LpmError:
            return None
    words = set(re.split(r"[^a-z]+", path.stem.lower()))
    if bool(words & _LATERAL) == bool(words & _FRONTAL):
        return None
    return "lateral" if words & _LATERAL else "frontal"


def _as_folder(slices: Sequence[Path]) -> Recognised:
    """Slices of one scan, or a DICOM mask beside them, in a folder."""
    if not slices:
        return []
    folder = slices[0].parent.parent / f"DICOM ({len(slices)} file{'s' if len(slices) > 1 else ''})"
    folder.mkdir()
    kind: Kind = "labels" if any(mask_kind(each) for each in slices) else "ct"
    for index, each in enumerate(slices):
        each.rename(folder / f"{index:04d} {each.name}")
    return [(folder, kind)]
