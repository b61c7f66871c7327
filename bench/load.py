"""The load generators people know, wrk and h2load (Debian: wrk, nghttp2-client), and bursts of our own."""

import asyncio
import json
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.stats import percentile
from fairlead.testing.wire import Connection, LostError, Reason, Target

CONNECTIONS = 64
_WRK_SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """What a generator saw. Latencies in milliseconds; `errors` are requests without a right answer."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    errors: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def wrk(url: str, seconds: float, close: bool = False) -> Load:
    """As fast as the server answers on 64 connections; `close`: a new connection for each request."""
    headers = ("-H", "Connection: close") if close else ()
    options = ("-t2", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--timeout", "5s", *headers)
    text = _run("wrk", *options, "-s", str(_WRK_SCRIPT), url, timeout=seconds + 20)
    return Load(**json.loads(text.rpartition("\nJSON ")[2]))


def h2load(url: str, requests: int) -> Load:
    """`requests` requests by HTTP/1.1 on 64 connections, as fast as the server answers."""
    with tempfile.NamedTemporaryFile() as log:
        options = ("--h1", "-t1", f"-c{CONNECTIONS}", f"-n{requests}", f"--log-file={log.name}")
        text = _run("h2load", *options, url, timeout=30 + requests / 500)
        # A line a request: start in µs, status, duration in µs.
        rows = [line.split("\t") for line in Path(log.name).read_text().splitlines()]
    if not rows:
        raise BenchError(f"h2load had no answer at all: {text[-300:]}")
    times = sorted(int(row[2]) / 1000 for row in rows)
    # 0: an answer without a reason phrase (hypercorn's), of which h2load does not read the status; -1: one that failed.
    right = sum(row[1].startswith("2") or row[1] == "0" for row in rows)
    begin, finish = min(int(row[0]) for row in rows), max(int(row[0]) + int(row[2]) for row in rows)
    p50, p99, p999 = (percentile(times, share) for share in (50, 99, 99.9))
    return Load(right, (finish - begin) / 1e6, p50, p99, p999, errors=requests - right)


def burst(target: Target, connections: int, path: str, pid_key: str) -> Counter[int]:
    """Opens all connections at once, asks each for the pid of its worker, and keeps all open until all have answered."""
    return Counter(json.loads(body)[pid_key] for body in asyncio.run(_burst(target, connections, path)))


async def _burst(target: Target, count: int, path: str) -> list[bytes]:
    async with asyncio.timeout(30):
        opened = await asyncio.gather(*(Connection.open(target) for _ in range(count)), return_exceptions=True)
        connections = [connection for connection in opened if isinstance(connection, Connection)]
        answers = await asyncio.gather(*(c.get(path) for c in connections), return_exceptions=True)
    await asyncio.gather(*(connection.close() for connection in connections))
    return [answer[1] for answer in answers if isinstance(answer, tuple)]


async def ask(target: Target, path: str) -> bytes:
    """The body of one request on a connection of its own; LostError when there is none, or a status other than 200."""
    connection = await Connection.open(target)
    try:
        head, body = await connection.get(path, "Connection: close")
    finally:
        await connection.close()
    if head.status != 200:
        raise LostError(Reason.WRONG, f"status {head.status}")
    return body


def _run(*command: str, timeout: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise BenchError(f"cannot find {command[0]}: install it (Debian: wrk, nghttp2-client)") from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{command[0]} did not end within {timeout:.0f} s") from error
    if done.returncode:
        raise BenchError(f"{command[0]} ended with exit code {done.returncode}: {done.stderr[-300:]}")
    return done.stdout
