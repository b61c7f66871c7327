"""HTTPS: how fast, on connections that stay and on new ones, and how many of those that come back are resumed."""

import json
import socket
import ssl

from bench.load import h2load, wrk
from bench.peers import CADDY, FAIRLEAD, GRANIAN, NGINX, TRAEFIK, UVICORN, Server
from bench.row import Against, Aim, Metric, Row, Sample, Total, Values
from bench.session import PLAIN, Running, Session

_EVERYBODY = (FAIRLEAD, UVICORN, GRANIAN, NGINX, CADDY, TRAEFIK)
_QUICK = (FAIRLEAD, UVICORN, NGINX)
_ITEM = "/items/42"


def _keep_alive(session: Session, server: Server, _reference: Values) -> Sample:
    with session.serving(server, PLAIN, workers=2, tls=session.tls()) as it:
        it.await_workers(2, patience=5)
        wrk(it.url(_ITEM), 1.0)
        loads = [wrk(it.url(_ITEM), session.pick(2, 3)) for _ in range(2)]
        other = h2load(it.url(_ITEM), int(session.pick(5_000, 20_000)))
    values = {"rate": [load.rate for load in loads], "h2load_rate": [other.rate]}
    values |= {"p50_ms": [load.p50_ms for load in loads], "p99_ms": [load.p99_ms for load in loads]}
    return Sample(values | {"errors": [sum(load.errors for load in (*loads, other))]})


def _new_connections(session: Session, server: Server, _reference: Values) -> Sample:
    with session.serving(server, PLAIN, workers=2, tls=session.tls()) as it:
        it.await_workers(2, patience=5)
        wrk(it.url(_ITEM), 1.0, close=True)
        load = wrk(it.url(_ITEM), session.pick(2, 4), close=True)
    return Sample({"rate": [load.rate], "p50_ms": [load.p50_ms], "p99_ms": [load.p99_ms], "errors": [load.errors]})


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


_LATENCIES = (Metric("p50_ms", "p50 ms", 2), Metric("p99_ms", "p99 ms", 2))
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
        ),
        _EVERYBODY,
        _keep_alive,
        aims=(
            Aim("rate", 0.95, True, "requests/s over uvicorn's own TLS", Against.PEER, UVICORN.name),
            Aim("rate", 1.2, True, "requests/s over nginx → uvicorn", Against.PEER, NGINX.name),
            Aim("rate", 1.5, True, "requests/s over Traefik → uvicorn", Against.PEER, TRAEFIK.name),
            Aim("rate", 1.8, True, "requests/s over Caddy → uvicorn", Against.PEER, CADDY.name),
        ),
        quick_servers=_QUICK,
    ),
    Row(
        "https-newconn",
        "HTTPS, a new connection for each request, 2 workers",
        "wrk with `Connection: close`, 64 at a time; wrk resumes no sessions, so each has a whole handshake. What limits it is "
        "asyncio's way to TLS, which feeds OpenSSL through memory buffers, in Python's ssl: nginx hands OpenSSL the socket.",
        (Metric("rate", "connections/s", higher_is_better=True, plot=True), *_LATENCIES, _ERRORS),
        _EVERYBODY,
        _new_connections,
        aims=(Aim("rate", 1.0, True, "new TLS connections/s over uvicorn's", Against.PEER, UVICORN.name),),
        quick_servers=_QUICK,
    ),
    Row(
        "https-resumed",
        "Repeat TLS connections that are resumed, 2 workers",
        "A client of TLS 1.3 that opens a new connection for each request and brings the session of the last one.",
        (Metric("resumed", "share resumed", 3, higher_is_better=True),),
        _EVERYBODY,
        _resumed,
        aims=(Aim("resumed", 0.99, True, "share of repeat connections that are resumed"),),
        quick_servers=_QUICK,
    ),
)
