"""The control socket and the commands, well and badly used; scaling; logs."""

import json
import os
import select
import signal
import socket
import stat
import threading
import time

import pytest
from service import PLAIN_APP, Service

STATUS_KEYS = {"name", "pid", "release", "listeners", "workers", "restarts"}
WORKER_KEYS = {
    "slot", "pid", "release", "state", "connections", "in_flight", "requests", "pss_bytes", "uss_bytes", "heartbeat_age",
}  # fmt: skip


def connect(service: Service) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(15)
    client.connect(str(service.socket_path()))
    return client


def test_status_json_has_the_promised_keys(service: Service) -> None:
    service.start("--workers", "2")
    for _ in range(10):
        service.get()
    shown = service.command("status", "--json")
    assert shown.returncode == 0, shown.stderr
    status = json.loads(shown.stdout)
    assert status.keys() >= STATUS_KEYS
    assert status["release"].keys() >= {"number", "state", "started"}
    assert len(status["workers"]) == 2
    assert all(worker.keys() >= WORKER_KEYS for worker in status["workers"])
    assert sum(worker["requests"] for worker in status["workers"]) == 10
    assert all(worker["uss_bytes"] > 0 for worker in status["workers"])
    assert all(worker["heartbeat_age"] < 5 for worker in status["workers"])


def test_the_control_socket_is_the_owners_alone(service: Service) -> None:
    service.start("--workers", "1")
    assert stat.S_IMODE(service.socket_path().stat().st_mode) == 0o600
    assert stat.S_IMODE(service.runtime.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "rubbish",
    [b"hello\n", b"{}\n", b"[1,2]\n", b'{"command": 5}\n', b'{"command": []}\n', b'{"command": "status", "arguments": 7}\n', b"\x00\xff\xfe\n", b"x" * 200_000,
     b"[" * 60_000 + b"\n"],
    ids=["text", "empty", "list", "number", "command list", "arguments", "binary", "too long", "deep"],
)  # fmt: skip
def test_rubbish_is_answered_and_let_go(service: Service, rubbish: bytes) -> None:
    service.start("--workers", "1")
    with connect(service) as client:
        try:
            client.sendall(rubbish)
            answer = client.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
        assert not answer or json.loads(answer.splitlines()[-1])["ok"] is False
    assert service.status()["pid"] == service.pid
    assert service.get()["version"] == "one"
    assert not service.logged("supervisor.error")


def test_a_client_that_goes_away_does_not_stop_what_it_asked_for(service: Service) -> None:
    service.start("--workers", "1")
    client = connect(service)
    client.sendall(b'{"command": "reload"}\n')
    client.close()
    service.wait_for("reload.done")
    assert not service.logged("supervisor.error")


def test_a_client_that_says_nothing_is_let_go_and_hinders_nobody(service: Service) -> None:
    service.start("--workers", "1")
    silent = [connect(service) for _ in range(50)]
    assert service.status()["pid"] == service.pid
    assert not select.select(silent, [], [], 0)[0], "answered before any of them was let go"
    assert json.loads(silent[0].recv(65536))["ok"] is False, "told after its deadline"
    for client in silent:
        client.close()


def test_scale_by_command_and_by_signal(service: Service) -> None:
    service.start("--workers", "1")
    assert service.command("scale", "3").returncode == 0
    service.wait_until(lambda: len(service.serving()) == 3, "three serve")
    service.signal(signal.SIGTTOU)
    service.wait_until(lambda: len(service.status()["workers"]) == 2, "one has left")
    assert service.command("scale", "+1").returncode == 0
    service.wait_until(lambda: len(service.serving()) == 3, "three serve again")
    refused = service.command("scale", "0")
    assert refused.returncode in (1, 2)
    assert "cannot scale" in refused.stderr


def test_scale_while_reloading(service: Service) -> None:
    service.start("--workers", "1")
    service.write("import time; time.sleep(1)\n" + PLAIN_APP.replace("\n    ", "\n").replace("one", "two"))
    reload = threading.Thread(target=service.command, args=("reload",))
    reload.start()
    service.wait_for("release.begin", release=2)
    assert service.command("scale", "3").returncode == 0
    reload.join()
    service.wait_until(lambda: len(service.serving(release=2)) == 3, "the new release has three")
    assert service.get()["version"] == "two"


def test_the_stop_command_stops(service: Service) -> None:
    service.start("--workers", "1")
    assert service.command("stop").returncode == 0
    assert service.exit_code() == 0
    assert "none is running" in service.command("status").stderr


def test_a_second_interrupt_stops_at_once(service: Service) -> None:
    service.write("""
        import asyncio
        from fastapi import FastAPI

        app = FastAPI()

        @app.get("/")
        async def root():
            await asyncio.sleep(60)
    """)
    service.start("--workers", "1")
    threading.Thread(target=lambda: _ignore_errors(service), daemon=True).start()
    service.wait_until(lambda: service.serving()[0]["in_flight"] == 1, "a request is in flight")
    service.signal(signal.SIGINT)
    service.wait_for("stop.begin")
    begun = time.monotonic()
    service.signal(signal.SIGINT)
    service.exit_code()
    assert time.monotonic() - begun < 3


def _ignore_errors(service: Service) -> None:
    try:
        service.get(timeout=60)
    except Exception:  # noqa: BLE001
        pass


def test_log_files_are_reopened_after_rotation(service: Service) -> None:
    service.configure("[log]\nfile = 'events.log'\naccess_file = 'access.log'\n")
    service.launch("--workers", "1", "--log-format", "text")
    events, access = service.folder / "events.log", service.folder / "access.log"
    service.wait_until(lambda: events.exists() and "start.done" in events.read_text(), "it has started")
    service.port = int(service.status()["listeners"][0].rpartition(":")[2])
    service.get("/before")
    service.wait_until(lambda: "/before" in access.read_text(), "the request is logged")
    events.rename(events.with_suffix(".1"))
    access.rename(access.with_suffix(".1"))
    service.signal(signal.SIGUSR1)
    service.wait_until(lambda: access.exists() and events.exists(), "the files are there again")
    service.get("/after")
    service.wait_until(lambda: "/after" in access.read_text(), "the new file is written to")
    assert "/after" not in access.with_suffix(".1").read_text()
    os.kill(service.serving()[0]["pid"], signal.SIGKILL)
    service.wait_until(lambda: "worker.died" in events.read_text(), "events go to the new file")


def test_a_log_that_nobody_reads_does_not_block_the_supervisor(service: Service) -> None:
    service.launch("--workers", "1", "--log-format", "json")
    service.wait_for("start.done")
    service.pause_reading()
    for _ in range(3000):  # far more lines than a pipe holds
        assert not service.ask("scale", workers="0", timeout=10)["ok"]
    assert service.status()["pid"] == service.pid
    service.resume_reading()
    service.wait_until(lambda: len(service.logged("scale.refused")) >= 1000, "the log goes on")


def test_certificates_cannot_be_renewed_where_there_are_none(service: Service) -> None:
    service.start("--workers", "1")
    answer = service.ask("certs renew")
    assert answer["error"] == "cannot renew a certificate: HTTPS is off, or nothing serves yet"
    assert service.status()["certificates"] == []
