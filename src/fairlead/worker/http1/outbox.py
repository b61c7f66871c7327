"""Answers that wait for each other for a moment, so that they are written together.

Requests come in batches: what has arrived at once is parsed at once, and the apps' calls begin one after the other. A
write between two of them wakes a client, which is likely to push this process off its core, and takes the processor's
caches from the app. Written in a row, behind the last of the calls that are about to begin, they cost a seventh less of
a whole request.

Nobody waits long for that: an answer waits only while a call that came in with it has not begun yet, and an age is set.
Where one such call was slow enough to be felt, answers are written at once for a while.
"""

import logging
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairlead.worker.http1.exchange import Exchange

_logger = logging.getLogger("uvicorn.error")
_OLDEST = 0.001
"""Seconds after which an answer waits for no other call."""
_SLOW = 0.005
"""Seconds between two answers that mean a slow call: more than the time for which another process has the core."""
_AT_ONCE = 1.0
"""Seconds for which nothing waits, after a slow call."""


class Outbox:
    """One worker's. Whatever else happens on a connection is behind its answers: what takes from it, closes it or looks after
    it calls `flush` before."""

    unstarted = 0
    """Calls that are about to begin: their tasks have not run yet."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Exchange, bytes, float]] = []
        self._since = self._newest = self._at_once_until = 0.0

    def add(self, exchange: "Exchange", data: bytes, now: float) -> None:
        """`data`, the last of an answer that is complete `now` (time.monotonic()), and then the protocol's `answered`."""
        waiting = self._waiting
        if waiting:
            waiting.append((exchange, data, now))
            if not self.unstarted or now - self._since > _OLDEST:
                self._flush(now)
            else:
                self._newest = now
        elif self.unstarted and now > self._at_once_until:
            waiting.append((exchange, data, now))
            self._since = self._newest = now
            # For when those that have not begun do not answer at once.
            exchange.protocol.loop.call_soon(self.flush)
        else:
            _write(exchange, data, now)

    def flush(self) -> None:
        """Writes what waits."""
        if self._waiting:
            self._flush(monotonic())

    def _flush(self, now: float) -> None:
        if now - self._newest > _SLOW:
            self._at_once_until = now + _AT_ONCE
        waiting, self._waiting = self._waiting, []
        for exchange, data, at in waiting:
            try:
                _write(exchange, data, at)
            except Exception:
                _logger.exception("cannot write an answer; its connection is closed")
                exchange.protocol.transport.abort()


def _write(exchange: "Exchange", data: bytes, now: float) -> None:
    protocol = exchange.protocol
    exchange.unsent = False
    transport = protocol.transport
    if not transport.is_closing():
        transport.write(data)
    protocol.answered(exchange, now)
