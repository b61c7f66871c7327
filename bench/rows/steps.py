"""Previous steps of several supervisors of one app: each has to run exactly once for each release."""

import asyncio
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from bench.errors import BenchError
from bench.load import ask
from bench.peers import FAIRLEAD, Server
from bench.processes import running
from bench.row import Aim, Metric, Row, Sample, Total, Values
from bench.session import Session
from fairlead.testing.wire import LostError, Target

_APP = """\
async def app(scope, receive, send):
    if scope["type"] == "http":
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"release-%d"})
"""
_CONFIG = """\
[app]
target = "main:app"
[http]
lifespan = "off"
[[steps]]
name = "first"
run = ["sh", "-c", "grep -o release-[0-9]* main.py >> ran-first; sleep 0.1"]
[[steps]]
name = "second"
run = ["sh", "-c", "grep -o release-[0-9]* main.py >> ran-second"]
"""
_STEPS = ("first", "second")
_DEADLINE = 90.0


def _steps(session: Session, server: Server, _reference: Values) -> Sample:
    supervisors, releases = int(session.pick(4, 10)), int(session.pick(2, 5))
    folder = Path(tempfile.mkdtemp(dir=session.folder))
    (folder / "fairlead.toml").write_text(_CONFIG)
    began = time.monotonic()
    with ExitStack() as stack:
        started: list[tuple[subprocess.Popen[bytes], int]] = []
        for release in range(1, releases + 1):
            (folder / "main.py").write_text(_APP % release)
            if release == 1:
                started = [_start(stack, session, server, folder, number) for number in range(supervisors)]
            else:
                for process, _port in started:
                    process.send_signal(signal.SIGHUP)
            asyncio.run(_all_serve([port for _process, port in started], b"release-%d" % release))
    ran = {step: Counter((folder / f"ran-{step}").read_text().split()) for step in _STEPS}
    wanted = [f"release-{release}" for release in range(1, releases + 1)]
    wrong = sum(abs(ran[step][name] - 1) for step in _STEPS for name in wanted)
    wrong += sum(count for step in _STEPS for name, count in ran[step].items() if name not in wanted)
    values: Values = {
        "changes": [supervisors * releases],
        "ran": [sum(found.total() for found in ran.values())],
        "wrong": [wrong],
        "seconds": [time.monotonic() - began],
    }
    return Sample(values)


def _start(
    stack: ExitStack, session: Session, server: Server, folder: Path, number: int
) -> "tuple[subprocess.Popen[bytes], int]":
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    env = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    env |= {"FAIRLEAD_RUNTIME_DIR": str(session.folder / "run"), "FAIRLEAD_STATE_DIR": str(folder / "state")}
    command = [str(session.bin(server) / "fairlead"), "run", "--workers", "1", "--name", f"steps{number}"]
    command += ["--bind", f"127.0.0.1:{port}", "--no-access-log"]
    return stack.enter_context(running(command, folder, folder / f"log{number}", env)), port


async def _all_serve(ports: list[int], body: bytes) -> None:
    """Until every supervisor's worker answers with that release."""
    try:
        async with asyncio.timeout(_DEADLINE):
            await asyncio.gather(*(_serves(port, body) for port in ports))
    except TimeoutError as error:
        raise BenchError(f"not every supervisor served {body.decode()} within {_DEADLINE:.0f} s") from error


async def _serves(port: int, body: bytes) -> None:
    while True:
        try:
            if await ask(Target("127.0.0.1", port), "/") == body:
                return
        except LostError:
            pass  # it does not listen yet
        await asyncio.sleep(0.1)


ROWS = (
    Row(
        "steps",
        "Previous steps: 10 supervisors of one app, started at once and reloaded at once 4 times",
        "Two steps that leave a line with the release that they ran for. Each has to run exactly once for each of the 5 "
        "releases, whoever comes first; a run too many or too few counts as wrong. (With --quick: 4 supervisors, 2 releases.)",
        (
            Metric("wrong", "wrong", total=Total.SUM),
            Metric("ran", "steps run", total=Total.SUM),
            Metric("changes", "starts and reloads", total=Total.SUM),
            Metric("seconds", "all of it, s", 1),
        ),
        (FAIRLEAD,),
        _steps,
        aims=(
            Aim("wrong", 0, False, "runs too many or too few"),
            Aim("changes", 50, True, "starts and reloads", full_only=True),
        ),
        most_rounds=1,
        quick_rounds=0,
        seconds=(12.0, 45.0),
    ),
)
