"""What every HTTP/1.1 implementation of the worker does, uvicorn's behaviour kept."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from http_harness import Bench, respond, run, serving, until, within

from fairlead.observability.scoreboard import Column
from fairlead.plan.model import HttpPlan
from fairlead.worker.http1.protocol import HttpProtocol
from fairlead.worker.uvicorn_adapter import build_config

Scenario = Callable[[Bench], Any]
VARIANTS = [("httptools", "uvloop"), ("httptools", "asyncio"), ("h11", "uvloop")]


@pytest.fixture(params=VARIANTS, ids=["-".join(variant) for variant in VARIANTS])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    """Plays a scenario against an app, once for each implementation."""
    protocol, loop = request.param

    def play_it(app: Any, scenario: Scenario, **options: Any) -> None:
        async def whole() -> None:
            async with serving(app, tmp_path, protocol, **options) as bench:
                await scenario(bench)

        run(whole(), loop)

    return play_it


async def body_of(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the request's body, or its path."""
    body = await body_of(receive)
    for message in respond(body=body or scope["path"].encode()):
        await send(message)


def saying(messages: list[dict[str, Any]]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


def test_the_scope_says_what_was_asked(play: Callable[..., None]) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        scope["state"]["changed"] = True
        for message in respond():
            await send(message)

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        await client.get("/a%20b/%C3%A9?x=1&y=%20", extra="X-Thing: One\r\n", method="PUT")
        await client.get("/")
        scope = seen[0]
        assert (scope["type"], scope["http_version"], scope["method"]) == ("http", "1.1", "PUT")
        assert (scope["path"], scope["raw_path"]) == ("/up/a b/é", b"/up/a%20b/%C3%A9")
        assert (scope["query_string"], scope["root_path"], scope["scheme"]) == (b"x=1&y=%20", "/up", "http")
        assert scope["headers"] == [(b"host", b"test"), (b"x-thing", b"One")]
        assert scope["server"] == bench.address
        assert scope["client"] == client.writer.get_extra_info("sockname")
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.3"}
        assert seen[1]["state"] == {"made": "at the start", "changed": True}
        assert seen[0]["state"] is not seen[1]["state"]
        await client.close()

    play(app, scenario, root_path="/up", state={"made": "at the start"})


def test_pipelined_requests_are_answered_in_order(play: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % number for number in range(20)))
        assert [(await client.answer()).body for _ in range(20)] == [b"/%d" % number for number in range(20)]
        await until(lambda: bench.read().in_flight == 0)
        assert bench.read().requests == 20
        await client.close()

    play(echo, scenario)


def test_a_request_in_single_bytes_is_a_request(play: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        for byte in b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello":
            client.send(bytes([byte]))
            await client.writer.drain()
            await asyncio.sleep(0)
        assert (await client.answer()).body == b"hello"
        await client.close()

    play(echo, scenario)


def test_a_chunked_body_reaches_the_app_whole(play: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await asyncio.sleep(0.01)
        client.send(b"6\r\n world\r\n0\r\n\r\nGET /next HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await client.answer()).body == b"hello world"
        assert (await client.answer()).body == b"/next"
        await client.close()

    play(echo, scenario)


def test_a_large_body_is_read_as_fast_as_the_app_takes_it(play: Callable[..., None]) -> None:
    size, go = 4_000_000, asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        for message in respond(body=str(len(await body_of(receive))).encode()):
            await send(message)

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
        await until(lambda: bench.read().in_flight == 1)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.writer.drain(), 0.2)
        go.set()
        assert (await client.answer()).body == str(size).encode()
        await client.close()

    play(app, scenario)


def test_a_client_that_does_not_read_holds_the_app_back(play: Callable[..., None]) -> None:
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200})
        for _ in range(400):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            sent += 1
        await send({"type": "http.response.body"})

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await until(lambda: sent > 0)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 400
        assert len((await client.answer()).body) == 400 * 65536
        await client.close()

    play(app, scenario)


def test_continue_is_sent_when_the_app_asks_for_the_body(play: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert (await client.answer()).status == 100
        client.send(b"hi")
        assert (await client.answer()).body == b"hi"
        await client.close()

    play(echo, scenario)


def test_no_continue_when_the_app_answers_at_once(play: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert (await client.answer()).status == 403
        await client.close()

    play(saying(respond(403)), scenario)


def test_head_has_the_headers_and_no_body(play: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        answer = await client.get(method="HEAD")
        assert (answer.status, answer.header("content-length")) == (200, "5")
        assert (await client.get()).body == b"hello"
        await client.close()

    play(saying(respond(body=b"hello")), scenario)


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_has_no_framing(play: Callable[..., None], status: int) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        answer = await client.get()
        assert (answer.status, answer.header("transfer-encoding")) == (status, None)
        assert (await client.get()).status == status
        await client.close()

    play(saying(respond(status, headers=[])), scenario)


def test_a_body_of_unknown_length_is_chunked(play: Callable[..., None]) -> None:
    messages = [
        {"type": "http.response.start", "status": 200, "headers": [[b"X-Kind", b"list"]]},
        {"type": "http.response.body", "body": b"one", "more_body": True},
        {"type": "http.response.body", "body": b"", "more_body": True},
        {"type": "http.response.body", "body": b"two"},
    ]

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        answer = await client.get()
        assert (answer.body, answer.header("transfer-encoding")) == (b"onetwo", "chunked")
        assert answer.header("x-kind") == "list"
        assert (await client.get()).body == b"onetwo"
        await client.close()

    play(saying(messages), scenario)


def test_http_1_0_gets_its_body_up_to_the_end_of_the_connection(play: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        answer = await client.get(version="1.0")
        assert (answer.header("transfer-encoding"), answer.body) == (None, b"onetwo")
        await client.close()

    play(
        saying(
            [
                {"type": "http.response.start", "status": 200},
                {"type": "http.response.body", "body": b"one", "more_body": True},
                {"type": "http.response.body", "body": b"two"},
            ]
        ),
        scenario,
    )


@pytest.mark.parametrize("extra", ["Connection: close\r\n", "connection: Keep-Alive, Close\r\n"])
def test_connection_close_is_honoured_and_said(play: Callable[..., None], extra: str) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        assert (await client.get(extra=extra)).header("connection") == "close"
        assert await client.rest() == b""
        await client.close()

    play(echo, scenario)


def test_the_apps_connection_close_is_honoured(play: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        assert (await client.get()).header("connection") == "close"
        assert await client.rest() == b""
        await client.close()

    play(saying(respond(headers=[(b"content-length", b"0"), (b"connection", b"close")])), scenario)


def test_default_headers_come_with_every_answer(play: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        answer = await client.get()
        assert (answer.header("x-served-by"), answer.header("server")) == ("fairlead", "uvicorn")
        assert answer.header("date") is not None
        await client.close()

    play(echo, scenario, headers=(("X-Served-By", "fairlead"),), server_header=True)


@pytest.mark.parametrize(
    "header", [(b"x-a", b"b\r\nset-cookie: c"), (b"x-a\r\nx-b", b"c"), (b"x a", b"b"), (b"x-a", b"b\x00")]
)
def test_a_header_that_would_break_the_head_never_reaches_the_wire(
    play: Callable[..., None], header: tuple[bytes, bytes]
) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        rest = await client.rest()
        assert b"set-cookie" not in rest
        assert b"x-a" not in rest
        await client.close()

    play(saying(respond(headers=[(b"content-length", b"0"), header])), scenario)


def test_a_negative_length_is_an_error_of_the_app(play: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"200 OK" not in await client.rest()
        await client.close()

    play(saying(respond(headers=[(b"content-length", b"-1")])), scenario)


@pytest.mark.parametrize("body", [b"short", b"far too long for it"])
def test_a_body_of_another_length_than_announced_ends_the_connection(play: Callable[..., None], body: bytes) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"far too long for it" not in await client.rest()
        await until(lambda: bench.read().errors == 1)
        await client.close()

    play(saying(respond(body=body, headers=[(b"content-length", b"10")])), scenario)


def test_an_exception_before_the_answer_is_a_500(play: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("broken")

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        answer = await client.get()
        assert (answer.status, answer.body, answer.header("connection")) == (500, b"Internal Server Error", "close")
        await until(lambda: bench.read().in_flight == 0)
        assert bench.read().errors == 1
        assert '"GET / HTTP/1.1" 500' in bench.access()
        await client.close()

    play(app, scenario)
    assert "Exception in ASGI application" in caplog.text


def test_an_exception_within_the_answer_cuts_it(play: Callable[..., None]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("broken")

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        rest = await client.rest()
        assert b"half" in rest
        assert not rest.endswith(b"0\r\n\r\n")
        await until(lambda: bench.read().errors == 1 and bench.read().in_flight == 0)
        await client.close()

    play(app, scenario)


@pytest.mark.parametrize(("result", "said"), [(None, "without starting response"), ("text", "should return None")])
def test_an_app_that_returns_without_an_answer_is_a_500(
    play: Callable[..., None], caplog: pytest.LogCaptureFixture, result: Any, said: str
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> Any:
        return result

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        rest = await client.rest()
        assert rest == b"" or b" 500 " in rest
        await client.close()

    play(app, scenario)
    assert said in caplog.text


def test_messages_out_of_turn_are_errors_in_the_app(play: Callable[..., None]) -> None:
    errors: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in ({"type": "http.response.body"}, *respond(), *respond()):
            try:
                await send(message)
            except RuntimeError as error:
                errors.append(str(error))

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        assert (await client.get()).status == 200
        await until(lambda: len(errors) == 3)
        assert "Expected ASGI message 'http.response.start'" in errors[0]
        assert "after response already completed" in errors[1]
        await client.close()

    play(app, scenario)


def test_a_client_that_leaves_is_told_to_the_app(play: Callable[..., None]) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await receive())
        seen.append(await receive())
        await send({"type": "http.response.start", "status": 200})

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await until(lambda: bool(seen))
        await client.close()
        await until(lambda: len(seen) == 2)
        assert seen[1] == {"type": "http.disconnect"}
        await until(lambda: bench.read().in_flight == 0 and bench.read().connections == 0)
        assert bench.read().errors == 0

    play(app, scenario)


def test_receive_after_the_answer_says_disconnect(play: Callable[..., None]) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in respond():
            await send(message)
        seen.append(await receive())

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        await client.get()
        await until(lambda: bool(seen))
        assert seen == [{"type": "http.disconnect"}]
        await client.close()

    play(app, scenario)


@pytest.mark.parametrize(
    "data",
    [b"not http at all\r\n\r\n", b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"],
)
def test_what_is_not_http_is_a_400(play: Callable[..., None], data: bytes) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        client.send(data)
        rest = await client.rest()
        assert rest.startswith(b"HTTP/1.1 400 Bad Request\r\n"), rest
        assert rest.endswith(b"Invalid HTTP request received.")
        assert bench.read().requests == 0
        await client.close()

    play(echo, scenario)


def test_proxy_headers_of_a_trusted_peer_are_believed(play: Callable[..., None]) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["client"], scope["scheme"]))
        for message in respond():
            await send(message)

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        await client.get(extra="X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n")
        await client.get()
        assert seen[0][0][0] == "203.0.113.9"
        assert seen[0][1] == "https"
        assert seen[1] == (client.writer.get_extra_info("sockname"), "http")
        assert "203.0.113.9:0" in bench.access()
        await client.close()

    play(app, scenario)


def test_proxy_headers_of_others_are_not(play: Callable[..., None]) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])
        for message in respond():
            await send(message)

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        await client.get(extra="X-Forwarded-For: 203.0.113.9\r\n")
        assert seen == ["127.0.0.1"]
        await client.close()

    play(app, scenario, forwarded_allow_ips="192.0.2.1")


@pytest.mark.parametrize(
    ("peer", "believed"), [(None, True), (("127.0.0.1", 1), True), (("192.0.2.1", 1), False)], ids=str
)
def test_proxy_headers_of_who_reaches_a_unix_socket_are_believed(peer: tuple[str, int] | None, believed: bool) -> None:
    """Such a peer has no address. The one from the right that is not trusted is the client's, however it got there."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["client"], scope["scheme"]))

    headers = [(b"x-forwarded-for", b"203.0.113.9, 198.51.100.7, 127.0.0.1"), (b"x-forwarded-proto", b"https")]
    scope = {"type": "http", "scheme": "http", "client": peer, "headers": headers}
    config = build_config(HttpPlan(), app, HttpProtocol, None)
    run(config.loaded_app(scope, None, None))  # type: ignore[arg-type]
    assert seen == [(("198.51.100.7", 0), "https") if believed else (peer, "http")]


def test_an_upgrade_to_something_else_is_an_ordinary_request(play: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        answer = await client.get(path="/x", extra="Connection: Upgrade\r\nUpgrade: h2c\r\n")
        assert answer.body == b"/x"
        await client.close()

    play(echo, scenario)


def test_counts_follow_connections_and_requests(play: Callable[..., None]) -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        for message in respond(503 if scope["path"] == "/bad" else 200):
            await send(message)

    async def scenario(bench: Bench) -> None:
        one, two = await bench.connect(), await bench.connect()
        one.send(b"GET /bad HTTP/1.1\r\nhost: x\r\n\r\n")
        await until(lambda: bench.read().in_flight == 1)
        now = bench.read()
        assert (now.connections, now.accepted, now.accepting, now.requests) == (2, 2, True, 0)
        assert bench.scoreboard.cells[bench.scoreboard.cell(Column.LOAD, 0)] == 3
        go.set()
        await one.answer()
        now = bench.read()
        assert (now.in_flight, now.requests, now.errors) == (0, 1, 1)
        await one.close()
        await two.close()
        await until(lambda: bench.read().connections == 0)

    play(app, scenario)


def test_idle_connections_are_closed_and_busy_ones_are_not(play: Callable[..., None]) -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/wait":
            await go.wait()
        for message in respond():
            await send(message)

    async def scenario(bench: Bench) -> None:
        idle, busy, fresh = await bench.connect(), await bench.connect(), await bench.connect()
        await idle.get()
        await busy.get()
        busy.send(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        await until(lambda: bench.read().in_flight == 1)
        bench.state.sweep(time.monotonic() + 6)
        assert await idle.rest() == b""
        go.set()
        assert (await busy.answer()).status == 200
        assert (await fresh.get()).status == 200
        for client in (idle, busy, fresh):
            await client.close()

    play(app, scenario)


def test_a_request_on_its_way_keeps_its_connection(play: Callable[..., None]) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        await client.get()
        client.send(b"GET /late HTTP/1.1\r\nhost: x\r\n\r\n")
        # The bytes are in the kernel, and the loop has not turned since: nobody has read them.
        bench.state.sweep(time.monotonic() + 6)
        assert (await client.answer()).body == b"/late"
        await client.close()

    play(echo, scenario)


def test_a_task_of_the_app_outlives_its_answer(play: Callable[..., None]) -> None:
    go, done = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in respond():
            await send(message)
        await go.wait()
        done.set()

    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        await client.get()
        await client.close()
        assert len(bench.state.calls) == 1
        assert bench.read().in_flight == 0
        go.set()
        await within(done.wait())

    play(app, scenario)
