"""Who may come in: those who know the token; only pages of this server; nothing that leads outside.

viser has no doorkeeper of its own, so this file reaches a little below its surface, and is the only one that does.
"""

from __future__ import annotations

import gzip
import hashlib
import hmac
import ipaddress
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lpm.apps.viewer.page import POLICY, furnished
from lpm.apps.viewer.uploads import UploadBudget
from lpm.errors import MisuseError
from lpm.extras import import_extra

_TOKEN_BYTES = 24
_LONGEST_PATH = 2000  # letters of an address: no page of this server has more
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on; viser would try the next ports, or wait for ever.

    Raises:
        InputError: Not an address of this machine, or the port is taken.
    """
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(kind, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        given = f"{host}:{port} cannot be listened on ({reason})"
        raise MisuseError("--host, --port", given, "a free port of this machine", "--port 0 takes any") from error


@dataclass(frozen=True)
class AccessControl:
    """Decides on every request, for the page and for its connection alike.

    Args:
        host: Address that is listened on.
        token: Token that a visitor must know: other users of this machine reach loopback as well. None for no token.
    """

    host: str
    token: str | None
    _pages: dict[bytes, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, host: str, *, with_token: bool = True) -> AccessControl:
        """With a fresh token, or without one where only this machine reaches it.

        Raises:
            InputError: No token, on an address that others reach.
        """
        if with_token:
            return cls(host, secrets.token_urlsafe(_TOKEN_BYTES))
        if not is_loopback(host):
            raise MisuseError("--no-token", f"--host {host}", "127.0.0.1, which this machine alone reaches")
        return cls(host, None)

    @property
    def cookie(self) -> str:
        """Name of the cookie: browsers share them among all ports of a machine, and viewers must not."""
        return f"lpm_view_{hashlib.sha256((self.token or '').encode()).hexdigest()[:8]}"

    def refusal(self, path: str, headers: Any) -> tuple[HTTPStatus, str] | None:
        """Why a request may not come in; None if it may."""
        if len(path) > _LONGEST_PATH:
            return HTTPStatus.BAD_REQUEST, "The address is too long."
        try:
            return self._refusal(path, headers)
        except (ValueError, LookupError):  # a host that is none, a header given twice
            return HTTPStatus.BAD_REQUEST, "The request's headers cannot be read."

    def _refusal(self, path: str, headers: Any) -> tuple[HTTPStatus, str] | None:
        if not self._is_own(headers):
            return HTTPStatus.FORBIDDEN, "This server answers its own page only."
        if self.token is not None and not self._knows(_given(path)) and not self._knows(_cookie(headers, self.cookie)):
            return HTTPStatus.UNAUTHORIZED, "Open the whole address that `lpm view` printed, with its token."
        return None

    def brings_token(self, path: str) -> bool:
        """Whether an address carries the token, which then becomes a cookie and leaves the address bar."""
        return self.token is not None and self._knows(_given(path))

    def answer(self, connection: Any, request: Any, inner: Callable[[Any, Any], Any]) -> Any:
        """Answer a request, or let viser do so."""
        refused = self.refusal(request.path, request.headers)
        if refused is not None:
            response = connection.respond(refused[0], refused[1] + "\n")
            return _with_headers(response)
        if self.brings_token(request.path):
            response = connection.respond(HTTPStatus.SEE_OTHER, "\n")
            response.headers["Location"] = "/"
            response.headers["Set-Cookie"] = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"
            return _with_headers(response)
        response = inner(connection, request)
        return response if response is None else _with_headers(self._furnished(response))

    def _furnished(self, response: Any) -> Any:
        """Our lines in viser's page; anything else as it is."""
        if not str(response.headers.get("Content-Type", "")).startswith("text/html"):
            return response
        sent = self._pages.get(response.body)
        if sent is None:
            is_zipped = response.headers.get("Content-Encoding") == "gzip"
            page = (gzip.decompress(response.body) if is_zipped else response.body).decode("utf-8")
            sent = furnished(page).encode("utf-8")
            self._pages[response.body] = sent = gzip.compress(sent) if is_zipped else sent
        response.body = sent
        del response.headers["Content-Length"]
        response.headers["Content-Length"] = str(len(sent))
        return response

    def _is_own(self, headers: Any) -> bool:
        """Whether a request is for this machine, by its name or number, and from its own page.

        A page of another site must not talk to this server through its visitor's browser: neither by a connection of
        its own (its origin is another), nor by a name of its own that leads here (the name is no number).
        """
        host = str(headers.get("Host", ""))
        origin = headers.get("Origin")
        if origin is not None and urlsplit(str(origin)).netloc != host:
            return False
        name = urlsplit(f"//{host}").hostname or ""
        return is_loopback(name) or not is_loopback(self.host)

    def _knows(self, given: str | None) -> bool:
        known = self.token or ""
        return given is not None and hmac.compare_digest(given.encode(), known.encode())


def _given(path: str) -> str | None:
    values = parse_qs(urlsplit(path).query).get("token")
    return values[0] if values else None


def _cookie(headers: Any, name: str) -> str | None:
    try:
        found = SimpleCookie(str(headers.get("Cookie", ""))).get(name)
    except CookieError:
        return None
    return None if found is None else found.value


def _with_headers(response: Any) -> Any:
    for name, value in _HEADERS.items():
        response.headers[name] = value
    return response


@contextmanager
def with_access_control(access: AccessControl) -> Iterator[None]:
    """While this lasts, servers of viser ask the access control first."""
    websockets = import_extra("websockets.asyncio.server", "view", "lpm view")
    original = websockets.serve

    def serve(handler: Any, host: str, port: int, **options: Any) -> Any:
        inner = options.pop("process_request")
        return original(
            handler, host, port, process_request=lambda c, request: access.answer(c, request, inner), **options
        )

    websockets.serve = serve
    try:
        yield
    finally:
        websockets.serve = original


def without_tunnel(server: Any) -> None:
    """Refuse to open the public tunnel that viser offers every client."""
    messages = import_extra("viser._messages", "view", "lpm view")
    for kind in (messages.ShareUrlRequest, messages.ShareUrlDisconnect):
        server._websock_server.unregister_handler(kind)


class UploadLimit:
    """Keeps what a client sends within limits, before it takes memory.

    Args:
        client: Client that uploads.
        budget: Most that files which are coming may take, of one and of all clients.
        refused: Told the name of a file that is not taken, and why.
    """

    def __init__(self, client: Any, budget: UploadBudget, refused: Callable[[str, str], None]) -> None:
        messages = import_extra("viser._messages", "view", "lpm view")
        self._gui, self._connection, self._ack = client.gui, client._websock_connection, messages.FileTransferPartAck
        self._budget, self._refused = budget, refused
        self._taken = 0
        self._watch: threading.Timer | None = None
        for kind, check in ((messages.FileTransferStartUpload, self._start), (messages.FileTransferPart, self._part)):
            self._connection.unregister_handler(kind)
            self._connection.register_handler(kind, check)

    def close(self) -> None:
        """The client has left: what it did not finish is dropped."""
        self._open.clear()
        self._settle()

    @property
    def _open(self) -> dict[str, Any]:
        """Transfers that have begun."""
        found: dict[str, Any] = self._gui._current_file_upload_states
        return found

    def _start(self, client_id: int, message: Any) -> None:
        size = int(message.size_bytes)
        reason = "sent while another file is; expected one at a time" if self._open else self._budget.refusal(size)
        if reason or message.part_count > max(size, 1) or not self._budget.take(size):
            self._ignore(message, size, reason or "cannot be taken now; expected less at a time. Try: in a minute")
            return
        self._taken = size
        self._gui._handle_file_transfer_start(client_id, message)
        self._settle(message)

    def _part(self, client_id: int, message: Any) -> None:
        transfer = self._open.get(message.transfer_uuid)
        if transfer is None:
            return
        if transfer["transferred_bytes"] + len(message.content) > transfer["total_bytes"]:
            del self._open[message.transfer_uuid]  # more than was announced
        else:
            self._gui._handle_file_transfer_part(client_id, message)
        self._settle(message)

    def _ignore(self, message: Any, size: int, reason: str) -> None:
        done = self._ack(message.source_component_uuid, message.transfer_uuid, size, size)
        self._connection.queue_message(done)  # its button may be used again
        self._refused(str(message.filename), reason)

    def _settle(self, message: Any = None) -> None:
        """Give back what nothing is coming for any more; look again later where something is."""
        if self._watch is not None:
            self._watch.cancel()
        if not self._open:
            self._budget.give_back(self._taken)
            self._taken = 0
            return
        self._watch = threading.Timer(self._budget.stall_s, self._look, (message,))
        self._watch.daemon = True
        self._watch.start()

    def _look(self, message: Any) -> None:
        """Drop a file of which nothing has come for a while."""
        for uuid, transfer in list(self._open.items()):
            del self._open[uuid]
            size = int(transfer["total_bytes"])
            done = self._ack(message.source_component_uuid, uuid, size, size)
            self._connection.queue_message(done)
            self._refused(str(transfer["filename"]), f"nothing came for {self._budget.stall_s:.0f} s. Try: again")
        self._settle()


def take_upload(button: Any) -> tuple[str, bytes]:
    """Name and content of what a button received; the button forgets it."""
    file = button.value
    button._impl.value = type(file)("", b"")
    return str(file.name), bytes(file.content)
