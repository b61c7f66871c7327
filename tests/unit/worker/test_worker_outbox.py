"""Answers are written together, none is lost or overtaken, and none waits for a slow call."""

import asyncio
import contextvars
import time
from pathlib import Path
from typing import Any

import pytest
from http_harness import Bench, Client, respond, run, serving, until, within

from fairlead.plan.model import HttpPlan
from fairlead.worker.http1 import outbox


async def named(scope: Any, receive: Any, send: Any) -> Any:
    """Answers with its path; `/slow` holds the loop for that long, `/waits` waits, `/fails` fails once it has answered."""
    if scope["path"].startswith("/slow"):
        time.sleep(0.02)  # noqa: ASYNC251 - what such an app does
    elif scope["path"] == "/waits":
        await asyncio.sleep(0.2)
    for message in respond(body=scope["path"].encode()):
        await send(message)
    if scope["path"] == "/fails":
        return "an error"
    return None


def play(tmp_path: Path, scenario: Any, app: Any = named, loop: str = "uvloop") -> None:
    async def whole() -> None:
        async with serving(app, tmp_path) as bench:
            await scenario(bench)

    run(whole(), loop)


def at_once(bench: Bench, *requests: bytes) -> list[Any]:
    """Has the protocols of the connections so far get a request each in one turn of the loop; returns those."""
    protocols = sorted(bench.state.connections, key=lambda protocol: protocol.client[1])
    for protocol, request in zip(protocols, requests, strict=True):
        protocol.data_received(request)
    return protocols


class Watched:
    """A connection's transport: `written` gets how many calls had not begun yet with each write."""

    def __init__(self, bench: Bench, protocol: Any, written: list[int]) -> None:
        self._real, self._outbox, self._written = protocol.transport, bench.state.outbox, written
        protocol.transport = self

    def write(self, data: bytes) -> None:
        self._written.append(self._outbox.unstarted)
        if data.endswith(b"/broken"):
            raise OSError("broken")
        self._real.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def watch(bench: Bench) -> list[int]:
    """Watches the connections so far."""
    written: list[int] = []
    for protocol in bench.state.connections:
        Watched(bench, protocol, written)
    return written


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


async def clients(bench: Bench, count: int) -> list[Client]:
    found = [await bench.connect() for _ in range(count)]
    return sorted(found, key=lambda client: client.writer.get_extra_info("sockname")[1])


def test_answers_of_one_turn_are_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_OLDEST", 60.0)

    async def scenario(bench: Bench) -> None:
        all_of_them = await clients(bench, 4)
        written = watch(bench)
        at_once(bench, *(get(f"/{number}") for number in range(4)))
        for number, client in enumerate(all_of_them):
            assert (await client.answer()).body == f"/{number}".encode()
        assert written == [0, 0, 0, 0]  # each behind the beginning of the last one

    play(tmp_path, scenario)


def test_no_answer_waits_for_one_that_is_not_ready(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        quick, waits = await clients(bench, 2)
        at_once(bench, get("/quick"), get("/waits"))
        began = asyncio.get_running_loop().time()
        assert (await quick.answer()).body == b"/quick"
        assert asyncio.get_running_loop().time() - began < 0.2
        assert (await waits.answer()).body == b"/waits"

    play(tmp_path, scenario)


def test_after_a_slow_call_answers_are_written_at_once(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await clients(bench, 3)
        protocols = at_once(bench, get("/1"), get("/slow"), get("/3"))
        await until(lambda: all(protocol.idle_at for protocol in protocols))
        assert bench.state.outbox._at_once_until > time.monotonic()
        written = watch(bench)
        at_once(bench, get("/1"), get("/2"), get("/3"))
        await until(lambda: len(written) == 3)
        assert written == [2, 1, 0]

    play(tmp_path, scenario)


def test_what_follows_on_a_connection_comes_behind_the_answer_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_OLDEST", 60.0)
    monkeypatch.setattr(outbox, "_SLOW", 60.0)

    async def scenario(bench: Bench) -> None:
        bench.state.limits = HttpPlan(max_in_flight=5)
        for behind, others, status in ((get("/next"), 0, 200), (b"rubbish\r\n\r\n", 0, 400), (get("/busy"), 9, 503)):
            client = await bench.connect()
            (protocol,) = bench.state.connections
            bench.state.outbox.unstarted += 1  # one that is about to begin, and does not
            protocol.data_received(get("/first"))
            await asyncio.sleep(0)  # the app's call, which was there before
            assert protocol.cycle.unsent
            bench.state.in_flight += others
            protocol.data_received(behind)
            bench.state.in_flight -= others
            bench.state.outbox.unstarted -= 1
            assert (await within(client.answer())).body == b"/first"
            assert (await within(client.answer())).status == status
            await client.close()
            await until(lambda: not bench.state.connections)

    play(tmp_path, scenario)


def test_app_that_fails_behind_its_answer_has_it_written_before_the_connection_closes(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        fails, _other = await clients(bench, 2)
        at_once(bench, get("/fails"), get("/other"))
        assert (await fails.answer()).body == b"/fails"
        assert await fails.rest() == b""

    play(tmp_path, scenario)


def test_client_that_left_does_not_keep_others_from_their_answers(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        _gone, stays = await clients(bench, 2)
        protocols = at_once(bench, get("/gone"), get("/stays"))
        protocols[0].transport.abort()
        assert (await stays.answer()).body == b"/stays"

    play(tmp_path, scenario)


async def waiting(bench: Bench, request: bytes) -> tuple[Client, Any]:
    """A client whose answer is in the outbox, for another call is about to begin and does not."""
    client = await bench.connect()
    (protocol,) = bench.state.connections
    bench.state.outbox.unstarted += 1
    protocol.data_received(request)
    await asyncio.sleep(0)
    assert protocol.cycle.unsent
    bench.state.outbox.unstarted -= 1
    return client, protocol


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_client_that_sends_no_more_gets_the_answer_that_waits(tmp_path: Path, loop: str) -> None:
    async def scenario(bench: Bench) -> None:
        client, protocol = await waiting(bench, get("/asked"))
        protocol.eof_received()
        protocol.transport.close()  # as the transport does
        assert (await client.answer()).body == b"/asked"

    play(tmp_path, scenario, loop=loop)


def test_nothing_is_handed_to_the_app_behind_an_answer_that_closes(tmp_path: Path) -> None:
    called: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope["path"])
        await named(scope, receive, send)

    async def scenario(bench: Bench) -> None:
        client, protocol = await waiting(bench, get("/last").replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        protocol.data_received(get("/more"))
        assert (await client.answer()).body == b"/last"
        assert await client.rest() == b""
        assert called == ["/last"]

    play(tmp_path, scenario, app)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_no_call_sees_the_context_of_another_clients(tmp_path: Path, loop: str) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen = user.get()
        if scope["path"] != "/anonymous":
            user.set(scope["path"])
        for message in respond(body=seen.encode()):
            await send(message)

    async def scenario(bench: Bench) -> None:
        anonymous, _victim = await clients(bench, 2)
        at_once(bench, get("/anonymous") * 3, get("/victim"))
        for _ in range(3):
            assert (await anonymous.answer()).body == b"nobody"
        assert (await anonymous.get("/anonymous")).body == b"nobody"
        assert (await _victim.answer()).body == b"nobody"
        _victim.send(get("/one") + get("/two"))
        assert [(await _victim.answer()).body for _ in range(2)] == [b"nobody", b"nobody"]

    play(tmp_path, scenario, app, loop)


def test_answer_that_cannot_be_written_costs_its_own_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox, "_OLDEST", 60.0)

    async def scenario(bench: Bench) -> None:
        one, two, three = await clients(bench, 3)
        watch(bench)
        at_once(bench, get("/broken"), get("/2"), get("/3"))
        assert (await two.answer()).body == b"/2"
        assert (await three.answer()).body == b"/3"
        assert await one.rest() == b""
        assert "cannot write an answer" in caplog.text

    play(tmp_path, scenario)


def test_call_that_is_cut_before_it_begins_is_forgotten(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        client = await bench.connect()
        (protocol,) = at_once(bench, get("/cut"))
        protocol.cycle.cut()
        assert (await client.answer()).status == 503
        assert (bench.state.outbox.unstarted, bench.state.in_flight, bench.state.calls) == (0, 0, set())

    play(tmp_path, scenario)
