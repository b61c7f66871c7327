"""What plain HTTP gets: from request bytes to response bytes, and the connection around it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.https import redirect
from fairlead.https.redirect import Answers, RedirectProtocol
from fairlead.https.store import Store

NAMES = ("example.com", "*.wild.example.com", "192.0.2.1", "2001:db8::1")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def answers(store: Store) -> Answers:
    return Answers(store, lambda: NAMES, 443)


def get(target: str, host: str = "example.com", method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n".encode()


def location(answer: bytes) -> str:
    (line,) = [line for line in answer.decode().split("\r\n") if line.startswith("Location: ")]
    return line.removeprefix("Location: ")


@pytest.mark.parametrize(
    ("host", "target", "expected"),
    [
        ("example.com", "/a/b?c=d&e=%20f", "https://example.com/a/b?c=d&e=%20f"),
        ("Example.COM:80", "/", "https://example.com/"),
        ("a.wild.example.com", "/", "https://a.wild.example.com/"),
        ("192.0.2.1:8080", "/x", "https://192.0.2.1/x"),
        ("[2001:db8::1]:80", "/x", "https://[2001:db8::1]/x"),
        ("ignored.example", "http://example.com/abs?q", "https://example.com/abs?q"),
        ("ignored.example", "http://example.com", "https://example.com/"),
    ],
)
def test_redirect_keeps_path_and_query(answers: Answers, host: str, target: str, expected: str) -> None:
    answer = answers.answer(get(target, host))
    assert answer.startswith(b"HTTP/1.1 308 Permanent Redirect\r\n")
    assert location(answer) == expected


def test_redirect_names_a_port_that_is_not_the_usual_one(store: Store) -> None:
    answer = Answers(store, lambda: NAMES, 8443).answer(get("/x", "example.com:8080", "POST"))
    assert location(answer) == "https://example.com:8443/x"


@pytest.mark.parametrize(
    "host", ["evil.example", "example.com.evil.example", "a.b.wild.example.com", "wild.example.com"]
)
def test_host_that_is_not_ours_is_not_redirected(answers: Answers, host: str) -> None:
    assert answers.answer(get("/", host)).startswith(b"HTTP/1.1 421 ")


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: example.com\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: example.com\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: example.com\r\nHost: example.com\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: example.com/../x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: user@example.com\r\n\r\n",
        b"GET //\nLocation:x HTTP/1.1\r\nHost: example.com\r\n\r\n",
        b"GET example.com HTTP/1.1\r\nHost: example.com\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: example.com\r\n\r\n",
    ],
)
def test_what_is_no_request_is_a_bad_request(answers: Answers, head: bytes) -> None:
    assert answers.answer(head).startswith(b"HTTP/1.1 400 ")


def test_challenge_is_answered_for_any_host(answers: Answers, store: Store) -> None:
    store.write_challenge("acme/a.test", "token-1", "token-1.print")
    path = "/.well-known/acme-challenge/token-1"
    answer = answers.answer(get(path, "whatever.example"))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\ntoken-1.print")
    assert answers.challenge(path) == b"token-1.print"
    assert answers.answer(get(path, method="HEAD")).endswith(b"\r\n\r\n")
    assert answers.answer(get(path, method="POST")).startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize("rest", ["", "unknown", "../README", "..%2fREADME", "token/1", "token?x"])
def test_challenge_that_is_not_under_way_is_not_found(answers: Answers, rest: str) -> None:
    path = "/.well-known/acme-challenge/" + rest
    assert answers.answer(get(path)).startswith(b"HTTP/1.1 404 ")
    assert answers.challenge("/other") is None


@given(st.binary(max_size=300))
def test_any_bytes_have_one_whole_answer_that_leads_nowhere_else(data: bytes) -> None:
    answers = Answers(Store(Path("/nonexistent")), lambda: NAMES, 443)
    answer = answers.answer(data + b"\r\n\r\n")
    head, _, _body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 ")
    assert b"\nLocation: http:" not in head


@asynccontextmanager
async def serving(answers: Answers) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(lambda: RedirectProtocol(answers), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def exchange(port: int, *parts: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


def test_request_in_pieces_is_answered_when_it_is_whole(answers: Answers) -> None:
    async def run() -> bytes:
        async with serving(answers) as port:
            return await exchange(port, b"\r\n\r\n", b"GET / HT", b"TP/1.1\r\nHost: exam", b"ple.com\r\n\r", b"\n")

    assert asyncio.run(run()).startswith(b"HTTP/1.1 308 ")


def test_body_that_is_not_read_does_not_cost_the_client_its_answer(answers: Answers) -> None:
    async def run() -> bytes:
        async with serving(answers) as port:
            head = b"POST /upload HTTP/1.1\r\nHost: example.com\r\nContent-Length: 500000\r\n\r\n"
            return await exchange(port, head, *[b"x" * 50_000] * 10)

    assert asyncio.run(run()).startswith(b"HTTP/1.1 308 ")


def test_head_without_end_is_cut_off(answers: Answers) -> None:
    async def run() -> bytes:
        async with serving(answers) as port:
            return await exchange(port, b"GET / HTTP/1.1\r\n", b"X: " + b"y" * 20_000)

    assert asyncio.run(run()).startswith(b"HTTP/1.1 431 ")


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(redirect, "_DEADLINE", 0.1)
    monkeypatch.setattr(redirect, "_LINGER", 0.1)
    return


@pytest.mark.usefixtures("hurry")
def test_client_that_says_nothing_is_sent_away_and_one_that_stays_is_cut(answers: Answers) -> None:
    async def run() -> tuple[bytes, bytes]:
        async with serving(answers) as port:
            silent = await exchange(port)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(get("/"))
            await reader.read()
            try:
                while True:
                    writer.write(b"x" * 1000)
                    await writer.drain()
                    await asyncio.sleep(0.01)
            except ConnectionError as error:
                return silent, type(error).__name__.encode()

    silent, end = asyncio.run(run())
    assert silent.startswith(b"HTTP/1.1 408 ")
    assert end in (b"ConnectionResetError", b"BrokenPipeError")
