"""An app that needs a kind of watching: it leaks (GROWS_LEAK bytes a second, once asked), holds GROWS_SHARED bytes from its
import on, or keeps its loop busy (/echo/…?busy=SECONDS).
"""

import os
import time

from fastapi import FastAPI
from pydantic import BaseModel

_LEAK = float(os.environ.get("GROWS_LEAK", "0"))
SHARED = b"s" * int(os.environ.get("GROWS_SHARED", "0"))
_BUSY = float(os.environ.get("GROWS_BUSY", "0"))
_PIECE = 100_000

app = FastAPI()
_held: list[bytes] = []
_first: list[float] = []


class Echo(BaseModel):
    """Who answered which request."""

    token: str
    pid: int


@app.get("/echo/{token}")
async def echo(token: str) -> Echo:
    """The token, and the worker that answered."""
    if not _first:
        _first.append(time.monotonic())
    while _LEAK and (time.monotonic() - _first[0]) * _LEAK > len(_held) * _PIECE:
        _held.append(b"l" * _PIECE)
    if _BUSY:
        time.sleep(_BUSY)  # noqa: ASYNC251 - busy without the CPU, so that a step in load is the same on any machine
    return Echo(token=token, pid=os.getpid())
