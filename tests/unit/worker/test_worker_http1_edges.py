"""Our own HTTP/1.1 protocol, where a client still sends while its answer is out, or wishes for another protocol."""

import asyncio
import itertools
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from http_harness import Bench, contexts, respond, run, serving, until, within

from fairlead.worker.sockets import bytes_unsent

POST = b"POST /x HTTP/1.1\r\nhost: x\r\n"


def play(tmp_path: Path, app: Any, scenario: Any, **options: Any) -> None:
    async def whole() -> None:
        async with serving(app, tmp_path, **options) as bench:
            await scenario(bench)

    run(whole())


async def early(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the path, and reads nothing."""
    for message in respond(body=scope["path"].encode()):
        await send(message)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    for message in respond(body=scope["method"].encode() + b" " + body):
        await send(message)


def test_a_body_behind_its_answer_does_not_count_as_idleness(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(POST + b"content-length: 6\r\n\r\nabc")
        assert (await client.answer()).status == 200
        bench.state.sweep(time.monotonic() + 9)
        client.send(b"def" + POST + b"content-length: 0\r\n\r\n")
        assert (await client.answer()).status == 200
        bench.state.sweep(time.monotonic() + 9)
        assert await client.rest() == b""

    play(tmp_path, early, scenario)


def test_a_body_that_stops_behind_its_answer_ends_the_connection(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(POST + b"content-length: 6\r\n\r\nabc")
        assert (await client.answer()).status == 200
        bench.state.sweep(time.monotonic())
        bench.state.sweep(time.monotonic() + 61)
        assert await client.rest() == b""

    play(tmp_path, early, scenario)


def test_a_body_too_large_behind_its_answer_gets_no_second_one(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(POST + b"transfer-encoding: chunked\r\n\r\n")
        assert (await client.answer()).status == 200
        client.send(b"ff\r\n" + b"x" * 255 + b"\r\n")
        assert await client.rest() == b""

    play(tmp_path, early, scenario, max_body_size=100)


@pytest.mark.parametrize("answers", [True, False])
def test_an_app_whose_request_is_refused_is_told_that_the_client_left(
    tmp_path: Path, answers: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """As frameworks do, it answers all the same, or raises: nobody is to blame for that but the client."""
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while not heard or heard[-1] != "http.disconnect":
            heard.append((await receive())["type"])
        if not answers:
            raise ValueError("the client left")
        for message in respond(400, b"cannot read the body"):
            await send(message)

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(POST + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await until(lambda: bool(heard))
        client.send(b"ff\r\n" + b"x" * 255 + b"\r\n")
        assert (await client.answer()).status == 413
        assert await client.rest() == b""
        await until(lambda: not bench.state.calls)
        assert (bench.read().requests, bench.read().in_flight) == (1, 0)

    play(tmp_path, app, scenario, max_body_size=100)
    assert [record.getMessage() for record in caplog.records] == ["The request's body is too large. (413)"]


@pytest.mark.parametrize("path", ["/fine", "/broken", "/busy"])
def test_a_client_that_still_sends_can_read_the_last_answer(tmp_path: Path, path: str) -> None:
    """Closing with bytes unread would have the kernel reset the connection, and the client lose what it had not read."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/broken":
            raise ValueError("on purpose")
        await early(scope, receive, send)

    async def scenario(bench: Bench) -> None:
        if path == "/busy":
            bench.state.in_flight = 2
        client = await bench.connect()
        size = 4_000_000
        client.send(b"POST %b HTTP/1.1\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % (path.encode(), size))
        for _ in range(size // 100_000):
            client.send(b"x" * 100_000)
            await within(client.writer.drain())
        answer = await client.answer()
        assert answer.status == {"/fine": 200, "/broken": 500, "/busy": 503}[path]
        assert await client.rest() == b""
        # It ended because the body did, not because time was over.
        await until(lambda: not bench.state.connections)
        bench.state.in_flight = 0

    play(tmp_path, app, scenario, max_in_flight=1)


def test_a_request_behind_a_last_answer_is_not_served(tmp_path: Path) -> None:
    served = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        served.append(scope["path"])
        await early(scope, receive, send)

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(POST + b"connection: close\r\ncontent-length: 3\r\n\r\n")
        assert (await client.answer()).status == 200
        client.send(b"abcGET /more HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await client.rest() == b""
        assert served == ["/x"]

    play(tmp_path, app, scenario)


def test_an_answer_without_continue_is_the_connections_last(tmp_path: Path) -> None:
    """The client may send the body or not: what follows could be either."""

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(POST + b"expect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer.header("connection")) == (200, "close")

    play(tmp_path, early, scenario)


def test_the_head_goes_out_before_the_app_waits_for_the_body(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
        body = b""
        while len(body) < 3:
            body += (await receive())["body"]
        await send({"type": "http.response.body", "body": body})

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(POST + b"expect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        assert (await within(client.reader.readuntil(b"\r\n\r\n"))).startswith(b"HTTP/1.1 200")
        client.send(b"abc")
        assert await client.rest() == b"abc"

    play(tmp_path, app, scenario)


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [(204, [], b"null"), (204, [(b"content-length", b"4")], b"null"), (304, [(b"content-length", b"9")], b"")],
)
def test_what_an_app_sends_as_the_body_of_an_answer_without_one_is_left_out(
    tmp_path: Path, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in respond(status, body, headers):
            await send(message)

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        for _ in range(2):
            answer = await client.get()
            assert (answer.status, answer.header("connection")) == (status, None)

    play(tmp_path, app, scenario)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("headers", [[], [(b"content-length", b"5")]], ids=["chunked", "length"])
def test_a_body_may_be_any_kind_of_bytes_and_stays_the_apps(
    tmp_path: Path, kind: Any, headers: list[tuple[bytes, bytes]]
) -> None:
    pieces = [kind(b"some"), kind(b""), kind(b"e"), kind(b"")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for index, piece in enumerate(pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": index < 3})

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        assert (await client.get()).body == b"somee"
        assert [bytes(piece) for piece in pieces] == [b"some", b"", b"e", b""]

    play(tmp_path, app, scenario)


@pytest.mark.parametrize("wish", ["h2c", "websocket"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_the_body_of_a_request_that_wishes_for_another_protocol_is_its_own(
    tmp_path: Path, wish: str, framing: str
) -> None:
    """Java's client wishes for HTTP/2 so. The body is neither lost nor taken for a request."""
    head = POST + b"connection: upgrade, http2-settings\r\nupgrade: %b\r\nhttp2-settings: AAMA\r\n" % wish.encode()
    smuggled = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
    size = len(smuggled)
    head += b"content-length: %d\r\n\r\n" % size if framing == "length" else b"transfer-encoding: chunked\r\n\r\n"
    body = smuggled if framing == "length" else b"%x\r\n%b\r\n0\r\n\r\n" % (size, smuggled)

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send((head + body) * 500)
        for _ in range(500):
            assert (await client.answer()).body == b"POST " + smuggled
        client.send(head)
        await until(lambda: bench.read().in_flight == 1)
        client.send(body)
        assert (await client.answer()).body == b"POST " + smuggled
        assert (await client.get()).body == b"GET "

    play(tmp_path, echo, scenario)


def test_a_declined_wish_is_told_to_the_app(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in respond(body=dict(scope["headers"])[b"upgrade"]):
            await send(message)

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        assert (await client.get(extra="connection: upgrade\r\nupgrade: h2c\r\n")).body == b"h2c"

    play(tmp_path, app, scenario)


def test_what_follows_a_declined_wish_has_its_limits(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(POST + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n" + POST + b"x: " + b"y" * 2000 + b"\r\n\r\n")
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 431

    play(tmp_path, early, scenario, max_header_size=1024)


def test_requests_before_a_head_do_not_count_as_its_size(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 100 + b"GET /last HTTP/1.1\r\n")
        for _ in range(100):
            assert (await client.answer()).body == b"/"
        client.send(b"host: x\r\n\r\n")
        assert (await client.answer()).body == b"/last"

    play(tmp_path, early, scenario, max_header_size=1024)


@pytest.mark.parametrize("endless", [b"0\r\nx-trailer: ", b"0\r\nx-trailer", b"5;extension="])
def test_an_endless_line_within_a_body_is_refused(tmp_path: Path, endless: bytes) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(POST + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n" + endless)
        for _ in range(5):
            client.send(b"a" * 1000)
            await within(client.writer.drain())
            await asyncio.sleep(0.001)
        assert (await client.answer()).status == 431

    play(tmp_path, echo, scenario, max_header_size=1024)


def test_a_head_that_is_not_read_yet_is_not_slow(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await early(scope, receive, send)

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n")
        await until(lambda: bench.read().in_flight == 1)
        client.send(b"host: x\r\n\r\n")
        bench.state.sweep(time.monotonic())
        bench.state.sweep(time.monotonic() + 11)
        go.set()
        for path in (b"/1", b"/2", b"/3"):
            assert (await client.answer()).body == path

    play(tmp_path, app, scenario)


def test_no_more_is_read_while_whole_requests_wait(tmp_path: Path) -> None:
    turns: asyncio.Queue[None] = asyncio.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await turns.get()
        await early(scope, receive, send)

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        request = b"GET /%06d HTTP/1.1\r\n\r\n"
        client.send(b"".join(request % number for number in range(20_000)))
        await until(lambda: bench.read().in_flight == 1)
        [connection] = bench.state.connections
        waiting = len(connection.pipeline)
        for number in range(100):
            turns.put_nowait(None)
            assert (await client.answer()).body == b"/%06d" % number
        assert len(connection.pipeline) <= waiting
        for _ in range(20_000):
            turns.put_nowait(None)
        for number in range(100, 20_000):
            assert (await client.answer()).body == b"/%06d" % number

    play(tmp_path, app, scenario)


@pytest.mark.parametrize("protocol", ["httptools", "h11"])
def test_a_client_that_takes_little_is_not_one_that_takes_nothing(tmp_path: Path, protocol: str) -> None:
    """The kernel takes from us in large steps, so what waits in the process stands still for long."""

    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        for message in respond(body=b"x" * 50_000_000):
            await send(message)

    async def scenario(bench: Bench) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, bench.address)
        await loop.sock_sendall(sock, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await until(lambda: bench.read().in_flight == 1)
        [connection] = bench.state.connections
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1_000_000)
        go.set()
        await until(lambda: connection.transport.get_write_buffer_size() > 0)
        for seconds in range(0, 400, 40):
            taken = 0
            while taken < 20_000:
                taken += len(await within(loop.sock_recv(sock, 20_000 - taken)))
            await asyncio.sleep(0.01)
            bench.state.sweep(time.monotonic() + seconds)
            assert bench.state.connections
        sock.close()

    play(tmp_path, app, scenario, protocol=protocol)


def slow_client(address: Any) -> socket.socket:
    """A blocking socket that asks for one answer, and whose kernel takes little of it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.connect(address)
    return sock


@pytest.mark.parametrize(("protocol", "loop"), [("httptools", "uvloop"), ("h11", "asyncio")])
def test_the_last_answer_over_tls_is_read_in_full_however_long_it_takes(
    tmp_path: Path, protocol: str, loop: str
) -> None:
    size = 20_000_000
    here, there = contexts()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in respond(body=b"x" * size):
            await send(message)

    def read(address: Any, answered: threading.Event) -> int:
        with there.wrap_socket(slow_client(address), server_hostname="test") as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            got = len(client.recv(1000))
            assert answered.wait(30)
            while piece := client.recv(100_000):
                got += len(piece)
        return got

    async def whole() -> None:
        async with serving(app, tmp_path, protocol, tls=here) as bench:
            answered = threading.Event()
            reading = asyncio.ensure_future(asyncio.to_thread(read, bench.address, answered))
            await until(lambda: bench.read().requests == 1)
            # Longer than the library's clock for the end of TLS that we had set once.
            await asyncio.sleep(2.5)
            answered.set()
            assert await within(reading) > size

    run(whole(), loop)


@pytest.mark.parametrize("extra", ["", "connection: close\r\n"])
@pytest.mark.parametrize("protocol", ["httptools", "h11"])
def test_a_client_that_takes_nothing_of_its_last_answer_is_cut(tmp_path: Path, protocol: str, extra: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in respond(body=b"x" * 20_000_000):
            await send(message)

    async def scenario(bench: Bench) -> None:
        sock = slow_client(bench.address)
        sock.sendall(f"GET / HTTP/1.1\r\nhost: x\r\n{extra}\r\n".encode())
        await until(lambda: bench.read().requests == 1)
        [connection] = bench.state.connections
        settled: list[Any] = [None, bytes_unsent(connection.transport)]
        while settled[-1] != settled[-2]:
            await asyncio.sleep(0.05)
            settled.append(bytes_unsent(connection.transport))
        now = time.monotonic()
        for seconds in (0, 10, 20, 60):
            bench.state.sweep(now + seconds)
            await asyncio.sleep(0)
            assert bench.state.connections
        later = itertools.count(90, 61)

        def cut() -> bool:
            bench.state.sweep(now + next(later))
            return not bench.state.connections

        await until(cut)
        sock.close()

    play(tmp_path, app, scenario, protocol=protocol)
