"""What serving takes beyond the app itself, had before the fork: workers then share it, and are ready at once."""

import contextlib
import importlib
import sys
from collections.abc import Callable
from typing import Any

from fairlead.plan.model import Plan
from fairlead.worker.edge import guard
from fairlead.worker.http1.protocol import HttpProtocol
from fairlead.worker.uvicorn_adapter import Config, build_config, loop_factory
from fairlead.worker.websocket import websocket_protocol

_IMPORTED_LATE = (
    "concurrent.futures.thread",  # asyncio: the first function in a thread
    "encodings.ascii",  # the first file opened so
    "encodings.idna",  # the first host name looked up
    "anyio._backends._asyncio",  # Starlette: the first `def` endpoint
    "fastapi.telemetry._runtime",  # FastAPI: the lifespan
)
"""What would be imported while a worker starts or serves its first request, and be in the memory of each alone."""


def prepare(app: Callable[..., Any], plan: Plan) -> Config:
    """The loaded configuration that every worker serves `app` with. Imports what serving needs, the loop's library too."""
    for name in _IMPORTED_LATE:
        if name.partition(".")[0] in sys.modules:
            # Other versions do without some of these; one that is broken is told where it is used.
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    config = build_config(plan.http, guard(app, plan), _protocol(plan.http.protocol), websocket_protocol())
    loop_factory(config)
    return config


def _protocol(name: str) -> type[Any]:
    """The class of HTTP connections."""
    if name == "h11":
        from fairlead.worker.http1_h11 import H11Connection  # it takes h11, which nobody else needs

        return H11Connection
    return HttpProtocol
