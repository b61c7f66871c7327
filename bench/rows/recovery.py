"""How long it takes: to the first response, to replace a killed worker, to take in new code."""

import asyncio
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from bench.errors import BenchError
from bench.load import ask
from bench.peers import FAIRLEAD, GRANIAN, GUNICORN, GUNICORN_PRELOAD, UVICORN, Server
from bench.row import Aim, Metric, Reference, Row, Sample, Values
from bench.session import Running, Session, free_port
from fairlead.testing.wire import LostError, Target

_WORKERS = 4
_ASKERS = 4
_PAUSE = 0.003
_DEADLINE = 60.0
_QUIET = 0.5
"""Seconds without an answer of the old code after which there is none to come."""


def _recovery(session: Session, server: Server, reference: Values) -> Sample:
    notes: list[str] = []
    app = session.table()
    app = replace(app, env={**app.env, "FAIRLEAD_STATE_DIR": tempfile.mkdtemp(dir=session.folder)})
    port = free_port()
    _import_alone(session)
    with session.serving(server, app, _WORKERS, port=port) as it:
        first = it.first_response
    _import_alone(session)
    with session.serving(server, app, _WORKERS, port=port) as it:
        values = {
            "first": [first],
            "again": [it.first_response],
            "again_ratio": [it.first_response / one for one in reference.get("again", ())],
        }
        it.await_workers(_WORKERS, patience=20)
        for key, measure in (("replace_ms", _replace), ("new_code", _new_code)):
            if key == "new_code" and not server.reloads_code:
                notes.append("cannot take in new code: it was imported by the parent")
                continue
            try:
                values[key] = [measure(session, it)]
            except BenchError as error:
                notes.append(f"{key}: {error}: {session.log_tail()}")
    return Sample(values, tuple(notes))


def _import_time(session: Session) -> Sample:
    _import_alone(session)
    return Sample({"again": [_import_alone(session)], "again_ratio": [1.0]})


def _import_alone(session: Session) -> float:
    """Seconds. Done once without being counted before everything that is: a virtual machine that has given memory back to its
    host gets it again only as it is touched, so whoever comes first takes three times as long for the same half gigabyte."""
    begin = time.monotonic()
    session.python("-c", "import os, table; os._exit(0)", app=session.table())
    return time.monotonic() - begin


def _replace(_session: Session, it: Running) -> float:
    """Milliseconds from kill -9 of a worker to the first answer of a process that was not there before."""
    before = set(it.tree.pids())
    victim = max(set(it.burst()) & before - {it.process.pid})
    begin = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    return (asyncio.run(_first(it.target, lambda answer: answer["pid"] not in before)) - begin) * 1000


def _new_code(session: Session, it: Running) -> float:
    """Seconds from the reload to the last answer of the old code."""
    file = session.table().folder / "release.py"
    release = str(time.monotonic_ns())
    file.write_text(f'RELEASE = "{release}"\n')
    begin = time.monotonic()
    it.reload()
    return asyncio.run(_last(it.target, lambda answer: answer["release"] != release)) - begin


@dataclass(slots=True)
class _Answers:
    """When answers that fit a question came: the first and the last; and whether any came that did not."""

    first: float | None = None
    last: float | None = None
    others: bool = False


async def _first(target: Target, fits: Callable[[dict[str, object]], bool]) -> float:
    """When the first answer came that fits."""
    answers = await _ask_until(target, fits, lambda found: found.first is not None)
    assert answers.first is not None
    return answers.first


async def _last(target: Target, fits: Callable[[dict[str, object]], bool]) -> float:
    """When the last answer came that fits: others come by now, and none that fits has for a while."""
    begin = time.monotonic()
    answers = await _ask_until(
        target, fits, lambda found: found.others and time.monotonic() - (found.last or begin) > _QUIET
    )
    return answers.last or begin


async def _ask_until(
    target: Target, fits: Callable[[dict[str, object]], bool], done: Callable[[_Answers], bool]
) -> _Answers:
    """Asks on new connections, a few at a time with short pauses, so that every worker gets one soon."""
    found = _Answers()

    async def asker() -> None:
        while not done(found):
            try:
                answer = json.loads(await ask(target, "/echo/who"))
            except LostError:
                answer = None  # what a kill or reload loses is another row's matter
            if answer is not None and fits(answer):
                found.last = time.monotonic()
                found.first = found.first or found.last
            elif answer is not None:
                found.others = True
            await asyncio.sleep(_PAUSE)

    try:
        async with asyncio.timeout(_DEADLINE):
            await asyncio.gather(*(asker() for _ in range(_ASKERS)))
    except TimeoutError as error:
        raise BenchError(f"not within {_DEADLINE:.0f} s") from error
    return found


_SERVERS = (FAIRLEAD, UVICORN, GUNICORN, GUNICORN_PRELOAD, GRANIAN)

ROWS = (
    Row(
        "recovery",
        "First response, replacing a killed worker, new code: 4 workers of the app with the 512 MB table",
        "From the start of the command to the first answer: once with nothing known of an earlier start, and once more as at every "
        "later boot. From kill -9 of a worker to the first answer of a process that was not "
        "there before, seen by clients that open a new connection every few milliseconds. From HUP to the last answer of the "
        "old code. The import time is that of `python -c 'import table'`, which is also done once before each start, so that "
        "all find the machine's memory warm alike. Peers are measured in the first round.",
        (
            Metric("first", "first start, s", 2),
            Metric("again", "later starts, s", 2, plot=True),
            Metric("again_ratio", "× import", 2, neutral=True),
            Metric("replace_ms", "kill -9 to replacement, ms", plot=True),
            Metric("new_code", "HUP to new code only, s", 2),
        ),
        _SERVERS,
        _recovery,
        aims=(
            Aim("replace_ms", 100, False, "ms from kill -9 to the replacement taking traffic"),
            Aim(
                "again_ratio", 1.3, False, "first response of 4 workers over one process's import time", full_only=True
            ),
        ),
        reference=Reference("import alone", _import_time),
        quick_servers=(FAIRLEAD, UVICORN),
        peer_rounds=1,
        seconds=(5.5, 17.0),
        most_rounds=3,
    ),
)
