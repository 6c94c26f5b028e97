"""Public data sets, fetched with checksums; a broken download goes on where it stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lpm.errors import FileError, InputError
from lpm.extras import import_extra

_CHUNK = 1 << 16  # what a broken connection loses at most
_TIMEOUT_S = 30
_ATTEMPTS = 5

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class DataSet:
    """What can be fetched.

    Args:
        name: What the command line calls it.
        doi: Of the record in an archive that knows its files' checksums (Zenodo, Figshare, Dataverse).
        files: Names in the record.
        licence: To be shown before anything is used.
        citation: Whom to cite.
    """

    name: str
    doi: str
    files: tuple[str, ...]
    licence: str
    citation: str


DATA_SETS: dict[str, DataSet] = {
    "covid19-ct": DataSet(
        "covid19-ct",
        "10.5281/zenodo.3757476",
        ("COVID-19-CT-Seg_20cases.zip", "Lung_Mask.zip"),
        "CC BY 4.0 (the coronacases scans); the radiopaedia scans carry their authors' licences: see the record",
        "Ma Jun et al. (2020), COVID-19 CT Lung and Infection Segmentation Dataset, https://doi.org/10.5281/zenodo.3757476",
    )
}


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch.

    Args:
        name: Of the file here; a plain name.
        url: Where it is.
        checksum: Algorithm and digest, such as md5:0123...
    """

    name: str
    url: str
    checksum: str


def find_data_set(name: str) -> DataSet:
    """A data set by its name.

    Raises:
        InputError: There is none of that name.
    """
    if name not in DATA_SETS:
        raise InputError("data set", repr(name), f"one of {', '.join(DATA_SETS)}")
    return DATA_SETS[name]


def remote_files(data_set: DataSet) -> list[RemoteFile]:
    """Where the files of a data set are, and their checksums, as its archive says.

    Raises:
        MissingExtraError: pooch is not installed.
        FileError: The archive cannot be asked, or does not hold the files.
    """
    downloaders = import_extra("pooch.downloaders", "download", "lpm download")
    pooch = import_extra("pooch", "download", "lpm download").create(
        path=".", base_url=f"doi:{data_set.doi}/", registry={}
    )
    try:
        record = downloaders.doi_to_repository(data_set.doi, timeout=_TIMEOUT_S)
        record.populate_registry(pooch)
        return [RemoteFile(name, record.download_url(name), pooch.registry[name]) for name in data_set.files]
    except Exception as error:  # the archive's answer can fail in many ways, all of which mean that it is not to be had
        given = f"its archive cannot be asked ({type(error).__name__}: {str(error)[:200]})"
        raise FileError(data_set.name, given, f"https://doi.org/{data_set.doi}", "check the network") from error


def fetch(file: RemoteFile, folder: Path, progress: Progress | None = None) -> Path:
    """Fetch a file, unless it is there already with the right checksum.

    Args:
        file: What to fetch.
        folder: Where to.
        progress: Told name, bytes so far and bytes in all (None if the server does not say).

    Returns:
        Path of the whole file; until it is whole and checked it has another name.

    Raises:
        InputError: The name is no plain name.
        MissingExtraError: pooch is not installed.
        FileError: The connection breaks too often, or the checksum is wrong.
    """
    if Path(file.name).name != file.name or file.name.startswith("."):
        raise InputError("download", f"name {file.name!r}", "a plain file name")
    pooch = import_extra("pooch", "download", "lpm download")
    pooch.get_logger().setLevel("ERROR")

    def resume(url: str, to: str, _: object) -> None:
        part = folder / f".{file.name}.part"
        _fetch_part(url, part, lambda done, total: progress(file.name, done, total) if progress else None)
        shutil.move(part, to)

    try:
        found = pooch.retrieve(file.url, known_hash=file.checksum, fname=file.name, path=folder, downloader=resume)
    except ValueError as error:
        given = f"the download's checksum is not {file.checksum}"
        raise FileError(file.name, given, "an intact download", "try again; the source may have changed") from error
    return Path(found)


def _fetch_part(url: str, part: Path, progress: Callable[[int, int | None], None]) -> None:
    """Append what is missing of a file; a connection that breaks is taken up again.

    Raises:
        FileError: It breaks too often, or the server refuses.
    """
    requests = import_extra("requests", "download", "lpm download")
    reason = ""
    for _ in range(_ATTEMPTS):
        start = part.stat().st_size if part.exists() else 0
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as answer:
                if answer.status_code == 416:  # nothing is missing
                    return
                answer.raise_for_status()
                start = start if answer.status_code == 206 else 0
                length = answer.headers.get("Content-Length")
                total = start + int(length) if length else None
                with part.open("ab" if start else "wb") as file:
                    for chunk in answer.iter_content(_CHUNK):
                        file.write(chunk)
                        progress(file.tell(), total)
                return
        except requests.exceptions.HTTPError as error:
            raise FileError(url, f"refused ({error})", "an answer", "check the address") from error
        except requests.exceptions.RequestException as error:
            reason = f"{type(error).__name__}: {str(error)[:200]}"
    given = f"the connection broke {_ATTEMPTS} times ({reason})"
    raise FileError(url, given, "the whole file", "run the same command again: it goes on where it stopped")
