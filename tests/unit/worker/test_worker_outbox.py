"""Answers are written together, none is lost or overtaken, and none waits for a slow call."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from http_harness import Bench, Client, respond, run, serving, until, within

from fairlead.plan.model import HttpPlan
from fairlead.worker import outbox


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


def play(tmp_path: Path, scenario: Any) -> None:
    async def whole() -> None:
        async with serving(named, tmp_path) as bench:
            await scenario(bench)

    run(whole())


def at_once(bench: Bench, *requests: bytes) -> list[Any]:
    """Has the protocols of the connections so far get a request each in one turn of the loop; returns those."""
    protocols = sorted(bench.state.connections, key=lambda protocol: protocol.client[1])
    for protocol, request in zip(protocols, requests, strict=True):
        protocol.data_received(request)
    return protocols


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


async def clients(bench: Bench, count: int) -> list[Client]:
    found = [await bench.connect() for _ in range(count)]
    return sorted(found, key=lambda client: client.writer.get_extra_info("sockname")[1])


def test_answers_of_one_turn_are_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_OLDEST", 60.0)
    written: list[int] = []
    real = outbox._write

    def counted(exchange: Any, data: bytes, now: float) -> None:
        written.append(exchange.protocol.server_state.outbox.unstarted)
        real(exchange, data, now)

    monkeypatch.setattr(outbox, "_write", counted)

    async def scenario(bench: Bench) -> None:
        all_of_them = await clients(bench, 4)
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
        sent: list[bool] = []

        add = bench.state.outbox.add

        def looked(exchange: Any, data: bytes, now: float) -> None:
            add(exchange, data, now)
            sent.append(not exchange.unsent)

        bench.state.outbox.add = looked  # type: ignore[method-assign]
        at_once(bench, get("/1"), get("/2"), get("/3"))
        await until(lambda: len(sent) == 3)
        assert sent == [True, True, True]

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
