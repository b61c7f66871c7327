"""What all connections of one worker share: counters, the drain's flag, the headers that every response begins with."""

import asyncio
import contextvars
import math
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Protocol

from fairlead.observability.scoreboard import CAPACITY, Column, Scoreboard
from fairlead.plan.model import HttpPlan
from fairlead.worker.access_log import AccessLog
from fairlead.worker.http1.outbox import Outbox
from fairlead.worker.sockets import bytes_unsent
from fairlead.worker.uvicorn_adapter import Config, ServerState, bare_app, default_headers

_FAREWELL = 2.0
"""Seconds that a client has to answer the end of a TLS connection, once it has got everything."""


class Call(Protocol):
    """An ASGI call under way, as the drain sees it."""

    kind: str
    """request, stream (an event stream) or websocket."""
    complete: bool
    """Whether the answer is out in full; the app's call may go on, with background tasks."""
    task: "asyncio.Task[None] | None"

    @property
    def path(self) -> str:
        """For messages."""

    def tell(self) -> bool:
        """Tells a stream or a WebSocket that the worker leaves; False when it cannot be told yet."""

    def end(self) -> None:
        """Ends what was told and goes on, in a form that the client takes as a clean end."""

    def cut(self) -> None:
        """The deadline is over: answers 503 where nothing was answered yet, closes, and cancels the app's call."""


class Connection(Protocol):
    """An open connection, as the drain and the keep-alive sweep see it."""

    transport: asyncio.Transport

    def idle_since(self) -> float:
        """time.monotonic() when it last became idle; 0.0 while there is something under way on it."""

    def used(self) -> bool:
        """Whether a request has come on it."""

    def look(self, now: float) -> None:
        """The tick's look while something is under way on it: `now` is time.monotonic()."""

    def close_idle(self) -> None:
        """Closes it, unless bytes of a next request are waiting."""

    def abort(self) -> None:
        """Closes it, whatever is under way."""


class WorkerState(ServerState):
    """Uvicorn's server state, with what Fairlead's protocols need. All of it belongs to the event loop's thread."""

    connections: set[Any]
    """Every one of them is a Connection."""

    def __init__(self, scoreboard: Scoreboard, slot: int, access: AccessLog | None = None) -> None:
        super().__init__()
        self.cells = scoreboard.cells
        self.access = access
        self.outbox = Outbox()
        self.context = contextvars.copy_context()
        """What a call begins with, whoever's call has it begin."""
        self.draining = False
        self.on_stream: Callable[[Call], None] = _nobody_cares
        """Called in a drain with every event stream and WebSocket that begins."""
        self._closing: dict[Any, tuple[Any, float]] = {}
        self.websockets = 0
        self.open = 0
        self.accepting = False
        self.in_flight = 0
        self.calls: set[Call] = set()
        self.blocks = (b"", b"")
        """The headers that every response begins with: over plain HTTP, and over TLS."""
        self.hsts = b""
        self.limits = HttpPlan()
        self.streams = 0
        """Event streams among the requests in flight."""
        self.tls_extension: Callable[[Any], dict[str, Any]] | None = None
        self.app: Any = None
        self.bare_app: Any = None
        self.asgi_version = self.root_path = ""
        self.load_cell = Column.LOAD * CAPACITY + slot
        self.connections_cell = Column.CONNECTIONS * CAPACITY + slot
        self.websockets_cell = Column.WEBSOCKETS * CAPACITY + slot
        self.in_flight_cell = Column.IN_FLIGHT * CAPACITY + slot
        self.requests_cell = Column.REQUESTS * CAPACITY + slot
        self.errors_cell = Column.ERRORS * CAPACITY + slot
        self.accepted_cell = Column.ACCEPTED * CAPACITY + slot

    def load(self, config: Config, wall: float) -> None:
        """Takes the app and renders the default headers as of `wall` (time.time())."""
        self.app, self.bare_app = config.loaded_app, bare_app(config)
        self.asgi_version, self.root_path = config.asgi_version, config.root_path
        self.renew_headers(config, wall)

    def renew_headers(self, config: Config, wall: float) -> None:
        """Renders the default headers as of `wall`."""
        self.default_headers = default_headers(config, formatdate(wall, usegmt=True).encode())
        plain = b"".join(b"%b: %b\r\n" % pair for pair in self.default_headers)
        self.blocks = plain, plain + (b"strict-transport-security: %b\r\n" % self.hsts if self.hsts else b"")

    def extensions(self, transport: Any) -> dict[str, Any] | None:
        """What the ASGI scope says of a connection's TLS; None for a plain one."""
        secure = transport.get_extra_info("ssl_object")
        return None if secure is None or self.tls_extension is None else self.tls_extension(secure)

    @property
    def requests(self) -> int:
        """HTTP requests answered, ever."""
        return self.cells[self.requests_cell]

    def accept_on(self, on: bool) -> None:
        """Publishes whether this worker takes part in sharing out connections."""
        self.accepting = on
        self.cells[self.load_cell] = self.open + 1 if on else 0

    def opened(self) -> None:
        """A connection was accepted."""
        self.open += 1
        self._publish_open()
        self.cells[self.accepted_cell] += 1

    def closed(self) -> None:
        """An accepted connection is gone."""
        self.open -= 1
        self._publish_open()

    def _publish_open(self) -> None:
        self.cells[self.connections_cell] = self.open
        if self.accepting:
            self.cells[self.load_cell] = self.open + 1

    def websocket(self, change: int) -> None:
        """One WebSocket more (1) or less (-1)."""
        self.websockets += change
        self.cells[self.websockets_cell] = self.websockets

    def sweep(self, now: float) -> None:
        """The tick's look at all connections (`now`: time.monotonic()): those that are idle or slow for too long end.
        Which idle ones a drain ends, it decides by itself."""
        self.outbox.flush()
        used = now - self.limits.keep_alive_timeout
        fresh = now - (self.limits.header_timeout or math.inf)
        closing: dict[Any, tuple[Any, float]] = {}
        for connection in list(self.connections):
            if connection.transport.is_closing():
                closing[connection] = self._see_off(connection, now)
            elif not (since := connection.idle_since()):
                connection.look(now)
            elif not self.draining and since < (used if connection.used() else fresh):
                connection.close_idle()
        self._closing = closing

    def _see_off(self, connection: Any, now: float) -> tuple[Any, float]:
        """A connection that we have closed, but that is still here: its client is reading the last answer, or has not
        answered the end of TLS. Returns what the client has not got, and since when that has been so."""
        unsent = bytes_unsent(connection.transport)
        before, since = self._closing.get(connection, (None, now))
        if unsent != before:
            return unsent, now
        limit = self.limits.idle_timeout if any(unsent) else _FAREWELL
        if 0 < limit < now - since:
            connection.abort()
        return unsent, since

    def overloaded(self) -> bool:
        """Whether the requests in flight, but for event streams, are more than this worker takes."""
        most = self.limits.max_in_flight
        return 0 < most < self.in_flight - self.streams

    def begun(self, call: Call) -> None:
        """An HTTP request is handed to the app."""
        self.calls.add(call)
        self.in_flight += 1
        self.cells[self.in_flight_cell] = self.in_flight

    def answered(self, status: int) -> None:
        """A request was answered in full."""
        self.in_flight -= 1
        cells = self.cells
        cells[self.in_flight_cell] = self.in_flight
        cells[self.requests_cell] += 1
        if status >= 500:
            cells[self.errors_cell] += 1

    def unanswered(self, failed: bool) -> None:
        """A request will never be answered in full; `failed`: by our fault, not because the client left."""
        self.in_flight -= 1
        self.cells[self.in_flight_cell] = self.in_flight
        if failed:
            self.cells[self.errors_cell] += 1


def _nobody_cares(call: Call) -> None:
    """Outside of a drain."""
