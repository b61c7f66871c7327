"""Runs `run_worker` in real processes, with real channels, one scoreboard and one listening socket: no supervisor.

As a program it is such a process: `python worker_harness.py PLAN-JSON CHANNEL SCOREBOARD LISTENER SLOT APP`.
"""

import contextlib
import importlib
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from fairlead.host.channel import Channel
from fairlead.messages import Drain, Message, Ready, Serve
from fairlead.observability.scoreboard import Scoreboard, SlotReading, create_scoreboard_file
from fairlead.plan.model import AppPlan, Bind, HttpPlan, LogPlan, Plan
from fairlead.restarts.policy import RestartPolicy
from fairlead.startup.policy import StartupPolicy

_HERE = Path(__file__).parent
_PATIENCE = 60.0
Wanted = TypeVar("Wanted", bound=Message)


class WorkerProcess:
    """One worker's process, and the supervisor's end of its channel."""

    def __init__(self, plan: Plan, app: str, listener: socket.socket, board: int, slot: int, folder: Path) -> None:
        self.channel, theirs = Channel.pair()
        self.stdout, self.stderr = folder / f"stdout-{slot}", folder / f"stderr-{slot}"
        descriptors = (theirs.fileno(), board, listener.fileno())
        with self.stdout.open("ab") as out, self.stderr.open("ab") as err:
            self.process = subprocess.Popen(
                [sys.executable, __file__, plan.to_json(), *map(str, descriptors), str(slot), app],
                pass_fds=descriptors,
                stdout=out,
                stderr=err,
            )
        theirs.close()

    def expect(self, kind: type[Wanted], patience: float = _PATIENCE) -> Wanted:
        """The next message, which must be a `kind`."""
        ready, _, _ = select.select([self.channel], [], [], patience)
        assert ready, f"no message in {patience} s; stderr: {self.stderr.read_text()}"
        received = self.channel.receive()
        assert received is not None, f"the worker ended; stderr: {self.stderr.read_text()}"
        assert isinstance(received[0], kind), f"{received[0]}; stderr: {self.stderr.read_text()}"
        return received[0]

    def serve(self) -> None:
        """Waits until it is ready, and lets it accept."""
        self.expect(Ready)
        self.channel.send(Serve())

    def drain(self, last: bool = False) -> None:
        """Orders it to leave."""
        self.channel.send(Drain("test", last))

    def wait(self, patience: float = _PATIENCE) -> int:
        """Its exit code."""
        return self.process.wait(patience)

    def kill(self) -> None:
        """Ends it, however it is."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.channel.close()


class Workers:
    """Some workers that share one listening socket."""

    def __init__(self, count: int, app: str, plan: Plan, folder: Path, backlog: int = 512) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.listener.setblocking(False)
        self.address = self.listener.getsockname()
        self._board_file = create_scoreboard_file()
        self.scoreboard = Scoreboard(self._board_file)
        self.all = [WorkerProcess(plan, app, self.listener, self._board_file, slot, folder) for slot in range(count)]

    @property
    def one(self) -> WorkerProcess:
        """The only one, or the first."""
        return self.all[0]

    def serve(self) -> None:
        """Waits until all accept."""
        for worker in self.all:
            worker.serve()
        self.until(lambda: all(self.scoreboard.read(slot).accepting for slot in range(len(self.all))))

    def read(self, slot: int = 0) -> SlotReading:
        """What a worker's slot says."""
        return self.scoreboard.read(slot)

    def until(self, true: Any, patience: float = _PATIENCE) -> None:
        """Waits for what the scoreboard has no event for."""
        deadline = time.monotonic() + patience
        while not true():
            assert time.monotonic() < deadline, f"never became true; {self.read()} {self.one.stderr.read_text()}"
            time.sleep(0.005)

    def connect(self, timeout: float = _PATIENCE) -> socket.socket:
        """A client's connection."""
        return socket.create_connection(self.address, timeout)

    def close(self) -> None:
        """Ends all of it."""
        for worker in self.all:
            worker.kill()
        self.listener.close()
        self.scoreboard.close()
        os.close(self._board_file)


@contextlib.contextmanager
def workers(
    folder: Path, app: str = "worker_apps:app", count: int = 1, serving: bool = True, **plan: Any
) -> Iterator[Workers]:
    """Workers of `app` (a module beside this file, and its attribute); serving, unless told otherwise."""
    made = Workers(count, app, make_plan(**plan), folder)
    try:
        if serving:
            made.serve()
        yield made
    finally:
        made.close()


def make_plan(
    http: dict[str, Any] | None = None,
    startup: dict[str, Any] | None = None,
    restarts: dict[str, Any] | None = None,
    log: dict[str, Any] | None = None,
) -> Plan:
    """A plan with the tables' values given."""
    return Plan(
        name="test",
        app=AppPlan("worker_apps"),
        binds=(Bind("tcp", "127.0.0.1", 0),),
        runtime_dir="/nowhere",
        http=HttpPlan(**(http or {})),
        startup=StartupPolicy(**(startup or {})),
        restarts=RestartPolicy(**(restarts or {})),
        log=LogPlan(**(log or {})),
    )


def read_response(sock: socket.socket, buffered: bytes = b"") -> tuple[int, dict[str, str], bytes, bytes]:
    """Status, headers, body and what came behind it. ConnectionError when the connection ends before that."""
    data = buffered
    while b"\r\n\r\n" not in data:
        data += _more(sock)
    head, _, rest = data.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body, rest = _chunks(sock, rest)
        return int(status.split()[1]), headers, body, rest
    length = int(headers.get("content-length", 0))
    while len(rest) < length:
        rest += _more(sock)
    return int(status.split()[1]), headers, rest[:length], rest[length:]


def _chunks(sock: socket.socket, rest: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        while b"\r\n" not in rest:
            rest += _more(sock)
        size_text, _, rest = rest.partition(b"\r\n")
        size = int(size_text, 16)
        while len(rest) < size + 2:
            rest += _more(sock)
        body, rest = body + rest[:size], rest[size + 2 :]
        if size == 0:
            return body, rest


def _more(sock: socket.socket) -> bytes:
    data = sock.recv(65536)
    if not data:
        raise ConnectionError("the server closed the connection")
    return data


def get(sock: socket.socket, path: str = "/", extra: str = "") -> tuple[int, dict[str, str], bytes]:
    """One GET on a connection that stays open."""
    sock.sendall(f"GET {path} HTTP/1.1\r\nhost: test\r\n{extra}\r\n".encode())
    status, headers, body, rest = read_response(sock)
    assert rest == b"", rest
    return status, headers, body


def _main(arguments: list[str]) -> int:
    from fairlead.observability.events import EventLog
    from fairlead.worker.context import WorkerContext
    from fairlead.worker.prepare import prepare
    from fairlead.worker.serving import run_worker

    began = time.monotonic()
    plan = Plan.from_json(arguments[0])
    channel, board, listener, slot = map(int, arguments[1:5])
    module, _, attribute = arguments[5].partition(":")
    sys.path.insert(0, str(_HERE))
    context = WorkerContext(
        plan=plan,
        config=prepare(getattr(importlib.import_module(module), attribute), plan),
        listeners=(socket.socket(fileno=listener),),
        scoreboard=Scoreboard(board),
        channel=Channel.from_descriptor(channel),
        log=EventLog(plan.log.format, f"worker {slot + 1}", 2, plan.log.level),
        worker=slot + 1,
        slot=slot,
        forked=False,
        release=1,
        began=began,
    )
    return run_worker(context)


if __name__ == "__main__":
    from fairlead.worker.serving import end_process

    end_process(_main(sys.argv[1:]))
