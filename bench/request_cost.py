"""What one request costs in a worker's event loop, next to the bare ASGI call: CPU time, measured in turns in one process.

Between the two stands the least that any server on this loop could do: a protocol that reads, calls the app in a task and
writes a fixed head, together with other answers, and parses, checks, counts and limits nothing.

    .venv-bench/fairlead/bin/python -m bench.request_cost [--rounds 9] [--requests 5000] [--close] [--access-log] [--once]

With the interpreter that `scripts/bench` has made, Fairlead is installed as its users have it: compiled, where there is a C compiler.
`PYTHONPATH=src python -m bench.request_cost` measures the sources, which are not.

The protocol, the acceptor, the loop and the garbage collector's thresholds are a worker's; the client is a process of its
own, which is not counted.
`--close` opens a connection for each request. `--once` does one round only, for a profiler:
`PYTHONHASHSEED=0 valgrind --tool=callgrind --instr-atstart=no … --once` counts instructions from the round's begin.
"""

import argparse
import asyncio
import contextlib
import functools
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median as _median
from typing import Any, ClassVar

import uvloop

from bench.apps import bare_call
from bench.load import CONNECTIONS
from fairlead.observability.events import EventLog
from fairlead.observability.scoreboard import Column, Scoreboard, create_scoreboard_file
from fairlead.plan.model import HttpPlan
from fairlead.worker.accept import Acceptor, Door
from fairlead.worker.access_log import AccessLog
from fairlead.worker.http1.protocol import HttpProtocol
from fairlead.worker.state import WorkerState
from fairlead.worker.template import tune_gc
from fairlead.worker.uvicorn_adapter import build_config

_PATH = "/items/42"
_REQUEST = f"GET {_PATH} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: bench\r\n%s\r\n"
_CLIENT = """
import socket, sys
port, connections, request, close = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode(), sys.argv[4] == "close"
def connect():
    return [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
def ask(socks):
    for sock in socks:
        sock.sendall(request)
    for sock in socks:
        if not sock.recv(65536).startswith(b"HTTP/1.1 200"):
            sys.exit("wrong answer")
        if close:
            sock.close()
socks = [] if close else connect()
for line in sys.stdin:
    for _ in range(int(line)):
        ask(connect() if close else socks)
    print("done", flush=True)
"""


class _Nowhere:
    is_terminal = is_journal = False

    def write(self, data: bytes) -> None:
        sys.stderr.write(data.decode())


@contextlib.asynccontextmanager
async def _serving(app: Any, access_log: bool) -> AsyncIterator[int]:
    """A worker's acceptor on a free port; with its tick, as far as it costs."""
    loop = asyncio.get_running_loop()
    scoreboard = Scoreboard(create_scoreboard_file())
    scoreboard.cells[scoreboard.cell(Column.WORKER, 0)] = 1
    log = EventLog("text", "bench", _Nowhere())
    state = WorkerState(scoreboard, 0, AccessLog("text", log, os.devnull) if access_log else None)
    plan = HttpPlan()
    config = build_config(plan, app, HttpProtocol, None)
    state.limits = plan
    state.load(config, time.time())
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    acceptor = Acceptor(loop, [Door(listener, lambda: HttpProtocol(config, state, {}, loop))], state, scoreboard, log)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        acceptor.stop()
        listener.close()


class _Least(asyncio.Protocol):
    """See the module's text."""

    waiting: ClassVar[list[tuple["_Least", bytes]]] = []
    """Answers of this turn of the loop: they are written together, as a worker's are."""

    def __init__(self, app: Any, close: bool) -> None:
        self._app = app
        self._close = close

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, _data: bytes) -> None:
        call = self._app(bare_call.scope(_PATH), self._receive, self._send)
        self._task = asyncio.get_running_loop().create_task(call)

    async def _receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            body = message["body"]
            if not self.waiting:
                asyncio.get_running_loop().call_soon(self._write_all)
            self.waiting.append((self, b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)))

    @classmethod
    def _write_all(cls) -> None:
        for protocol, answer in cls.waiting:
            protocol._transport.write(answer)
            if protocol._close:
                protocol._transport.close()
        cls.waiting.clear()


@contextlib.asynccontextmanager
async def _serving_least(app: Any, close: bool) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(lambda: _Least(app, close), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class _Client:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, requests: int) -> float:
        """CPU seconds of this process for so many requests."""
        assert self._process.stdin
        assert self._process.stdout
        begin = time.process_time()
        self._process.stdin.write(b"%d\n" % (requests // CONNECTIONS))
        if await asyncio.wait_for(self._process.stdout.readline(), 120) != b"done\n":
            raise SystemExit("cannot measure: the client had no right answer")
        return time.process_time() - begin


@contextlib.asynccontextmanager
async def _client(port: int, close: bool) -> AsyncIterator[_Client]:
    request = _REQUEST % ("Connection: close\r\n" if close else "")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _CLIENT, str(port), str(CONNECTIONS), request, "close" if close else "keep"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin
    try:
        yield _Client(process)
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 10)


def _count(on: bool) -> None:
    """Tells callgrind to count, if it is there."""
    if "valgrind" in os.environ.get("LD_PRELOAD", "") and shutil.which("callgrind_control"):
        subprocess.run(["callgrind_control", "-i", "on" if on else "off", str(os.getpid())], check=True)


async def _main(options: argparse.Namespace) -> None:
    sys.path.insert(0, str(Path(__file__).parent / "apps"))
    from plain import app  # type: ignore[import-not-found]

    requests = options.requests // CONNECTIONS * CONNECTIONS
    bare = functools.partial(bare_call.call, app, _PATH)
    async with (
        _serving(app, options.access_log) as port,
        _client(port, options.close) as client,
        _serving_least(app, options.close) as least_port,
        _client(least_port, options.close) as least,
    ):
        await client.ask(requests // 5)
        await least.ask(requests // 5)
        await bare(requests // 5)
        tune_gc(0)
        if options.once:
            _count(True)
            seconds = await (bare(requests) if options.bare else client.ask(requests))
            _count(False)
            print(f"{seconds / requests * 1e6:.2f} µs")
            return
        rounds = [
            (await bare(requests), await least.ask(requests), await client.ask(requests)) for _ in range(options.rounds)
        ]
    print(f"bare call        {_median([alone for alone, _, _ in rounds]) / requests * 1e6:6.1f} µs")
    for name, column in (("least protocol", 1), ("request", 2)):
        cost = _median([taken[column] for taken in rounds]) / requests * 1e6
        ratios = sorted(taken[column] / taken[0] for taken in rounds)
        print(f"{name:16} {cost:6.1f} µs, {_median(ratios):.3f} × bare ({ratios[0]:.3f} to {ratios[-1]:.3f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=5000, help="in each round")
    parser.add_argument("--close", action="store_true", help="a new connection for each request")
    parser.add_argument("--access-log", action="store_true")
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--bare", action="store_true", help="with --once: the bare call")
    uvloop.run(_main(parser.parse_args()))
