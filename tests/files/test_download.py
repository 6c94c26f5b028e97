"""Downloads from a server on this machine that redirects, breaks off, and lies."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from lpm.apps.cli import run
from lpm.errors import FileError, InputError
from lpm.files import download
from lpm.files.download import RemoteFile, fetch, find_data_set

pytest.importorskip("pooch", reason="extra download")
BODY = np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8).tobytes()
CHECKSUM = f"md5:{hashlib.md5(BODY, usedforsecurity=False).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    """Serves /whole, /moved (elsewhere), /breaks (after a million bytes, twice), /always-breaks and nothing else.

    Before it serves anything it answers with the status codes and pauses of `busy`, if there are any.
    """

    broken = 0
    busy: tuple[tuple[int, str], ...] = ()
    ranges: tuple[str | None, ...] = ()
    encodings: tuple[str | None, ...] = ()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        if self.busy:
            (status, pause), type(self).busy = self.busy[0], self.busy[1:]
            self.send_response(status)
            self.send_header("Content-Length", "0")
            if pause:
                self.send_header("Retry-After", pause)
            self.end_headers()
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/whole")
            self.end_headers()
        elif self.path in {"/whole", "/breaks", "/always-breaks"}:
            self.serve()
        else:
            self.send_error(404)

    def serve(self) -> None:
        wanted = self.headers.get("Range")
        type(self).ranges = (*self.ranges, wanted)
        type(self).encodings = (*self.encodings, self.headers.get("Accept-Encoding"))
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        left = BODY[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(left)))
        self.end_headers()
        breaks = self.path == "/always-breaks" or (self.path == "/breaks" and self.broken < 2)
        if breaks:
            type(self).broken += 1
            left = left[:1_000_000] if self.path == "/breaks" else b""
        self.wfile.write(left)
        self.close_connection = True


@pytest.fixture
def server() -> Iterator[str]:
    Handler.broken, Handler.busy, Handler.ranges, Handler.encodings = 0, (), (), ()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.mark.parametrize("path", ["/whole", "/moved"])
def test_a_file_is_fetched_once(server: str, tmp_path: Path, path: str) -> None:
    seen: list[tuple[int, int | None]] = []
    file = RemoteFile("x.zip", server + path, CHECKSUM)
    found = fetch(file, tmp_path, lambda _, done, total: seen.append((done, total)))
    assert found == tmp_path / "x.zip"
    assert found.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert fetch(file, tmp_path) == found
    assert len(Handler.ranges) == 1


def test_a_broken_download_goes_on_where_it_stopped(server: str, tmp_path: Path) -> None:
    waited: list[float] = []
    found = fetch(RemoteFile("x.zip", server + "/breaks", CHECKSUM), tmp_path, wait=waited.append)
    assert found.read_bytes() == BODY
    assert waited == [1.0, 2.0]
    assert Handler.ranges[0] is None
    assert all(wanted is not None for wanted in Handler.ranges[1:])
    assert len(Handler.ranges) == 3
    assert Handler.ranges[-1] is not None
    assert int(Handler.ranges[-1].removeprefix("bytes=").removesuffix("-")) >= 1_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_a_download_that_always_breaks_keeps_what_it_has(server: str, tmp_path: Path) -> None:
    (tmp_path / ".x.zip.part").write_bytes(BODY[:500_000])
    with pytest.raises(FileError, match=r"the connection broke 5 times.*goes on where it stopped"):
        fetch(RemoteFile("x.zip", server + "/always-breaks", CHECKSUM), tmp_path, wait=lambda _: None)
    assert (tmp_path / ".x.zip.part").read_bytes() == BODY[:500_000]
    assert fetch(RemoteFile("x.zip", server + "/whole", CHECKSUM), tmp_path).read_bytes() == BODY


def test_bytes_are_asked_for_as_they_are(server: str, tmp_path: Path) -> None:
    fetch(RemoteFile("x.zip", server + "/whole", CHECKSUM), tmp_path)
    assert Handler.encodings == ("identity",)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again_later_each_time(server: str, tmp_path: Path, status: int) -> None:
    Handler.busy, waited = ((status, ""),) * 4, []
    found = fetch(RemoteFile("x.zip", server + "/whole", CHECKSUM), tmp_path, wait=waited.append)
    assert found.read_bytes() == BODY
    assert waited == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize(
    ("pause", "least_s", "most_s"),
    [
        ("7", 7.0, 7.0),
        ("0", 0.0, 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0, 0.0),
        ("in 50 seconds", 1.0, 51.0),
        ("soon", 1.0, 1.0),
    ],
)
def test_a_busy_server_says_how_long_to_wait(
    server: str, tmp_path: Path, pause: str, least_s: float, most_s: float
) -> None:
    if pause == "in 50 seconds":  # from now on, and not from when the tests were collected
        pause = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
    Handler.busy, waited = ((503, pause),), []
    fetch(RemoteFile("x.zip", server + "/whole", CHECKSUM), tmp_path, wait=waited.append)
    assert len(waited) == 1
    assert least_s <= waited[0] <= most_s


def test_a_server_that_stays_busy_is_given_up(server: str, tmp_path: Path) -> None:
    Handler.busy, waited = ((503, ""),) * 9, []
    with pytest.raises(FileError, match=r"the server was busy 5 times \(503 .*goes on where it stopped"):
        fetch(RemoteFile("x.zip", server + "/whole", CHECKSUM), tmp_path, wait=waited.append)
    assert len(waited) == 4


def test_a_server_that_asks_for_an_hour_is_not_waited_for(server: str, tmp_path: Path) -> None:
    Handler.busy, waited = ((429, "3600"),), []
    with pytest.raises(FileError, match=r"asks to wait 3600 s; expected at most 60 s\. Try: after that time, run"):
        fetch(RemoteFile("x.zip", server + "/whole", CHECKSUM), tmp_path, wait=waited.append)
    assert waited == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, the disk that is always full")
def test_a_full_disk_is_told(server: str, tmp_path: Path) -> None:
    (tmp_path / ".x.zip.part").symlink_to("/dev/full")
    with pytest.raises(FileError, match=r"x\.zip: cannot be written \(No space left on device\).* free some space"):
        fetch(RemoteFile("x.zip", server + "/whole", CHECKSUM), tmp_path, wait=lambda _: None)
    assert len(Handler.ranges) == 1, "a full disk is no broken connection"


def test_a_wrong_checksum_leaves_no_file(server: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"x.zip: the download's checksum is not md5:00"):
        fetch(RemoteFile("x.zip", server + "/whole", f"md5:{'00' * 16}"), tmp_path)
    assert not (tmp_path / "x.zip").exists()


def test_a_missing_file_is_named(server: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"refused.*404"):
        fetch(RemoteFile("x.zip", server + "/none", CHECKSUM), tmp_path)


@pytest.mark.parametrize("name", ["../x.zip", "a/b", ".hidden"])
def test_a_name_chooses_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="a plain file name"):
        fetch(RemoteFile(name, "http://127.0.0.1:1/x", CHECKSUM), tmp_path)


def test_unknown_data_sets_are_listed() -> None:
    with pytest.raises(InputError, match="one of covid19-ct"):
        find_data_set("lungs")


def test_the_verb_says_whose_data_it_is(
    server: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [RemoteFile("Lung_Mask.zip", server + "/moved", CHECKSUM)]
    monkeypatch.setattr("lpm.apps.verbs.download.remote_files", lambda _: files)  # the archive is not to be had here
    assert run(["download", "covid19-ct", "--out", str(tmp_path / "data")]) == 0
    assert (tmp_path / "data" / "Lung_Mask.zip").read_bytes() == BODY
    assert "Licence: CC BY 4.0" in capfd.readouterr().err


def test_an_archive_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr("pooch.downloaders.doi_to_repository", fail)
    with pytest.raises(FileError, match=r"its archive cannot be asked \(OSError: no route\)"):
        download.remote_files(find_data_set("covid19-ct"))
