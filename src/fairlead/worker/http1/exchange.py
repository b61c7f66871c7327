"""One HTTP/1.1 request and its answer: the ASGI call's scope, receive and send."""

import asyncio
import logging
from collections.abc import Callable
from operator import index
from time import monotonic
from typing import TYPE_CHECKING, Any

from fairlead.worker.access_log import escape
from fairlead.worker.http1.response import (
    STATUS_LINES,
    Kind,
    header_line,
    plain_answer,
    remember_head,
    remembered_head,
    remembered_line,
)
from fairlead.worker.sockets import close_once

if TYPE_CHECKING:
    from fairlead.worker.http1.protocol import HttpProtocol

_logger = logging.getLogger("uvicorn.error")
_UNTIL_CLOSE = -1
_BODILESS = (204, 304)
_LAST_CHUNK = b"0\r\n\r\n"
_LENGTH, _CHUNKED, _CLOSE = Kind.LENGTH, Kind.CHUNKED, Kind.CLOSE  # an enumeration looks its members up slowly
_JOIN_BELOW = 32 * 1024
"""Bytes of body that are copied behind the head to save a write."""


class Exchange:
    """See state.Call. The class's attributes are where every exchange begins; most never leave it."""

    kind = "request"
    task: "asyncio.Task[None] | None" = None
    started = False
    # the request
    body: bytes | bytearray = b""
    more_body = True
    received = 0
    received_then = -1
    """`received` when a piece came last, and how many bytes have come since that were none of the body."""
    barren = 0
    news = False
    wake: asyncio.Event | None = None
    # the answer
    status = 0
    head: bytes | None = None
    chunked = False
    bodiless = False
    """The answer has no body, whatever the app sends as one."""
    left = 0
    complete = False
    unsent = False
    """The answer is complete and in the outbox, all of it."""
    # its ends
    accounted = False
    disconnected = False
    told = False
    was_cut = False
    refused = False
    """What the client sent is refused, and that is answered. The app is told that the client left."""

    def __init__(
        self, protocol: "HttpProtocol", scope: Any, target: bytes, keep_alive: bool, expects_continue: bool
    ) -> None:
        self.protocol = protocol
        self.scope = scope
        self.target = target
        self.keep_alive = keep_alive
        self.expects_continue = expects_continue
        self.began = monotonic()

    @property
    def path(self) -> str:
        """See state.Call."""
        return str(self.scope["path"])

    @property
    def on_the_wire(self) -> bool:
        """Whether a part of the answer is out, so that no other answer can take its place."""
        return self.status != 0 and self.head is None

    async def run(self, app: Callable[..., Any]) -> None:
        """Calls the app, and answers for it where it does not."""
        self.started = True
        self.protocol.server_state.outbox.unstarted -= 1
        try:
            result = await app(self.scope, self.receive, self.send)
        except BaseException as error:  # noqa: BLE001 - whatever an app raises ends its own request only
            self._failed("Exception in ASGI application\n", error)
        else:
            if result is not None:
                self._failed(f"ASGI callable should return None, but returned '{result}'.")
            elif not self.complete:
                self._ended_early()
        finally:
            self.protocol.server_state.calls.discard(self)
            # The connection keeps its last exchange: that must not keep what the app has put into the scope. Freed
            # here, it is still in the CPU's cache, and so is what takes its place.
            self.scope = self.task = None

    def _ended_early(self) -> None:
        if self.told:
            self.end()
        elif self.status:
            self._failed("ASGI callable returned without completing response.")
        else:
            self._failed("ASGI callable returned without starting response.")

    def _failed(self, message: str, error: BaseException | None = None) -> None:
        protocol = self.protocol
        if self.was_cut and isinstance(error, asyncio.CancelledError):
            return
        if self.refused or (self.disconnected and error is None):
            return
        _logger.error(message, exc_info=error)
        if self.complete or self.disconnected:
            if self.complete and error is None:
                protocol.server_state.outbox.flush()
                close_once(protocol.transport)
            return
        self.answer_instead(500, b"Internal Server Error")

    def answer_instead(self, status: int, text: bytes, extra: bytes = b"") -> None:
        """Answers in the app's place, or cuts its answer where that has begun; closes the connection."""
        if self.on_the_wire:
            self._account(failed=True)
        else:
            self.status = status
            self._account()
            block = self.protocol.server_state.blocks[self.protocol.secure]
            answer = plain_answer(status, block, text, extra)
            self.protocol.transport.write(answer[: -len(text)] if self.scope["method"] == "HEAD" else answer)
        self.complete = self.disconnected = True
        self.has_news()
        self.protocol.close_answered()

    # The answer

    async def send(self, message: Any) -> None:
        """ASGI's send."""
        if self.protocol.writable is not None:
            await self.protocol.writable.wait()
        if self.disconnected:
            return
        if not self.status:
            if message["type"] != "http.response.start":
                raise RuntimeError(f"Expected ASGI message 'http.response.start', but got '{message['type']}'.")
            self._start(message)
        elif not self.complete:
            if message["type"] != "http.response.body":
                raise RuntimeError(f"Expected ASGI message 'http.response.body', but got '{message['type']}'.")
            self._write(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"Unexpected ASGI message '{message['type']}' sent, after response already completed.")

    def _start(self, message: Any) -> None:
        status, headers = index(message["status"]), message.get("headers", ())
        state = self.protocol.server_state
        # Where the server has nothing to add, and the headers can be looked at twice.
        if self.keep_alive and not (self.expects_continue or state.draining) and headers.__class__ is list:
            try:
                head = remembered_head((status, *headers))
            except TypeError:
                head = None
            if head is not None and self.scope["method"] != "HEAD":
                line, lines, self.left = head
                self.status = status
                self.head = line + state.blocks[self.protocol.secure] + lines
                return
        self._start_anew(status, headers)

    def _start_anew(self, status: int, headers: Any) -> None:
        """A head that was not rendered before, or is not the headers alone."""
        state = self.protocol.server_state
        parts = [STATUS_LINES[status], state.blocks[self.protocol.secure]]
        length: int | None = None
        chunked = close = False
        familiar = headers.__class__ is list
        for header in headers:
            try:
                known = remembered_line(header)
            except TypeError:  # a list is not hashable
                known = None
            familiar = familiar and known is not None
            line, kind, size = known or header_line(header)
            parts.append(line)
            if kind:
                if kind is _LENGTH:
                    length = size if length is None else length
                elif kind is _CHUNKED:
                    chunked = True
                elif kind is _CLOSE:
                    close = True
                elif self.kind != "stream":
                    self.kind = "stream"
                    state.streams += 1
        if familiar and length is not None and not (chunked or close or self.kind == "stream" or status in _BODILESS):
            remember_head(status, headers, parts[2:], length)
        if self.expects_continue:
            # Nobody knows whether the body will come now, so nothing behind it could be told from it.
            self.expects_continue = False
            self.keep_alive = self.keep_alive and not self.more_body
        self.status = status
        if status in _BODILESS or self.scope["method"] == "HEAD":
            self.bodiless, chunked = True, False
        elif not chunked and length is None:
            chunked = self._choose_framing(parts)
        else:
            self.left = 0 if chunked or length is None else length
        self.chunked = chunked
        self._settle_connection(parts, close)
        parts.append(b"\r\n")
        if chunked or self.left == _UNTIL_CLOSE:
            self.protocol.transport.write(b"".join(parts))
        else:
            self.head = b"".join(parts)

    def _choose_framing(self, parts: list[bytes]) -> bool:
        """Neither a length nor a framing was given: chunked, but for a client that does not know it."""
        if self.scope["http_version"] == "1.0":
            self.left = _UNTIL_CLOSE
            return False
        parts.append(b"transfer-encoding: chunked\r\n")
        return True

    def _settle_connection(self, parts: list[bytes], close: bool) -> None:
        """The last moment to announce that the connection closes after this answer."""
        state = self.protocol.server_state
        if self.kind == "stream" or (state.draining and not self.protocol.pipeline):
            # The client of an event stream comes back by itself: on a new connection, that is, to another worker.
            self.keep_alive = False
        if close:
            self.keep_alive = False
        elif not self.keep_alive:
            parts.append(b"connection: close\r\n")
        if self.kind == "stream" and state.draining:
            state.on_stream(self)

    def _write(self, body: Any, more: Any) -> None:
        """`body`: bytes, or what is like them."""
        write = self.protocol.transport.write
        if self.bodiless:
            body = b""
        elif self.chunked:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                body += _LAST_CHUNK
        elif self.left != _UNTIL_CLOSE:
            if len(body) > self.left:
                raise RuntimeError("Response content longer than Content-Length")
            self.left -= len(body)
            if not more and self.left:
                raise RuntimeError("Response content shorter than Content-Length")
        now = 0.0
        if not more:
            self.complete = True
            self.has_news()
            now = self._account()
        head = self.head
        if head is not None:
            self.head = None
            if len(body) < _JOIN_BELOW:
                body = head + body
                if not more:
                    self.unsent = True
                    self.protocol.server_state.outbox.add(self, body, now)
                    return
            else:
                write(head)
        if body:
            write(body)
        if not more:
            self.protocol.answered(self, now)

    def _account(self, failed: bool = False) -> float:
        """Counts and logs the request, once; returns time.monotonic()."""
        now = monotonic()
        if self.accounted:
            return now
        self.accounted = True
        protocol = self.protocol
        state = protocol.server_state
        if self.kind == "stream":
            state.streams -= 1
        if self.disconnected or failed:
            state.unanswered(failed)
        else:
            state.answered(self.status)
        if state.access is not None:
            scope = self.scope
            client = scope["client"]
            if client is not protocol.client:
                peer = escape("{}:{}".format(*client))
            else:
                peer = protocol.peer or protocol.name_peer()
            # 499: as nginx says that the client left before there was an answer.
            status = self.status or 499
            state.access.add(peer, scope["method"], self.target, scope["http_version"], status, self.began, now)
        return now

    # The request

    async def receive(self) -> dict[str, Any]:
        """ASGI's receive."""
        protocol = self.protocol
        if self.expects_continue and not protocol.transport.is_closing():
            self.expects_continue = False
            protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.head is not None and self.more_body:
            # The client may wait for the head before it sends on.
            head, self.head = self.head, None
            protocol.transport.write(head)
        if not (self.disconnected or self.complete or self.told):
            protocol.resume_reading()
            while not (self.news or self.disconnected or self.complete or self.told):
                if self.wake is None:
                    self.wake = asyncio.Event()
                self.wake.clear()
                await self.wake.wait()
        if self.disconnected or self.complete or self.told:
            return {"type": "http.disconnect"}
        self.news = False
        body, self.body = bytes(self.body), b""
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    def take_body(self, piece: bytes) -> int:
        """A piece of the body arrived; returns the bytes that wait for the app."""
        if not self.body:
            self.body = piece
        elif isinstance(self.body, bytearray):
            self.body += piece
        else:
            self.body = bytearray(self.body) + piece
        self.has_news()
        return len(self.body)

    def has_news(self) -> None:
        """Wakes whoever waits in receive."""
        self.news = True
        if self.wake is not None:
            self.wake.set()

    # Its ends

    def client_left(self) -> None:
        """The connection is gone, or of no use any more."""
        if self.complete or self.disconnected:
            return
        self.disconnected = True
        self._account()
        self.has_news()

    def tell(self) -> bool:
        """See state.Call."""
        self.told = True
        self.has_news()
        return True

    def end(self) -> None:
        """See state.Call."""
        if self.complete or self.disconnected:
            return
        if self.head is None and self.chunked:
            self._write(b"", more=False)
        else:
            self.answer_instead(503, b"Service Unavailable")

    def cut(self) -> None:
        """See state.Call."""
        self.was_cut = True
        if not (self.complete or self.disconnected):
            self.answer_instead(503, b"Service Unavailable")
        if self.task is not None:
            self.task.cancel()
            if not self.started:  # and will not be
                state = self.protocol.server_state
                state.calls.discard(self)
                state.outbox.unstarted -= 1
