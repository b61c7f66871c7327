"""HTTP/1.1 over h11: uvicorn's protocol, its calls watched from outside, with our drain."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from fairlead.worker.access_log import escape
from fairlead.worker.http1.limits import LINGER, TEXTS, logger
from fairlead.worker.http1.response import Kind, header_line, plain_answer
from fairlead.worker.sockets import ClosedOnce, bytes_are_waiting, bytes_unsent, close_once
from fairlead.worker.state import WorkerState

Send = Callable[[Any], Awaitable[None]]
Receive = Callable[[], Awaitable[Any]]


class H11Connection(H11Protocol):
    """One connection. See state.Connection."""

    server_state: WorkerState
    secure = False
    tls: dict[str, Any] | None = None
    """The scope's entry about TLS, on a secure connection."""

    def __init__(
        self,
        config: Any,
        server_state: WorkerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._inner: Any = self.app
        self.app = self._watch
        self.idle_at = 0.0
        self.call: H11Call | None = None
        """The newest."""
        self.refused = False
        """What comes is not wanted any more."""
        self._read = 0
        # As if a tick had seen a head under way: whatever comes first has its time from here.
        self._watched: Any = ("head", id(None))
        self._watched_since = monotonic()

    async def _watch(self, scope: Any, receive: Receive, send: Send) -> Any:
        if self.tls is not None:
            scope["extensions"] = {"tls": self.tls}
        return await H11Call(self, scope, receive, send).run(self._inner)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes its place among the open connections."""
        closes: Any = ClosedOnce(transport) if self.secure else transport
        super().connection_made(closes)
        self.idle_at = monotonic()
        self.tls = self.server_state.extensions(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Counts it out."""
        super().connection_lost(exc)
        self.server_state.closed()

    def on_response_complete(self) -> None:
        """The connection is idle, unless the next request is there already."""
        self.idle_at = monotonic()
        super().on_response_complete()

    def shutdown(self) -> None:
        """Nothing: the drain knows each connection's state and asks for what it wants."""

    def idle_since(self) -> float:
        """See state.Connection."""
        under_way = self.cycle is not None and not self.cycle.response_complete
        return 0.0 if under_way or self.conn.trailing_data[0] else self.idle_at

    def used(self) -> bool:
        """See state.Connection."""
        return self.cycle is not None

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, unless what comes is not wanted any more."""
        if not self.refused:
            self._read += len(data)
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """What uvicorn calls while it handles the parser's error, which says whether the head was too large."""
        hint = getattr(sys.exception(), "error_status_hint", 400)
        self.refuse(431 if hint == 431 else 400)

    def refuse(self, status: int) -> None:
        """Answers in the app's place, or cuts its answer where that has begun; closes the connection."""
        self.refused = True
        if status != 400:
            logger.warning("%s (%d)", TEXTS[status].decode(), status)
        cycle, call = self.cycle, self.call
        under_way = cycle is not None and not cycle.response_complete
        if not (under_way and cycle.response_started):
            block = self.server_state.blocks[self.secure]
            self.transport.write(plain_answer(status, block, TEXTS[status]))
        if under_way:
            cycle.disconnected = True
            cycle.message_event.set()
            if call is not None:
                call.refused(status)
        if status == 400:
            close_once(self.transport)
            return
        # The client may still be sending: it gets time to read, for closing with bytes unread would reset the connection.
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER, close_once, self.transport)

    def look(self, now: float) -> None:
        """The tick's look at a connection with something under way."""
        moving, limit, status = self._under_way()
        if moving is None or moving != self._watched:
            self._watched, self._watched_since = moving, now
        elif 0 < limit < now - self._watched_since:
            self._watched_since = now
            if status:
                self.refuse(status)
            else:
                logger.warning("A client took nothing of its response for too long.")
                self.transport.abort()

    def _under_way(self) -> tuple[Any, float, int]:
        """See http1_limits.Limits."""
        limits, cycle = self.server_state.limits, self.cycle
        if self.refused:
            return None, 0.0, 0
        if cycle is None or cycle.response_complete:
            # The head as a whole has the time, however it trickles.
            return (("head", id(cycle)) if self.conn.trailing_data[0] else None), limits.header_timeout, 408
        if self.flow.write_paused:
            return ("response", *bytes_unsent(self.transport)), limits.idle_timeout, 0
        if cycle.more_body and not (self.flow.read_paused or cycle.waiting_for_100_continue):
            return ("body", self._read), limits.idle_timeout, 408
        return None, 0.0, 0

    def close_idle(self) -> None:
        """See state.Connection."""
        if not (self.transport.is_closing() or bytes_are_waiting(self.transport)):
            super().shutdown()

    def abort(self) -> None:
        """See state.Connection."""
        self.transport.abort()


class H11Call:
    """One ASGI call over h11. See state.Call."""

    def __init__(self, connection: H11Connection, scope: Any, receive: Receive, send: Send) -> None:
        self.kind = "request"
        self.complete = False
        self.task: asyncio.Task[None] | None = None
        self._connection = connection
        connection.call = self
        self._state = connection.server_state
        self._scope = scope
        self._receive_inner = receive
        self._send_inner = send
        self._told = asyncio.Event()
        self._status = 0
        self._cut = False
        self._refused = False
        self._received = 0
        self._began = monotonic()

    @property
    def path(self) -> str:
        """See state.Call."""
        return str(self._scope["path"])

    async def run(self, app: Callable[..., Any]) -> Any:
        """Calls the app; returns what it returns."""
        self.task = asyncio.current_task()
        self._state.begun(self)
        failed = True
        try:
            result = await self._call(app)
            failed = False
            if self._told.is_set() and self._status and not self.complete:
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            return result
        except asyncio.CancelledError:
            if not self._cut:
                raise
            if not self._status:
                await self._send({"type": "http.response.start", "status": 503})
                await self._send({"type": "http.response.body", "body": b"Service Unavailable"})
            return None
        finally:
            self._state.calls.discard(self)
            self.task = None
            if not self.complete:
                self._account(failed)

    async def _call(self, app: Callable[..., Any]) -> Any:
        """Calls the app, unless the request is refused."""
        limits, headers = self._state.limits, self._scope["headers"]
        most = limits.max_body_size
        size = len(self._scope["raw_path"]) + len(self._scope["query_string"])
        size += sum(len(name) + len(value) + 4 for name, value in headers)
        if self._connection.refused:
            return None
        if self._state.overloaded():
            await self._turn_away()
        elif size > limits.max_header_size or len(headers) > limits.max_headers:
            self._connection.refuse(431)
        elif most and int(dict(headers).get(b"content-length", b"0")) > most:
            self._connection.refuse(413)
        else:
            return await app(self._scope, self._receive, self._send)
        return None

    async def _turn_away(self) -> None:
        text = b"The server is busy."
        headers = [(b"content-length", b"%d" % len(text)), (b"connection", b"close"), (b"retry-after", b"1")]
        await self._send({"type": "http.response.start", "status": 503, "headers": headers})
        await self._send({"type": "http.response.body", "body": text})

    def refused(self, status: int) -> None:
        """The connection has answered in the app's place, unless the app had begun to."""
        if self.complete:
            return
        self._refused = True
        if self._status:
            self._account(failed=True)
        else:
            self._status, self.complete = status, True
            self._account(failed=False)
        self.complete = True

    async def _send(self, message: Any) -> None:
        if self._refused:
            return
        if message["type"] == "http.response.start" and not self._status:
            message = self._start(message)
        await self._send_inner(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False) and not self.complete:
            self.complete = True
            self._account(failed=False)

    def _start(self, message: Any) -> Any:
        headers = list(message.get("headers", ()))
        kinds = {header_line(header)[1] for header in headers}
        if Kind.EVENT_STREAM in kinds:
            self.kind = "stream"
            self._state.streams += 1
        if (self.kind == "stream" or self._state.draining) and Kind.CLOSE not in kinds:
            headers.append((b"connection", b"close"))
        if self._connection.tls is not None and self._state.hsts:
            headers.append((b"strict-transport-security", self._state.hsts))
        self._status = message["status"]
        if self.kind == "stream" and self._state.draining:
            self._state.on_stream(self)
        return {**message, "headers": headers}

    async def _receive(self) -> Any:
        """The next message, or the disconnect that the drain asks for, whichever is first."""
        if self._told.is_set():
            return {"type": "http.disconnect"}
        message = asyncio.ensure_future(self._receive_inner())
        told = asyncio.ensure_future(self._told.wait())
        try:
            await asyncio.wait([message, told], return_when=asyncio.FIRST_COMPLETED)
            return await self._measured(message.result()) if message.done() else {"type": "http.disconnect"}
        finally:
            message.cancel()
            told.cancel()

    async def _measured(self, message: Any) -> Any:
        self._received += len(message.get("body", b""))
        if 0 < self._state.limits.max_body_size < self._received:
            self._connection.refuse(413)
            return {"type": "http.disconnect"}
        return message

    def _account(self, failed: bool) -> None:
        if self.kind == "stream":
            self._state.streams -= 1
        if self.complete:
            self._state.answered(self._status)
        else:
            self._state.unanswered(failed)
        access, scope = self._state.access, self._scope
        if access is not None:
            peer = escape("{}:{}".format(*scope["client"])) if scope["client"] else "-"
            target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
            status = self._status or (500 if failed else 499)
            access.add(peer, scope["method"], target, scope["http_version"], status, self._began, monotonic())

    def tell(self) -> bool:
        """See state.Call."""
        self._told.set()
        return True

    def end(self) -> None:
        """See state.Call."""
        if self.task is not None and not self.complete:
            self._cut = True
            self.task.cancel()

    def cut(self) -> None:
        """See state.Call."""
        self._cut = True
        if self.task is not None:
            self.task.cancel()
