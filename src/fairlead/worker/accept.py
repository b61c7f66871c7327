"""Takes connections from the listening sockets that all workers share, evenly, without messages.

Every worker publishes its load. One whose load is above the smallest by more than a slack takes its reader off for a
moment and so leaves the connection to another; else it accepts at most two and goes back to its loop, where what it
accepted gets served before it accepts more. Where connections come and go, a worker that has no more than the others
accepts up to eight: that costs less for each, and who got too many has too many for milliseconds.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Iterable
from time import monotonic_ns
from typing import Any

from fairlead.lean_dataclass import dataclass
from fairlead.observability.events import EventLog
from fairlead.observability.scoreboard import CAPACITY, Column, Scoreboard
from fairlead.worker.state import WorkerState

_AT_ONCE, _AT_ONCE_IN_PASSING = 2, 8
"""Connections that are accepted in one turn of the loop: of those that stay, and of those that do not."""
_IN_PASSING = 2
_MANY = 100
"""They do not stay when, between two ticks, so many have ended, and so many times those that are open."""
_SLACK = 2
_SLACK_SHARE = 8
"""The slack grows by an eighth of the smallest load: with many connections, evenness to the last one costs too much."""
_PAUSE = 0.001
_PAUSES = 8
"""In a row. A worker that is stuck but beat a moment ago holds a connection back for no longer than this many pauses."""
_STALE_NS = 1_000_000_000
_BACK_OFF = 0.2
"""Seconds without accepting when descriptors or memory are used up: a retry at once would spin."""
_HANDSHAKE = 10.0
"""Seconds that a TLS handshake may take."""
_SHUTDOWN = 86_400.0
"""Seconds that the end of a TLS connection may take by the library's clock, which counts from the moment the app has
answered and so would cut whoever takes long to read that. What stands still is ended by WorkerState.sweep instead."""
_SLOTS_AT_LEAST = 16
"""Looked at without knowing that they are in use, so that a few workers that start together see each other at once."""
_NOBODY = 1 << 62
_LOADS = Column.LOAD * CAPACITY
_HEARTBEATS = Column.HEARTBEAT * CAPACITY
_USED_UP = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def how_many(own: int, smallest: int, passing: bool) -> int:
    """How many connections a worker of load `own` accepts in one turn; 0: it leaves them to another. `smallest` is the
    smallest load of those that accept; `passing`: see `in_passing`."""
    if own > smallest + _SLACK + smallest // _SLACK_SHARE:
        return 0
    return _AT_ONCE_IN_PASSING if passing and own <= smallest else _AT_ONCE


def in_passing(ended: int, opened: int) -> bool:
    """Whether connections do not stay: `ended` have ended since the last tick, `opened` are open."""
    return ended >= max(_MANY, _IN_PASSING * opened)


@dataclass(frozen=True, slots=True)
class Door:
    """A listening socket, what makes the protocol of a connection there, and the context when it speaks TLS."""

    listener: socket.socket
    make_protocol: Callable[[], Any]
    tls: ssl.SSLContext | None = None


class Acceptor:
    """Accepts at `doors` once started."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        doors: Iterable[Door],
        state: WorkerState,
        scoreboard: Scoreboard,
        log: EventLog,
    ) -> None:
        self._loop = loop
        self._sources = [_Source(door) for door in doors]
        self._state = state
        self._cells = scoreboard.cells
        self._log = log
        self._running = False
        self._slots = CAPACITY
        self._pauses = 0
        self._waived: dict[int, int] = {}
        """Slots that nobody waits for, as long as their load is this."""
        self._said_used_up = False
        self._adopting = 0
        self._passing = False
        self._ended = 0
        """Connections that had ended at the last tick."""

    def start(self) -> None:
        """Takes part from now on."""
        self._running = True
        self.tick()
        self._state.accept_on(True)
        self._resume()

    def stop(self) -> None:
        """Takes no new connection any more. Those that were accepted are made."""
        self._running = False
        self._state.accept_on(False)
        self._remove_readers()

    def take_the_rest(self) -> None:
        """Accepts all that clients have queued: nobody follows who would."""
        for source in self._sources:
            while self._accept(source):
                pass

    def tick(self) -> None:
        """Finds the highest slot in use, so that looking for the smallest load looks no further; forgives the late;
        looks whether connections stay."""
        self._waived.clear()
        workers = self._cells[Column.WORKER * CAPACITY : (Column.WORKER + 1) * CAPACITY]
        self._slots = max(_SLOTS_AT_LEAST, (len(workers.tobytes().rstrip(b"\0")) + 7) // 8)
        opened = self._state.open
        ended = self._cells[self._state.accepted_cell] - opened
        self._passing, self._ended = in_passing(ended - self._ended, opened), ended

    def adopting(self) -> bool:
        """Whether connections are accepted and not made yet."""
        return self._adopting > 0

    def _resume(self) -> None:
        if self._running:
            for source in self._sources:
                self._loop.add_reader(source.descriptor, self._readable, source)

    def _remove_readers(self) -> None:
        for source in self._sources:
            self._loop.remove_reader(source.descriptor)

    def _rest(self, seconds: float) -> None:
        self._remove_readers()
        self._loop.call_later(seconds, self._resume)

    def _readable(self, source: "_Source") -> None:
        most = self._state.limits.max_connections
        if 0 < most <= self._state.open:
            self._refuse("the worker has http.max_connections")
            return
        count = self._my_turn()
        if not count:
            self._rest(_PAUSE)
            return
        for _ in range(min(count, most - self._state.open) if most else count):
            if not self._accept(source):
                return

    def _my_turn(self) -> int:
        """How many connections to accept now."""
        smallest, slot = self._smallest(monotonic_ns())
        if count := how_many(self._state.open + 1, smallest, self._passing):
            self._pauses = 0
            return count
        self._pauses += 1
        if self._pauses <= _PAUSES:
            return 0
        # It does not come for its connection: it is busy, or stuck. Nobody waits for it until it moves.
        self._pauses = 0
        self._waived[slot] = smallest
        return self._my_turn()

    def _smallest(self, now: int) -> tuple[int, int]:
        """The smallest load among those who accept, beat, and are not known not to come; and its slot."""
        cells = self._cells
        best, found = _NOBODY, -1
        for slot, load in enumerate(cells[_LOADS : _LOADS + self._slots].tolist()):
            if 0 < load < best and now - cells[_HEARTBEATS + slot] < _STALE_NS and self._waived.get(slot) != load:
                best, found = load, slot
        return best, found

    def _accept(self, source: "_Source") -> bool:
        """Accepts one connection; False when there is none, or none can be taken."""
        try:
            descriptor, address = source.listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - accept() without its detours
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno in _USED_UP:
                self._refuse(error.strerror or str(error))
                return False
            # The connection's own end (ECONNABORTED, EPROTO and the network errors of accept(2)): there may be others.
            return True
        self._said_used_up = False
        self._state.opened()
        sock = source.make_socket(source.family, socket.SOCK_STREAM, source.protocol, descriptor)
        protocol = source.make_protocol()
        protocol.client, protocol.server = source.names(sock, address)
        self._adopting += 1
        # The transport that is being made holds on to the task: it is what wakes it.
        self._loop.create_task(self._adopt(source, sock, protocol))
        return True

    async def _adopt(self, source: "_Source", sock: socket.socket, protocol: Any) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, sock, **source.options)
        except (OSError, TimeoutError) as error:
            # Gone before it began, or no handshake that we know.
            self._log.debug("accept.lost", cause=error.strerror or str(error))
            if protocol.transport is None:
                self._state.closed()
                sock.close()
        finally:
            self._adopting -= 1

    def _refuse(self, cause: str) -> None:
        """No connection can be taken: others wait in the kernel's queue, or go to another worker."""
        if not self._said_used_up:
            self._log.error("accept.refused", cause=cause, open=self._state.open)
            self._said_used_up = True
        self._state.accept_on(False)
        self._remove_readers()
        self._loop.call_later(_BACK_OFF, self._try_again)

    def _try_again(self) -> None:
        if self._running:
            self._state.accept_on(True)
            self._resume()


def _kind(family: socket.AddressFamily) -> type[socket.socket]:
    """A class of sockets that know what they are. Every loop asks a connection's several times, and `socket.socket` looks
    the enumeration's member up each time: that is a fifth of what a connection costs."""
    return type("Accepted", (socket.socket,), {"__slots__": (), "family": family, "type": socket.SOCK_STREAM})


class _Source:
    """A listening socket, and what is the same for all of its connections."""

    def __init__(self, door: Door) -> None:
        self.listener = listener = door.listener
        self.make_protocol = door.make_protocol
        self.options: dict[str, Any] = {}
        if door.tls is not None:
            self.options = {"ssl": door.tls, "ssl_handshake_timeout": _HANDSHAKE, "ssl_shutdown_timeout": _SHUTDOWN}
        self.descriptor = listener.fileno()
        self.family = listener.family
        self.make_socket = _kind(listener.family)
        # Named, or else asyncio takes the connection for one without Nagle's algorithm, and leaves it on.
        self.protocol = 0 if self.family == socket.AF_UNIX else socket.IPPROTO_TCP
        name = listener.getsockname()
        self._unix = self.family == socket.AF_UNIX
        self._name: tuple[str, int | None] | None = None
        if self._unix:
            self._name = (name if isinstance(name, str) else name.decode(errors="replace"), None)
        elif name[0] not in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound to
            self._name = (name[0], name[1])

    def names(self, sock: socket.socket, address: Any) -> tuple[tuple[str, int] | None, tuple[str, int | None] | None]:
        """The connection's client and server as ASGI names them."""
        if self._unix:
            return None, self._name
        server = self._name
        if server is None:
            name = sock.getsockname()
            server = (name[0], name[1])
        return (address[0], address[1]), server
