"""What one client may ask of a worker: sizes, and the time it takes."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from http_harness import Bench, respond, run, serving, until

HEAD = b"POST /x HTTP/1.1\r\nhost: x\r\n"
both = pytest.mark.parametrize("protocol", ["httptools", "h11"])


async def read_all(scope: Any, receive: Any, send: Any) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    for part in respond(body=b"%d" % size):
        await send(part)


def play(tmp_path: Path, protocol: str, scenario: Any, app: Any = read_all, **http: Any) -> None:
    async def whole() -> None:
        async with serving(app, tmp_path, protocol, **http) as bench:
            await scenario(bench)

    run(whole())


def sweep(bench: Bench, seconds: float) -> None:
    """The tick's look, as if so many seconds had passed."""
    bench.state.sweep(time.monotonic() + seconds)


@both
def test_header_that_trickles_is_cut(tmp_path: Path, protocol: str) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n")
        [connection] = bench.state.connections
        await until(lambda: not connection.idle_since())
        for seconds in range(10):
            sweep(bench, seconds)
            client.send(b"x-%d: y\r\n" % seconds)
            await asyncio.sleep(0.001)
        sweep(bench, 11)
        assert (await client.answer()).status == 408

    play(tmp_path, protocol, scenario)


@both
def test_header_of_a_later_request_has_its_own_time(tmp_path: Path, protocol: str) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        assert (await client.get()).status == 200
        client.send(b"GET / HTTP/1.1\r\n")
        [connection] = bench.state.connections
        await until(lambda: not connection.idle_since())
        sweep(bench, 100)
        sweep(bench, 109)
        client.send(b"host: x\r\n\r\n")
        assert (await client.answer()).status == 200
        client.send(b"GET / HTTP/1.1\r\n")
        await until(lambda: not connection.idle_since())
        sweep(bench, 200)
        sweep(bench, 211)
        assert (await client.answer()).status == 408

    play(tmp_path, protocol, scenario)


@both
def test_connection_that_sends_nothing_is_closed(tmp_path: Path, protocol: str) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        sweep(bench, 9)
        assert bench.state.connections
        sweep(bench, 11)
        assert await client.rest() == b""

    play(tmp_path, protocol, scenario)


@both
def test_body_of_an_announced_size_is_refused_before_the_app(tmp_path: Path, protocol: str) -> None:
    called = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope["path"])
        await read_all(scope, receive, send)

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(HEAD + b"content-length: 1001\r\n\r\n" + b"x" * 500)
        answer = await client.answer()
        assert (answer.status, answer.header("connection")) == (413, "close")
        assert called == []
        client = await bench.connect()
        client.send(HEAD + b"content-length: 1000\r\n\r\n" + b"x" * 1000)
        assert (await client.answer()).body == b"1000"

    play(tmp_path, protocol, scenario, app, max_body_size=1000)


@both
def test_body_that_turns_out_too_large_is_cut(tmp_path: Path, protocol: str) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"190\r\n" + b"x" * 400 + b"\r\n")
        client.send(b"190\r\n" + b"x" * 400 + b"\r\n" + b"190\r\n" + b"x" * 400 + b"\r\n")
        assert (await client.answer()).status == 413

    play(tmp_path, protocol, scenario, max_body_size=1000)


@both
def test_more_requests_than_allowed_are_sent_away(tmp_path: Path, protocol: str) -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        for part in respond(body=b"done"):
            await send(part)

    async def scenario(bench: Bench) -> None:
        clients = [await bench.connect() for _ in range(3)]
        for number, client in enumerate(clients[:2]):
            client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await until(lambda number=number: bench.read().in_flight == number + 1)
        refused = await clients[2].get()
        assert (refused.status, refused.header("retry-after")) == (503, "1")
        assert bench.read().in_flight == 2
        go.set()
        assert [(await client.answer()).body for client in clients[:2]] == [b"done", b"done"]

    play(tmp_path, protocol, scenario, app, max_in_flight=2)


@both
def test_event_streams_do_not_count_as_requests_under_way(tmp_path: Path, protocol: str) -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/stream":
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
            await go.wait()
            await send({"type": "http.response.body", "body": b""})
            return
        await read_all(scope, receive, send)

    async def scenario(bench: Bench) -> None:
        streams = [await bench.connect() for _ in range(3)]
        for number, stream in enumerate(streams, 1):
            stream.send(b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n")
            await until(lambda number=number: bench.state.streams == number)
        assert (await (await bench.connect()).get()).status == 200
        go.set()
        await until(lambda: bench.state.streams == 0 and bench.read().in_flight == 0)

    play(tmp_path, protocol, scenario, app, max_in_flight=1)


@both
def test_connections_beyond_the_limit_wait_in_the_kernels_queue(tmp_path: Path, protocol: str) -> None:
    async def scenario(bench: Bench) -> None:
        first, _second = await bench.connect(), await bench.connect()
        reader, writer = await asyncio.open_connection(*bench.address[:2])
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await until(lambda: "accept.refused" in bench.log.text)
        assert len(bench.state.connections) == 2
        await first.close()
        assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 200")
        writer.close()

    play(tmp_path, protocol, scenario, max_connections=2)


@both
def test_header_that_is_too_large_is_refused(tmp_path: Path, protocol: str) -> None:
    async def scenario(bench: Bench) -> None:
        large = b"x-large: " + b"y" * 3000 + b"\r\n"
        for pieces in ([HEAD + large + large + b"\r\n"], [HEAD + large, large, large]):
            client = await bench.connect()
            for piece in pieces:
                client.send(piece)
                await asyncio.sleep(0.01)
            answer = await client.answer()
            assert (answer.status, answer.header("connection")) == (431, "close")
        client = await bench.connect()
        client.send(HEAD + large + b"content-length: 9000\r\n\r\n" + b"x" * 9000)
        assert (await client.answer()).body == b"9000"

    play(tmp_path, protocol, scenario, max_header_size=4096)


@both
def test_too_many_header_fields_are_refused(tmp_path: Path, protocol: str) -> None:
    async def scenario(bench: Bench) -> None:
        for count, status in ((9, 200), (10, 431)):
            client = await bench.connect()
            client.send(b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * count + b"\r\n")
            assert (await client.answer()).status == status

    play(tmp_path, protocol, scenario, max_headers=10)


@both
def test_request_before_a_refused_one_is_answered_first(tmp_path: Path, protocol: str) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" + HEAD + b"content-length: 2000\r\n\r\n")
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 413

    play(tmp_path, protocol, scenario, max_body_size=1000)


@both
def test_body_that_stops_is_cut(tmp_path: Path, protocol: str) -> None:
    taken: list[int] = []
    ends: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            taken.append(len(message["body"]))
        ends.append(message["type"])

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(HEAD + b"content-length: 1000\r\n\r\n" + b"x" * 10)
        await until(lambda: bench.read().in_flight == 1)
        sweep(bench, 100)
        client.send(b"x" * 10)
        await until(lambda: sum(taken) == 20)
        sweep(bench, 150)
        sweep(bench, 209)
        assert bench.read().in_flight == 1
        sweep(bench, 211)
        assert (await client.answer()).status == 408
        await until(lambda: ends == ["http.disconnect"])
        assert bench.read().in_flight == 0

    play(tmp_path, protocol, scenario, app)


@both
def test_body_that_stops_within_the_answer_ends_the_connection(tmp_path: Path, protocol: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"12", "more_body": True})
        while (await receive())["type"] == "http.request":
            pass

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(HEAD + b"content-length: 1000\r\n\r\n" + b"x" * 10)
        head = await client.reader.readuntil(b"\r\n\r\n12")
        assert head.startswith(b"HTTP/1.1 200")
        sweep(bench, 100)
        sweep(bench, 161)
        assert await client.rest() == b""
        assert bench.read().errors == 1

    play(tmp_path, protocol, scenario, app)


@both
def test_client_that_takes_nothing_is_cut(tmp_path: Path, protocol: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": b"x" * 2**20, "more_body": True})

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        [connection] = bench.state.connections
        await until(lambda: connection.transport.get_write_buffer_size() > 2**16)
        await asyncio.sleep(0.05)
        sweep(bench, 100)
        sweep(bench, 161)
        await until(lambda: bench.read().in_flight == 0)

    play(tmp_path, protocol, scenario, app)
