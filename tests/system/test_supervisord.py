"""The program section that `fairlead export supervisor` writes, run by Supervisor itself."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "process"))

from service import PLAIN_APP, Service, descendants, wait_gone

pytestmark = pytest.mark.skipif(
    shutil.which("supervisord") is None, reason="the Debian package supervisor is not installed"
)

CONFIGURATION = """
    [unix_http_server]
    file={folder}/control
    [supervisord]
    nodaemon=true
    logfile={folder}/supervisord.log
    pidfile={folder}/supervisord.pid
    [rpcinterface:supervisor]
    supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
    [supervisorctl]
    serverurl=unix://{folder}/control
    [include]
    files = {folder}/*.conf
"""


class Supervised(Service):
    """The same service, but Supervisor starts it."""

    def supervise(self, port: int) -> None:
        self.configure(
            f'[app]\nname = "shop"\n[http]\nport = {port}\n[replication]\nworkers = 2\n[log]\nformat = "json"\n'
        )
        self.port = port
        exported = self.command("export", "supervisor")
        assert exported.returncode == 0, exported.stderr
        section = self.folder / "shop.conf"
        section.write_text(section.read_text().replace("/var/log/supervisor", str(self.folder)))
        self.write(CONFIGURATION.format(folder=self.folder), "supervisord.ini")
        self.process = subprocess.Popen(
            ["supervisord", "--configuration", str(self.folder / "supervisord.ini")],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.follow()

    def control(self, *arguments: str) -> str:
        command = ["supervisorctl", "--configuration", str(self.folder / "supervisord.ini"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout

    def ours(self) -> int:
        """The pid of Fairlead's supervisor; 0 while it is not running."""
        pid = self.control("pid", "shop").strip()
        return int(pid) if pid.isdecimal() else 0

    def answers(self, version: str = "one") -> bool:
        with contextlib.suppress(OSError):
            return self.get()["version"] == version
        return False


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    service = Supervised(tmp_path)
    service.write(PLAIN_APP)
    try:
        service.supervise(free_port())
        service.wait_until(service.answers, "it serves")
        yield service
    finally:
        service.close()


def test_supervisor_starts_reloads_restarts_and_stops_it(supervised: Supervised) -> None:
    first = supervised.ours()
    supervised.write(PLAIN_APP.replace('"one"', '"two"'))
    supervised.control("signal", "HUP", "shop")
    supervised.wait_until(lambda: supervised.answers("two"), "the new code serves")
    assert supervised.ours() == first

    os.kill(first, signal.SIGKILL)
    supervised.wait_until(lambda: supervised.ours() not in (0, first), "another one is started")
    supervised.wait_until(lambda: supervised.answers("two"), "it serves again")

    family = descendants(supervised.ours())
    begun = time.monotonic()
    assert "shop: stopped" in supervised.control("stop", "shop")
    assert time.monotonic() - begun < 20
    wait_gone(family)
    assert '"event": "supervisor.stopped", "code": 0' in (supervised.folder / "shop.log").read_text()
