"""A trial start: the real supervisor with one worker on a unix socket in a folder of its own, gone afterwards."""

import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fairlead.cli.become import plan_file
from fairlead.cli.instances import Instance
from fairlead.cli.status import read_status
from fairlead.errors import FairleadError
from fairlead.https.model import HttpsPlan
from fairlead.lean_dataclass import dataclass
from fairlead.memory.policy import MemoryPolicy
from fairlead.plan.estimate import Carried, Measured
from fairlead.plan.model import Bind, LogPlan, Plan
from fairlead.replication.policy import ReplicationPolicy

_SETTLE = 1.0
_CLIENTS = 16


class Trial:
    """A running trial."""

    def __init__(self, folder: Path, plan: Plan, process: "subprocess.Popen[bytes]") -> None:
        self._folder = folder
        self._process = process
        self._instance = Instance(plan.name, folder / f"{plan.name}.sock")
        self._log = folder / "log"

    def wait(self, patience: float) -> None:
        """Waits until the worker serves. FairleadError with the cause when it never does."""
        until = time.monotonic() + patience
        while self._event("start.done") is None:
            if failed := self._event("start.failed"):
                detail = failed.get("traceback", "")
                raise FairleadError(f"cannot start the app: {failed['cause']}" + (f"\n{detail}" if detail else ""))
            if self._process.poll() is not None:
                raise FairleadError(f"cannot start the app: {self._log.read_text(errors='replace')[-2000:]}")
            if time.monotonic() > until:
                raise FairleadError(f"cannot start the app: not ready after {patience:g} s")
            time.sleep(0.05)

    def measure(self) -> Measured:
        """The start's times, and the memory a moment later."""
        time.sleep(_SETTLE)
        report, imported = read_status(self._instance), self._event("release.imported")
        serving = self._event("worker.serving") or {}
        worker = report["workers"][0]
        return Measured(
            import_seconds=float(imported["after"]) if imported else 0.0,
            ready_seconds=float(serving.get("after", 0.0)),
            total=int(report["memory"]["total_pss"] or 0),
            private=int(worker["uss_bytes"] or 0),
            forks=report["releases"][0]["mode"] == "fork",
            counted=int(report["memory_budget"]["used"] or 0),
        )

    def load(self, path: str, seconds: float) -> Carried:
        """Drives the worker with as much as it takes."""
        before = self._cpu()
        requests, failures = asyncio.run(_drive(str(self._folder / "app.sock"), path, seconds))
        return Carried(path, requests, seconds, (self._cpu() - before) / seconds, failures.count, failures.last)

    def _cpu(self) -> float:
        return float(sum(worker["cpu_seconds"] for worker in read_status(self._instance)["workers"]))

    def _event(self, name: str) -> dict[str, Any] | None:
        for line in self._log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                record: dict[str, Any] = json.loads(line)
                if record.get("event") == name:
                    return record
        return None


@contextlib.contextmanager
def trial(plan: Plan) -> Iterator[Trial]:
    """Starts the app once: no port, no previous steps, no companions, no certificates, no budget."""
    folder = Path(tempfile.mkdtemp(prefix="fairlead-plan-"))
    try:
        if plan.identity is not None:
            os.chown(folder, plan.identity.uid, plan.identity.gid)
        bare = _bare(plan, folder)
        (folder / "log").touch()
        command = [
            sys.executable,
            "-P",
            "-m",
            "fairlead.supervisor",
            "--plan-fd",
            str(descriptor := plan_file(bare.to_json())),
        ]
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=(descriptor,)
            )
        os.close(descriptor)
        try:
            yield Trial(folder, bare, process)
        finally:
            process.terminate()
            try:
                process.wait(plan.restarts.drain_deadline)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bare(plan: Plan, folder: Path) -> Plan:
    return dataclasses.replace(
        plan,
        runtime_dir=str(folder),
        binds=(Bind("unix", path=str(folder / "app.sock"), mode=0o600),),
        https=HttpsPlan(),
        steps=(),
        companions=(),
        replication=ReplicationPolicy(1),
        memory=MemoryPolicy(plan.memory.preload, gc=plan.memory.gc),
        log=LogPlan(format="json", file=str(folder / "log"), access=False),
        notes=(),
    )


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last: str = ""

    def add(self, how: str) -> None:
        self.count, self.last = self.count + 1, how


async def _drive(place: str, path: str, seconds: float) -> tuple[int, _Failures]:
    """(how many were answered with less than 400, the others) by clients that keep their connections and ask without a pause."""
    until, failures = time.monotonic() + seconds, _Failures()
    answered = await asyncio.gather(*(_client(place, path, until, failures) for _ in range(_CLIENTS)))
    return sum(answered), failures


async def _client(place: str, path: str, until: float, failures: _Failures) -> int:
    good = 0
    request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
    while time.monotonic() < until:
        reader, writer = await asyncio.open_unix_connection(place)
        try:
            while time.monotonic() < until:
                writer.write(request)
                status, keep = await _answer(reader)
                if status < 400:
                    good += 1
                else:
                    failures.add(f"status {status}")
                if not keep:
                    break
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            failures.add(f"no whole answer ({type(error).__name__})")
        finally:
            writer.close()
    return good


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """(status, whether the connection can be used again) of one answer with a length; others end the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = next((line[15:] for line in head.split("\r\n") if line.startswith("content-length:")), None)
    if length is None:
        return int(head.split(" ", 2)[1]), False
    await reader.readexactly(int(length))
    return int(head.split(" ", 2)[1]), "connection: close" not in head
