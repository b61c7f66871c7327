"""A worker leaves: nothing is lost, and nothing keeps it."""

import contextlib
import select
import signal
import socket
import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_websocket
from worker_harness import Workers, get, read_response, workers

from fairlead.messages import Accepted, Drain, Drained, Ready

PROTOCOLS = ["httptools", "h11"]
QUICK = {"drain_timeout": 5.0, "idle_grace": 3.0, "stream_spread": 0.0}


def drained(made: Workers) -> Drained:
    """Waits for the drain's end."""
    made.one.expect(Accepted)
    outcome = made.one.expect(Drained)
    assert made.one.wait() == 0, made.one.stderr.read_text()
    return outcome


def send(client: socket.socket, path: str) -> None:
    client.sendall(f"GET {path} HTTP/1.1\r\nhost: test\r\n\r\n".encode())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_idle_client_gets_its_next_request_answered(tmp_path: Path, protocol: str) -> None:
    with workers(tmp_path, http={"protocol": protocol}, restarts=QUICK) as made, made.connect() as client:
        assert "connection" not in get(client)[1]
        made.one.drain()
        made.one.expect(Accepted)
        status, headers, _ = get(client)
        assert (status, {name.lower(): value for name, value in headers.items()}["connection"]) == (200, "close")
        assert client.recv(1) == b""
        assert made.one.expect(Drained) == Drained()
        assert made.one.wait() == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_idle_client_that_stays_silent_is_let_go_after_the_grace(tmp_path: Path, protocol: str) -> None:
    restarts = {**QUICK, "idle_grace": 0.5}
    with workers(tmp_path, http={"protocol": protocol}, restarts=restarts) as made:
        with made.connect() as client, made.connect() as fresh:
            get(client)
            made.until(lambda: made.read().connections == 2)
            began = time.monotonic()
            made.one.drain()
            assert client.recv(1) == b""
            assert time.monotonic() - began >= 0.5
            assert fresh.recv(1) == b""
        assert drained(made) == Drained()


def test_a_worker_in_a_drain_takes_no_new_connection(tmp_path: Path) -> None:
    with workers(tmp_path, restarts=QUICK) as made, made.connect() as client:
        send(client, "/slow/0.5")
        made.until(lambda: made.read().in_flight == 1)
        made.one.drain()
        made.one.expect(Accepted)
        assert not made.read().accepting
        with made.connect() as late:
            send(late, "/")
            assert read_response(client)[0] == 200
            assert made.one.expect(Drained) == Drained()
            assert made.one.wait() == 0
            assert not select.select([late], [], [], 0)[0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_request_under_way_is_finished(tmp_path: Path, protocol: str) -> None:
    with workers(tmp_path, http={"protocol": protocol}, restarts=QUICK) as made, made.connect() as client:
        send(client, "/slow/0.4")
        made.until(lambda: made.read().in_flight == 1)
        made.one.drain()
        status, _, body, _ = read_response(client)
        assert (status, body) == (200, b'{"slept":0.4}')
        assert drained(made) == Drained()


def test_pipelined_requests_are_all_answered(tmp_path: Path) -> None:
    with workers(tmp_path, restarts=QUICK) as made, made.connect() as client:
        for path in ("/slow/0.3", "/items/1", "/items/2"):
            send(client, path)
        made.until(lambda: made.read().in_flight == 1)
        made.one.drain()
        rest, connection = b"", []
        for _ in range(3):
            status, headers, _, rest = read_response(client, rest)
            assert status == 200
            connection.append(headers.get("connection"))
        assert connection == [None, None, "close"]
        assert drained(made) == Drained()


def test_an_answer_that_promised_to_keep_the_connection_keeps_it(tmp_path: Path) -> None:
    with workers(tmp_path, restarts=QUICK) as made, made.connect() as client:
        send(client, "/download")
        while b"\r\n\r\n" not in client.recv(65536):
            pass
        made.one.drain()
        rest = b""
        while not rest.endswith(b"0\r\n\r\n"):
            rest += client.recv(65536)
        assert not select.select([client], [], [], 0.2)[0]
        assert get(client)[1]["connection"] == "close"
        assert drained(made) == Drained()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_takes_too_long_is_cut_counted_and_named(tmp_path: Path, protocol: str) -> None:
    restarts = {**QUICK, "drain_timeout": 0.3}
    with workers(tmp_path, http={"protocol": protocol}, restarts=restarts) as made, made.connect() as client:
        send(client, "/slow/60")
        made.until(lambda: made.read().in_flight == 1)
        made.one.drain()
        status, headers, _, _ = read_response(client)
        assert (status, headers["connection"].lower()) == (503, "close")
        assert drained(made) == Drained(requests_cut=1, details=("request /slow/60",))
        log = made.one.stderr.read_text()
        assert "drain.cut kind=request path=/slow/60" in log
        assert "Traceback" not in log


def test_an_app_that_ignores_its_cancellation_does_not_keep_the_worker(tmp_path: Path) -> None:
    restarts = {"drain_timeout": 0.3, "idle_grace": 0.1, "stream_spread": 0.0}
    with workers(tmp_path, restarts=restarts) as made, made.connect() as client:
        send(client, "/stuck")
        made.until(lambda: made.read().in_flight == 1)
        made.one.drain()
        assert read_response(client)[0] == 503
        assert drained(made).requests_cut == 1
        assert "lifespan over" in made.one.stdout.read_text()


def test_a_thread_that_is_stuck_does_not_keep_the_worker(tmp_path: Path) -> None:
    restarts = {"drain_timeout": 0.3, "idle_grace": 0.1, "stream_spread": 0.0}
    with workers(tmp_path, restarts=restarts) as made, made.connect() as client:
        send(client, "/thread/60")
        made.until(lambda: made.read().in_flight == 1)
        began = time.monotonic()
        made.one.drain()
        assert read_response(client)[0] == 503
        assert drained(made).requests_cut == 1
        assert time.monotonic() - began < 3
        assert "exit handler called" in made.one.stdout.read_text()


def test_a_handler_that_never_returns_to_the_loop_is_ended_by_the_alarm(tmp_path: Path) -> None:
    restarts = {"drain_timeout": 0.0, "idle_grace": 0.0, "stream_spread": 0.0}
    with workers(tmp_path, restarts=restarts) as made, made.connect() as client:
        send(client, "/endless")
        made.until(lambda: made.read().in_flight == 1)
        made.one.process.send_signal(signal.SIGTERM)
        assert made.one.wait() == -signal.SIGALRM


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_event_stream_is_told_and_ends_cleanly(tmp_path: Path, protocol: str) -> None:
    with workers(tmp_path, http={"protocol": protocol}, restarts=QUICK) as made, made.connect() as client:
        send(client, "/events")
        data = client.recv(65536)
        made.until(lambda: made.read().in_flight == 1)
        began = time.monotonic()
        made.one.drain()
        while piece := client.recv(65536):
            data += piece
        assert data.endswith(b"0\r\n\r\n")
        assert time.monotonic() - began < 3
        assert drained(made) == Drained(streams_ended=1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_event_stream_whose_app_does_not_listen_is_ended_for_it(tmp_path: Path, protocol: str) -> None:
    made_of = {"app": "worker_apps:deaf_stream", "http": {"protocol": protocol, "lifespan": "off"}}
    with workers(tmp_path, **made_of, restarts=QUICK) as made, made.connect() as client:  # type: ignore[arg-type]
        send(client, "/events")
        data = client.recv(65536)
        made.one.drain()
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(65536):
                data += piece
        if protocol == "httptools":
            assert data.endswith(b"0\r\n\r\n")
        assert drained(made).streams_ended == 1


def test_streams_are_told_one_after_the_other(tmp_path: Path) -> None:
    restarts = {**QUICK, "stream_spread": 1.0}
    with workers(tmp_path, restarts=restarts) as made, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(made.connect()) for _ in range(4)]
        for client in clients:
            send(client, "/events")
        made.until(lambda: made.read().in_flight == 4)
        began, ends = time.monotonic(), []
        made.one.drain()
        open_ones = set(clients)
        while open_ones:
            for client in select.select(list(open_ones), [], [], 10)[0]:
                if not client.recv(65536):
                    open_ones.discard(client)
                    ends.append(time.monotonic() - began)
        assert max(ends) - min(ends) > 0.3
        assert max(ends) < 3
        assert drained(made).streams_ended == 4


def test_nobody_is_spread_when_nobody_follows(tmp_path: Path) -> None:
    restarts = {**QUICK, "stream_spread": 4.0}
    with workers(tmp_path, restarts=restarts) as made, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(made.connect()) for _ in range(3)]
        for client in clients:
            send(client, "/events")
        made.until(lambda: made.read().in_flight == 3)
        began = time.monotonic()
        made.one.drain(last=True)
        assert drained(made).streams_ended == 3
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_websocket_is_told_1012(tmp_path: Path, protocol: str) -> None:
    with workers(tmp_path, http={"protocol": protocol}, restarts=QUICK) as made:
        host, port = made.address
        with connect_websocket(f"ws://{host}:{port}/ws?x=1") as websocket:
            websocket.send("hello")
            assert websocket.recv() == "hello"
            assert (made.read().websockets, made.read().in_flight, made.read().connections) == (1, 0, 1)
            made.one.drain()
            with pytest.raises(ConnectionClosed) as closed:
                websocket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        assert drained(made) == Drained(websockets_closed=1)
        assert '"GET /ws?x=1 HTTP/1.1" 101' in made.one.stdout.read_text()
        assert made.read().websockets == made.read().connections == 0


def test_a_background_task_is_waited_for(tmp_path: Path) -> None:
    with workers(tmp_path, restarts=QUICK) as made, made.connect() as client:
        assert get(client, "/background/0.5")[0] == 200
        client.close()
        made.one.drain()
        assert drained(made) == Drained()
        assert "background done" in made.one.stdout.read_text()


def test_a_background_task_that_takes_too_long_is_named(tmp_path: Path) -> None:
    restarts = {"drain_timeout": 0.3, "idle_grace": 0.0, "stream_spread": 0.0}
    with workers(tmp_path, restarts=restarts) as made, made.connect() as client:
        get(client, "/background/60")
        client.close()
        made.one.drain()
        assert drained(made).details == ("background task /background/60",)


def test_the_last_worker_takes_all_that_clients_have_queued(tmp_path: Path) -> None:
    with workers(tmp_path, serving=False, restarts=QUICK) as made, contextlib.ExitStack() as stack:
        made.one.expect(Ready)
        clients = [stack.enter_context(made.connect()) for _ in range(50)]
        for client in clients:
            send(client, "/")
        made.one.drain(last=True)
        for client in clients:
            status, headers, _, _ = read_response(client)
            assert (status, headers["connection"]) == (200, "close")
        assert drained(made) == Drained()


def test_a_second_order_may_still_be_the_last(tmp_path: Path) -> None:
    with workers(tmp_path, restarts=QUICK) as made, made.connect() as client, made.connect() as busy:
        send(busy, "/slow/0.5")
        get(client)
        made.until(lambda: made.read().in_flight == 1)
        made.one.process.send_signal(signal.SIGINT)
        made.one.expect(Accepted)
        with made.connect() as late:
            send(late, "/")
            made.one.channel.send(Drain("the service stops", last=True))
            assert read_response(late)[0] == 200
        client.close()
        assert drained(made) == Drained()


@pytest.mark.parametrize("also_a_signal", [False, True])
def test_a_worker_without_a_supervisor_leaves_within_five_seconds(tmp_path: Path, also_a_signal: bool) -> None:
    with workers(tmp_path, restarts={"drain_timeout": 60.0}) as made, made.connect() as client:
        get(client)
        send(client, "/slow/60")
        made.until(lambda: made.read().in_flight == 1)
        began = time.monotonic()
        if also_a_signal:
            made.one.process.send_signal(signal.SIGTERM)
        made.one.channel.close()
        assert read_response(client)[0] == 503
        assert made.one.wait() == 0
        assert time.monotonic() - began < 8
        assert also_a_signal or "the supervisor is gone" in made.one.stderr.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_the_worker(tmp_path: Path, number: signal.Signals) -> None:
    with workers(tmp_path, restarts=QUICK) as made, made.connect() as client:
        send(client, "/slow/0.3")
        made.until(lambda: made.read().in_flight == 1)
        made.one.process.send_signal(number)
        assert read_response(client)[0] == 200
        assert drained(made) == Drained()
        assert f"worker.draining reason={number.name}" in made.one.stderr.read_text()


def test_a_worker_that_never_served_leaves_at_once(tmp_path: Path) -> None:
    with workers(tmp_path, serving=False) as made:
        made.one.expect(Ready)
        made.one.drain()
        assert drained(made) == Drained()
        assert "lifespan over" in made.one.stdout.read_text()


def test_a_worker_that_is_still_starting_leaves_at_once(tmp_path: Path) -> None:
    with workers(tmp_path, app="worker_apps:slow_start", serving=False) as made:
        made.until(lambda: made.read().heartbeat_ns > 0)
        made.one.drain()
        assert drained(made) == Drained()
