"""The load client against servers that lose requests in every way there is: each loss has to have its right name."""

import asyncio
import base64
import hashlib
import json
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest

from fairlead.testing.load_client import LoadClient, Mix, Tally
from fairlead.testing.wire import Connection, LostError, Reason, Target

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
QUICK = Mix(keep_alive=1, close=0, slow=0, stream=0, websocket=0, pause=0.0, deadline=0.5)


async def _request(reader: asyncio.StreamReader) -> str:
    """The path of the next request."""
    return (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()


def _answer(token: str, *headers: str, pid: int = 7) -> bytes:
    body = json.dumps({"token": token, "pid": pid})
    lines = ("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", body)
    return "\r\n".join(lines).encode()


async def _right(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        path = await _request(reader)
        writer.write(_answer(path.rpartition("/")[2]))


async def _closes_without_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)


async def _resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _truncates_the_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-")


async def _truncates_the_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{")


async def _sends_only_the_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")


async def _cuts_the_last_chunk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")


async def _answers_another_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)
    writer.write(_answer("another"))


async def _answers_503(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)
    writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")


async def _speaks_no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)
    writer.write(b"SMTP\r\n\r\n")


async def _says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


def _closing_at_its_end(handler: Handler) -> Handler:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    return serve


async def _under_load(handler: Handler, mix: Mix, until: Callable[[Tally], bool]) -> Tally:
    """The tally of a load client once `until` holds, against a server of one handler for each connection."""
    server = await asyncio.start_server(_closing_at_its_end(handler), "127.0.0.1", 0)
    async with server, LoadClient(Target("127.0.0.1", server.sockets[0].getsockname()[1]), mix) as client:
        assert await client.until(until, timeout=10), client.tally
    return client.tally


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (_closes_without_answer, Reason.UNANSWERED),
        (_resets, Reason.RESET),
        (_truncates_the_head, Reason.TRUNCATED),
        (_truncates_the_body, Reason.TRUNCATED),
        (_sends_only_the_head, Reason.TRUNCATED),
        (_cuts_the_last_chunk, Reason.TRUNCATED),
        (_answers_another_request, Reason.WRONG),
        (_answers_503, Reason.WRONG),
        (_speaks_no_http, Reason.WRONG),
        (_says_nothing, Reason.TIMEOUT),
    ],
)
def test_a_lost_request_is_told_by_its_reason(handler: Handler, reason: Reason) -> None:
    tally = asyncio.run(_under_load(handler, QUICK, lambda tally: bool(tally.losses)))
    assert {loss.reason for loss in tally.losses} == {reason}
    assert tally.total == 0


def test_a_port_without_listener_is_told_as_refused() -> None:
    async def against_nobody() -> Tally:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            async with LoadClient(Target(*closed.getsockname()), QUICK) as client:
                assert await client.until(lambda tally: bool(tally.losses), timeout=10)
        return client.tally

    assert {loss.reason for loss in asyncio.run(against_nobody()).losses} == {Reason.REFUSED}


def test_right_answers_are_counted_and_nothing_is_lost() -> None:
    mix = Mix(keep_alive=2, close=2, slow=1, stream=0, websocket=0, pause=0.001, deadline=2)
    tally = asyncio.run(_under_load(_slow_paths_too, mix, lambda tally: len(tally.answered) == 3 and tally.total > 50))
    assert tally.losses == []
    assert tally.pids_within(60) == {7}


async def _slow_paths_too(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        path = (await _request(reader)).partition("?")[0]
        writer.write(_answer(path.rpartition("/")[2]))


def test_an_idle_connection_that_the_server_closes_loses_nothing() -> None:
    async def one_answer_then_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = await _request(reader)
        writer.write(_answer(path.rpartition("/")[2]))

    mix = Mix(keep_alive=1, close=0, slow=0, stream=0, websocket=0, pause=0.2, deadline=2)
    tally = asyncio.run(_under_load(one_answer_then_close, mix, lambda tally: tally.total >= 3))
    assert tally.losses == []


def test_connection_close_in_an_answer_makes_the_client_connect_again() -> None:
    connections = 0

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        path = await _request(reader)
        writer.write(_answer(path.rpartition("/")[2], "Connection: close"))
        await reader.read()

    tally = asyncio.run(_under_load(closing, QUICK, lambda tally: tally.total >= 3))
    assert tally.losses == []
    assert connections >= 3


def test_a_loss_names_the_worker_that_the_connection_belonged_to() -> None:
    async def dies_after_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = await _request(reader)
        writer.write(_answer(path.rpartition("/")[2], pid=42))
        await _request(reader)

    tally = asyncio.run(_under_load(dies_after_one, QUICK, lambda tally: bool(tally.losses)))
    assert {loss.pid for loss in tally.losses} == {42}


@pytest.mark.parametrize("complete", [True, False])
def test_a_stream_is_lost_only_when_its_framing_is_not_complete(complete: bool) -> None:
    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        event = b'data: {"pid": 7}\n\n'
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + f"{len(event):x}\r\n".encode() + event)
        writer.write(b"\r\n0\r\n\r\n" if complete else b"\r\n")

    mix = Mix(keep_alive=0, close=0, slow=0, stream=1, websocket=0, pause=0.0, deadline=2)
    tally = asyncio.run(_under_load(stream, mix, lambda tally: tally.answered["stream"] >= 3))
    assert {loss.reason for loss in tally.losses} == (set() if complete else {Reason.TRUNCATED})


@pytest.mark.parametrize("close_frame", [b"\x88\x02\x03\xf4", b""])
def test_a_websocket_closed_with_a_close_frame_is_not_lost(close_frame: bytes) -> None:
    async def websocket(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = (await reader.readuntil(b"\r\n\r\n")).split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: "
            + accept_value(key)
            + b"\r\n\r\n"
            + close_frame
        )

    mix = Mix(keep_alive=0, close=0, slow=0, stream=0, websocket=1, pause=0.01, deadline=2)
    tally = asyncio.run(_under_load(websocket, mix, lambda tally: bool(tally.websocket_closes or tally.losses)))
    if close_frame:
        assert set(tally.websocket_closes) == {1012}
        assert tally.losses == []
    else:
        assert {loss.reason for loss in tally.losses} <= {Reason.UNANSWERED, Reason.RESET}
        assert tally.losses


def accept_value(key: bytes) -> bytes:
    """What RFC 6455 says a server answers to a key."""
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


def test_replaced_waits_for_a_worker_that_was_not_there() -> None:
    pid = 1

    async def changing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            path = await _request(reader)
            writer.write(_answer(path.rpartition("/")[2], pid=pid))

    async def scenario() -> tuple[bool, bool]:
        nonlocal pid
        server = await asyncio.start_server(_closing_at_its_end(changing), "127.0.0.1", 0)
        async with server, LoadClient(Target("127.0.0.1", server.sockets[0].getsockname()[1]), QUICK) as client:
            await client.answered(5, timeout=5)
            before = await client.replaced({1}, timeout=0.1, quiet=0.05)
            pid = 2
            return before, await client.replaced({1}, timeout=5, quiet=0.05)

    assert asyncio.run(scenario()) == (False, True)


def test_a_body_without_framing_is_refused_because_nobody_can_know_whether_it_is_complete() -> None:
    async def scenario() -> None:
        async def unframed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nsome")
            writer.close()

        async with await asyncio.start_server(unframed, "127.0.0.1", 0) as server:
            connection = await Connection.open(Target("127.0.0.1", server.sockets[0].getsockname()[1]))
            try:
                await connection.get("/")
            finally:
                await connection.close()

    with pytest.raises(LostError, match="neither length nor chunks"):
        asyncio.run(scenario())
