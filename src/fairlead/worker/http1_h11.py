"""HTTP/1.1 over h11: uvicorn's protocol, its calls watched from outside, with our drain."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from fairlead.worker.access_log import escape
from fairlead.worker.response import Kind, header_line, plain_answer
from fairlead.worker.sockets import bytes_are_waiting
from fairlead.worker.state import WorkerState
from fairlead.worker.uvicorn_adapter import H11Protocol

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
        self._watched: int | None = id(None)
        self._watched_since = monotonic()

    async def _watch(self, scope: Any, receive: Receive, send: Send) -> Any:
        if self.tls is not None:
            scope["extensions"] = {"tls": self.tls}
        return await H11Call(self, scope, receive, send).run(self._inner)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes its place among the open connections."""
        super().connection_made(transport)
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

    def look(self, now: float) -> None:
        """A head under way has its time, however it trickles; h11 itself bounds its size."""
        head = bool(self.conn.trailing_data[0]) and (self.cycle is None or self.cycle.response_complete)
        watched = id(self.cycle) if head else None
        if watched is None or watched != self._watched:
            self._watched, self._watched_since = watched, now
        elif 0 < self.server_state.limits.header_timeout < now - self._watched_since:
            block = self.server_state.blocks[self.secure]
            self.transport.write(plain_answer(408, block, b"The request took too long."))
            self.transport.close()

    def close_idle(self) -> None:
        """See state.Connection."""
        if not bytes_are_waiting(self.transport):
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
        most = self._state.limits.max_body_size
        length = dict(self._scope["headers"]).get(b"content-length", b"0")
        if self._state.overloaded():
            await self._refuse(503, b"The server is busy.", (b"retry-after", b"1"))
        elif most and int(length) > most:
            await self._refuse(413, b"The request's body is too large.")
        else:
            return await app(self._scope, self._receive, self._send)
        return None

    async def _refuse(self, status: int, text: bytes, *headers: tuple[bytes, bytes]) -> None:
        if not self._status:
            all_headers = [(b"content-length", b"%d" % len(text)), (b"connection", b"close"), *headers]
            await self._send({"type": "http.response.start", "status": status, "headers": all_headers})
            await self._send({"type": "http.response.body", "body": text})
        self._refused = True

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
            await self._refuse(413, b"The request's body is too large.")
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
