from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from fake_client import Client

from lpm.apps.viewer.connection import Connection
from lpm.errors import InputError


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def connection(client: Any) -> Connection:
    return Connection(client)


def test_an_error_of_a_request_is_told_and_ends_there(connection: Connection, client: Client) -> None:
    with connection.request():
        raise InputError("colour", "red", "blue")
    assert client.told == ["colour: red; expected blue"]


def test_a_fault_of_ours_is_told_without_its_words(
    connection: Connection, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with connection.request():
        raise KeyError("secret")
    assert client.told == ["Something went wrong here (KeyError); the server's log says more."]
    assert "secret" in caplog.text


def test_nobody_is_told_after_leaving(connection: Connection, client: Client) -> None:
    connection.close()
    with connection.request():
        raise InputError("colour", "red", "blue")
    assert client.told == []


def test_files_lie_in_a_folder_that_goes_and_that_nobody_reads_of(connection: Connection) -> None:
    with connection.upload("a.csv", b"1") as path:
        folder = path.parents[1]
        assert path.read_bytes() == b"1"
        assert connection.words_of(InputError(str(path), "short", "long")) == "a.csv: short; expected long"
    assert not path.exists()
    connection.close()
    assert not Path(folder).exists()


def test_a_request_waits_for_the_one_before(connection: Connection) -> None:
    done: list[str] = []

    def other() -> None:
        with connection.request():
            done.append("second")

    with connection.request():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.05)
        done.append("first")
    thread.join()
    assert done == ["first", "second"]
