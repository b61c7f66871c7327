"""What our own HTTP/1.1 protocol does better than it found it."""

import asyncio
import itertools
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_harness import Bench, respond, run, serving, until

from fairlead.worker.http1.exchange import Exchange
from fairlead.worker.http1.protocol import HttpProtocol


def play(tmp_path: Path, app: Any, scenario: Any, **options: Any) -> None:
    async def whole() -> None:
        async with serving(app, tmp_path, **options) as bench:
            await scenario(bench)

    run(whole())


async def headers_app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the request's headers, after its body is read."""
    while (await receive()).get("more_body"):
        pass
    for message in respond(body=repr(scope["headers"]).encode()):
        await send(message)


def test_trailers_do_not_become_headers_of_the_next_request(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-evil: 1\r\n\r\n"
            b"GET /next HTTP/1.1\r\nhost: y\r\n\r\n"
        )
        assert b"evil" not in (await client.answer()).body
        assert (await client.answer()).body == b"[(b'host', b'y')]"
        await client.close()

    play(tmp_path, headers_app, scenario)


def test_garbage_behind_valid_requests_is_answered_in_its_turn(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        for message in respond(body=scope["path"].encode()):
            await send(message)

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\nGET /2 HTTP/1.1\r\nhost: x\r\n\r\nrubbish\r\n\r\n")
        await until(lambda: bench.read().in_flight == 1)
        go.set()
        assert (await client.answer()).body == b"/1"
        assert (await client.answer()).body == b"/2"
        assert (await client.answer()).status == 400
        assert await client.rest() == b""
        await client.close()

    play(tmp_path, app, scenario)


def test_a_broken_body_is_a_400_and_a_disconnect_for_the_app(tmp_path: Path) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while not seen or seen[-1] != "http.disconnect":
            seen.append((await receive())["type"])

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\nnonsense\r\n")
        answer = await client.answer()
        assert (answer.status, answer.body) == (400, b"Invalid HTTP request received.")
        await until(lambda: seen[-1:] == ["http.disconnect"])
        await until(lambda: not bench.state.calls)
        assert bench.read().in_flight == 0
        await client.close()

    play(tmp_path, app, scenario)


def test_http_1_0_is_never_sent_chunks(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"some", "more_body": True})
        await send({"type": "http.response.body", "body": b"thing"})

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        answer = await client.get(version="1.0")
        assert (answer.body, answer.header("connection")) == (b"something", "close")
        await client.close()

    play(tmp_path, app, scenario)


def test_a_failure_after_an_unsent_head_is_a_whole_500(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        raise ValueError("after the head")

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        answer = await client.get()
        assert (answer.status, answer.body) == (500, b"Internal Server Error")
        await client.close()

    play(tmp_path, app, scenario)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("http://example.org/a/b?c=d", "/a/b", b"c=d"),
        ("//double", "//double", b""),
        ("/a#fragment", "/a", b""),
        ("/a?b?c", "/a", b"b?c"),
        ("/?", "/", b""),
    ],
)
def test_targets_of_every_form_are_understood(tmp_path: Path, target: str, path: str, query: bytes) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["path"], scope["raw_path"], scope["query_string"]))
        for message in respond():
            await send(message)

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        await client.get(target)
        assert seen == [(path, path.encode(), query)]
        await client.close()

    play(tmp_path, app, scenario)


def test_two_receivers_both_hear_that_the_client_left(tmp_path: Path) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

        async def listen() -> None:
            seen.append((await receive())["type"])

        await asyncio.gather(listen(), listen())

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await until(lambda: bench.read().in_flight == 1)
        await client.close()
        await until(lambda: seen == ["http.disconnect"] * 2)

    play(tmp_path, app, scenario)


def test_an_event_stream_closes_its_connection_at_the_end(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: 1\n\n"})

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        answer = await client.get()
        assert (answer.header("connection"), answer.body) == ("close", b"data: 1\n\n")
        assert await client.rest() == b""
        await client.close()

    play(tmp_path, app, scenario)


def test_the_head_of_a_stream_does_not_wait_for_its_body(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await go.wait()
        await send({"type": "http.response.body"})

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 5)).startswith(b"HTTP/1.1 200 OK\r\n")
        go.set()
        await client.close()

    play(tmp_path, app, scenario)


def test_nothing_of_a_finished_connection_is_left(tmp_path: Path) -> None:
    """Reference cycles would keep every connection's memory until the collector comes by."""
    import gc

    def left(kind: type) -> int:
        return sum(type(item) is kind for item in gc.get_objects())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in respond(body=b"x"):
            await send(message)

    async def scenario(bench: Bench) -> None:
        gc.collect()
        gc.disable()
        try:
            client = await bench.connect()
            await client.get()
            await client.get()
            assert (left(HttpProtocol), left(Exchange)) == (1, 1)
            await client.close()
            await until(lambda: bench.read().connections == 0 and (left(HttpProtocol), left(Exchange)) == (0, 0))
        finally:
            gc.enable()

    play(tmp_path, app, scenario)


def test_an_idle_connection_keeps_nothing_that_the_app_put_into_the_scope(tmp_path: Path) -> None:
    import gc
    import weakref

    class Held:
        """Stands for a request's objects."""

    held: list[weakref.ref[Held]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["held"] = Held()
        held.append(weakref.ref(scope["held"]))
        for message in respond(body=b"x"):
            await send(message)

    async def scenario(bench: Bench) -> None:
        gc.disable()
        try:
            client = await bench.connect()
            await client.get()
            await until(lambda: not bench.state.calls and held[0]() is None)
            assert len(bench.state.connections) == 1
            await client.close()
        finally:
            gc.enable()

    play(tmp_path, app, scenario)


class Loose:
    """What apps send that is not quite what the specification says, and was always answered."""

    HEADERS = (
        [[b"content-length", b"2"], [b"x", b"y"]],
        ((b"content-length", b"2"), (b"x", b"y")),
        [(bytearray(b"content-length"), memoryview(b"2")), (bytearray(b"x"), b"y")],
        [(b"Content-Length", b"2"), (b"X", b"y")],
    )
    BODIES = (b"ab", bytearray(b"ab"), memoryview(b"ab"), memoryview(b"a-b-")[::2].tobytes())
    STATUSES = (200, HTTPStatus.OK, np.int64(200))
    LAST = (False, None, 0, "")


@pytest.mark.parametrize("headers", [*Loose.HEADERS, "generator"])
@pytest.mark.parametrize("body", Loose.BODIES)
def test_apps_may_be_loose_about_types(tmp_path: Path, headers: Any, body: Any) -> None:
    turn = itertools.count()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        number = next(turn)
        sent = iter(Loose.HEADERS[0]) if headers == "generator" else headers
        status = Loose.STATUSES[number % len(Loose.STATUSES)]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        if number % 2:
            await send({"type": "http.response.body", "body": body[:1], "more_body": 1})
            await send({"type": "http.response.body", "body": body[1:], "more_body": Loose.LAST[number % 4]})
        else:
            await send({"type": "http.response.body", "body": body, "more_body": Loose.LAST[number % 4]})

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        for _ in range(12):
            answer = await client.get()
            assert (answer.status, answer.body, dict(answer.headers)["x"]) == (200, b"ab", "y")

    play(tmp_path, app, scenario)


@pytest.mark.parametrize(
    "broken",
    [
        {"status": "200"},
        {"status": None},
        {"headers": [(b"x", "text")]},
        {"headers": [(b"x", None)]},
        {"headers": [b"x"]},
        {"headers": None},
        {"headers": [(b"content-length", b"many")]},
        {"body": "text"},
        {"body": 2},
        {"body": None},
    ],
    ids=str,
)
def test_what_no_answer_can_be_made_of_is_the_apps_failure(tmp_path: Path, broken: dict[str, Any]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        start, body = respond(body=b"ab")
        await send(start | broken)
        await send(body | broken)

    async def scenario(bench: Bench) -> None:
        answer = await (await bench.connect()).get()
        assert (answer.status, answer.body) == (500, b"Internal Server Error")

    play(tmp_path, app, scenario)
