"""docs/reference/peers.md: how each server of the benchmark is started, from the same code that starts it."""

import shlex
from pathlib import Path

from bench import front
from bench.peers import EVERYBODY, FRONTS, UVICORN, Launch, Pair, Server

_BIN = Path("BIN")
_PAIR = Pair(Path("cert.pem"), Path("key.pem"))
_FOLDER = Path("/var/tmp/bench")
_PROXIES = {server.name: server.name.split(" ", 1)[0].lower() for server in FRONTS}
_HEAD = """\
# How the peers are started

What `scripts/bench` starts, with two workers on port 8000. Versions are those of
[`bench/requirements.txt`](../../bench/requirements.txt), and are printed with the [results](measured.md). Everything else stays as it
comes. In rows with thousands of connections, limits that would close or refuse them are raised.

If a peer should be told something else, change it in [`bench/peers.py`](../../bench/peers.py) and measure again.
"""


def text() -> str:
    """The page."""
    parts = [_HEAD]
    for server in EVERYBODY:
        parts.append(f"## {server.name}\n\n{server.told}" + (f" See <{server.docs}>." if server.docs else "") + "\n")
        parts.append(_proxy(server) if server in FRONTS else _commands(server))
    return "\n".join(parts)


def _commands(server: Server) -> str:
    ways = {
        "HTTP": _launch(),
        "with the access log": _launch(access_log=True),
        "HTTPS": _launch(tls=_PAIR),
        "thousands of connections": _launch(crowd=True),
    }
    lines = [f"# {way}\n{_line(server.command(launch))}" for way, launch in ways.items()]
    return "```sh\n" + "\n".join(lines) + "\n```\n"


def _proxy(server: Server) -> str:
    proxy = _PROXIES[server.name]
    values = {"port": 443, "upstream": 8000, "folder": _FOLDER, "certificate": "cert.pem", "key": "key.pem"}
    config = _FOLDER / ("traefik.yml" if proxy == "traefik" else f"{proxy}.conf")
    commands = [_line(UVICORN.command(_launch())), _line(front.command(proxy, _BIN, config, 443))]
    shell = "```sh\n" + "\n".join(commands) + "\n```\n"
    return f"{shell}\n```\n# {config.name}, for HTTPS\n{front.configuration(proxy, values)}```\n"


def _launch(access_log: bool = False, tls: Pair | None = None, crowd: bool = False) -> Launch:
    return Launch(_BIN, "main:app", 8000, 2, access_log, tls=tls, folder=_FOLDER, crowd=crowd)


def _line(command: list[str]) -> str:
    return shlex.join([Path(command[0]).name, *(part.replace(f"{_BIN}/", "") for part in command[1:])])
