"""The limit: CPU µs per request of the app alone, called in a loop as a server would, without any server."""

import importlib
import sys
import time
from typing import Any

import uvloop

_HEADERS = [(b"host", b"127.0.0.1:8000"), (b"user-agent", b"bench")]


async def call(app: Any, path: str, requests: int) -> float:
    """CPU seconds for so many requests, one after the other."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise RuntimeError(f"status {message['status']}")

    begin = time.process_time()
    for _ in range(requests):
        await app(scope(path), receive, send)
    return time.process_time() - begin


def scope(path: str) -> dict[str, Any]:
    """That of a GET."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": list(_HEADERS),
        "state": {},
    }


async def _main(target: str, path: str, requests: int) -> None:
    module, _, attribute = target.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    await call(app, path, requests // 10)
    print(await call(app, path, requests) / requests * 1e6)


if __name__ == "__main__":
    sys.path.insert(0, "")
    uvloop.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
