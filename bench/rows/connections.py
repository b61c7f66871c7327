"""Thousands of connections that stay: what each costs in memory, and whether it is still there later."""

import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.errors import BenchError
from bench.peers import FAIRLEAD, GRANIAN, GUNICORN, HYPERCORN, UVICORN, Server
from bench.processes import end
from bench.row import Aim, Metric, Row, Sample, Total, Values
from bench.session import PLAIN, Running, Session

_WORKERS = 4
_DEADLINE = 90.0
_PER_PROCESS = 2_500
"""Connections of one client process: open files are limited for each."""


def _idle(kind: str, path: str, quick: int, full: int, session: Session, server: Server) -> Sample:
    count = int(session.pick(quick, full))
    with session.serving(server, PLAIN, workers=_WORKERS, crowd=True) as it:
        it.await_workers(_WORKERS, patience=3)
        time.sleep(0.5)
        before, begin = it.tree.pss(), time.monotonic()
        with _crowds(it, kind, path, count) as crowds:
            opened = sum(_number(crowd, "open", begin) for crowd in crowds)
            took = time.monotonic() - begin
            time.sleep(session.pick(1, 3))
            each = (it.tree.pss() - before) / max(1, opened) / 1000
            for crowd in crowds:
                assert crowd.stdin
                crowd.stdin.write("ask\n")
                crowd.stdin.flush()
            alive = sum(_number(crowd, "alive", begin) for crowd in crowds)
    values: Values = {"each_kb": [each] if opened == count else [], "seconds": [took], "lost": [count - alive]}
    note = () if opened == count else (f"only {opened} of {count} could be opened; no memory per connection is given",)
    return Sample(values, note)


@contextmanager
def _crowds(it: Running, kind: str, path: str, count: int) -> Iterator[list["subprocess.Popen[str]"]]:
    """Client processes with an address each, so that no port runs out; gone at the end of the block."""
    crowds: list[subprocess.Popen[str]] = []
    script = str(Path(__file__).parent.parent / "crowd.py")
    try:
        for number in range(0, count, _PER_PROCESS):
            source = f"127.0.1.{number // _PER_PROCESS + 1}"
            size = str(min(_PER_PROCESS, count - number))
            command = [sys.executable, "-P", script, kind, "127.0.0.1", str(it.port), size, source, path]
            pipe = subprocess.PIPE
            crowds.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True))
        yield crowds
    finally:
        for crowd in crowds:
            end(crowd)


def _number(crowd: "subprocess.Popen[str]", word: str, begin: float) -> int:
    """The number behind the word that the client prints next, within the deadline that all of them share."""
    assert crowd.stdout
    with selectors.DefaultSelector() as selector:
        selector.register(crowd.stdout, selectors.EVENT_READ)
        if not selector.select(max(0.0, begin + _DEADLINE - time.monotonic())):
            raise BenchError(f"the clients did not say {word!r} within {_DEADLINE:.0f} s")
    said = crowd.stdout.readline().split()
    if len(said) != 2 or said[0] != word:
        raise BenchError(f"the clients said {said} instead of {word!r}")
    return int(said[1])


def _keep_alive(session: Session, server: Server, _reference: Values) -> Sample:
    return _idle("http", "/echo/idle", 1_000, 10_000, session, server)


def _websockets(session: Session, server: Server, _reference: Values) -> Sample:
    return _idle("websocket", "/ws", 400, 2_000, session, server)


def _row(name: str, title: str, kind: str, measure: Callable[[Session, Server, Values], Sample], quick: int) -> Row:
    return Row(
        name,
        title,
        f"{kind} {_WORKERS} workers. The growth of the PSS of all processes, over the number of connections. Then each is asked "
        "once more: lost is what is not answered. Limits of time and number that would close such connections are raised, see "
        f"docs/reference/peers.md. Peers are measured in the first round. (With --quick: {quick:,} connections.)",
        (
            Metric("each_kb", "kB each", 1, plot=True),
            Metric("lost", "lost", total=Total.SUM),
            Metric("seconds", "to open all, s", 1),
        ),
        (FAIRLEAD, UVICORN, GUNICORN, GRANIAN, HYPERCORN),
        measure,
        aims=(Aim("lost", 0, False, "connections lost"),),
        quick_servers=(FAIRLEAD, UVICORN),
        most_rounds=3,
        peer_rounds=1,
        seconds=(5.0, 12.0),
    )


ROWS = (
    _row("idle-http", "10,000 idle keep-alive connections", "Each has had one answer.", _keep_alive, 1_000),
    replace(
        _row("idle-websocket", "2,000 WebSockets", "Each has echoed one message.", _websockets, 400), quick_rounds=0
    ),
)
