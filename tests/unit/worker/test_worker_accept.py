import contextlib
import errno
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from http_harness import Bench, respond, run, serving, until
from hypothesis import given
from hypothesis import strategies as st

from fairlead.observability.scoreboard import CAPACITY, Column
from fairlead.worker.accept import _PAUSES, Door, _Source, how_many, in_passing


async def hello(scope: Any, receive: Any, send: Any) -> None:
    for message in respond(body=str(scope["client"]).encode()):
        await send(message)


@pytest.mark.parametrize(
    ("own", "smallest", "may"),
    [(1, 1, True), (3, 1, True), (4, 1, False), (1, 1 << 62, True), (110, 100, True), (120, 100, False)],
)
def test_who_is_ahead_by_more_than_the_slack_leaves_it_to_others(own: int, smallest: int, may: bool) -> None:
    for passing in (False, True):
        assert (how_many(own, smallest, passing) > 0) is may


@given(st.lists(st.integers(1, 10_000), min_size=1))
def test_there_is_always_somebody_who_may_accept(loads: list[int]) -> None:
    assert any(how_many(load, min(loads), False) for load in loads)


@pytest.mark.parametrize(
    ("ended", "opened", "passing"),
    [(0, 0, False), (99, 0, False), (100, 0, True), (150, 50, True), (150, 100, False), (5000, 64, True)],
)
def test_connections_do_not_stay_when_many_end_beside_those_that_are_open(
    ended: int, opened: int, passing: bool
) -> None:
    assert in_passing(ended, opened) is passing


def test_many_are_accepted_at_once_only_of_those_that_do_not_stay_and_by_who_has_no_more_than_others() -> None:
    assert [how_many(own, 10, passing=True) for own in (9, 10, 11, 14)] == [8, 8, 2, 0]
    assert [how_many(own, 10, passing=False) for own in (9, 10, 11, 14)] == [2, 2, 2, 0]


def queue(bench: Bench, count: int) -> contextlib.ExitStack:
    """So many connections in the kernel's queue: the loop has had no turn since."""
    clients = contextlib.ExitStack()
    for _ in range(count):
        clients.enter_context(socket.create_connection(bench.address))
    return clients


def test_how_many_are_accepted_in_a_turn_follows_those_that_ended_since_the_last_tick(tmp_path: Path) -> None:
    async def whole() -> None:
        async with serving(hello, tmp_path) as bench:
            [source] = bench.acceptor._sources
            for ended, count in ((0, 2), (1000, 8), (0, 2)):
                bench.state.cells[bench.state.accepted_cell] += ended
                bench.acceptor.tick()
                before = bench.state.open
                with queue(bench, 12):
                    bench.acceptor._readable(source)
                    assert bench.state.open - before == count
                    await until(lambda before=before: bench.state.open == before + 12)  # type: ignore[misc]
                await until(lambda: bench.state.open == 0)

    run(whole())


def test_no_connection_is_taken_beyond_the_most_however_many_wait(tmp_path: Path) -> None:
    async def whole() -> None:
        async with serving(hello, tmp_path, max_connections=1) as bench:
            with queue(bench, 3):
                await until(lambda: "accept.refused" in bench.log.text)
                assert bench.state.open == 1

    run(whole())


def neighbour(bench: Bench, load: int, beat: int, slot: int = 1) -> None:
    """Puts another worker on the scoreboard."""
    for column, value in ((Column.WORKER, 9), (Column.LOAD, load), (Column.HEARTBEAT, beat)):
        bench.scoreboard.cells[column * CAPACITY + slot] = value
    bench.acceptor.tick()


def pauses(tmp_path: Path, load: int, beat: int) -> int:
    """How many pauses ten connections cost beside a neighbour that never accepts."""
    pauses = 0

    async def whole() -> None:
        nonlocal pauses
        async with serving(hello, tmp_path) as bench:
            rest = bench.acceptor._rest

            def counted(seconds: float) -> None:
                nonlocal pauses
                pauses += 1
                rest(seconds)

            bench.acceptor._rest = counted  # type: ignore[method-assign]
            neighbour(bench, load, beat)
            for _ in range(10):
                client = await bench.connect()
                assert (await client.get()).status == 200

    run(whole(), "asyncio")
    return pauses


def test_a_neighbour_that_does_not_come_is_not_waited_for_again(tmp_path: Path) -> None:
    ahead = time.monotonic_ns() + 3600 * 10**9  # it does not become stale, however slow the machine is
    assert 0 < pauses(tmp_path, load=1, beat=ahead) <= _PAUSES


def test_a_neighbour_that_does_not_beat_is_not_waited_for_at_all(tmp_path: Path) -> None:
    assert pauses(tmp_path, load=1, beat=0) == 0


def test_connections_of_a_unix_socket_have_no_client(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        assert _Source(Door(listener, object)).names(listener, "") == (None, (str(tmp_path / "socket"), None))


def test_the_server_address_of_a_wildcard_is_the_connections_own(tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, address = listener.accept()
            with accepted:
                assert _Source(Door(listener, object)).names(accepted, address) == (
                    client.getsockname(),
                    ("127.0.0.1", port),
                )


def test_nagle_is_off(tmp_path: Path) -> None:
    async def whole(loop: str) -> None:
        async with serving(hello, tmp_path) as bench:
            await bench.connect()
            [connection] = bench.state.connections
            sock = connection.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0, loop

    for loop in ("uvloop", "asyncio"):
        run(whole(loop), loop)


def test_a_connection_aborted_in_the_queue_is_passed_over(tmp_path: Path) -> None:
    async def whole() -> None:
        async with serving(hello, tmp_path) as bench:
            source = bench.acceptor._sources[0]
            real, errors = source.listener, [errno.ECONNABORTED, errno.EPROTO]

            class Flaky:
                def _accept(self) -> Any:
                    if errors:
                        raise OSError(errors.pop(), "gone")
                    return real._accept()  # type: ignore[attr-defined]

            source.listener = Flaky()  # type: ignore[assignment]
            client = await bench.connect()
            assert (await client.get()).status == 200
            assert not errors
            assert bench.log.text == ""

    run(whole())


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_no_descriptor_is_left_behind(tmp_path: Path, loop: str) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def whole() -> None:
        async with serving(hello, tmp_path) as bench:

            async def visit() -> None:
                client = await bench.connect()
                await client.get()
                await client.close()
                await until(lambda: bench.read().connections == 0)

            await visit()
            before = count()
            for _ in range(20):
                await visit()
            await until(lambda: count() <= before)

    run(whole(), loop)
