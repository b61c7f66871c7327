"""Plain HTTP: how fast, how evenly, and at what cost."""

import statistics

from bench.load import CONNECTIONS, h2load, wrk
from bench.peers import (
    CADDY,
    FAIRLEAD,
    GRANIAN,
    GUNICORN,
    GUNICORN_UVICORN,
    HAPROXY,
    HYPERCORN,
    NGINX,
    TRAEFIK,
    UVICORN,
    Server,
)
from bench.row import Against, Aim, Metric, Reference, Row, Sample, Total, Values
from bench.session import PLAIN, App, Running, Session

_EVERYBODY = (FAIRLEAD, UVICORN, GUNICORN, GUNICORN_UVICORN, GRANIAN, HYPERCORN)
_WITH_PROXIES = (*_EVERYBODY, NGINX, HAPROXY, CADDY, TRAEFIK)
_QUICK = (FAIRLEAD, UVICORN, GRANIAN)
_LOGGED = (FAIRLEAD, UVICORN, GUNICORN, GRANIAN)
_ITEM = "/items/42"
_WARM_UP = 1.0


def _warm(it: Running, path: str) -> str:
    """Waits for the workers, throws a first second of load away, and returns the URL to load."""
    it.await_workers(2, patience=3)
    wrk(it.url(path), _WARM_UP)
    return it.url(path)


def _keep_alive(session: Session, server: Server, app: App, path: str, requests: int) -> Sample:
    """Load by wrk, and by h2load, over whose requests the CPU of all of the server's processes is counted."""
    with session.serving(server, app, workers=2) as it:
        url = _warm(it, path)
        load = wrk(url, session.pick(1, 2))
        before = it.tree.cpu()
        other = h2load(url, requests)
        cost = it.tree.cpu_since(before) / other.requests * 1e6 if other.requests else 0.0
    return Sample(
        {
            "rate": [load.rate],
            "h2load_rate": [other.rate],
            "p50_ms": [load.p50_ms],
            "p99_ms": [load.p99_ms],
            "p999_ms": [load.p999_ms],
            "errors": [load.errors + other.errors],
            "cpu_us": [cost] if cost else [],
        }
    )


def _plain(session: Session, server: Server, reference: Values) -> Sample:
    sample = _keep_alive(session, server, PLAIN, _ITEM, int(session.pick(8_000, 20_000)))
    over = [cost / bare for cost, bare in zip(sample.values["cpu_us"], reference.get("cpu_us", []), strict=False)]
    return Sample({**sample.values, "over_bare": over})


def _shop(session: Session, server: Server, _reference: Values) -> Sample:
    requests = int(session.pick(1_500, 4_000))
    return _keep_alive(session, server, session.shop(), "/products?start=100&limit=20", requests)


def _new_connections(session: Session, server: Server, _reference: Values) -> Sample:
    with session.serving(server, PLAIN, workers=2) as it:
        url = _warm(it, _ITEM)
        load = wrk(url, session.pick(1, 2), close=True)
    latencies = {"p50_ms": [load.p50_ms], "p99_ms": [load.p99_ms], "p999_ms": [load.p999_ms]}
    return Sample({"rate": [load.rate], **latencies, "errors": [load.errors]})


def _bare_call(session: Session) -> Sample:
    text = session.python("bare_call.py", PLAIN.target, _ITEM, str(int(session.pick(8_000, 20_000))))
    return Sample({"cpu_us": [float(text)], "over_bare": [1.0]})


def _cpu(session: Session, server: Server, access_log: bool) -> float:
    """CPU µs per request, of all of the server's processes together."""
    with session.serving(server, PLAIN, workers=2, access_log=access_log) as it:
        url = _warm(it, _ITEM)
        before = it.tree.cpu()
        load = h2load(url, int(session.pick(8_000, 20_000)))
        return it.tree.cpu_since(before) / max(1, load.requests) * 1e6


def _access_log(session: Session, server: Server, _reference: Values) -> Sample:
    without, with_log = (_cpu(session, server, access_log) for access_log in (False, True))
    return Sample({"without_us": [without], "with_us": [with_log], "cost_us": [with_log - without]})


def _evenness(session: Session, server: Server, _reference: Values) -> Sample:
    workers, runs = 4, int(session.pick(3, 4))
    with session.serving(server, PLAIN, workers) as it:
        it.await_workers(workers, patience=5)
        shares = [sorted(it.burst(CONNECTIONS).values(), reverse=True) for _ in range(runs)]
    over_mean = [share[0] / (sum(share) / workers) for share in shares]
    texts = ["/".join(map(str, share + [0] * (workers - len(share)))) for share in shares]
    return Sample({"worst": over_mean, "typical": [statistics.median(over_mean)]}, (", ".join(texts),))


_LATENCIES = (Metric("p50_ms", "p50 ms", 2), Metric("p99_ms", "p99 ms", 2), Metric("p999_ms", "p99.9 ms", 2))
_ERRORS = Metric("errors", "errors", total=Total.SUM)
_RATES = (
    Metric("rate", "requests/s (wrk)", higher_is_better=True, plot=True),
    Metric("h2load_rate", "requests/s (h2load)", higher_is_better=True),
    *_LATENCIES,
    _ERRORS,
)

ROWS = (
    Row(
        "http-keepalive",
        "HTTP, keep-alive, 2 workers",
        "A FastAPI route with a path parameter and a pydantic response; 64 connections, as fast as the server answers. "
        "The generator runs on the same machine, for everybody alike. The latencies are wrk's. CPU is that of all of the "
        "server's processes (the proxy's too) over h2load's requests. The bare ASGI call is the app alone, called in a loop "
        "without a server: the limit. The proxies stand in front of uvicorn with two workers.",
        (
            *_RATES,
            Metric("cpu_us", "CPU µs/request", 1, plot=True),
            Metric("over_bare", "× bare call", 2, neutral=True),
        ),
        _WITH_PROXIES,
        _plain,
        aims=(
            Aim("rate", 1.0, True, "requests/s over uvicorn's", Against.PEER, UVICORN.name),
            Aim("rate", 1.0, True, "requests/s over granian's", Against.PEER, GRANIAN.name),
            Aim("rate", 0.9, True, "slowest run over the own median", Against.OWN_MEDIAN),
            Aim("over_bare", 1.35, False, "CPU per request over the bare ASGI call"),
        ),
        reference=Reference("bare ASGI call", _bare_call),
        quick_servers=_QUICK,
        seconds=(3.6, 5.6),
    ),
    Row(
        "shop-keepalive",
        "The example shop: a page of 20 products, keep-alive, 2 workers",
        "As above, with `GET /products?start=100&limit=20` of examples/shop. Peers are measured in the first 3 rounds.",
        (*_RATES, Metric("cpu_us", "CPU µs/request", 1)),
        _EVERYBODY,
        _shop,
        quick_servers=(FAIRLEAD, UVICORN),
        seconds=(4.2, 5.8),
        peer_rounds=3,
    ),
    Row(
        "http-newconn",
        "HTTP, a new connection for each request, 2 workers",
        "wrk with `Connection: close`, 64 at a time. Peers are measured in the first 3 rounds.",
        (Metric("rate", "connections/s", higher_is_better=True, plot=True), *_LATENCIES, _ERRORS),
        _EVERYBODY,
        _new_connections,
        aims=(Aim("rate", 0.95, True, "new connections/s over uvicorn's", Against.PEER, UVICORN.name),),
        quick_servers=(FAIRLEAD, UVICORN),
        seconds=(3.5, 4.5),
        peer_rounds=3,
    ),
    Row(
        "access-log",
        "What the access log costs",
        "CPU per request as in http-keepalive, with the access log on, less the same with it off; both in the same round. "
        "Peers are measured in the first 3 rounds.",
        (
            Metric("without_us", "off, µs", 1, neutral=True),
            Metric("with_us", "on, µs", 1, neutral=True),
            Metric("cost_us", "cost, µs", 1),
        ),
        _LOGGED,
        _access_log,
        aims=(Aim("cost_us", 5.0, False, "µs of CPU a request"),),
        quick_servers=(FAIRLEAD,),
        seconds=(5.5, 7.5),
        quick_rounds=0,
        peer_rounds=1,
    ),
    Row(
        "evenness",
        "64 connections opened at once over 4 workers",
        "All are opened before the first is answered, and kept open until the last is. The largest share of a worker over "
        "the mean share; the shares of each run are below. Peers are measured in the first 3 rounds.",
        (
            Metric("worst", "largest share, worst run", 2, total=Total.LARGEST, plot=True),
            Metric("typical", "largest share, median", 2),
        ),
        _EVERYBODY,
        _evenness,
        aims=(Aim("worst", 1.25, False, "largest share over the mean, worst run"),),
        quick_servers=(FAIRLEAD, UVICORN),
        seconds=(3.0, 3.5),
        peer_rounds=2,
    ),
)
