"""One run of the benchmark: where its files are, and how a server is started for a measurement."""

import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import environments
from bench.errors import BenchError
from bench.load import ask, burst
from bench.peers import FAIRLEAD, Launch, Pair, Server
from bench.processes import Tree, running
from fairlead.testing.wire import LostError, Target

START_DEADLINE = 90.0
"""Seconds. The slowest peer needs about 25 with the table app on two idle cores."""
_APPS = environments.ROOT / "bench" / "apps"


@dataclass(frozen=True, slots=True)
class App:
    """What is served. `probe`: a path whose JSON tells the worker's pid under `pid_key`."""

    target: str
    folder: Path = _APPS
    probe: str = "/echo/probe"
    pid_key: str = "pid"
    env: Mapping[str, str] = field(default_factory=dict)


PLAIN = App("plain:app")


@dataclass(frozen=True, slots=True)
class Tls:
    """What servers serve with, and what clients trust."""

    pair: Pair
    context: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class Running:
    """A server that has answered. `first_response`: seconds from its start to its first answer."""

    server: Server
    app: App
    port: int
    process: "subprocess.Popen[bytes]"
    first_response: float
    tls: Tls | None = None

    @property
    def target(self) -> Target:
        """Where it listens."""
        return _target(self.port, self.tls)

    @property
    def tree(self) -> Tree:
        """Its processes."""
        return Tree(self.process.pid)

    def url(self, path: str) -> str:
        """A path of the app."""
        return f"https://localhost:{self.port}{path}" if self.tls else f"http://127.0.0.1:{self.port}{path}"

    def reload(self) -> None:
        """Asks for a reload, the same way everywhere: a HUP to the root process."""
        self.process.send_signal(signal.SIGHUP)

    def burst(self, connections: int = 64) -> dict[int, int]:
        """Connections by worker pid, when so many are opened at once."""
        return dict(burst(self.target, connections, self.app.probe, self.app.pid_key))

    def await_workers(self, count: int, patience: float = 20.0) -> bool:
        """Waits until `count` workers have answered. A peer that shares out badly may never show all: then it goes on."""
        seen: set[int] = set()
        end = time.monotonic() + patience
        while time.monotonic() < end:
            seen |= set(self.burst())
            if len(seen) >= count:
                return True
            time.sleep(0.1)
        return False


class Session:
    """A run. `quick`: shorter measurements, a smaller table."""

    def __init__(self, quick: bool, folder: Path) -> None:
        self.quick = quick
        self.folder = folder
        self.log = folder / "server.log"
        self._bins: dict[str, Path | BenchError] = {}

    def pick(self, quick: float, full: float) -> float:
        """The size of a measurement."""
        return quick if self.quick else full

    def bin(self, server: Server) -> Path:
        """The server's environment."""
        name = server.environment
        if name not in self._bins:
            try:
                self._bins[name] = environments.prepare(name, server.requirements, server.wishes)
            except BenchError as error:
                self._bins[name] = BenchError(f"cannot install it: {error}")
        found = self._bins[name]
        if isinstance(found, BenchError):
            raise found
        return found

    def versions(self, server: Server) -> dict[str, str]:
        """The versions of what makes the server; one that cannot be found out is told, and does not end the run."""
        try:
            installed = environments.versions(self.bin(server))
        except BenchError as error:
            print(error, file=sys.stderr)
            installed = {}
        packages = {package: installed.get(package, "missing") for package in server.packages}
        return {Path(program[0]).name: environments.program_version(program) for program in server.programs} | packages

    def table(self) -> App:
        """The table app in a folder of its own, because a row changes its code."""
        folder = self.folder / "table"
        if not folder.exists():
            folder.mkdir()
            for name in ("table.py", "release.py"):
                shutil.copy(_APPS / name, folder)
        size = {"TABLE_MB": "128", "TABLE_ENTRIES": "100000"} if self.quick else {}
        return App("table:app", folder, env=size)

    def shop(self) -> App:
        """The example shop with a fresh, migrated database."""
        folder = environments.ROOT / "examples" / "shop"
        env = {"SHOP_DATABASE": str(self.folder / "shop.db")}
        if not (self.folder / "shop.db").exists():
            command = (str(self.bin(FAIRLEAD) / "alembic"), "upgrade", "head")
            done = subprocess.run(command, cwd=folder, env=self.env(env), capture_output=True, text=True, timeout=60)
            if done.returncode:
                raise BenchError(f"cannot migrate the shop's database: {done.stderr[-300:]}")
        return App("main:app", folder, probe="/whoami", pid_key="worker", env=env)

    @contextmanager
    def serving(
        self,
        server: Server,
        app: App,
        workers: int,
        access_log: bool = False,
        tls: Tls | None = None,
        crowd: bool = False,
        port: int = 0,
    ) -> Iterator[Running]:
        """The server from its first answer to the end of the block. `port` 0: a free one."""
        port = port or free_port()
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        pair = tls.pair if tls else None
        launch = Launch(self.bin(server), app.target, port, workers, access_log, tls=pair, folder=folder, crowd=crowd)
        begin = time.monotonic()
        with running(server.command(launch), app.folder, self.log, self.env(app.env)) as process:
            self._await_answer(process, _target(port, tls), app.probe)
            yield Running(server, app, port, process, time.monotonic() - begin, tls)

    def tls(self, name: str = "tls") -> Tls:
        """A certificate for localhost, ECDSA P-256 as authorities issue them, and who trusts it; one for each name."""
        folder = self.folder / name
        if not folder.exists():
            folder.mkdir(mode=0o700)
            command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
            command += ["-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
            command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            if done.returncode:
                raise BenchError(f"cannot make a certificate: {done.stderr[-300:]}")
        context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        return Tls(Pair(folder / "cert.pem", folder / "key.pem"), context)

    def python(self, *arguments: str, app: App = PLAIN) -> str:
        """Runs Fairlead's environment's Python in the app's folder; its output."""
        command = (str(self.bin(FAIRLEAD) / "python"), *arguments)
        env = self.env(app.env)
        done = subprocess.run(command, cwd=app.folder, env=env, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise BenchError(f"cannot run {' '.join(arguments[:2])}: {done.stderr[-300:]}")
        return done.stdout

    def fairlead(self, *arguments: str) -> None:
        """Runs a command of Fairlead's against the instance that is served."""
        command = (str(self.bin(FAIRLEAD) / "fairlead"), *arguments)
        done = subprocess.run(command, cwd=_APPS, env=self.env({}), capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise BenchError(f"cannot run fairlead {arguments[0]}: {done.stderr[-300:]}")

    def _await_answer(self, process: "subprocess.Popen[bytes]", target: Target, probe: str) -> None:
        end = time.monotonic() + START_DEADLINE
        while time.monotonic() < end:
            try:
                asyncio.run(_ask_in_time(target, probe))
                return
            except (LostError, TimeoutError, ValueError):  # a proxy may answer before the server behind it
                if process.poll() is not None:
                    raise BenchError(f"it ended with {process.returncode} at the start: {self.log_tail()}") from None
                time.sleep(0.005)
        raise BenchError(f"no answer within {START_DEADLINE:.0f} s of the start: {self.log_tail()}")

    def env(self, more: Mapping[str, str]) -> dict[str, str]:
        """Little of the person's environment, so that it does not change what is measured."""
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
        own = {"FAIRLEAD_RUNTIME_DIR": str(self.folder / "run"), "FAIRLEAD_STATE_DIR": str(self.folder / "state")}
        return {**kept, **own, **more}

    def log_tail(self) -> str:
        """What the server said last: its last errors where there are any."""
        lines = self.log.read_text(errors="replace").split("\n")[-400:]
        telling = [line for line in lines if "error" in line.lower()][-3:] or lines[-4:]
        return " | ".join(line.strip() for line in telling if line.strip())[-500:] or "its log is empty"


@contextmanager
def session(quick: bool) -> Iterator[Session]:
    """A session with files of its own that are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        (Path(folder) / "run").mkdir(mode=0o700)
        yield Session(quick, Path(folder))


async def _ask_in_time(target: Target, path: str) -> dict[str, object]:
    async with asyncio.timeout(5):
        answer: dict[str, object] = json.loads(await ask(target, path))
        return answer


def _target(port: int, tls: Tls | None) -> Target:
    return Target("127.0.0.1", port, tls.context, "localhost") if tls else Target("127.0.0.1", port)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
