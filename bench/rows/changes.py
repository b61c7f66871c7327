"""Lost requests over what changes while a service runs: fewer workers, a new program, a new certificate."""

import asyncio
import os
import shutil
import signal
import socket
import ssl
import time
from collections.abc import Awaitable, Callable

from bench.peers import FAIRLEAD, GRANIAN, GUNICORN, UVICORN, Pair, Server
from bench.processes import descendants
from bench.row import Aim, Metric, Row, Sample, Total, Values
from bench.rows.lost import CLIENTS, REQUESTS, SLOWEST, counts, load, what_was_lost
from bench.session import PLAIN, Running, Session, Tls
from fairlead.testing.load_client import LoadClient, Mix

_DEADLINE = 45.0
_MIX = Mix(stream_seconds=1.0)
_Change = Callable[[LoadClient], Awaitable[bool]]


def _under(it: Running, session: Session, change: _Change) -> Sample:
    """Load before, during and after the change; `change` says whether it was done in time."""
    requests = int(session.pick(1_000, 2_500))

    async def run() -> Sample:
        async with LoadClient(it.target, _MIX) as client:
            await load(client, requests)
            begin = time.monotonic()
            done = await change(client)
            took = time.monotonic() - begin
            await load(client, requests)
        values = {**counts(client.tally), "unfinished": [int(not done)], "seconds": [took] if done else []}
        late = () if done else (f"not done: {session.log_tail()}",)
        return Sample(values, (*what_was_lost(client.tally, client.tally.losses), *late))

    return asyncio.run(run())


def _scale_down(session: Session, server: Server, _reference: Values) -> Sample:
    with session.serving(server, PLAIN, workers=4) as it:
        it.await_workers(4, patience=5)

        async def change(client: LoadClient) -> bool:
            for _ in range(2):
                it.process.send_signal(signal.SIGTTOU)
                await asyncio.sleep(0.2)  # two signals that come together are one
            return await client.until(lambda tally: 1 <= len(tally.pids_within(1.5)) <= 2, _DEADLINE)

        return _under(it, session, change)


def _upgrade(session: Session, server: Server, _reference: Values) -> Sample:
    with session.serving(server, PLAIN, workers=2) as it:
        it.await_workers(2, patience=5)
        try:
            change = _become_new_fairlead if server is FAIRLEAD else _become_new_gunicorn
            return _under(it, session, lambda client: change(session, it, client))
        finally:
            if it.process.poll() is not None:  # gunicorn's new parent is no child of the one that was started
                for pid in descendants(os.getpid()):
                    os.kill(pid, signal.SIGKILL)


async def _become_new_fairlead(session: Session, _it: Running, client: LoadClient) -> bool:
    """`fairlead upgrade` replaces the supervisor, `fairlead reload` the workers."""
    old = client.tally.pids_within(1.0)
    for command in ("upgrade", "reload"):
        await asyncio.to_thread(session.fairlead, command, "--name", "bench")
    return await client.replaced(old, _DEADLINE)


async def _become_new_gunicorn(_session: Session, it: Running, client: LoadClient) -> bool:
    """USR2 starts a new parent with workers beside the old one, which TERM then ends: gunicorn's own way."""
    old = client.tally.pids_within(1.0)
    it.process.send_signal(signal.SIGUSR2)
    if not await client.until(lambda tally: bool(tally.pids_within(0.5) - old), _DEADLINE):
        return False
    it.process.terminate()
    return await client.replaced(old, _DEADLINE)


def _renewal(session: Session, server: Server, _reference: Values) -> Sample:
    folder = session.folder / "renewed"
    folder.mkdir(exist_ok=True)
    before, after = session.tls(), session.tls("tls-next")
    served = Pair(folder / "cert.pem", folder / "key.pem")
    _put(before.pair, served)
    context = ssl.create_default_context()
    for tls in (before, after):
        context.load_verify_locations(tls.pair.certificate)
    with session.serving(server, PLAIN, workers=2, tls=Tls(served, context)) as it:
        it.await_workers(2, patience=5)

        async def change(client: LoadClient) -> bool:
            old = client.tally.pids_within(1.0)
            _put(after.pair, served)
            if server is FAIRLEAD:  # it notices by itself, and keeps its workers
                return await asyncio.to_thread(_comes, it, after)
            it.reload()
            return await client.replaced(old, _DEADLINE) and await asyncio.to_thread(_comes, it, after)

        return _under(it, session, change)


def _put(pair: Pair, where: Pair) -> None:
    """Each file as a whole, as tools that renew do."""
    for source, target in ((pair.key, where.key), (pair.certificate, where.certificate)):
        shutil.copy(source, target.with_suffix(".new"))
        os.replace(target.with_suffix(".new"), target)


def _comes(it: Running, tls: Tls) -> bool:
    """Waits until new connections, ten in a row, are served with the certificate."""
    wanted = ssl.PEM_cert_to_DER_cert(tls.pair.certificate.read_text())
    right, end = 0, time.monotonic() + _DEADLINE
    while right < 10 and time.monotonic() < end:
        right = right + 1 if _certificate(it) == wanted else 0
        time.sleep(0.02)
    return right >= 10


def _certificate(it: Running) -> bytes | None:
    assert it.tls
    try:
        with (
            socket.create_connection(("127.0.0.1", it.port), 5) as sock,
            it.tls.context.wrap_socket(sock, server_hostname="localhost") as secure,
        ):
            return secure.getpeercert(binary_form=True)
    except OSError:
        return None


def _metrics(unfinished: str, seconds: str) -> tuple[Metric, ...]:
    return (
        Metric("lost", "lost", total=Total.SUM),
        REQUESTS,
        Metric("unfinished", unfinished, total=Total.SUM),
        Metric("seconds", seconds, 1),
        SLOWEST,
    )


_AIMS = (Aim("lost", 0, False, "requests lost"), Aim("unfinished", 0, False, "changes not finished"))

ROWS = (
    Row(
        "lost-scale",
        "Requests lost when 4 workers become 2",
        CLIENTS
        + "Two TTOU signals to the root process; done when two workers answer. Peers are measured in the first round.",
        _metrics(f"not done in {_DEADLINE:.0f} s", "until two answer, s"),
        (FAIRLEAD, UVICORN),
        _scale_down,
        aims=_AIMS,
        quick_servers=(FAIRLEAD,),
        peer_rounds=1,
        seconds=(6.0, 9.0),
        most_rounds=3,
    ),
    Row(
        "lost-upgrade",
        "Requests lost when the server itself is replaced by a new version, 2 workers",
        CLIENTS
        + "`fairlead upgrade` and `fairlead reload`; gunicorn: USR2, then TERM to the old parent. The others have no way but to "
        "stop and start. gunicorn is measured in the first round.",
        _metrics(f"not done in {_DEADLINE:.0f} s", "until the last old answer, s"),
        (FAIRLEAD, GUNICORN),
        _upgrade,
        aims=_AIMS,
        quick_servers=(FAIRLEAD,),
        peer_rounds=1,
        seconds=(7.0, 18.0),
        most_rounds=3,
        quick_rounds=0,
    ),
    Row(
        "lost-renewal",
        "Requests lost when the certificate is renewed, HTTPS, 2 workers",
        CLIENTS
        + "The files of certificate and key are replaced. Fairlead notices; the peers are sent a HUP. Done when ten new "
        "connections in a row have the new certificate. Peers are measured in the first round.",
        _metrics(f"not done in {_DEADLINE:.0f} s", "until the new one is served, s"),
        (FAIRLEAD, UVICORN, GRANIAN),
        _renewal,
        aims=_AIMS,
        quick_servers=(FAIRLEAD,),
        peer_rounds=1,
        seconds=(9.0, 11.0),
        quick_rounds=0,
        most_rounds=1,
    ),
)
