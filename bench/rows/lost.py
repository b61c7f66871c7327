"""Lost requests: over reloads, and over the death of a worker. See `fairlead.testing.load_client` for what counts."""

import asyncio
import os
import signal
import time
from collections import Counter

from bench.errors import BenchError
from bench.peers import FAIRLEAD, GRANIAN, GUNICORN, HYPERCORN, UVICORN, Server
from bench.row import Aim, Metric, Row, Sample, Total, Values
from bench.session import PLAIN, Running, Session
from fairlead.testing.load_client import LoadClient, Loss, Mix, Tally
from fairlead.testing.wire import Reason

_RELOAD_DEADLINE = 45.0
"""Seconds. gunicorn needs 30: it waits that long for clients that stay."""
_KILL_SHADOW = 0.5
"""Seconds around the kill in which a connection that no answer had named a worker for is taken as the killed one's."""


def _reloads(session: Session, server: Server, _reference: Values) -> Sample:
    # Fairlead's aim is about 10 reloads; a peer's loss in one shows in every one, and takes 6 to 30 seconds.
    reloads = 2 if server is FAIRLEAD and not session.quick else 1
    requests = int(session.pick(3_000, 20_000 if server is FAIRLEAD else 10_000))
    with session.serving(server, PLAIN, workers=2) as it:
        it.await_workers(2, patience=5)
        sample = asyncio.run(_under_reloads(it, reloads, requests))
    if sample.values["unfinished"][0]:
        return Sample(sample.values, (*sample.notes, f"a reload was not finished: {session.log_tail()}"))
    return sample


async def _under_reloads(it: Running, reloads: int, requests: int) -> Sample:
    seconds: list[float] = []
    async with LoadClient(it.target) as client:
        for _ in range(reloads):
            await load(client, requests // (reloads + 1))
            old, begin = client.tally.pids_within(1.0), time.monotonic()
            it.reload()
            if await client.replaced(old, _RELOAD_DEADLINE):
                seconds.append(max(client.tally.last_seen[pid] for pid in old) - begin)
        await load(client, requests - client.tally.total)
    tally = client.tally
    values: Values = {**counts(tally), "reloads": [reloads], "seconds": seconds}
    values = {**values, "unfinished": [reloads - len(seconds)]}
    return Sample(values, what_was_lost(tally, tally.losses))


def _kill(session: Session, server: Server, _reference: Values) -> Sample:
    with session.serving(server, PLAIN, workers=4) as it:
        it.await_workers(4, patience=5)
        return asyncio.run(_under_a_kill(it, int(session.pick(2_000, 5_000))))


async def _under_a_kill(it: Running, requests: int) -> Sample:
    async with LoadClient(it.target, Mix(stream_seconds=1.0)) as client:
        await load(client, requests // 2)
        answering = client.tally.pids_within(0.5) & set(it.tree.pids()[1:])
        if len(answering) < 2:
            raise BenchError(f"cannot kill one worker of several: {len(answering)} answer")
        victim, at = max(answering), time.monotonic()
        os.kill(victim, signal.SIGKILL)
        await load(client, requests // 2)
    tally = client.tally
    others = [loss for loss in tally.losses if not _was_on(loss, victim, at)]
    values: Values = {**counts(tally), "lost": [len(others)], "victims": [len(tally.losses) - len(others)]}
    return Sample(values, what_was_lost(tally, others))


def _was_on(loss: Loss, victim: int, at: float) -> bool:
    """The lost request was on a connection of the killed worker, which nothing could have saved."""
    if loss.pid is None:
        return loss.reason is not Reason.REFUSED and 0 <= loss.at - at < _KILL_SHADOW
    return loss.pid == victim


async def load(client: LoadClient, requests: int) -> None:
    """Waits for so many more answers."""
    if not await client.answered(max(0, requests), timeout=30 + requests / 100):
        raise BenchError(f"cannot go on: too few answers; lost so far: {client.tally.losses_by_reason()}")


def counts(tally: Tally) -> Values:
    """Requests, losses and the slowest answer."""
    return {
        "requests": [tally.total + len(tally.losses)],
        "lost": [len(tally.losses)],
        "slowest_ms": [tally.slowest * 1000],
    }


def what_was_lost(tally: Tally, losses: list[Loss]) -> tuple[str, ...]:
    """Which kind of client lost how, for a reader."""
    kinds = Counter(f"{loss.kind}: {loss.reason}" for loss in losses).most_common()
    lost = ", ".join(f"{count} × {kind}" for kind, count in kinds)
    closes = ", ".join(f"{count} × {code}" for code, count in tally.websocket_closes.most_common())
    return (*((f"lost: {lost}",) if lost else ()), *((f"WebSockets closed with {closes}",) if closes else ()))


REQUESTS = Metric("requests", "requests", total=Total.SUM, neutral=True)
SLOWEST = Metric("slowest_ms", "slowest answer, ms", total=Total.LARGEST)
CLIENTS = (
    "64 clients: 36 keep-alive and 12 `Connection: close` with pauses of 0 to 50 ms, 6 that ask for slow answers (0.3 to 1 s), "
    "4 that read a stream of server-sent events and come back, 6 WebSockets that come back when closed in order. "
)

ROWS = (
    Row(
        "lost-reload",
        "Requests lost over reloads, 2 workers",
        CLIENTS
        + "A reload is a HUP to the root process, ended when no old worker has answered for a second. Fairlead is "
        "reloaded twice in a round, the peers once, in the first. Lost is what was sent and not answered in full and rightly, or refused.",
        (
            Metric("lost", "lost", total=Total.SUM, plot=True),
            REQUESTS,
            Metric("reloads", "reloads", total=Total.SUM, neutral=True),
            Metric("unfinished", f"not done in {_RELOAD_DEADLINE:.0f} s", total=Total.SUM),
            Metric("seconds", "until the last old answer, s", 1),
            SLOWEST,
        ),
        (FAIRLEAD, UVICORN, GUNICORN, GRANIAN, HYPERCORN),
        _reloads,
        aims=(
            Aim("lost", 0, False, "requests lost"),
            Aim("unfinished", 0, False, "reloads not finished"),
            Aim("requests", 100_000, True, "requests sent (5 rounds send as many)", full_only=True),
        ),
        quick_servers=(FAIRLEAD, UVICORN),
        peer_rounds=1,
        seconds=(8.0, 17.0),
    ),
    Row(
        "lost-kill",
        "Requests lost by the other workers' clients when a worker is killed with -9, 4 workers",
        CLIENTS
        + "One of the workers that answer is killed. Lost on its own connections is what nothing could have saved; a "
        f"connection that had no answer yet when it broke within {_KILL_SHADOW} s of the kill is counted among those. Peers are killed in the first 2 rounds.",
        (
            Metric("lost", "lost by others", total=Total.SUM, plot=True),
            Metric("victims", "lost with the worker", total=Total.SUM),
            REQUESTS,
            SLOWEST,
        ),
        (FAIRLEAD, UVICORN, GUNICORN, GRANIAN),
        _kill,
        aims=(Aim("lost", 0, False, "requests lost by other workers' clients"),),
        quick_servers=(FAIRLEAD,),
        peer_rounds=2,
        seconds=(5.0, 7.0),
    ),
)
