"""Starts the real `fairlead run` on a small app, and watches it the way an operator does: by its log and its socket."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DEADLINE = 60.0

PLAIN_APP = """
    import os
    from fastapi import FastAPI

    app = FastAPI()
    VERSION = "one"

    @app.get("/")
    def root():
        return {"pid": os.getpid(), "version": VERSION}
"""


class Service:
    """One supervisor with its children in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = folder / "runtime"
        self.records: list[dict[str, Any]] = []
        self.raw: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self._news = threading.Condition()
        self._reading = threading.Event()
        self._reading.set()
        self.port = 0

    # files

    def write(self, source: str, name: str = "main.py") -> None:
        """Puts a source file in place, with a time stamp that no cached bytecode can share."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        stamp = time.time_ns()
        os.utime(path, ns=(stamp, stamp))

    def configure(self, toml: str) -> None:
        """Writes fairlead.toml."""
        self.write(toml, "fairlead.toml")

    # life

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "FAIRLEAD_RUNTIME_DIR": str(self.runtime),
            "SERVICE_UNDER_TEST": str(self.folder),
            "FAIRLEAD_STATE_DIR": str(self.folder / "state"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def launch(
        self,
        *flags: str,
        bind: str | None = "127.0.0.1:0",
        prefix: tuple[str, ...] = (),
        pass_fds: tuple[int, ...] = (),
    ) -> "Service":
        """Starts `fairlead run` and returns at once."""
        self.close()
        self.records.clear()
        self.raw.clear()
        command = [*prefix, sys.executable, "-m", "fairlead.cli.main", "run", "--log-format", "json", *flags]
        command += ["--bind", bind] if bind else []
        self.process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=pass_fds,
        )
        self.follow()
        return self

    def follow(self) -> None:
        """Begins to read what the started process says."""
        assert self.process is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True)
        self._reader.start()

    def start(self, *flags: str, **options: Any) -> "Service":
        """Starts `fairlead run` and waits until it serves with all its workers."""
        self.launch(*flags, **options)
        started = self.wait_for("supervisor.started")
        address = str(started["listening"][0])
        self.port = int(address.rpartition(":")[2]) if address.rpartition(":")[2].isdigit() else 0
        done = self.wait_for("start.done")
        self.wait_until(lambda: len(self.serving()) == done["workers"], "all workers serve")
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def exit_code(self, timeout: float = DEADLINE) -> int:
        """Waits for the end."""
        assert self.process is not None
        return self.process.wait(timeout)

    def stop(self) -> int:
        """TERM, and the exit code."""
        self.signal(signal.SIGTERM)
        return self.exit_code()

    def close(self) -> None:
        """Ends what is left, however a test ended."""
        if self.process is None:
            return
        for pid in (
            {self.pid, *descendants(self.pid), *self._left_over()} if self.process.poll() is None else self._left_over()
        ):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(DEADLINE)
        self.resume_reading()
        self._reader.join(DEADLINE)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _left_over(self) -> set[int]:
        """Whatever still runs with this service's environment."""
        found = set()
        mark = f"SERVICE_UNDER_TEST={self.folder}".encode()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.add(int(entry.name))
        return found - {os.getpid()}

    # what it says

    def _read(self, stream: Any) -> None:
        with contextlib.suppress(ValueError):
            for line in stream:
                self._reading.wait()
                try:
                    record = json.loads(line)
                except ValueError:
                    record = {"event": "raw", "text": line}
                with self._news:
                    self.raw.append(line)
                    self.records.append(record)
                    self._news.notify_all()

    def pause_reading(self) -> None:
        """Lets the log's pipe fill up."""
        self._reading.clear()

    def resume_reading(self) -> None:
        """Reads the log again."""
        self._reading.set()

    def mark(self) -> int:
        """The present length of the log, for `wait_for(since=…)`."""
        return len(self.records)

    def wait_for(self, event: str, since: int = 0, timeout: float = DEADLINE, **fields: object) -> dict[str, Any]:
        """The first record of `event` (with these fields) after `since`; fails with the log when it does not come."""
        end = time.monotonic() + timeout
        with self._news:
            while True:
                for record in self.records[since:]:
                    if record["event"] == event and all(record.get(key) == value for key, value in fields.items()):
                        return record
                left = end - time.monotonic()
                if left <= 0 or not self._news.wait(left):
                    raise AssertionError(
                        f"no {event} {fields} within {timeout} s; the log:\n" + "".join(self.raw[-60:])
                    )

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The records of `event` so far; all of them once the process has ended."""
        if self.process is not None and self.process.poll() is not None and self._reading.is_set():
            self._reader.join(DEADLINE)
        return [record for record in self.records if record["event"] == event]

    def wait_until(self, condition: Callable[[], object], what: str, timeout: float = DEADLINE) -> None:
        """For states that no event announces: asks again every 20 ms."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"not within {timeout} s: {what}; the log:\n" + "".join(self.raw[-60:]))
            time.sleep(0.02)

    # what it answers

    def ask(self, command: str, timeout: float = DEADLINE, **arguments: object) -> dict[str, Any]:
        """One request on the control socket; the last answer."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(timeout)
            sock.connect(str(self.socket_path()))
            sock.sendall(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")
            with sock.makefile() as lines:
                for line in lines:
                    answer: dict[str, Any] = json.loads(line)
                    if "ok" in answer:
                        return answer
        raise AssertionError(f"no answer to {command}; the log:\n" + "".join(self.raw[-60:]))

    def socket_path(self) -> Path:
        [path] = self.runtime.glob("*.sock")
        return path

    def status(self) -> dict[str, Any]:
        result: dict[str, Any] = self.ask("status")["result"]
        return result

    def serving(self, release: int | None = None) -> list[dict[str, Any]]:
        """The workers that serve, as status tells them."""
        workers = self.status()["workers"]
        return [w for w in workers if w["state"] == "serving" and release in (None, w["release"])]

    def command(self, *arguments: str, timeout: float = DEADLINE) -> subprocess.CompletedProcess[str]:
        """A `fairlead …` command in the service's folder."""
        return subprocess.run(
            [sys.executable, "-m", "fairlead.cli.main", *arguments],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def get(self, path: str = "/", timeout: float = 30.0) -> Any:
        """The JSON (or text) of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path, headers={"connection": "close"})
            body = connection.getresponse().read().decode()
        finally:
            connection.close()
        try:
            return json.loads(body)
        except ValueError:
            return body


def descendants(pid: int) -> set[int]:
    """All children, their children, and so on."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found |= {int(child)} | descendants(int(child))
    return found


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_gone(pids: set[int], timeout: float = DEADLINE) -> None:
    """Waits until none of the processes runs."""
    end = time.monotonic() + timeout
    while left := {pid for pid in pids if alive(pid)}:
        assert time.monotonic() < end, f"still alive: {left}"
        time.sleep(0.02)


def opened_to_others(cover: Path, *paths: Path) -> tuple[str, ...]:
    """A command prefix that lets every user reach `paths`, in a mount namespace of its own; empty when they can already.

    A Python below /root, as pyenv puts it, is closed to others: there the closed folder is covered by `cover`, an open
    one that shows these paths alone. All of them have to be closed by the same folder.
    """
    mounts, covered = [], set()
    for path in paths:
        closed = [parent for parent in reversed(path.parents) if not parent.stat().st_mode & 0o001]
        if closed:
            covered.add(closed[0])
            place = cover / path.relative_to(closed[0])
            place.mkdir(parents=True)
            mounts.append(f"mount --bind {path} {place}")
    mounts += [f"mount --rbind {cover} {folder}" for folder in covered]
    return ("unshare", "--mount", "sh", "-ec", "; ".join([*mounts, 'exec "$@"']), "sh") if mounts else ()


@contextlib.contextmanager
def service_in(folder: Path) -> Iterator[Service]:
    """A service that is gone afterwards."""
    service = Service(folder)
    try:
        yield service
    finally:
        service.close()
