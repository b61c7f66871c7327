"""Workers that follow the load: how soon the first extra one serves, and what is lost on the way up and down."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

from bench.errors import BenchError
from bench.peers import FAIRLEAD, Launch, Server
from bench.row import Aim, Metric, Row, Sample, Total, Values
from bench.session import App, Running, Session
from fairlead.testing.load_client import LoadClient, Mix

_MOST = 3
_CALM = 20.0
"""Seconds within which one worker has to be left."""
_APP = App(
    "grows:app",
    Path(__file__).parent.parent / "apps",
    env={
        "GROWS_BUSY": "0.01",
        "FAIRLEAD_REPLICATION_WORKERS": f'{{ min = 1, max = {_MOST}, calm = "1s" }}',
        "FAIRLEAD_RESTARTS_IDLE_GRACE": "300ms",
        "FAIRLEAD_RESTARTS_DRAIN_TIMEOUT": "3s",
    },
)


def _unstaffed(server: Server) -> Server:
    """The server without the number of workers in its command: the setting says it."""

    def command(launch: Launch) -> list[str]:
        words = server.command(launch)
        place = words.index("--workers")
        return words[:place] + words[place + 2 :]

    return replace(server, command=command)


def _scaling(session: Session, server: Server, _reference: Values) -> Sample:
    met, lost, requests = [], 0, 0
    with session.serving(_unstaffed(server), _APP, workers=1) as it:
        floor = _processes_at_rest(it)
        for _ in range(int(session.pick(2, 10))):
            seconds, client = asyncio.run(_cycle(it))
            met.append(seconds)
            lost += len(client.tally.losses)
            requests += client.tally.total
            _await_calm(it, floor)
    return Sample({"met": met, "lost": [lost], "requests": [requests], "cycles": [len(met)]})


async def _cycle(it: Running) -> tuple[float, LoadClient]:
    """A step in load until a second worker answers, and a second more."""
    async with LoadClient(it.target, Mix(16, 4, 0, 0, 0, pause=0.01)) as client:
        began = time.monotonic()
        if not await client.until(lambda tally: len(tally.first_seen) > 1, 15):
            raise BenchError("no second worker within 15 s of the step in load")
        seconds = sorted(client.tally.first_seen.values())[1] - began
        await asyncio.sleep(1)
    return seconds, client


def _processes_at_rest(it: Running) -> int:
    """How many processes there are with one worker, once the spare template is there."""
    time.sleep(2)
    return len(it.tree.pids())


def _await_calm(it: Running, floor: int) -> None:
    end = time.monotonic() + _CALM
    while len(it.tree.pids()) > floor:
        if time.monotonic() > end:
            raise BenchError(f"not back to one worker within {_CALM:.0f} s")
        time.sleep(0.05)


ROWS = (
    Row(
        "scaling",
        "A step in load on one worker that may become three: 10 cycles up and down",
        "20 clients begin to ask at once; each request keeps a worker busy for 10 ms. From there to the first answer of a second "
        "worker, seen by the clients. A second later they stop, and once one worker is left they begin again. Lost is what was sent "
        "and not answered in full and rightly. (With --quick: 2 cycles.)",
        (
            Metric("met", "first extra worker serves after, s", 2),
            Metric("lost", "lost", total=Total.SUM),
            Metric("requests", "requests", total=Total.SUM),
            Metric("cycles", "cycles", total=Total.SUM),
        ),
        (FAIRLEAD,),
        _scaling,
        aims=(
            Aim("met", 2.0, False, "s from the step in load to the first extra worker serving"),
            Aim("lost", 0, False, "requests lost"),
        ),
        most_rounds=1,
        quick_rounds=0,
        seconds=(12.0, 50.0),
    ),
)
