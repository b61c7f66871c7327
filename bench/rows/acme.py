"""Certificates from an authority: how soon the first is there, and what renewals cost those who are connected."""

import asyncio
import shutil
import socket
import ssl
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.authority import Authority, authority
from bench.errors import BenchError
from bench.peers import CADDY, FAIRLEAD, Server
from bench.processes import running
from bench.row import Aim, Metric, Row, Sample, Total, Values
from bench.session import PLAIN, Session, free_port
from fairlead.testing.load_client import LoadClient, Mix
from fairlead.testing.wire import Connection, LostError, Target

_NAME = "shop.example"
_FIRST = 60.0
"""Seconds to wait for the first certificate."""
_PERIOD = 3.0
"""Seconds from the beginning of one renewal to that of the next."""
_MIX = Mix(keep_alive=16, close=16, slow=2, stream=2, websocket=2)
_STAYERS = 16
_CADDYFILE = """\
{{
  admin off
  http_port {http}
  https_port {https}
  acme_ca {url}
  acme_ca_root {bundle}
  storage file_system {folder}
}}
{name} {{
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:{upstream}
}}
"""


@dataclass(frozen=True, slots=True)
class _Serving:
    """A service that has been started, and may have no certificate yet."""

    target: Target
    begin: float
    log: Path
    alive: Callable[[], bool]

    def await_certificate(self) -> float:
        """Seconds from the start to the first completed handshake."""
        while True:
            if certificate(self.target) is not None:
                return time.monotonic() - self.begin
            if not self.alive() or time.monotonic() - self.begin > _FIRST:
                raise BenchError(f"no certificate: {self.log.read_text(errors='replace')[-300:]}")
            time.sleep(0.005)


def certificate(target: Target, session: ssl.SSLSession | None = None) -> bytes | None:
    """The certificate that a new connection is served with; None when there is no handshake."""
    assert target.ssl
    try:
        sock = socket.create_connection((target.host, target.port), 5)
        with target.ssl.wrap_socket(sock, server_hostname=target.server_hostname, session=session) as secure:
            return secure.getpeercert(binary_form=True)
    except OSError:
        return None


@contextmanager
def _served(session: Session, server: Server, ca: Authority, folder: Path) -> Iterator[_Serving]:
    """Starts a server with no certificate in its store."""
    port, log = free_port(), folder / "server.log"
    command = _fairlead(session, ca, folder, port) if server is FAIRLEAD else _caddy(session, ca, folder, port)
    target = Target("127.0.0.1", port, ca.clients, _NAME)
    begin = time.monotonic()
    with running(command, PLAIN.folder, log, session.env({"HOME": str(folder)})) as process:
        yield _Serving(target, begin, log, lambda: process.poll() is None)


def _fairlead(session: Session, ca: Authority, folder: Path, port: int) -> list[str]:
    config = folder / "fairlead.toml"
    config.write_text(
        f'[https]\ndomains = ["{_NAME}"]\nagree_tos = true\nstore = "{folder / "store"}"\n'
        f"https_port = {port}\nhttp_port = {ca.http_port}\n"
        f'issuers = [{{ directory_url = "{ca.directory_url}", ca_bundle = "{ca.bundle}" }}]\n'
        '[http]\nhost = "127.0.0.1"\n'
    )
    program = str(session.bin(FAIRLEAD) / "fairlead")
    return [program, "run", PLAIN.target, "--config", str(config), "--workers", "2", "--no-access-log"]


def _caddy(session: Session, ca: Authority, folder: Path, port: int) -> list[str]:
    """Caddy with uvicorn behind it, in one process group of a shell that ends with either."""
    program = shutil.which("caddy")
    if program is None:
        raise BenchError("cannot find caddy: install it (Debian: caddy)")
    upstream, config = free_port(), folder / "Caddyfile"
    values = {"http": ca.http_port, "https": port, "url": ca.directory_url, "bundle": ca.bundle, "folder": folder}
    config.write_text(_CADDYFILE.format(**values, name=_NAME, upstream=upstream))
    behind = f"{session.bin(CADDY)}/uvicorn {PLAIN.target} --workers 2 --port {upstream} --no-access-log"
    return ["sh", "-c", f"{behind} & exec {program} run --config {config} --adapter caddyfile"]


@contextmanager
def _started(session: Session, server: Server) -> Iterator[_Serving]:
    folder = Path(tempfile.mkdtemp(dir=session.folder))
    with authority(folder, session.tls()) as ca, _served(session, server, ca, folder) as it:
        yield it


def _first(session: Session, server: Server, _reference: Values) -> Sample:
    with _started(session, server) as it:
        return Sample({"seconds": [it.await_certificate()]})


@dataclass(slots=True)
class _Seen:
    """What the clients beside the load saw."""

    serials: set[bytes] = field(default_factory=set)
    resumed: list[bool] = field(default_factory=list)
    closed: int = 0


def _renewals(session: Session, server: Server, _reference: Values) -> Sample:
    with _started(session, server) as it:
        it.await_certificate()
        return asyncio.run(_under_renewals(session, it.target, session.pick(5, 17)))


async def _under_renewals(session: Session, target: Target, seconds: float) -> Sample:
    stop, seen, end = asyncio.Event(), _Seen(), time.monotonic() + seconds
    async with LoadClient(target, _MIX) as client, asyncio.TaskGroup() as beside:
        for _ in range(_STAYERS):
            beside.create_task(_stay(target, stop, seen))
        beside.create_task(_come_back(target, stop, seen))
        while time.monotonic() < end:
            begin = time.monotonic()
            await asyncio.to_thread(session.fairlead, "certs", "renew", "--force")
            await asyncio.sleep(max(0.0, begin + _PERIOD - time.monotonic()))
        stop.set()
    tally = client.tally
    values: Values = {
        "lost": [len(tally.losses)],
        "closed": [seen.closed + tally.websocket_closes.total()],
        "resumed": [sum(seen.resumed) / max(1, len(seen.resumed))],
        "renewals": [len(seen.serials) - 1],
        "requests": [tally.total],
        "slowest_ms": [tally.slowest * 1000],
    }
    losses = [f"{loss.kind}: {loss.reason} {loss.detail}" for loss in tally.losses]
    return Sample(values, (f"lost: {dict(Counter(losses).most_common(5))}",) if losses else ())


async def _stay(target: Target, stop: asyncio.Event, seen: _Seen) -> None:
    """One connection that is to last from here to the end, with a request now and then."""
    connection = await Connection.open(target)
    try:
        while not stop.is_set():
            head, _body = await asyncio.wait_for(connection.get(PLAIN.probe), 10)
            if not head.keeps_alive:
                seen.closed += 1
                return
            await _pause(stop, 0.5)
    except (LostError, TimeoutError):
        seen.closed += 1
    finally:
        await connection.close()


async def _come_back(target: Target, stop: asyncio.Event, seen: _Seen) -> None:
    """A client that opens a new connection again and again, each with the session of the one before it."""
    last: ssl.SSLSession | None = None
    while not stop.is_set():
        last, resumed, serial = await asyncio.to_thread(_visit, target, last)
        # A resumed connection shows the certificate that its session began with.
        fresh = await asyncio.to_thread(certificate, target)
        seen.serials |= {fresh} if fresh else set()
        if serial:
            seen.resumed.append(resumed)
        await _pause(stop, 0.1)


def _visit(target: Target, last: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool, bool]:
    """The session to bring next time, whether the one brought was taken, and whether one was brought."""
    assert target.ssl
    sock = socket.create_connection((target.host, target.port), 10)
    with target.ssl.wrap_socket(sock, server_hostname=target.server_hostname, session=last) as secure:
        secure.sendall(f"GET {PLAIN.probe} HTTP/1.1\r\nHost: {_NAME}\r\nConnection: close\r\n\r\n".encode())
        while secure.recv(65536):
            pass
        return secure.session, bool(secure.session_reused), last is not None


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


ROWS = (
    Row(
        "first-certificate",
        "The first certificate, from an authority on the same machine",
        "From the start, with an empty store, to the first completed handshake: Pebble 2.4, HTTP-01, one name, 2 workers. Caddy "
        "stands in front of uvicorn with two workers, and obtains its certificate by itself; it is measured in the first two rounds.",
        (Metric("seconds", "seconds from the start", 2, plot=True),),
        (FAIRLEAD, CADDY),
        _first,
        aims=(Aim("seconds", 3.0, False, "seconds from the start to the first handshake"),),
        quick_servers=(FAIRLEAD,),
        peer_rounds=2,
        seconds=(3.0, 3.5),
    ),
    Row(
        "renewals",
        "Renewals every 3 seconds under load, HTTPS, 2 workers",
        "`fairlead certs renew --force` every 3 seconds, with a certificate from Pebble each. 38 clients (16 keep-alive, "
        f"16 with a new connection for each request, slow answers, streams, WebSockets); {_STAYERS} connections that have to last the "
        "whole time; one client that comes back every 0.1 s and brings the session of its last connection.",
        (
            Metric("lost", "lost", total=Total.SUM, plot=True),
            Metric("closed", "closed", total=Total.SUM),
            Metric("resumed", "share resumed", 3, higher_is_better=True),
            Metric("renewals", "renewals", total=Total.SUM),
            Metric("requests", "requests", total=Total.SUM),
            Metric("slowest_ms", "slowest answer, ms", total=Total.LARGEST),
        ),
        (FAIRLEAD,),
        _renewals,
        aims=(
            Aim("lost", 0, False, "requests lost"),
            Aim("closed", 0, False, "connections closed"),
            Aim("resumed", 0.99, True, "share of repeat connections that are resumed"),
            Aim("renewals", 12, True, "renewals (3 rounds make as many)", full_only=True),
        ),
        most_rounds=3,
        seconds=(8.0, 22.0),
        quick_rounds=0,
    ),
)
