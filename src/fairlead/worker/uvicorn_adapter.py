"""Everything taken from uvicorn beyond its documented interface, in one place. `http1_h11.py`, which few need, builds
on its h11 protocol.

`tests/process/test_uvicorn_range.py` runs the protocol tests against the lowest and the newest version that
pyproject.toml declares; whatever else is needed from uvicorn's inside is added here and nowhere else.
"""

import fairlead.worker.uvicorn_lightly  # noqa: F401 - before uvicorn is

# isort: split

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol
from uvicorn.server import Server as UvicornServer
from uvicorn.server import ServerState

from fairlead.plan.model import HttpPlan

__all__ = [
    "HIGH_WATER_LIMIT",
    "AutoWebSocketsProtocol",
    "Config",
    "Server",
    "ServerState",
    "bare_app",
    "build_config",
    "default_headers",
    "import_loop",
    "loop_factory",
]


def build_config(
    http: HttpPlan, app: Callable[..., Any], protocol: type[asyncio.Protocol], websocket: type[asyncio.Protocol] | None
) -> Config:
    """The loaded uvicorn configuration of a worker. Logging is left as the app has set it up."""
    config = Config(
        app,
        loop=http.loop,
        http=protocol,
        ws=websocket if websocket is not None else "none",
        ws_max_size=http.ws_max_size,
        ws_max_queue=http.ws_max_queue,
        ws_ping_interval=http.ws_ping_interval or None,
        ws_ping_timeout=http.ws_ping_timeout or None,
        ws_per_message_deflate=http.ws_per_message_deflate,
        # Our own (lifespan.py) has a deadline and keeps the exception.
        lifespan="off",
        log_config=None,
        access_log=False,
        # Or else it reads WEB_CONCURRENCY, which is not for us.
        workers=1,
        proxy_headers=http.proxy_headers,
        forwarded_allow_ips=http.forwarded_allow_ips,
        root_path=http.root_path,
        headers=list(http.headers),
        server_header=http.server_header,
        date_header=http.date_header,
        # uvicorn hands it to loop.call_later, so parts of a second are fine.
        timeout_keep_alive=http.keep_alive_timeout,  # type: ignore[arg-type]
        h11_max_incomplete_event_size=min(http.h11_max_incomplete_event_size, http.max_header_size),
    )
    config.load()
    if isinstance(config.loaded_app, ProxyHeadersMiddleware):
        config.loaded_app.trusted_hosts = _PeersOfUnixSocketsToo(config.loaded_app.trusted_hosts)  # type: ignore[assignment]
    return config


class _PeersOfUnixSocketsToo:
    """The trusted addresses, and the peers that have none: whom the socket's mode lets in is a proxy of this machine."""

    def __init__(self, addresses: Any) -> None:
        self._addresses = addresses

    def __contains__(self, host: str | None) -> bool:
        return host is None or host in self._addresses

    def get_trusted_client_address(self, forwarded: str) -> Any:
        """The first address from the right that is not trusted."""
        return self._addresses.get_trusted_client_address(forwarded)


def loop_factory(config: Config) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the event loop that the configuration asks for."""
    return config.get_loop_factory() or asyncio.new_event_loop


def import_loop(name: str) -> None:
    """Imports what `loop_factory` would: done before forking, it is done once."""
    Config(_no_app, loop=name, log_config=None, access_log=False, workers=1).get_loop_factory()


def _no_app() -> None:
    """Config wants one."""


def bare_app(config: Config) -> Callable[..., Any]:
    """The app without uvicorn's proxy header middleware, which does nothing for a request without such headers."""
    app: Any = config.loaded_app
    return app.app if isinstance(app, ProxyHeadersMiddleware) else app


def default_headers(config: Config, date: bytes) -> list[tuple[bytes, bytes]]:
    """The headers that every response begins with."""
    return ([(b"date", date)] if config.date_header else []) + config.encoded_headers


class Server(UvicornServer):
    """A server whose sockets, signals and life are the worker's: subclasses say what happens in each phase.

    `serve()` runs `startup`; unless that sets `should_exit`, `main_loop`; and, if `started`, `shutdown`.
    """

    def __init__(self, config: Config, state: ServerState) -> None:
        super().__init__(config)
        self.server_state = state

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone."""
        yield
