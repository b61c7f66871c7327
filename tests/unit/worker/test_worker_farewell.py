"""What was written to a client reaches it, however slowly it takes it; a client that takes nothing is cut."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from http_harness import Bench, Client, contexts, run, serving, until, within

SIZE = 12 * 1024 * 1024
"""More than the kernel keeps for a connection."""
BUFFER = 64 * 1024
LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
PROTOCOLS = pytest.mark.parametrize("protocol", ["httptools", "h11"])
SECURE = pytest.mark.parametrize("secure", [True, False], ids=["tls", "plain"])
ENDS = pytest.mark.parametrize("ends", ["close", "keep-alive"])


async def large(_scope: Any, _receive: Any, send: Any) -> None:
    """As most apps send a body: all at once."""
    headers = [(b"content-length", b"%d" % SIZE)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * SIZE})


@asynccontextmanager
async def asking(
    folder: Path, protocol: str, secure: bool, ends: str, **limits: float
) -> AsyncIterator[tuple[Bench, Client]]:
    """A client with a small buffer that has read the head of its response."""
    here, there = contexts() if secure else (None, None)
    async with serving(large, folder, protocol, tls=here, **limits) as bench:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, bench.address[:2])
        name = "test" if secure else None
        reader, writer = await asyncio.open_connection(sock=sock, ssl=there, server_hostname=name, limit=BUFFER)
        bench.writers.append(writer)
        client = Client(reader, writer)
        client.send(f"GET / HTTP/1.1\r\nhost: test\r\nconnection: {ends}\r\n\r\n".encode())
        await within(reader.readuntil(b"\r\n\r\n"))
        yield bench, client


def swept_clean(bench: Bench) -> bool:
    """Whether no connection is left after one more sweep, as the worker's tick does it, and a drain's look at the idle ones."""
    for connection in list(bench.state.connections):
        if connection.idle_since():
            connection.close_idle()
    bench.state.sweep(monotonic())
    return not bench.state.connections


@LOOPS
@PROTOCOLS
@SECURE
@ENDS
def test_client_that_takes_its_time_gets_the_whole_response(
    tmp_path: Path, loop: str, protocol: str, secure: bool, ends: str
) -> None:
    async def whole() -> None:
        limits = {"keep_alive_timeout": 0.05, "idle_timeout": 30.0}
        async with asking(tmp_path, protocol, secure, ends, **limits) as (bench, client):
            got = 0
            while got < SIZE and (piece := await within(client.reader.read(BUFFER))):
                got += len(piece)
                swept_clean(bench)
                await asyncio.sleep(0.001)
            assert got == SIZE
            await until(lambda: swept_clean(bench))
            assert await client.rest() == b""

    run(whole(), loop)


@LOOPS
@PROTOCOLS
@SECURE
@ENDS
def test_client_that_takes_nothing_of_what_is_answered_is_cut(
    tmp_path: Path, loop: str, protocol: str, secure: bool, ends: str
) -> None:
    async def whole() -> None:
        limits = {"keep_alive_timeout": 0.05, "idle_timeout": 0.3}
        async with asking(tmp_path, protocol, secure, ends, **limits) as (bench, client):
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: swept_clean(bench))

    run(whole(), loop)


async def refusing(scope: Any, receive: Any, send: Any) -> None:
    """Refuses WebSockets; an answer over HTTP fails once it has begun."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x", "more_body": True})
    raise RuntimeError("late")


UPGRADE = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"


@LOOPS
@PROTOCOLS
@pytest.mark.parametrize("head", [UPGRADE, "connection: close\r\n"], ids=["websocket", "late error"])
def test_client_that_does_not_answer_the_end_of_tls_is_forgotten(
    tmp_path: Path, loop: str, protocol: str, head: str
) -> None:
    def mute(address: Any, trust: ssl.SSLContext, done: threading.Event) -> None:
        with socket.create_connection(address[:2]) as plain:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = trust.wrap_bio(incoming, outgoing, server_hostname="test")
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    plain.sendall(outgoing.read())
                    incoming.write(plain.recv(65536))
            tls.write(f"GET / HTTP/1.1\r\nhost: test\r\n{head}\r\n".encode())
            plain.sendall(outgoing.read())
            assert done.wait(30)  # whatever comes: it neither reads nor answers

    async def whole() -> None:
        here, there = contexts()
        async with serving(refusing, tmp_path, protocol, tls=here) as bench:
            done = threading.Event()
            client = asyncio.ensure_future(asyncio.to_thread(mute, bench.address, there, done))
            await until(lambda: len(bench.state.connections) == 1)
            moment = monotonic()

            def forgotten() -> bool:
                nonlocal moment
                moment += 0.5  # the ticks of a long time
                bench.state.sweep(moment)
                return not bench.state.connections

            await until(forgotten)
            done.set()
            await within(client)

    run(whole(), loop)
