"""The supervisor under a service manager: a socket to tell, sockets to take over."""

import contextlib
import http.client
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from service import PLAIN_APP, Service

# Starts a program as systemd does: the sockets on descriptors 3 and up, the manager's variables set for its pid.
ACTIVATE = """
import os, sys
given = [int(number) for number in sys.argv[1].split(",")]
for number, descriptor in enumerate(given):
    os.dup2(descriptor, 100 + number)
for number in range(len(given)):
    os.dup2(100 + number, 3 + number)
    os.close(100 + number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(given)))
os.execv(sys.argv[2], sys.argv[2:])
"""


class Manager:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(30)
        self.heard: list[str] = []

    def wait_for(self, line: str) -> None:
        """Reads until a line begins like this."""
        while True:
            lines = self.socket.recv(65536).decode().splitlines()
            self.heard += lines
            if any(heard.startswith(line) for heard in lines):
                return


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(made.path))
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    with contextlib.closing(made.socket):
        yield made


def test_manager_hears_ready_reloading_failure_and_stopping(service: Service, manager: Manager) -> None:
    service.start("--workers", "1")
    manager.wait_for("READY=1")
    assert manager.heard[0].startswith("FDSTORE=1")
    manager.wait_for("WATCHDOG=1")
    service.write("raise ValueError('broken')\n")
    service.signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1")
    status = [line for line in manager.heard if line.startswith("STATUS=")][-1]
    assert (
        status
        == "STATUS=release 1 serves with 1 workers; cannot reload: import: cannot import main: ValueError: broken"
    )
    service.write(PLAIN_APP)
    assert service.stop() == 0
    manager.wait_for("STOPPING=1")


def test_app_does_not_see_the_managers_variables(service: Service, manager: Manager) -> None:
    service.write("""
        import os
        from fastapi import FastAPI

        app = FastAPI()

        @app.get("/")
        def root():
            return sorted(name for name in os.environ if name.startswith(("NOTIFY", "WATCHDOG", "LISTEN")))
    """)
    service.start("--workers", "1")
    assert service.get() == []


def test_inherited_socket_is_taken_by_its_address_and_outlives_the_service(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours, socket.create_server(("127.0.0.1", 0)) as unused:
        port = ours.getsockname()[1]
        prefix = (sys.executable, "-c", ACTIVATE, f"{ours.fileno()},{unused.fileno()}")
        service.launch(
            "--workers", "2", bind=f"127.0.0.1:{port}", prefix=prefix, pass_fds=(ours.fileno(), unused.fileno())
        )
        service.wait_for("start.done")
        assert service.wait_for("listeners.unused")["sockets"] == [f"http://127.0.0.1:{unused.getsockname()[1]}"]
        service.port = port
        assert service.get()["version"] == "one"
        assert service.stop() == 0
        # Still open: whoever connects now waits for the next start.
        waiting = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        waiting.request("GET", "/", headers={"connection": "close"})
        service.close()
        service.launch(
            "--workers", "1", bind=f"127.0.0.1:{port}", prefix=prefix, pass_fds=(ours.fileno(), unused.fileno())
        )
        assert waiting.getresponse().status == 200
        waiting.close()
