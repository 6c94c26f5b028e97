"""Access control, by itself, and in front of a real server that is spoken to over a socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from lpm.apps.viewer.access_control import AccessControl, check_address, is_loopback, with_access_control
from lpm.apps.viewer.page import TITLE
from lpm.errors import InputError

viser = pytest.importorskip("viser")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_may_be_without_a_token(host: str) -> None:
    assert is_loopback(host)
    assert AccessControl.of(host, with_token=False).token is None
    assert AccessControl.of(host).token is not None  # other users of the machine reach it too


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", "127.0.0.1.example.org"])  # noqa: S104
def test_elsewhere_a_token_is_needed(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(InputError, match="--no-token"):
        AccessControl.of(host, with_token=False)
    first, second = AccessControl.of(host).token, AccessControl.of(host).token
    assert first is not None
    assert len(first) >= 32
    assert first != second


OPEN = AccessControl("0.0.0.0", "secret")  # noqa: S104
COOKIE = OPEN.cookie


@pytest.mark.parametrize(
    ("path", "cookie"),
    [
        ("/?token=secret", ""),
        ("/", f"{COOKIE}=secret"),
        ("/", f"other=1; {COOKIE}=secret"),
        ("/?token=no", f"{COOKIE}=secret"),
    ],
)
def test_who_knows_the_token_comes_in(path: str, cookie: str) -> None:
    assert OPEN.refusal(path, {"Host": "10.0.0.2:8080", "Cookie": cookie}) is None


@pytest.mark.parametrize(
    ("path", "cookie"),
    [
        ("/", ""),
        ("/?token=Secret", ""),
        ("/?token=", ""),
        ("/secret", ""),
        ("/", f"{COOKIE}=secre"),
        ("/", f"{COOKIE}=sécret"),
    ],
)
def test_who_does_not_stays_out(path: str, cookie: str) -> None:
    refused = OPEN.refusal(path, {"Host": "10.0.0.2:8080", "Cookie": cookie})
    assert refused is not None
    assert refused[0] == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize("access", [OPEN, AccessControl("127.0.0.1", None)])
def test_another_site_cannot_talk_through_its_visitor(access: AccessControl) -> None:
    headers = {"Host": "127.0.0.1:8080", "Origin": "https://evil.example", "Cookie": f"{COOKIE}=secret"}
    refused = access.refusal("/", headers)
    assert refused is not None
    assert refused[0] == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("token", [None, "secret"])
def test_a_foreign_name_that_leads_to_loopback_is_refused(token: str | None) -> None:
    access = AccessControl("127.0.0.1", token)
    assert access.refusal("/", {"Host": "evil.example:8080"}) is not None
    path = f"/?token={token}"
    assert access.refusal(path, {"Host": "localhost:8080", "Origin": "http://localhost:8080"}) is None
    assert access.refusal(path, {"Host": "[::1]:8080"}) is None


def test_two_viewers_of_one_machine_have_cookies_of_their_own() -> None:
    assert AccessControl("127.0.0.1", "secret").cookie != AccessControl("127.0.0.1", "other").cookie


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(InputError, match=r"192\.0\.2\.1:0 cannot be listened on .*expected a free port"):
        check_address("192.0.2.1", 0)


def test_a_taken_port_is_refused() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"127.0.0.1:{port} cannot be listened on"):
            check_address("127.0.0.1", port)
    check_address("127.0.0.1", port)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a server that asks for a token."""
    with with_access_control(AccessControl("127.0.0.1", "secret")):
        server = viser.ViserServer("127.0.0.1", 0, verbose=False)
    yield server.get_port()
    server.stop()


def ask(port: int, path: str, **headers: str) -> tuple[str, str]:
    """Head and body of an answer."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    head, _, body = answer.decode().partition("\r\n\r\n")
    return head, body


def test_without_the_token_there_is_no_page_and_no_connection(port: int) -> None:
    head, body = ask(port, "/")
    assert " 401 " in head
    assert "token" in body
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    head, _ = ask(port, "/", **upgrade, **{"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="})
    assert " 401 " in head


def test_the_token_becomes_a_cookie_and_leaves_the_address(port: int) -> None:
    head, _ = ask(port, "/?token=secret")
    assert " 303 " in head
    assert "Location: /\r\n" in head + "\r\n"
    assert f"Set-Cookie: {COOKIE}=secret; HttpOnly; SameSite=Strict" in head


def test_the_page_is_ours_and_may_fetch_nothing_elsewhere(port: int) -> None:
    head, body = ask(port, "/", Cookie=f"{COOKIE}=secret")
    assert " 200 " in head
    assert f"<title>{TITLE}</title>" in body
    assert "Content-Security-Policy: default-src 'self'" in head
    assert f"Content-Length: {len(body.encode())}" in head


def test_servers_made_later_have_no_door(port: int) -> None:
    server = viser.ViserServer("127.0.0.1", 0, verbose=False)
    try:
        assert " 200 " in ask(server.get_port(), "/")[0]
    finally:
        server.stop()


def test_what_is_no_request_is_a_bad_one(port: int) -> None:
    assert " 400 " in ask(port, "/" + "x" * 3000)[0]
    assert " 400 " in ask(port, "/", Host="[")[0]
    assert " 400 " in ask(port, "/", Cookie=f"{COOKIE}=secret", cookie="a=b")[0]
