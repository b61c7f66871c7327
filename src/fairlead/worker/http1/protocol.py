"""HTTP/1.1 over httptools: a protocol of our own, written for speed, with uvicorn's configuration and our drain.

It behaves as uvicorn's does, and is no subclass of it: little would be left of that, at a cost for every connection.
What differs: idle connections are found by a sweep, not by a timer for each. A head that announces its length waits for
the first piece of the body, so that both are one write (the ASGI specification allows it). Event streams close their
connection at the end. Invalid data behind a valid request is answered in its turn. A client of HTTP/1.0 is sent no
chunks. A client that is still sending when its connection's last answer goes out has time to read that. A request that
wishes for another protocol than WebSocket keeps its body.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any
from urllib.parse import unquote

import httptools

from fairlead.worker.http1.exchange import Exchange
from fairlead.worker.http1.limits import Limits, RefusedError
from fairlead.worker.http1.repeated_head import FORWARDED, RepeatedHead, block_of, learn, request_line
from fairlead.worker.sockets import bytes_are_waiting
from fairlead.worker.state import WorkerState
from fairlead.worker.uvicorn_adapter import HIGH_WATER_LIMIT, Config

_NOTED = FORWARDED | {b"content-length", b"expect"}
_BUSY = b"The server is busy."
_RETRY_AFTER = b"retry-after: 1\r\n"
_logger = logging.getLogger("uvicorn.error")
"""uvicorn's, because that is the name apps know for what their server says."""


class HttpProtocol(Limits):
    """One connection: an asyncio.Protocol, but not by name, for what is compiled has no base that is not.

    `client` and `server` are set by whoever accepted it, before it is made.
    """

    client: tuple[str, int] | None = None
    server: tuple[str, int | None] | None = None
    transport: asyncio.Transport = None  # type: ignore[assignment]
    secure = False
    tls: dict[str, Any] | None = None
    """The scope's entry about TLS, on a secure connection."""
    # the request that is being read
    url = b""
    expect_100_continue = False
    forwarded = False
    upgrading = False
    # the head that comes again
    block = b""
    repeated: RepeatedHead | None = None
    """The newest request's; the parser stands between two messages. None until one has come twice in a row."""
    # the connection
    cycle: Exchange | None = None
    """The newest request's exchange."""
    under_way: Exchange | None = None
    """The exchange that is being answered, or was last."""
    pipeline: "deque[tuple[Exchange, Callable[..., Any]]] | None" = None
    broken = False
    idle_at = 0.0
    peer = ""
    """The client as the access log names it; made when it is first needed."""
    read_paused = False
    writable: asyncio.Event | None = None
    """There, and not set, while the transport's buffer is full."""

    def __init__(
        self,
        config: Config,
        server_state: WorkerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.config = config
        self.server_state = server_state
        self.app_state = app_state
        self.loop = _loop or asyncio.get_running_loop()
        self.headers: list[tuple[bytes, bytes]] = []
        self._new_parser()

    def _new_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        # What follows a message that closes the connection is dropped, not an error: the answer comes first.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Takes its place among the open connections."""
        self.transport = transport
        self.server_state.connections.add(self)
        # As if a tick had seen a head under way: whatever comes first has its time from here.
        self.idle_at = self.watched_since = monotonic()
        self.watched = ("head", id(None))
        if self.secure:
            self.tls = self.server_state.extensions(transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Tells the app, and lets go of everything that would keep the connection's memory."""
        state = self.server_state
        state.connections.discard(self)
        state.closed()
        if self.lingering is not None:
            self.lingering.cancel()
        if self.under_way is not None:
            self.under_way.client_left()
        self.pipeline = self.cycle = self.under_way = None
        self.resume_writing()
        self.parser = None  # type: ignore[assignment] # it holds on to this object
        self.transport.close()

    # Flow

    def pause_writing(self) -> None:
        """The client takes less than the app sends."""
        self.writable = asyncio.Event()

    def resume_writing(self) -> None:
        """The client has caught up, or is gone."""
        if self.writable is not None:
            self.writable.set()
            self.writable = None

    def pause_reading(self) -> None:
        """The app takes less than the client sends."""
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """The app has caught up; nothing more is read for as long as whole requests wait behind the one under way."""
        if self.read_paused and not self.broken and not self.pipeline:
            self.read_paused = False
            self.transport.resume_reading()

    # What the drain and the sweep ask

    def idle_since(self) -> float:
        """See state.Connection."""
        return self.idle_at

    def used(self) -> bool:
        """See state.Connection."""
        return self.cycle is not None

    def close_idle(self) -> None:
        """See state.Connection."""
        if not (self.transport.is_closing() or bytes_are_waiting(self.transport)):
            self.transport.close()

    def abort(self) -> None:
        """See state.Connection."""
        self.transport.abort()

    def name_peer(self) -> str:
        """Makes `peer`."""
        self.peer = "{}:{}".format(*self.client) if self.client else "-"
        return self.peer

    # Requests

    def data_received(self, data: bytes) -> None:
        """A request as the one before needs no parser. Otherwise feeds it, and it calls back."""
        if self.under_way is not None and self.under_way.unsent:
            # What comes is behind that answer, and is not wanted if the connection ends with it.
            self.server_state.outbox.flush()
            if self.transport.is_closing():
                return
        if self.broken:
            return
        known = self.repeated
        if known is not None:
            if data.endswith(known.block) and len(data) <= self.server_state.limits.max_header_size:
                line = request_line(data, 0, len(data) - len(known.block))
                if line is not None:
                    method, url = line.groups()
                    self._repeat(known, method, url)
                    return
            self.repeated = None
        before = self.cycle
        between = not (self.url or self.headers or self.head_read or (before is not None and before.more_body))
        self._feed(data)
        if between and self.cycle is not before and not (self.url or self.headers or self.broken or self.upgrading):
            self._remember(data, self.cycle)

    def eof_received(self) -> None:
        """The client sends no more. The transport closes when this returns: what it has asked for is answered first."""
        self.server_state.outbox.flush()

    def _feed(self, data: bytes) -> None:
        self.suspect = self.head_read > 0 or len(data) > self.server_state.limits.max_header_size
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest: bytes | None = data[upgrade.args[0] :]
            while rest is not None:
                rest = self._answer_wish(rest)
        except httptools.HttpParserError:
            self.refuse()
        else:
            if self.headers or self.url:
                self.head_goes_on(len(data))
            elif self.cycle is not None and self.cycle.more_body:
                self.body_goes_on(self.cycle, len(data))

    def _remember(self, data: bytes, exchange: Exchange | None) -> None:
        """The head of a request that came by itself: the second time, the next one's is likely to be the same."""
        block = block_of(data)
        # An eager call, which has begun already, may have changed the headers.
        if block and block == self.block and exchange is not None and not exchange.started:
            self.repeated = learn(data, block, exchange)
        self.block = block

    def _repeat(self, known: RepeatedHead, method: bytes, url: bytes) -> None:
        scope = self._scope(method, url, "1.1", known.headers.copy())
        exchange = Exchange(self, scope, url, keep_alive=True, expects_continue=False)
        exchange.more_body = False
        exchange.news = True
        self.idle_at = 0.0
        self._take(exchange, self.server_state.app if known.forwarded else self.server_state.bare_app)

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        self.idle_at = 0.0
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header in full."""
        name = name.lower()
        self.headers.append((name, value))
        if name in _NOTED:
            if name == b"content-length":
                self.check_length(value)
            elif name != b"expect":
                self.forwarded = True
            elif value.lower() == b"100-continue":
                self.expect_100_continue = True

    def on_headers_complete(self) -> None:
        """Hands the request to the app, or queues it behind the one under way."""
        parser = self.parser
        url, state = self.url, self.server_state
        if self.suspect or len(self.headers) > self.server_state.limits.max_headers:
            self.check_head()
        version = parser.get_http_version()
        scope = self._scope(parser.get_method(), url, version, self.headers)
        if parser.should_upgrade():
            self.upgrading = True
            return
        exchange = Exchange(self, scope, url, version != "1.0" and parser.should_keep_alive(), self.expect_100_continue)
        app = state.app if self.forwarded else state.bare_app
        self._take(exchange, app)

    def _scope(self, method: bytes, url: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
        if url[:1] == b"/" and b"#" not in url:
            raw_path, _, query = url.partition(b"?")
        else:
            parsed = httptools.parse_url(url)
            raw_path, query = parsed.path, b"" if parsed.query is None else parsed.query
        path = raw_path.decode("ascii")
        if "%" in path:
            path = unquote(path)
        state = self.server_state
        root_path = state.root_path
        if root_path:
            path = root_path + path
            raw_path = root_path.encode("ascii") + raw_path
        scope = {
            "type": "http",
            "asgi": {"version": state.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": "https" if self.secure else "http",
            "method": method.decode("ascii"),
            "root_path": root_path,
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": headers,
            "state": self.app_state.copy(),
        }
        if self.tls is not None:
            scope["extensions"] = {"tls": self.tls}
        return scope

    def _take(self, exchange: Exchange, app: Callable[..., Any]) -> None:
        before = self.cycle
        self.cycle = exchange
        self.url = b""
        self.headers = []
        self.forwarded = self.expect_100_continue = False
        if before is None or before.complete:
            self._begin(exchange, app)
        else:
            self.pause_reading()
            if self.pipeline is None:
                self.pipeline = deque()
            self.pipeline.append((exchange, app))

    def _begin(self, exchange: Exchange, app: Callable[..., Any]) -> None:
        self.under_way = exchange
        state = self.server_state
        state.begun(exchange)
        if state.overloaded():
            state.calls.discard(exchange)
            exchange.answer_instead(503, _BUSY, _RETRY_AFTER)
            return
        state.outbox.unstarted += 1
        exchange.task = self.loop.create_task(exchange.run(app))

    def on_body(self, body: bytes) -> None:
        """A piece of the request's body; it is dropped when the answer is complete already."""
        exchange = self.cycle
        if self.upgrading or exchange is None:
            return
        self.check_body(exchange, len(body))
        if not exchange.complete and exchange.take_body(body) > HIGH_WATER_LIMIT:
            self.pause_reading()

    def on_message_complete(self) -> None:
        """The request's end."""
        if self.upgrading:
            return
        if self.headers:
            self.head_read, self.refusal = 0, 400
            # Trailers. They must not become the next request's headers; ASGI has no place for them.
            self.headers = []
            self.forwarded = self.expect_100_continue = False
        exchange = self.cycle
        if exchange is None:
            return
        exchange.more_body = False
        if not exchange.complete:
            exchange.has_news()
        elif self.lingering is not None:
            raise RefusedError
        else:
            self.idle_at = monotonic()

    def answered(self, exchange: Exchange, now: float) -> None:
        """`exchange` is answered in full: what comes next on this connection."""
        if not exchange.keep_alive:
            self.close_answered()
            return
        if self.transport.is_closing():
            return
        # This runs in the context of some app's call, of another client even: what goes on from here must not see it.
        if (self.pipeline or self.read_paused) and self.server_state.context.copy().run(self._go_on):
            return
        if self.broken:
            self.answer_refusal()
        elif not (self.url or exchange.more_body):
            self.idle_at = now

    def _go_on(self) -> bool:
        """Reads on, and begins the next request; whether there is one."""
        waiting = self.pipeline.popleft() if self.pipeline else None
        if self.read_paused:
            self.resume_reading()
        if waiting is not None:
            self._begin(*waiting)
        return waiting is not None

    # Other ends

    def _wants_websocket(self) -> bool:
        if self.config.ws_protocol_class is None or self.parser.get_method() != b"GET":
            return False
        headers = dict(self.headers)
        tokens = headers.get(b"connection", b"").lower().split(b",")
        return headers.get(b"upgrade", b"").lower() == b"websocket" and b"upgrade" in [
            token.strip() for token in tokens
        ]

    def _answer_wish(self, rest: bytes) -> bytes | None:
        """A head with `Upgrade`, and what came behind it. Returns what came behind the next such head.

        A wish that is not for a WebSocket is declined: the request is what it is without it. The parser has to read it
        again for that, for it takes what follows, the request's body included, for the other protocol.
        """
        if self._wants_websocket():
            self._switch_to_websocket(rest)
            return None
        _logger.warning("Unsupported upgrade request.")
        head = [self._request_line(), *(b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade")]
        wishes = [header for header in self.headers if header[0] == b"upgrade"]
        self.url, self.headers = b"", []
        self.upgrading = self.forwarded = self.expect_100_continue = False
        self.suspect = True
        try:
            if self.parser.get_method() == b"CONNECT":  # which is such a head without a wish
                raise RefusedError
            self._new_parser()
            self.parser.feed_data(b"".join(head))
            self.headers += wishes
            self.parser.feed_data(b"\r\n" + rest)
        except httptools.HttpParserUpgrade as upgrade:
            return rest[upgrade.args[0] - 2 :]
        except (httptools.HttpParserError, RefusedError):
            self.refuse()
        return None

    def _request_line(self) -> bytes:
        return b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())

    def _switch_to_websocket(self, rest: bytes) -> None:
        before = self.cycle
        if before is not None and not before.complete:
            self.refuse()
            return
        state = self.server_state
        state.connections.discard(self)
        head = [self._request_line(), *(b"%b: %b\r\n" % header for header in self.headers)]
        websocket: Any = self.config.ws_protocol_class(  # type: ignore[misc,call-arg]
            config=self.config, server_state=state, app_state=self.app_state
        )
        websocket.connection_made(self.transport)
        websocket.data_received(b"".join(head) + b"\r\n")
        self.transport.set_protocol(websocket)
        if rest:
            websocket.data_received(rest)
