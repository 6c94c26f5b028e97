"""Public data sets, fetched with checksums; a broken download goes on where it stopped."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from lpm.errors import FileError, InputError
from lpm.extras import import_extra

_CHUNK = 1 << 16  # what a broken connection loses at most
_TIMEOUT_S = 30  # without a byte: the connection counts as broken
_ATTEMPTS = 5  # with doubled pauses, a quarter of a minute in all
_BUSY = (429, 500, 502, 503, 504)  # HTTP: too many requests, and a server's own troubles
_LONGEST_PAUSE_S = 60.0  # for which a command waits before it says so instead
_AGAIN = "run the same command again: it goes on where it stopped"

Progress = Callable[[str, int, int | None], None]
Wait = Callable[[float], None]


@dataclass(frozen=True)
class DataSet:
    """What can be fetched.

    Args:
        name: Name on the command line.
        doi: DOI of the record in an archive that knows its files' checksums (Zenodo, Figshare, Dataverse).
        files: Names in the record.
        licence: Licence, to be shown before anything is used.
        citation: Citation.
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
        name: Name of the local file; a plain name.
        url: Address.
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


def fetch(file: RemoteFile, folder: Path, progress: Progress | None = None, *, wait: Wait = time.sleep) -> Path:
    """Fetch a file, unless it is there already with the right checksum.

    A connection that breaks is taken up again, and a server that is busy (429, 5xx) is asked again, each after a pause.

    Args:
        file: File to fetch.
        folder: Output folder.
        progress: Told name, bytes so far and bytes in all (None if the server does not say).
        wait: Waits for the seconds that it is given.

    Returns:
        Path of the whole file; until it is whole and checked it has another name.

    Raises:
        InputError: The name is no plain name.
        MissingExtraError: pooch is not installed.
        FileError: The connection breaks too often, the server stays busy, the checksum is wrong, or the disk refuses.
    """
    if Path(file.name).name != file.name or file.name.startswith("."):
        raise InputError("download", f"name {file.name!r}", "a plain file name")
    pooch = import_extra("pooch", "download", "lpm download")
    pooch.get_logger().setLevel("ERROR")

    def resume(url: str, to: str, _: object) -> None:
        part = folder / f".{file.name}.part"
        _fetch_part(url, part, lambda done, total: progress(file.name, done, total) if progress else None, wait)
        shutil.move(part, to)

    try:
        found = pooch.retrieve(file.url, known_hash=file.checksum, fname=file.name, path=folder, downloader=resume)
    except FileError:
        raise
    except OSError as error:  # those of the network are told apart before
        given = f"cannot be written ({error.strerror or error})"
        hint = f"free some space or check permissions, and {_AGAIN}"
        raise FileError(str(folder / file.name), given, "a disk with room for the file", hint) from error
    except ValueError as error:
        given = f"the download's checksum is not {file.checksum}"
        raise FileError(file.name, given, "an intact download", "try again; the source may have changed") from error
    return Path(found)


def _fetch_part(url: str, part: Path, progress: Callable[[int, int | None], None], wait: Wait) -> None:
    """Append what is missing of a file; a connection that breaks is taken up again, a busy server asked again.

    Raises:
        FileError: That happens too often, or the server refuses.
    """
    requests = import_extra("requests", "download", "lpm download")
    for attempt in range(_ATTEMPTS):
        try:
            with requests.get(url, headers=_headers(part), stream=True, timeout=_TIMEOUT_S) as answer:
                if answer.status_code not in _BUSY:
                    _append(answer, part, progress)
                    return
                what, reason = "the server was busy", f"{answer.status_code} {answer.reason}"
                pause_s = _pause_s(url, attempt, answer.headers.get("Retry-After"))
        except requests.exceptions.HTTPError as error:
            raise FileError(url, f"refused ({error})", "an answer", "check the address") from error
        except requests.exceptions.RequestException as error:
            what, reason = "the connection broke", f"{type(error).__name__}: {str(error)[:200]}"
            pause_s = _pause_s(url, attempt)
        if attempt + 1 < _ATTEMPTS:
            wait(pause_s)
    raise FileError(url, f"{what} {_ATTEMPTS} times ({reason})", "the whole file", _AGAIN)


def _headers(part: Path) -> dict[str, str]:
    """Ask for bytes as they are, since compressed ones could not be counted, from the first that is missing."""
    start = part.stat().st_size if part.exists() else 0
    return {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})


def _append(answer: Any, part: Path, progress: Callable[[int, int | None], None]) -> None:
    """Write an answer behind what is there, or in its place if the server sends all of it."""
    if answer.status_code == 416:  # nothing is missing
        return
    answer.raise_for_status()
    start = part.stat().st_size if answer.status_code == 206 else 0
    length = answer.headers.get("Content-Length")
    total = start + int(length) if length else None
    with part.open("ab" if start else "wb") as file:
        for chunk in answer.iter_content(_CHUNK):
            file.write(chunk)
            progress(file.tell(), total)


def _pause_s(url: str, attempt: int, retry_after: str | None = None) -> float:
    """Seconds until the next attempt: what the server asks for, else twice as long each time.

    Raises:
        FileError: The server asks for more patience than a command should have.
    """
    asked_s = _asked_s(retry_after)
    if asked_s is None:
        return min(2.0**attempt, _LONGEST_PAUSE_S)
    if asked_s > _LONGEST_PAUSE_S:
        given = f"the server is busy and asks to wait {asked_s:.0f} s"
        raise FileError(url, given, f"at most {_LONGEST_PAUSE_S:.0f} s", f"after that time, {_AGAIN}")
    return asked_s


def _asked_s(retry_after: str | None) -> float | None:
    """Read Retry-After (RFC 9110): seconds, or a date; None if it is neither."""
    text = (retry_after or "").strip()
    if text.isdecimal():
        return float(text)
    try:
        then = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max((then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)
