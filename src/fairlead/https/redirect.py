"""What plain HTTP gets: a redirect to HTTPS, or the answer to an ACME challenge. The app is never reached.

`Answers` decides, from the bytes of a request's head to the bytes of a response; `RedirectProtocol` is the connection around it.
"""

import asyncio
import re
from collections.abc import Callable, Collection

from fairlead.errors import FairleadError
from fairlead.https.model import covers
from fairlead.https.store import Store

CHALLENGE_PREFIX = "/.well-known/acme-challenge/"
_HEAD_MAX = 16 * 1024
_DEADLINE = 10.0
_LINGER = 2.0
_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) ([\x21-\x7e]{1,8192}) HTTP/1\.[01]")
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")
_REASONS = {308: "Permanent Redirect", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}
_REASONS |= {200: "OK", 408: "Request Timeout", 421: "Misdirected Request", 431: "Request Header Fields Too Large"}


class Answers:
    """The answers of plain HTTP. `names` returns the names that HTTPS is served for, `*.example.com` among them."""

    def __init__(self, store: Store, names: Callable[[], Collection[str]], https_port: int) -> None:
        self._store = store
        self._names = names
        self._port = "" if https_port == 443 else f":{https_port}"

    def answer(self, head: bytes) -> bytes:
        """The whole response to a request's head (everything up to and with the empty line)."""
        lines = head.split(b"\r\n")
        request = _REQUEST_LINE.fullmatch(lines[0])
        if request is None:
            return response(400)
        method, target = request[1], request[2].decode()
        hosts = [line[5:].strip() for line in lines[1:] if line[:5].lower() == b"host:"]
        if target.lower().startswith("http://"):
            authority, slash, rest = target[7:].partition("/")
            hosts, target = [authority.encode()], slash + rest or "/"
        if not target.startswith("/") or len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            return response(400)
        if target.startswith(CHALLENGE_PREFIX):
            return self._challenge_response(method, target)
        return self._redirect(hosts[0].decode().lower(), target)

    def challenge(self, path: str) -> bytes | None:
        """The answer to an ACME challenge at a path; None when the path is none, or none is under way there."""
        if not path.startswith(CHALLENGE_PREFIX):
            return None
        try:
            return self._store.challenge(path.removeprefix(CHALLENGE_PREFIX))
        except FairleadError:
            return None

    def _challenge_response(self, method: bytes, target: str) -> bytes:
        if method not in (b"GET", b"HEAD"):
            return response(405, ("Allow: GET, HEAD",))
        found = self.challenge(target)
        if found is None:
            return response(404)
        return response(200, ("Content-Type: application/octet-stream",), found, body=method == b"GET")

    def _redirect(self, host: str, target: str) -> bytes:
        bare = re.sub(r":[0-9]+$", "", host) if not host.endswith("]") else host
        name = bare.strip("[]").removesuffix(".")
        if not any(name == one or covers(one, name) for one in self._names()):
            return response(421)
        return response(308, (f"Location: https://{bare}{self._port}{target}",))


def response(status: int, headers: tuple[str, ...] = (), content: bytes = b"", *, body: bool = True) -> bytes:
    """A response that ends its connection."""
    length = f"Content-Length: {len(content)}"
    lines = (f"HTTP/1.1 {status} {_REASONS[status]}", *headers, length, "Connection: close", "", "")
    return "\r\n".join(lines).encode() + (content if body else b"")


class RedirectProtocol(asyncio.Protocol):
    """One connection of plain HTTP: one request, one response, then the end, all within a deadline.

    Reading goes on after the response until the client has gone or two seconds are over: closing with a request's body unread
    would have the kernel send a reset, and the client might never see the response.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._head = b""
        self._answered = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the deadline."""
        self._transport = transport
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_DEADLINE, self._respond, response(408))

    def data_received(self, data: bytes) -> None:
        """Collects the head; what comes after it is thrown away."""
        if self._answered:
            return
        # A client may begin with empty lines (RFC 9112, 2.2).
        self._head = (self._head + data).lstrip(b"\r\n") if not self._head else self._head + data
        head, end, _rest = self._head.partition(b"\r\n\r\n")
        if end:
            self._respond(self._answers.answer(head + end))
        elif len(self._head) > _HEAD_MAX:
            self._respond(response(431))

    def connection_lost(self, _error: Exception | None) -> None:
        """Ends the deadline."""
        self._timer.cancel()

    def _respond(self, data: bytes) -> None:
        self._answered = True
        self._head = b""
        self._timer.cancel()
        self._transport.write(data)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(_LINGER, self._transport.abort)
