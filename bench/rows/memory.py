"""Memory of many workers of an app that holds much, and what the supervisor takes at rest."""

import time

from bench.errors import BenchError
from bench.load import h2load
from bench.peers import FAIRLEAD, GRANIAN, GUNICORN, GUNICORN_PRELOAD, UVICORN, Server
from bench.processes import pss_bytes, scheduled_seconds
from bench.row import Aim, Metric, Reference, Row, Sample, Values
from bench.session import PLAIN, Running, Session

_MB = 1e6


def _settled_pss(it: Running) -> float:
    """The tree's memory in MB, once it has stopped growing: a worker that is still importing has not all of it yet."""
    last, end = it.tree.pss(), time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(1)
        now = it.tree.pss()
        if abs(now - last) < 0.005 * last:
            return now / _MB
        last = now
    raise BenchError("the memory did not settle within 60 s")


def _pss(session: Session, server: Server, workers: int) -> dict[str, list[float]]:
    """The tree's memory: fresh, after 20,000 requests for entries as people ask for them, after 20,000 more for all alike."""
    with session.serving(server, session.table(), workers) as it:
        it.await_workers(workers, patience=10)
        found = {"fresh": [_settled_pss(it)]}
        for key, path in (("used", "/lookup"), ("worn", "/lookup?even=true")):
            h2load(it.url(path), 20_000)
            found[key] = [_settled_pss(it)]
    return found


def _one_process(session: Session) -> Sample:
    found = _pss(session, UVICORN, workers=1)
    return Sample({**found, **{f"{key}_ratio": [1.0] for key in found}})


def _memory(session: Session, server: Server, reference: Values) -> Sample:
    found = _pss(session, server, workers=4)
    ratios = {f"{key}_ratio": [found[key][0] / one for one in ones] for key, ones in reference.items() if key in found}
    return Sample({**found, **ratios})


def _rest(session: Session, server: Server, _reference: Values) -> Sample:
    seconds = session.pick(3, 6)
    with session.serving(server, PLAIN, workers=2) as it:
        it.await_workers(2, patience=5)
        time.sleep(2)
        pids = it.tree.pids()
        before = [scheduled_seconds(pid) for pid in pids]
        time.sleep(seconds)
        used = [scheduled_seconds(pid) - start for pid, start in zip(pids, before, strict=True)]
        values = {
            "pss": [pss_bytes(it.process.pid) / _MB],
            "cpu": [used[0] / seconds * 100],
            "tree_pss": [it.tree.pss() / _MB],
            "tree_cpu": [sum(used) / seconds * 100],
        }
    return Sample(values)


ROWS = (
    Row(
        "memory",
        "Memory of 4 workers of an app with a 512 MB array and 400,000 entries in a dict",
        "PSS of all of the server's processes, so that shared pages count once; over that of one uvicorn process with the same "
        "app. Then after 20,000 requests that each read one entry, some entries far more often than others (Zipf's law), and after "
        "20,000 more that read all alike: reading an object writes its reference count, and so copies its page. Peers are measured "
        "in the first round. (With --quick: 128 MB and 100,000 entries.)",
        (
            Metric("fresh", "total PSS, MB", plot=True),
            Metric("fresh_ratio", "× one process", 2, neutral=True),
            Metric("used", "after 20,000 requests, MB"),
            Metric("used_ratio", "× one process", 2, neutral=True),
            Metric("worn", "after 20,000 more, MB"),
            Metric("worn_ratio", "× one process", 2, neutral=True),
        ),
        (FAIRLEAD, UVICORN, GUNICORN_PRELOAD, GRANIAN),
        _memory,
        aims=(
            Aim("fresh_ratio", 1.15, False, "total PSS over one process's", full_only=True),
            Aim("used_ratio", 1.15, False, "the same after 20,000 requests", full_only=True),
        ),
        reference=Reference("one uvicorn process", _one_process),
        quick_servers=(FAIRLEAD, UVICORN),
        peer_rounds=1,
        seconds=(6.0, 15.0),
        most_rounds=2,
    ),
    Row(
        "rest",
        "At rest, 2 workers",
        "PSS and CPU of the supervising process (the one started first) and of all processes, without any request, over 6 s. Peers are measured in the first round.",
        (
            Metric("pss", "supervisor PSS, MB", 1, plot=True),
            Metric("cpu", "supervisor CPU, % of a core", 3),
            Metric("tree_pss", "all processes PSS, MB", 1),
            Metric("tree_cpu", "all processes CPU, %", 3),
        ),
        (FAIRLEAD, UVICORN, GUNICORN, GRANIAN),
        _rest,
        aims=(
            Aim("pss", 20.0, False, "MB of PSS of the supervisor"),
            Aim("cpu", 0.2, False, "% of a core of the supervisor"),
        ),
        quick_servers=(FAIRLEAD, UVICORN),
        peer_rounds=1,
        seconds=(6.0, 9.5),
        most_rounds=3,
    ),
)
