"""Calls the app's health path inside the worker, without a socket, until it answers 2xx."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

from fairlead.plan.model import Bind, HttpPlan
from fairlead.worker.lifespan import StartFailed
from fairlead.worker.traces import one_line, user_traceback

_PAUSE = 0.1
_LONGEST_PAUSE = 1.0


async def probe(app: Callable[..., Any], scope: dict[str, Any], timeout: float) -> None:
    """Returns as soon as a GET of the scope's path answers 2xx. StartFailed, with the last cause, after `timeout`."""
    deadline = monotonic() + timeout
    pause, tries = _PAUSE, 0
    cause, trace = "no answer", ""
    while (left := deadline - monotonic()) > 0:
        tries += 1
        try:
            status = await asyncio.wait_for(_status(app, dict(scope)), left)
        except TimeoutError:
            cause, trace = "no answer in time", ""
            break
        except Exception as error:  # noqa: BLE001 - whatever the app raises is the probe's answer
            cause, trace = one_line(error), user_traceback(error)
        else:
            if 200 <= status < 300:
                return
            cause, trace = (f"status {status}" if status else "no response"), ""
        await asyncio.sleep(min(pause, max(0.0, deadline - monotonic())))
        pause = min(pause * 2, _LONGEST_PAUSE)
    raise StartFailed(
        "probe", f"GET {scope['path']} did not answer 2xx in {timeout:g}s ({tries} tries): {cause}", trace
    )


def probe_scope(
    path: str, http: HttpPlan, bind: Bind | None, asgi_version: str, state: dict[str, Any]
) -> dict[str, Any]:
    """The ASGI scope of a GET that a client of `bind` would send."""
    route, _, query = path.partition("?")
    host = (bind.host, bind.port) if bind is not None and bind.kind == "tcp" else ("localhost", 80)
    if host[0] in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound to
        host = ("localhost", host[1])
    return {
        "type": "http",
        "asgi": {"version": asgi_version, "spec_version": "2.3"},
        "http_version": "1.1",
        "server": host,
        "client": ("127.0.0.1", 0),
        "scheme": "https" if bind is not None and bind.speaks == "https" else "http",
        "method": "GET",
        "root_path": http.root_path,
        "path": http.root_path + route,
        "raw_path": (http.root_path + route).encode(),
        "query_string": query.encode(),
        "headers": [
            (b"host", f"[{host[0]}]:{host[1]}".encode() if ":" in host[0] else f"{host[0]}:{host[1]}".encode()),
            (b"user-agent", b"fairlead-probe"),
            (b"accept", b"*/*"),
        ],
        "state": state.copy(),
    }


async def _status(app: Callable[..., Any], scope: dict[str, Any]) -> int:
    """The status that the app answers; 0 when it returns without one."""
    status = 0
    asked = False
    answered = asyncio.Event()

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if asked:
            await answered.wait()
            return {"type": "http.disconnect"}
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif not message.get("more_body", False):
            answered.set()

    await app(scope, receive, send)
    return status
