"""A worker's start, what it tells while it serves, and the ends it does not choose."""

import json
import os
import re
import resource
import select
import signal
import time
from pathlib import Path

import pytest
from worker_harness import Workers, get, read_response, workers

from fairlead.messages import Failed, Ready, ReopenLogs, Serve, WantsRecycle


def failed(made: Workers) -> Failed:
    """The start's failure, and the worker's end."""
    message = made.one.expect(Failed)
    assert made.one.wait() == 1
    return message


def test_a_worker_waits_for_its_turn_to_serve(tmp_path: Path) -> None:
    with workers(tmp_path, serving=False) as made:
        assert 0 < made.one.expect(Ready).seconds < 20
        with made.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert not select.select([client], [], [], 0.3)[0]
            assert not made.read().accepting
            made.one.channel.send(Serve())
            assert read_response(client)[0] == 200
            now = made.read()
            assert (now.worker, now.pid, now.release) == (1, made.one.process.pid, 1)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_the_loop_is_the_one_asked_for(tmp_path: Path, loop: str) -> None:
    with workers(tmp_path, http={"loop": loop}) as made, made.connect() as client:
        assert get(client, "/loop")[2] == f'"{loop}"'.encode()


def test_a_lifespan_that_fails_is_told_with_the_apps_frames(tmp_path: Path) -> None:
    with workers(tmp_path, app="worker_apps:broken_start", serving=False) as made:
        message = failed(made)
        assert (message.stage, message.cause) == ("lifespan", "LookupError: no database")
        assert "worker_apps.py" in message.traceback
        assert "starlette" not in message.traceback
        assert "fairlead" not in message.traceback.replace(str(Path(__file__).parent), "")


def test_a_lifespan_that_never_ends_is_told_with_the_line_it_waits_at(tmp_path: Path) -> None:
    startup = {"lifespan_timeout": 0.3}
    with workers(tmp_path, app="worker_apps:slow_start", serving=False, startup=startup) as made:
        message = failed(made)
        assert message.cause == "startup takes longer than startup.lifespan_timeout = 0.3s"
        assert "await asyncio.Event().wait()" in message.traceback


def test_an_app_without_lifespan_is_served_unless_it_must_have_one(tmp_path: Path) -> None:
    app = "worker_apps:bare"
    with workers(tmp_path, app=app) as made, made.connect() as client:
        assert get(client)[2] == b"bare"
        assert "lifespan.unsupported" in made.one.stderr.read_text()
    with workers(tmp_path, app=app, serving=False, http={"lifespan": "on"}) as made:
        assert failed(made).stage == "lifespan"


def test_a_probe_that_passes_lets_the_worker_be_ready(tmp_path: Path) -> None:
    with workers(tmp_path, startup={"probe": "/warm"}) as made, made.connect() as client:
        assert get(client)[0] == 200


@pytest.mark.parametrize(
    ("path", "cause", "trace"),
    [("/nowhere", "status 404", ""), ("/broken", "ValueError: the handler is broken", "worker_apps")],
)
def test_a_probe_that_fails_is_told_with_its_cause(tmp_path: Path, path: str, cause: str, trace: str) -> None:
    startup = {"probe": path, "probe_timeout": 0.5}
    with workers(tmp_path, serving=False, startup=startup) as made:
        message = failed(made)
        assert message.stage == "probe"
        assert message.cause.startswith(f"GET {path} did not answer 2xx in 0.5s")
        assert message.cause.endswith(cause)
        assert trace in message.traceback
        assert "lifespan over" in made.one.stdout.read_text()


def test_a_probe_that_hangs_meets_its_deadline(tmp_path: Path) -> None:
    startup = {"probe": "/slow/60", "probe_timeout": 0.3}
    with workers(tmp_path, serving=False, startup=startup) as made:
        assert failed(made).cause.endswith("(1 tries): no answer in time")


def test_an_access_log_that_cannot_be_opened_ends_the_start(tmp_path: Path) -> None:
    with workers(tmp_path, serving=False, log={"access_file": str(tmp_path / "no" / "log")}) as made:
        message = failed(made)
        assert (message.stage, "No such file or directory" in message.cause) == ("log", True)


def test_the_heart_beats_and_the_cpu_is_told(tmp_path: Path) -> None:
    with workers(tmp_path) as made:
        first = made.read()
        made.until(lambda: made.read().heartbeat_ns > first.heartbeat_ns)
        assert made.read().heartbeat_ns - first.heartbeat_ns < 2e9
        assert made.read().cpu_ns > 0


def test_a_worker_asks_once_to_be_replaced_and_serves_on(tmp_path: Path) -> None:
    with workers(tmp_path, restarts={"max_requests": 3}) as made, made.connect() as client:
        for _ in range(3):
            get(client)
        assert made.one.expect(WantsRecycle).reason == "3 requests"
        for _ in range(3):
            assert get(client)[0] == 200
        beat = made.read().heartbeat_ns
        made.until(lambda: made.read().heartbeat_ns > beat)
        assert not select.select([made.one.channel], [], [], 0)[0]


def test_the_access_log_has_a_line_for_each_request(tmp_path: Path) -> None:
    with workers(tmp_path) as made, made.connect() as client:
        get(client, "/items/1?q=a%20b")
        get(client, '/nowhere"x')
        made.until(lambda: made.one.stdout.read_text().count("\n") == 2)
        one, two = made.one.stdout.read_text().splitlines()
        port = client.getsockname()[1]
        stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
        assert re.fullmatch(rf'{stamp} 127\.0\.0\.1:{port} "GET /items/1\?q=a%20b HTTP/1\.1" 200 \d+\.\dms', one)
        assert '"GET /nowhere\\"x HTTP/1.1" 404' in two


def test_the_access_log_is_reopened_on_request(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with workers(tmp_path, log={"access_file": str(path), "format": "json"}) as made, made.connect() as client:
        get(client)
        made.until(lambda: path.stat().st_size > 0)
        path.rename(tmp_path / "old.log")
        made.one.channel.send(ReopenLogs())
        made.until(path.exists)
        get(client, "/items/2")
        made.until(lambda: path.stat().st_size > 0)
        assert json.loads(path.read_text())["target"] == "/items/2"
        assert made.one.stdout.read_text() == ""


def test_an_exception_that_kills_the_loop_is_logged_and_ends_the_worker(tmp_path: Path) -> None:
    with workers(tmp_path) as made, made.connect() as client:
        client.sendall(b"GET /kill-the-loop HTTP/1.1\r\nhost: x\r\n\r\n")
        assert made.one.wait() == 1
        log = made.one.stderr.read_text()
        assert "worker.loop_died cause='SystemExit: 7'" in log
        assert "in leave" in log


def test_an_exception_in_a_forgotten_task_is_logged_and_ends_nothing(tmp_path: Path) -> None:
    with workers(tmp_path) as made, made.connect() as client:
        get(client, "/forgotten-task")
        made.until(lambda: "nobody waits for me" in made.one.stderr.read_text())
        assert get(client)[0] == 200


def test_an_exception_in_a_request_is_an_event_with_the_apps_frames(tmp_path: Path) -> None:
    with workers(tmp_path) as made, made.connect() as client:
        assert get(client, "/broken")[0] == 500
        expected = "ERROR app.exception cause='ValueError: the handler is broken'"
        made.until(lambda: expected in made.one.stderr.read_text())
        assert "starlette" not in made.one.stderr.read_text()


def test_an_app_that_logs_by_itself_is_left_to_it(tmp_path: Path) -> None:
    with workers(tmp_path, app="worker_apps:logging_app") as made, made.connect() as client:
        assert get(client, "/broken")[0] == 500
        expected = "MINE ERROR uvicorn.error Exception in ASGI application"
        made.until(lambda: expected in made.one.stderr.read_text())
        assert "app.exception" not in made.one.stderr.read_text()


def test_a_worker_without_free_descriptors_says_so_once_and_recovers(tmp_path: Path) -> None:
    with workers(tmp_path) as made, made.connect() as first:
        get(first)
        pid = made.one.process.pid
        used = len(os.listdir(f"/proc/{pid}/fd"))
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, limits[1]))
        with made.connect() as second:
            second.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            made.until(lambda: "accept.refused" in made.one.stderr.read_text())
            assert not made.read().accepting
            cpu = made.read().cpu_ns
            time.sleep(0.6)
            assert made.read().cpu_ns - cpu < 0.3e9
            assert made.one.stderr.read_text().count("accept.refused") == 1
            assert get(first)[0] == 200
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            assert read_response(second)[0] == 200
            made.until(lambda: made.read().accepting)


def test_connections_opened_at_once_are_shared_out(tmp_path: Path) -> None:
    with workers(tmp_path, count=4, log={"access": False}) as made:
        clients = [made.connect() for _ in range(64)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        for client in clients:
            read_response(client)
        shares = [made.read(slot).connections for slot in range(4)]
        for client in clients:
            client.close()
        assert sum(shares) == 64
        # The promise is 20; a machine that is busy with other things may be a little late.
        assert max(shares) <= 26, shares


def test_a_worker_that_is_stopped_holds_no_connection_back_for_long(tmp_path: Path) -> None:
    with workers(tmp_path, count=2) as made:
        held = [made.connect() for _ in range(20)]
        made.until(lambda: sum(made.read(slot).connections for slot in (0, 1)) == 20)
        os.kill(made.all[0].process.pid, signal.SIGSTOP)
        began = time.monotonic()
        late = [made.connect() for _ in range(40)]
        for client in late:
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert read_response(client)[0] == 200
        # Each would wait for the stopped one, were it believed; what is asked here is whether they do, not how fast they are.
        assert time.monotonic() - began < 5.0
        for client in (*held, *late):
            client.close()
