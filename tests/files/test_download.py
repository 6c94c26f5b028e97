"""Downloads from a server on this machine that redirects, breaks off, and lies."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
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
    """Serves /whole, /moved (elsewhere), /breaks (after a million bytes, twice), /always-breaks and nothing else."""

    broken = 0
    ranges: tuple[str | None, ...] = ()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        if self.path == "/moved":
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
    Handler.broken, Handler.ranges = 0, ()
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
    assert fetch(RemoteFile("x.zip", server + "/breaks", CHECKSUM), tmp_path).read_bytes() == BODY
    assert Handler.ranges[0] is None
    assert all(wanted is not None for wanted in Handler.ranges[1:])
    assert len(Handler.ranges) == 3
    assert Handler.ranges[-1] is not None
    assert int(Handler.ranges[-1].removeprefix("bytes=").removesuffix("-")) >= 1_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_a_download_that_always_breaks_keeps_what_it_has(server: str, tmp_path: Path) -> None:
    (tmp_path / ".x.zip.part").write_bytes(BODY[:500_000])
    with pytest.raises(FileError, match=r"the connection broke 5 times.*goes on where it stopped"):
        fetch(RemoteFile("x.zip", server + "/always-breaks", CHECKSUM), tmp_path)
    assert (tmp_path / ".x.zip.part").read_bytes() == BODY[:500_000]
    assert fetch(RemoteFile("x.zip", server + "/whole", CHECKSUM), tmp_path).read_bytes() == BODY


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
    monkeypatch.setattr("lpm.apps.download_verb.remote_files", lambda _: files)  # the archive is not to be had here
    assert run(["download", "covid19-ct", "--out", str(tmp_path / "data")]) == 0
    assert (tmp_path / "data" / "Lung_Mask.zip").read_bytes() == BODY
    assert "Licence: CC BY 4.0" in capfd.readouterr().err


def test_an_archive_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr("pooch.downloaders.doi_to_repository", fail)
    with pytest.raises(FileError, match=r"its archive cannot be asked \(OSError: no route\)"):
        download.remote_files(find_data_set("covid19-ct"))
