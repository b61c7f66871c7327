"""A head that comes again is answered as if it had been parsed again."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from http_harness import Bench, respond, run, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.worker.http1 import repeated_head
from fairlead.worker.http1.exchange import Exchange
from fairlead.worker.http1.protocol import HttpProtocol

REST = b"host: x\r\nCookie: a=b\r\nx-forwarded-for: 9.9.9.9\r\n\r\n"
GET = b"GET /a HTTP/1.1\r\n" + REST
CHUNKED = b"POST /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
PIECES = [
    *(GET, GET, GET),
    *(b"GET /b%20c?q=1&r HTTP/1.1\r\n" + REST, b"HEAD / HTTP/1.1\r\n" + REST, b"DELETE /d HTTP/1.1\r\n" + REST),
    *(b"GET /a HTTP/1.0\r\n" + REST, b"GET  /a HTTP/1.1\r\n" + REST, b"GET /\xc3\xa4 HTTP/1.1\r\n" + REST),
    *(b"GET http://x/e?f HTTP/1.1\r\n" + REST, b"OPTIONS * HTTP/1.1\r\n" + REST, b"CONNECT x:1 HTTP/1.1\r\n" + REST),
    b"POST /p HTTP/1.1\r\ncontent-length: 3\r\n" + REST + b"abc",
    b"GET /l HTTP/1.1\r\ncontent-length: 0\r\n" + REST,
    b"GET /body HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(GET),
    CHUNKED + b"%x\r\n" % len(GET),
    *(b"\r\n0\r\n\r\n", b"0\r\n" + REST, b"0\r\n\r\n"),
    *(GET + GET, GET + b"GE", b"T /half HTTP/1.1\r\n" + REST, b"GET /a HTTP/1.1\r\nx: ", b"\r\n", b"\r\n\r\n"),
    *(b"GET /n HTTP/1.1\nhost: x\n\n", b"GET /f HTTP/1.1\r\nx: a\r\n b\r\n" + REST),
    b"GET /w HTTP/1.1\r\nupgrade: h2c\r\nconnection: upgrade\r\n" + REST,
    b"GET /x HTTP/1.1\r\nexpect: 100-continue\r\n" + REST,
    b"GET /y HTTP/1.1\r\nconnection: close\r\n" + REST,
]


class Record(asyncio.Transport):
    """A transport that keeps what is written: pieces arrive here exactly as a test cuts them."""

    def __init__(self) -> None:
        super().__init__({"socket": None})
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the scope and the body, and spoils the headers it got."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    names = ("method", "path", "raw_path", "query_string", "http_version", "client", "headers")
    text = repr([scope[name] for name in names] + [body]).encode()
    scope["headers"].clear()
    for message in respond(body=text):
        await send(message)


async def play(bench: Bench, pieces: list[bytes]) -> tuple[bytes, bool, HttpProtocol]:
    """What a connection answers to these pieces."""
    protocol, transport = HttpProtocol(bench.config, bench.state, {}), Record()
    protocol.client, protocol.server = ("127.0.0.1", 1), ("127.0.0.1", 2)
    bench.state.opened()
    protocol.connection_made(transport)
    for piece in pieces:
        if not transport.closed:
            protocol.data_received(piece)
        for _ in range(4):
            await asyncio.sleep(0)
    known = protocol.repeated
    protocol.connection_lost(None)
    await asyncio.sleep(0)
    protocol.repeated = known
    return transport.written, transport.closed, protocol


def in_bench(tmp_path: Path, scenario: Any) -> None:
    async def whole() -> None:
        async with serving(echo, tmp_path) as bench:
            await scenario(bench)

    run(whole())


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PIECES), st.integers(0, 12)), min_size=2, max_size=9))
def test_whatever_comes_is_answered_as_by_the_parser_alone(
    tmp_path_factory: pytest.TempPathFactory, cut: list[tuple[bytes, int]]
) -> None:
    pieces = [GET, GET]
    for piece, at in cut:
        # most come whole, for what is cut is the parser's anyway
        pieces += [piece] if at > 2 else [part for part in (piece[:at], piece[at:]) if part]

    async def scenario(bench: Bench) -> None:
        answers = await play(bench, pieces)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(repeated_head, "_LONGEST", 0)
            expected = await play(bench, pieces)
        assert expected[2].repeated is None
        assert answers[:2] == expected[:2]
        assert b"9.9.9.9" in answers[0]

    in_bench(tmp_path_factory.mktemp("repeated"), scenario)


def test_third_request_with_the_same_headers_is_not_parsed(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        written, _, protocol = await play(bench, [GET, GET])
        assert protocol.repeated is not None
        protocol.transport.closed = protocol.broken = False  # type: ignore[attr-defined]
        protocol.parser = None  # type: ignore[assignment]
        protocol.data_received(b"GET /third HTTP/1.1\r\n" + REST)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert b"/third" in protocol.transport.written[len(written) :]  # type: ignore[attr-defined]

    in_bench(tmp_path, scenario)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /l HTTP/1.1\r\nexpect: 100-continue\r\n\r\n",
        b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: %b\r\n\r\n" % (b"a" * 5000),
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"OPTIONS / HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    ],
)
def test_head_that_is_not_all_of_a_plain_request_is_not_remembered(tmp_path: Path, request_: bytes) -> None:
    async def scenario(bench: Bench) -> None:
        assert (await play(bench, [request_] * 4))[2].repeated is None

    in_bench(tmp_path, scenario)


def test_limits_hold_for_a_head_that_comes_again(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.state.limits = bench.state.limits.__class__(max_header_size=200)
        written, closed, _ = await play(bench, [GET, GET, GET, b"GET /%b HTTP/1.1\r\n" % (b"a" * 300) + REST])
        assert written.count(b"HTTP/1.1 200 OK") == 3
        assert b"HTTP/1.1 431 " in written
        assert closed or b"connection: close" in written

    in_bench(tmp_path, scenario)


def test_calls_that_begin_eagerly_are_not_learned_from(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        _, _, protocol = await play(bench, [GET, GET])
        protocol.repeated, exchange = None, Exchange(protocol, None, b"/a", keep_alive=True, expects_continue=False)
        exchange.more_body, exchange.started = False, True  # its scope is gone by now, or what the app made of it
        protocol._remember(GET, exchange)
        assert protocol.repeated is None

    in_bench(tmp_path, scenario)
