"""HTTPS: how fast, on connections that stay and on new ones, and how many of those that come back are resumed."""

import json
import socket
import ssl

from bench.load import Load, h2load, wrk
from bench.peers import (
    CADDY,
    FAIRLEAD,
    GRANIAN,
    GUNICORN,
    HAPROXY,
    HYPERCORN,
    NGINX,
    TRAEFIK,
    UVICORN,
    Server,
)
from bench.row import Against, Aim, Metric, Row, Sample, Total, Values
from bench.session import PLAIN, Running, Session

_FRONTS = (NGINX, HAPROXY, CADDY, TRAEFIK)
_EVERYBODY = (FAIRLEAD, UVICORN, GUNICORN, GRANIAN, HYPERCORN, *_FRONTS)
_LEADING = (FAIRLEAD, UVICORN, GRANIAN, *_FRONTS)
_ITEM = "/items/42"


def _keep_alive(session: Session, server: Server, _reference: Values) -> Sample:
    with session.serving(server, PLAIN, workers=2, tls=session.tls()) as it:
        it.await_workers(2, patience=3)
        wrk(it.url(_ITEM), 1.0)
        load = wrk(it.url(_ITEM), session.pick(1, 2))
        before = it.tree.cpu()
        other = h2load(it.url(_ITEM), int(session.pick(5_000, 15_000)))
        cost = it.tree.cpu_since(before) / max(1, other.requests) * 1e6
    values = {**_latencies(load), "rate": [load.rate], "h2load_rate": [other.rate], "cpu_us": [cost]}
    return Sample({**values, "errors": [load.errors + other.errors]})


def _new_connections(session: Session, server: Server, _reference: Values) -> Sample:
    with session.serving(server, PLAIN, workers=2, tls=session.tls()) as it:
        it.await_workers(2, patience=3)
        wrk(it.url(_ITEM), 1.0, close=True)
        load = wrk(it.url(_ITEM), session.pick(1, 2), close=True)
    return Sample({**_latencies(load), "rate": [load.rate], "errors": [load.errors]})


def _latencies(load: Load) -> dict[str, list[float]]:
    return {"p50_ms": [load.p50_ms], "p99_ms": [load.p99_ms], "p999_ms": [load.p999_ms]}


def _resumed(session: Session, server: Server, _reference: Values) -> Sample:
    with session.serving(server, PLAIN, workers=2, tls=session.tls()) as it:
        it.await_workers(2, patience=5)
        share = _share_resumed(it, int(session.pick(100, 200)))
    return Sample({"resumed": [share]})


def _share_resumed(it: Running, count: int) -> float:
    """Of so many connections one after the other, each with the session of the one before it."""
    assert it.tls
    last: ssl.SSLSession | None = None
    resumed, pids = 0, set()
    for _ in range(count + 1):
        sock = socket.create_connection(("127.0.0.1", it.port), 10)
        with it.tls.context.wrap_socket(sock, server_hostname="localhost", session=last) as secure:
            secure.sendall(f"GET {it.app.probe} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            with secure.makefile("rb") as file:
                body = file.read().partition(b"\r\n\r\n")[2]
            pids.add(json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])[it.app.pid_key])
            resumed += bool(secure.session_reused)
            last = secure.session
    return resumed / count


_LATENCIES = (Metric("p50_ms", "p50 ms", 2), Metric("p99_ms", "p99 ms", 2), Metric("p999_ms", "p99.9 ms", 2))
_ERRORS = Metric("errors", "errors", total=Total.SUM)

ROWS = (
    Row(
        "https-keepalive",
        "HTTPS, keep-alive, 2 workers",
        "As http-keepalive, with an ECDSA P-256 certificate. The proxies end TLS in front of uvicorn with two workers.",
        (
            Metric("rate", "requests/s (wrk)", higher_is_better=True, plot=True),
            Metric("h2load_rate", "requests/s (h2load)", higher_is_better=True),
            *_LATENCIES,
            _ERRORS,
            Metric("cpu_us", "CPU µs/request", 1),
        ),
        _EVERYBODY,
        _keep_alive,
        aims=(
            Aim("rate", 0.95, True, "requests/s over uvicorn's own TLS", Against.PEER, UVICORN.name),
            Aim("rate", 1.2, True, "requests/s over nginx → uvicorn", Against.PEER, NGINX.name),
            Aim("rate", 1.5, True, "requests/s over Traefik → uvicorn", Against.PEER, TRAEFIK.name),
            Aim("rate", 1.8, True, "requests/s over Caddy → uvicorn", Against.PEER, CADDY.name),
        ),
        quick_servers=(FAIRLEAD, UVICORN),
        seconds=(4.0, 5.8),
    ),
    Row(
        "https-newconn",
        "HTTPS, a new connection for each request, 2 workers",
        "wrk with `Connection: close`, 64 at a time; wrk resumes no sessions, so each has a whole handshake. What limits it is "
        "asyncio's way to TLS, which feeds OpenSSL through memory buffers, in Python's ssl: nginx hands OpenSSL the socket. Peers are measured in the first 3 rounds.",
        (Metric("rate", "connections/s", higher_is_better=True, plot=True), *_LATENCIES, _ERRORS),
        _LEADING,
        _new_connections,
        aims=(Aim("rate", 1.0, True, "new TLS connections/s over uvicorn's", Against.PEER, UVICORN.name),),
        quick_servers=(FAIRLEAD, UVICORN),
        seconds=(3.6, 4.6),
        peer_rounds=3,
    ),
    Row(
        "https-resumed",
        "Repeat TLS connections that are resumed, 2 workers",
        "A client of TLS 1.3 that opens a new connection for each request and brings the session of the last one. Peers are measured in the first round.",
        (Metric("resumed", "share resumed", 3, higher_is_better=True),),
        _LEADING,
        _resumed,
        aims=(Aim("resumed", 0.99, True, "share of repeat connections that are resumed"),),
        quick_servers=(FAIRLEAD,),
        peer_rounds=1,
        seconds=(2.5, 3.0),
        quick_rounds=0,
    ),
)
