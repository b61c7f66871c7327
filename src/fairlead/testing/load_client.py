"""Clients that know exactly which request was lost, and why.

Used by the tests of reloads, crashes and renewals, and by `scripts/bench`. No retry, no pool, no framework: a client
that has sent a request and has not got its whole answer has lost it. What does *not* count as a loss is what a
correct client has to live with: an idle connection that was closed before the next request was sent, a WebSocket
closed with a close frame, a stream that ends with its framing complete.

The app under load answers (see `Paths`)

- `quick` and `slow` with JSON `{"token": "<the one asked with>", "pid": <the worker's pid>}`,
- `stream` with server-sent events, each `data: {"pid": <the worker's pid>}`,
- `websocket` by echoing each text message as JSON `{"token": "<the message>", "pid": …}`.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import field
from typing import Self, TypeVar

from fairlead.lean_dataclass import dataclass
from fairlead.testing.wire import Connection, LostError, Reason, Target

_T = TypeVar("_T")

_RETRY_PAUSE = 0.02
"""Seconds before a client whose request was lost sends the next one, so that a dead port is not counted 1,000 times a second."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the app answers; `{token}` and `{seconds}` are filled in."""

    quick: str = "/echo/{token}"
    slow: str = "/slow/{token}?seconds={seconds}"
    stream: str = "/events?seconds={seconds}"
    websocket: str = "/ws"


@dataclass(frozen=True, slots=True)
class Mix:
    """How many clients of each kind, and how they behave. Pauses and durations in seconds."""

    keep_alive: int = 36
    close: int = 12
    slow: int = 6
    stream: int = 4
    websocket: int = 6
    pause: float = 0.05
    """The longest pause between two requests of one client; they are spread evenly over 0 to this."""
    slow_from: float = 0.3
    slow_to: float = 1.0
    stream_seconds: float = 3.0
    deadline: float = 15.0
    """A request without its whole answer after this time is lost."""

    def counts(self) -> dict[str, int]:
        """Clients by kind."""
        return {
            "keep-alive": self.keep_alive,
            "close": self.close,
            "slow": self.slow,
            "stream": self.stream,
            "websocket": self.websocket,
        }


@dataclass(frozen=True, slots=True)
class Loss:
    """One lost request. `pid`: the worker its connection belonged to, None when no answer had told it before."""

    kind: str
    reason: Reason
    at: float
    pid: int | None = None
    detail: str = ""


@dataclass(slots=True)
class Tally:
    """What happened so far. Times are those of `time.monotonic()`."""

    answered: Counter[str] = field(default_factory=Counter)
    """Requests answered in full and rightly, by kind. An event of a stream and a message of a WebSocket count as one."""
    losses: list[Loss] = field(default_factory=list)
    websocket_closes: Counter[int] = field(default_factory=Counter)
    """WebSockets that the server closed in order, by code."""
    last_seen: dict[int, float] = field(default_factory=dict)
    """When each worker answered last, by pid."""
    first_seen: dict[int, float] = field(default_factory=dict)
    """When each worker answered first, by pid."""
    slowest: float = 0.0
    """The longest time a keep-alive or close client waited for an answer, connecting included."""

    @property
    def total(self) -> int:
        """Requests answered."""
        return self.answered.total()

    def seen(self, pid: int) -> None:
        """The worker `pid` answered just now."""
        self.last_seen[pid] = now = time.monotonic()
        self.first_seen.setdefault(pid, now)

    def pids_within(self, seconds: float) -> set[int]:
        """The workers that answered within the last `seconds`."""
        since = time.monotonic() - seconds
        return {pid for pid, at in self.last_seen.items() if at >= since}

    def losses_by_reason(self) -> dict[str, int]:
        """How many were lost, by kind of client and reason: `{"keep-alive: reset": 3}`."""
        return dict(Counter(f"{loss.kind}: {loss.reason}" for loss in self.losses).most_common())


class LoadClient:
    """Runs a mix of clients against one target from `async with` to its end, and counts in `tally`.

    At the end every client finishes the request it has under way, so that leaving loses nothing by itself.
    """

    def __init__(self, target: Target, mix: Mix | None = None, paths: Paths | None = None, seed: int = 1) -> None:
        self.tally = Tally()
        self._target = target
        self._mix = mix or Mix()
        self._paths = paths or Paths()
        self._seed = seed
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        kinds = [kind for kind, count in self._mix.counts().items() for _ in range(count)]
        clients = [
            _Client(kind, self._target, self._mix, self._paths, self.tally, self._stopping, self._seed * 1000 + number)
            for number, kind in enumerate(kinds)
        ]
        self._tasks = [asyncio.create_task(client.run()) for client in clients]
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._stopping.set()
        _done, late = await asyncio.wait(self._tasks, timeout=self._mix.deadline + 1)
        for task in late:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def until(self, condition: Callable[[Tally], bool], timeout: float) -> bool:
        """Waits until `condition` holds; False when it does not within `timeout` seconds."""
        end = time.monotonic() + timeout
        while not condition(self.tally):
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.01)
        return True

    async def answered(self, more: int, timeout: float) -> bool:
        """Waits for `more` answers from now on; False when they do not come within `timeout` seconds."""
        goal = self.tally.total + more
        return await self.until(lambda tally: tally.total >= goal, timeout)

    async def replaced(self, old: set[int], timeout: float, quiet: float = 1.0) -> bool:
        """Waits until workers answer, and none of the pids `old` has for `quiet` seconds; False when that does not come."""
        return await self.until(lambda tally: bool(new := tally.pids_within(quiet)) and not new & old, timeout)


class _Client:
    """One client of one kind: a connection's life after the other, until told to stop."""

    def __init__(
        self, kind: str, target: Target, mix: Mix, paths: Paths, tally: Tally, stopping: asyncio.Event, seed: int
    ) -> None:
        self._kind = kind
        self._target = target
        self._mix = mix
        self._paths = paths
        self._tally = tally
        self._stopping = stopping
        self._random = random.Random(seed)  # noqa: S311 -- pauses, not secrets; seeded, so that runs are alike
        self._pid: int | None = None

    async def run(self) -> None:
        """Lives until `stopping`; every loss goes to the tally."""
        lives: dict[str, Callable[[Connection], Awaitable[None]]] = {
            "keep-alive": self._live_keep_alive,
            "close": self._live_close,
            "slow": self._live_slow,
            "stream": self._live_stream,
            "websocket": self._live_websocket,
        }
        while not self._stopping.is_set():
            self._pid = None
            try:
                await asyncio.sleep(self._pause())
                connection = await self._in_time(Connection.open(self._target))
                try:
                    await lives[self._kind](connection)
                finally:
                    await connection.close()
            except LostError as lost:
                self._tally.losses.append(Loss(self._kind, lost.reason, time.monotonic(), self._pid, lost.detail))
                await asyncio.sleep(_RETRY_PAUSE)

    async def _live_keep_alive(self, connection: Connection) -> None:
        while not self._stopping.is_set() and not connection.closed_by_server:
            if not await self._ask(connection, self._paths.quick):
                return
            await asyncio.sleep(self._pause())

    async def _live_close(self, connection: Connection) -> None:
        await self._ask(connection, self._paths.quick, "Connection: close")

    async def _live_slow(self, connection: Connection) -> None:
        while not self._stopping.is_set() and not connection.closed_by_server:
            if not await self._ask(connection, self._paths.slow):
                return

    async def _live_stream(self, connection: Connection) -> None:
        path = self._paths.stream.format(seconds=self._mix.stream_seconds)
        head = await self._in_time(connection.get_head(path))
        if head.status != 200:
            raise LostError(Reason.WRONG, f"status {head.status}")
        async with aclosing(connection.body(head)) as parts:
            while (part := await self._in_time(anext(parts, None))) is not None:
                for line in part.split(b"\n"):
                    if line.startswith(b"data: "):
                        self._count(_pid_of(line[6:]))
                if self._stopping.is_set():
                    return

    async def _live_websocket(self, connection: Connection) -> None:
        await self._in_time(connection.upgrade(self._paths.websocket))
        while not self._stopping.is_set():
            # Listening during the pause as well, because a close may come at any moment.
            answer = asyncio.ensure_future(connection.receive_text())
            await asyncio.wait({answer}, timeout=self._pause())
            token = self._token()
            if not answer.done():
                with suppress(LostError):  # what became of the connection, the reading side tells
                    await self._in_time(connection.send_text(token))
            received = await self._in_time(answer)
            if isinstance(received, int):
                self._tally.websocket_closes[received] += 1
                return
            self._count(_pid_of(received.encode(), token))
        connection.send_close()

    async def _ask(self, connection: Connection, path: str, *headers: str) -> bool:
        """One request with its answer; True when the connection takes another one."""
        token = self._token()
        seconds = round(self._random.uniform(self._mix.slow_from, self._mix.slow_to), 3)
        begin = time.monotonic()
        head, body = await self._in_time(connection.get(path.format(token=token, seconds=seconds), *headers))
        if head.status != 200:
            raise LostError(Reason.WRONG, f"status {head.status}: {body[:80]!r}")
        self._count(_pid_of(body, token))
        if self._kind != "slow":
            self._tally.slowest = max(self._tally.slowest, time.monotonic() - begin)
        return head.keeps_alive

    async def _in_time(self, waiting: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout(self._mix.deadline):
                return await waiting
        except TimeoutError as error:
            raise LostError(Reason.TIMEOUT) from error

    def _count(self, pid: int) -> None:
        self._pid = pid
        self._tally.answered[self._kind] += 1
        self._tally.seen(pid)

    def _pause(self) -> float:
        return self._random.uniform(0, self._mix.pause)

    def _token(self) -> str:
        return f"{self._random.getrandbits(64):x}"


def _pid_of(body: bytes, token: str | None = None) -> int:
    """The pid of an answer, which must be the one to `token`."""
    try:
        answer = json.loads(body)
        if token is not None and answer["token"] != token:
            raise LostError(Reason.WRONG, f"the answer to {answer['token']!r} instead of {token!r}")
        return int(answer["pid"])
    except (ValueError, TypeError, KeyError) as error:
        raise LostError(Reason.WRONG, f"{body[:80]!r}") from error
