"""What one client may ask of a worker: the size of heads and bodies, and the time it takes over them.

A request in a hurry pays for two comparisons. Time is looked at by the worker's tick, so there are no timers.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from fairlead.worker.http1.exchange import Exchange
from fairlead.worker.http1.response import plain_answer
from fairlead.worker.sockets import bytes_unsent, close_once
from fairlead.worker.state import WorkerState

TEXTS = {
    400: b"Invalid HTTP request received.",
    408: b"The request took too long.",
    413: b"The request's body is too large.",
    431: b"The request's header is too large.",
}
LINGER = 2.0
"""Seconds that a client that is still sending has to read the answer: closing with bytes unread has the kernel reset the
connection, and the client lose an answer that it had not read yet."""
_LONGEST_LENGTH = 18
logger = logging.getLogger("uvicorn.error")
"""uvicorn's, because that is the name apps know for what their server says."""


class RefusedError(Exception):
    """Stops the parser: what comes is not wanted."""


class Limits:
    """Mixed into the protocol of a connection."""

    transport: asyncio.Transport
    server_state: WorkerState
    loop: asyncio.AbstractEventLoop
    secure: bool
    url: bytes
    headers: list[tuple[bytes, bytes]]
    upgrading: bool
    cycle: Exchange | None
    under_way: Exchange | None
    pipeline: "deque[tuple[Exchange, Callable[..., Any]]] | None"
    broken: bool
    read_paused: bool
    writable: asyncio.Event | None
    resume_reading: Callable[[], None]

    refusal = 400
    """The status that the client gets when it is refused."""
    suspect = False
    """Heads that end in this piece may be too large, or have been found to be: they are looked at when they are complete."""
    head_read = 0
    """Bytes of the head that came before its last piece."""
    watched: Any = None
    """What the last tick saw under way, in a form that changes when it moves; `watched_since` when that was."""
    watched_since = 0.0
    lingering: asyncio.TimerHandle | None = None
    """There while the last answer is out and the client is given time to read it."""

    # Sizes

    def head_goes_on(self, size: int) -> None:
        """A piece of a head, or of trailers, without its end."""
        # The first piece may hold whole requests before the head: only what is known to be the head's counts.
        self.head_read += size if self.head_read else self._head_size()
        if self.head_read > self.server_state.limits.max_header_size:
            self.refusal = 431
            self.refuse()

    def body_goes_on(self, exchange: Exchange, size: int) -> None:
        """A piece that did not end the body. One without a byte of it is the parser's to keep, such as a trailer's
        name, so there is an end to how many may follow each other."""
        if exchange.received != exchange.received_then:
            exchange.received_then, exchange.barren = exchange.received, 0
            return
        exchange.barren += size
        if exchange.barren > self.server_state.limits.max_header_size:
            self.refusal = 431
            self.refuse()

    def _head_size(self) -> int:
        """Bytes of the head as far as it is parsed."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def check_head(self) -> None:
        """A head is complete that needs a look. Raises RefusedError."""
        limits = self.server_state.limits
        self.head_read = 0
        if self._head_size() > limits.max_header_size or len(self.headers) > limits.max_headers:
            self.refusal = 431
        if self.refusal != 400:
            raise RefusedError

    def check_length(self, value: bytes) -> None:
        """The length that a body is announced with."""
        most = self.server_state.limits.max_body_size
        if most and (len(value) > _LONGEST_LENGTH or (value.isdigit() and int(value) > most)):
            self.refusal, self.suspect = 413, True

    def check_body(self, exchange: Exchange, size: int) -> None:
        """A piece of a body. Raises RefusedError."""
        exchange.received += size
        most = self.server_state.limits.max_body_size
        if most and exchange.received > most:
            self.refusal = 413
            raise RefusedError

    # Time

    def look(self, now: float) -> None:
        """The tick's look at a connection with something under way."""
        moving, limit, status = self._under_way()
        if moving is None or moving != self.watched:
            self.watched, self.watched_since = moving, now
        elif limit and now - self.watched_since > limit:
            self.watched_since = now
            self._too_slow(status)

    def _under_way(self) -> tuple[Any, float, int]:
        """What has to move, how long it may stand still, and the status if it does; 0: there is nobody to tell."""
        limits, call = self.server_state.limits, self.under_way
        if self.upgrading or self.broken or self.lingering is not None:
            return None, 0.0, 0
        if self.url and not self.read_paused:
            # The head as a whole has the time, however it trickles.
            return ("head", id(self.cycle)), limits.header_timeout, 408
        if self.writable is not None:
            return ("response", *bytes_unsent(self.transport)), limits.idle_timeout, 0
        if call is not None and call.more_body and not (self.read_paused or call.expects_continue):
            return ("body", id(call), call.received), limits.idle_timeout, 408
        return None, 0.0, 0

    def _too_slow(self, status: int) -> None:
        if not status:
            logger.warning("A client took nothing of its response for too long.")
            self.transport.abort()
            return
        self.refusal = status
        self.refuse()

    # Refusing

    def refuse(self) -> None:
        """What comes is not wanted. What came in full before it is answered first."""
        if self.lingering is not None:
            self.broken = True
            close_once(self.transport)
            return
        logger.warning("%s (%d)", TEXTS[self.refusal].decode(), self.refusal)
        self.broken = True
        newest, under_way = self.cycle, self.under_way
        if newest is not None and newest.more_body:
            # Its body is what is wrong.
            if newest.complete:
                self._linger()
                return
            if newest is under_way:
                newest.refused = True
                newest.answer_instead(self.refusal, TEXTS[self.refusal])
                return
            if self.pipeline:
                self.pipeline.pop()
        if under_way is None or under_way.complete:
            self.answer_refusal()

    def answer_refusal(self) -> None:
        """The answer to what was refused, in its turn."""
        block = self.server_state.blocks[self.secure]
        self.transport.write(plain_answer(self.refusal, block, TEXTS[self.refusal]))
        self.close_answered()

    def close_answered(self) -> None:
        """Closes the connection behind an answer. The client may still be sending: then it gets time to read."""
        if self.transport.is_closing():
            return
        if (self.refusal != 400) if self.broken else (self.cycle is not None and self.cycle.more_body):
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        """Lets the client read, and drops what it sends until that ends, or for as long as it may take."""
        if self.lingering is not None:
            return
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.lingering = self.loop.call_later(LINGER, close_once, self.transport)
