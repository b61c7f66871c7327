"""How a worker leaves without losing a request.

The readers of the listening sockets are off by then. Every response from now on says `Connection: close`; a connection
whose last response did not say so stays open for a grace, for its client's next request may be on the way. WebSockets
and event streams are told at the beginning, spread over a while, so that their clients do not come back all at once.
Everything else may finish within the drain's timeout. What is cut then is counted and named.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from random import random
from time import monotonic

from fairlead.lean_dataclass import dataclass
from fairlead.messages import Drained
from fairlead.observability.events import EventLog
from fairlead.restarts.policy import RestartPolicy
from fairlead.worker.state import Call, WorkerState

_LOOK = 0.02
_END_AFTER = 1.0
"""Seconds that an app has to end a stream by itself once it was told."""
_CANCEL_AFTER = 5.0
"""Seconds after which the call of a stream or WebSocket that was told is cancelled."""
_CUT_FOR = 1.0
"""Seconds that calls which were cut have for their `finally`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A drain's deadlines, in seconds from its beginning."""

    requests: float
    idle: float
    spread: float

    @staticmethod
    def of(policy: RestartPolicy, last: bool) -> "Limits":
        """The policy's. Nobody comes back to a service that ends, so `last` does not spread."""
        return Limits(policy.drain_timeout, policy.idle_grace, 0.0 if last else policy.stream_spread)

    def at_most(self, seconds: float) -> "Limits":
        """The same, none longer than `seconds`."""
        return Limits(min(self.requests, seconds), min(self.idle, seconds), min(self.spread, seconds))

    @property
    def all(self) -> float:
        """When everything has ended, one way or the other."""
        return max(self.requests, self.idle, self.spread)


def stagger(count: int, spread: float, chance: Callable[[], float]) -> list[float]:
    """`count` delays, evenly over `spread` seconds, each somewhere in its own share: many workers drain at once."""
    return [spread * (index + chance()) / count for index in range(count)]


class Leaving:
    """One worker's drain. `run` returns what had to be cut."""

    def __init__(self, state: WorkerState, limits: Limits, log: EventLog) -> None:
        self._state = state
        self._limits = limits
        self._log = log
        self._began = monotonic()
        self._due: list[tuple[float, Call]] = []
        self._told: dict[Call, float] = {}
        self._ended: set[Call] = set()
        self._cut: set[Call] = set()
        self._counts: Counter[str] = Counter()
        self._details: list[str] = []
        state.draining = True
        state.on_stream = self._tell_soon
        self._plan_telling()

    def shorten(self, seconds: float) -> None:
        """Nothing takes longer than `seconds` from now."""
        self._limits = self._limits.at_most(monotonic() - self._began + seconds)

    def _plan_telling(self) -> None:
        calls = [call for call in self._state.calls if call.kind != "request"]
        delays = stagger(len(calls), self._limits.spread, random)
        self._due = [(self._began + delay, call) for delay, call in zip(delays, calls, strict=True)]

    def _tell_soon(self, call: Call) -> None:
        """A stream or WebSocket that began in the drain: its client came to the wrong place, and goes on at once."""
        self._due.append((monotonic(), call))

    async def run(self, busy: Callable[[], bool]) -> Drained:
        """Until nothing is left, or the deadline. `busy`: whether connections are still being made."""
        while self._state.connections or self._state.calls or busy():
            now = monotonic()
            if now >= self._began + self._limits.all:
                break
            self._look(now)
            await asyncio.sleep(_LOOK)
        await self._cut_all()
        return Drained(
            requests_cut=self._counts["request"],
            streams_ended=self._counts["stream"],
            websockets_closed=self._counts["websocket"],
            details=tuple(self._details),
        )

    def _look(self, now: float) -> None:
        self._state.outbox.flush()
        self._tell_those_due(now)
        self._end_those_told(now)
        if now >= self._began + self._limits.requests:
            self._cut_calls([call for call in self._state.calls if call.kind == "request"])
        self._close_idle(now)

    def _tell_those_due(self, now: float) -> None:
        waiting = []
        for moment, call in self._due:
            if call not in self._state.calls or call in self._told:
                continue
            if now >= moment and call.tell():
                self._told[call] = now
                self._counts[call.kind] += 1
            else:
                waiting.append((moment, call))
        self._due = waiting

    def _end_those_told(self, now: float) -> None:
        for call, moment in self._told.items():
            if call not in self._state.calls:
                continue
            if now >= moment + _END_AFTER and call not in self._ended:
                self._ended.add(call)
                call.end()
            if now >= moment + _CANCEL_AFTER and call not in self._cut:
                self._cut_calls([call])

    def _close_idle(self, now: float) -> None:
        if now < self._began + self._limits.idle:
            return
        for connection in list(self._state.connections):
            since = connection.idle_since()
            if since and now >= max(since, self._began) + self._limits.idle:
                connection.close_idle()

    def _cut_calls(self, calls: Iterable[Call]) -> None:
        for call in set(calls) - self._cut:
            self._cut.add(call)
            kind = "background task" if call.complete else call.kind
            if call not in self._told:
                self._counts[call.kind] += 1
            self._details.append(f"{kind} {call.path}")
            self._log.warning("drain.cut", kind=kind, path=call.path, after=monotonic() - self._began)
            call.cut()

    async def _cut_all(self) -> None:
        """The end: what is still there is cut, and gets a moment to run its `finally`."""
        self._cut_calls(self._state.calls)
        self._state.outbox.flush()
        for connection in list(self._state.connections):
            connection.abort()
        deadline = monotonic() + _CUT_FOR
        while self._state.calls and monotonic() < deadline:  # noqa: ASYNC110 - rare, short, and simpler than an event for it
            await asyncio.sleep(_LOOK)
