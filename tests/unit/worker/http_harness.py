"""A worker's protocols and acceptor in the test's own event loop, with real sockets and a real scoreboard."""

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import trustme
import uvloop

from fairlead.observability.events import EventLog
from fairlead.observability.scoreboard import Scoreboard, SlotReading, create_scoreboard_file
from fairlead.plan.model import HttpPlan
from fairlead.worker.accept import Acceptor, Door
from fairlead.worker.access_log import AccessLog
from fairlead.worker.http1.protocol import HttpProtocol
from fairlead.worker.http1_h11 import H11Connection
from fairlead.worker.state import WorkerState
from fairlead.worker.uvicorn_adapter import Config, build_config
from fairlead.worker.websocket import websocket_protocol

App = Callable[[Any, Any, Any], Awaitable[None]]
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


class TextSink:
    """Keeps log lines as text."""

    is_terminal = False
    is_journal = False

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    @property
    def text(self) -> str:
        return self.data.decode()


@dataclass
class Bench:
    """What a test holds in its hands."""

    state: WorkerState
    config: Config
    acceptor: Acceptor
    scoreboard: Scoreboard
    address: Any
    log: TextSink
    access_path: str
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self) -> "Client":
        """A client's connection, once the server has made its side of it."""
        before = len(self.state.connections)
        reader, writer = await asyncio.open_connection(*self.address[:2])
        self.writers.append(writer)
        await until(lambda: len(self.state.connections) > before)
        return Client(reader, writer)

    def read(self) -> SlotReading:
        """The scoreboard's slot."""
        return self.scoreboard.read(0)

    def access(self) -> str:
        """What the access log says so far."""
        assert self.state.access is not None
        self.state.access.flush()
        with open(self.access_path) as file:
            return file.read()


@dataclass
class Answer:
    """A response."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The only value of a header, or None."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, values
        return values[0] if values else None


class Client:
    """Speaks bytes, so that a test says exactly what is on the wire."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Writes."""
        self.writer.write(data)

    async def get(self, path: str = "/", extra: str = "", method: str = "GET", version: str = "1.1") -> Answer:
        """One request, and its answer."""
        self.send(f"{method} {path} HTTP/{version}\r\nhost: test\r\n{extra}\r\n".encode())
        return await self.answer(method)

    async def answer(self, method: str = "GET") -> Answer:
        """The next answer."""
        head = (await within(self.reader.readuntil(b"\r\n\r\n"))).decode("latin-1")
        status_line, *lines = head[:-4].split("\r\n")
        headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
        answer = Answer(int(status_line.split()[1]), headers, b"")
        if method == "HEAD" or answer.status in (100, 101, 204, 304):
            return answer
        if answer.header("transfer-encoding") == "chunked":
            answer.body = await self._chunks()
        elif answer.header("content-length") is not None:
            answer.body = await within(self.reader.readexactly(int(answer.header("content-length") or 0)))
        else:
            answer.body = await within(self.reader.read())
        return answer

    async def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            size = int(await within(self.reader.readuntil(b"\r\n")), 16)
            body += (await within(self.reader.readexactly(size + 2)))[:-2]
            if not size:
                return bytes(body)

    async def rest(self) -> bytes:
        """All up to the end of the connection."""
        with contextlib.suppress(ConnectionResetError):
            return await within(self.reader.read())
        return b"reset"

    async def close(self) -> None:
        """Hangs up."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def serving(
    app: App,
    folder: Any,
    protocol: str = "httptools",
    state: dict[str, Any] | None = None,
    tls: ssl.SSLContext | None = None,
    **http: Any,
) -> AsyncIterator[Bench]:
    """Serves `app` on a free port of this loop until the block ends."""
    loop = asyncio.get_running_loop()
    board_file = create_scoreboard_file()
    scoreboard = Scoreboard(board_file)
    scoreboard.cells[0] = 1
    sink = TextSink()
    log = EventLog("text", "worker 1", sink)
    access_path = str(folder / "access.log")
    worker = WorkerState(scoreboard, 0, AccessLog("text", log, access_path))
    made = H11Connection if protocol == "h11" else HttpProtocol
    config = build_config(HttpPlan(**http), app, made, websocket_protocol())
    worker.limits = HttpPlan(**http)
    worker.load(config, time.time())
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    door = Door(listener, lambda: made(config, worker, state or {}, loop), tls)
    acceptor = Acceptor(loop, [door], worker, scoreboard, log)
    acceptor.start()
    bench = Bench(worker, config, acceptor, scoreboard, listener.getsockname(), sink, access_path)
    try:
        yield bench
    finally:
        for writer in bench.writers:
            writer.close()
        acceptor.stop()
        listener.close()
        for connection in list(worker.connections):
            connection.abort()
        await until(lambda: not worker.connections and not worker.calls and not acceptor.adopting())
        assert worker.access is not None
        worker.access.close()
        os.close(board_file)


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Those of a server called `test`, and of clients that trust it."""
    authority = trustme.CA()
    here, there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("test").configure_cert(here)
    authority.configure_trust(there)
    return here, there


def run(test: Coroutine[Any, Any, None], loop: str = "uvloop") -> None:
    """Runs a test's coroutine on the loop named."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(test)


async def until(true: Callable[[], bool], patience: float = 10.0) -> None:
    """Lets the loop turn until something that has no event of its own is true."""
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, "never became true"
        await asyncio.sleep(0.001)


async def within(what: Awaitable[Any], seconds: float = 30.0) -> Any:
    """The result, which must be there soon."""
    return await asyncio.wait_for(what, seconds)


def respond(
    status: int = 200, body: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None
) -> list[dict[str, Any]]:
    """The two messages of a plain response."""
    length = [(b"content-length", str(len(body)).encode())] if headers is None else headers
    return [
        {"type": "http.response.start", "status": status, "headers": length},
        {"type": "http.response.body", "body": body},
    ]
