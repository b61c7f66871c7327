"""The memory budget, what measuring memory costs, and whether `fairlead plan` predicts what is then measured."""

import asyncio
import json
import os
import subprocess
import time
from pathlib import Path

from bench.errors import BenchError
from bench.load import h2load
from bench.peers import FAIRLEAD, Server
from bench.processes import cpu_seconds
from bench.row import Aim, Metric, Row, Sample, Total, Values
from bench.session import App, Running, Session
from fairlead.testing.load_client import LoadClient, Mix

_MB = 1e6
_APPS = Path(__file__).parent.parent / "apps"
_LEAK = 20e6
"""Bytes a second that all workers together leak."""
_BETWEEN = 0.5
"""Seconds between two looks at the tree's memory."""


def _anonymous(it: Running) -> int:
    """Bytes of anonymous memory that the tree holds, shared pages once: what the budget is about, by the kernel's account."""
    total = 0
    for pid in it.tree.pids():
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # a process that ends holds nothing any more
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon:"))
    return total


def _leak(session: Session, server: Server, _reference: Values) -> Sample:
    seconds, budget = session.pick(20, 60), session.pick(300e6, 600e6)
    env = {"GROWS_LEAK": str(_LEAK / 2), "FAIRLEAD_MEMORY_BUDGET": str(int(budget))}
    env |= {"FAIRLEAD_RESTARTS_IDLE_GRACE": "500ms", "FAIRLEAD_RESTARTS_DRAIN_TIMEOUT": "3s"}
    with session.serving(server, App("grows:app", _APPS, env=env), workers=2) as it:
        it.await_workers(2, patience=5)
        held, client = asyncio.run(_under_load(it, seconds))
    tally = client.tally
    values: Values = {
        "failed": [len(tally.losses)],
        "requests": [tally.total],
        "over": [max(held) / _MB - budget / _MB],
        "most": [max(held) / _MB],
        "workers": [len(tally.last_seen)],
    }
    return Sample(values, tuple(f"lost: {count} × {kind}" for kind, count in tally.losses_by_reason().items()))


async def _under_load(it: Running, seconds: float) -> tuple[list[int], LoadClient]:
    held = []
    async with LoadClient(it.target, Mix(16, 8, 0, 0, 0)) as client:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            held.append(await asyncio.to_thread(_anonymous, it))
            await asyncio.sleep(_BETWEEN)
    return held, client


def _measuring(session: Session, server: Server, _reference: Values) -> Sample:
    seconds, size = session.pick(15, 30), session.pick(128e6, 1e9)
    found = {key: _at_rest(session, server, int(shared), seconds) for key, shared in (("all", size), ("small", 1e6))}
    found["size"] = found["all"] - found["small"]
    found["alone"] = _metered(session, "metered", int(size), seconds / 2) - _metered(
        session, "bare", int(size), seconds / 2
    )
    return Sample({key: [value * 100] for key, value in found.items()})


def _metered(session: Session, how: str, shared: int, seconds: float) -> float:
    """CPUs that 8 forks use which look at their memory as workers do, or which do not look."""
    app = App("grows:app", _APPS, env={"METERED_SHARED": str(shared)})
    return float(json.loads(session.python("metered.py", how, str(seconds), app=app))["cpu"]) / seconds


def _at_rest(session: Session, server: Server, shared: int, seconds: float) -> float:
    """CPUs that the supervisor and 8 workers use without a request."""
    app = App("grows:app", _APPS, env={"GROWS_SHARED": str(shared), "FAIRLEAD_MEMORY_BUDGET": "0"})
    with session.serving(server, app, workers=8) as it:
        if not it.await_workers(8, patience=30):
            raise BenchError("not all of 8 workers answered")
        time.sleep(5)  # the first exact account of each is over
        before, began = it.tree.cpu(), time.monotonic()
        time.sleep(seconds)
        after, took = {pid: cpu_seconds(pid) for pid in before}, time.monotonic() - began
    return sum(after[pid] - before[pid] for pid in before) / took


def _plan(session: Session, server: Server, _reference: Values) -> Sample:
    app, workers = session.table(), 4
    predicted = _predicted(session, server, app, workers)
    with session.serving(server, app, workers) as it:
        it.await_workers(workers, patience=20)
        time.sleep(3)
        measured = it.tree.pss()
        h2load(it.url("/lookup"), 2_000)
        time.sleep(1)
        used = it.tree.pss()
    return Sample(
        {
            "predicted": [predicted / _MB],
            "measured": [measured / _MB],
            "off": [abs(predicted / measured - 1) * 100],
            "used": [used / _MB],
        }
    )


def _predicted(session: Session, server: Server, app: App, workers: int) -> float:
    env = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ} | dict(app.env)
    env |= {"FAIRLEAD_APP_TARGET": app.target, "FAIRLEAD_REPLICATION_WORKERS": str(workers)}
    command = [str(session.bin(server) / "fairlead"), "plan", "--json"]
    done = subprocess.run(command, cwd=app.folder, env=env, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise BenchError(f"fairlead plan ended with {done.returncode}: {done.stderr[-300:]}")
    return float(json.loads(done.stdout)["totals"][str(workers)])


ROWS = (
    Row(
        "leak",
        "A leak of 20 MB/s under load for a minute, 2 workers, a budget of 600 MB",
        "24 clients ask all the time; each worker leaks 10 MB/s. Failed is what was sent and not answered in full and rightly. Over "
        "the budget is the most that all processes held of anonymous memory (Pss_Anon, read twice a second) less the "
        "budget: negative when it was never reached; the aim is one reading's growth, that is a second and a half of the leak. "
        "(With --quick: 20 s and 300 MB.)",
        (
            Metric("failed", "failed", total=Total.SUM),
            Metric("requests", "requests", total=Total.SUM),
            Metric("over", "over the budget, MB", total=Total.LARGEST),
            Metric("most", "most held, MB", total=Total.LARGEST),
            Metric("workers", "workers that served"),
        ),
        (FAIRLEAD,),
        _leak,
        aims=(
            Aim("failed", 0, False, "requests failed"),
            Aim("over", 30, False, "MB over the budget: one reading's growth"),
            Aim("workers", 3, True, "workers, so that the leak was really mended"),
        ),
        quick_rounds=0,
        seconds=(26.0, 66.0),
        most_rounds=1,
    ),
    Row(
        "measuring",
        "What measuring memory costs: 8 workers of an app of 1 GB at rest",
        "CPU of the supervisor, the template and all workers without a request over half a minute, all of it: heartbeats too. "
        "The same with an app of 1 MB: the difference is what the size costs. The measuring alone: 8 forks of 1 GB that look at their "
        "memory twice a second, as workers at rest do, less the same 8 that do not look. (With --quick: 128 MB, 15 s.)",
        (
            Metric("alone", "measuring alone, %", 2),
            Metric("all", "8 × 1 GB, % of a core", 2),
            Metric("small", "8 × 1 MB, %", 2),
            Metric("size", "by the size, %", 2),
        ),
        (FAIRLEAD,),
        _measuring,
        aims=(Aim("alone", 0.5, False, "% of a core for measuring the memory of 8 workers of 1 GB"),),
        quick_rounds=0,
        seconds=(70.0, 127.0),
        most_rounds=1,
    ),
    Row(
        "plan",
        "What `fairlead plan` predicts for 4 workers, and what is then measured: the app with the 512 MB table",
        "`fairlead plan --json` starts one worker; its total for 4 is compared with the PSS of all processes of a service with "
        "4 workers, three seconds after all have answered. After 2,000 requests it is measured again. (With --quick: 128 MB.)",
        (
            Metric("predicted", "predicted, MB"),
            Metric("measured", "measured, MB"),
            Metric("off", "off by, %", 1),
            Metric("used", "after 2,000 requests, MB"),
        ),
        (FAIRLEAD,),
        _plan,
        aims=(Aim("off", 10, False, "% that the prediction is off"),),
        quick_rounds=0,
        seconds=(8.0, 20.0),
        most_rounds=2,
    ),
)
