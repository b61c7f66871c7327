"""The apps that the worker's tests serve."""

import asyncio
import atexit
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import BackgroundTasks, FastAPI, Response, WebSocket
from fastapi.responses import StreamingResponse


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    yield {"greeting": "hello"}
    print("lifespan over", flush=True)


app = FastAPI(lifespan=_lifespan)
atexit.register(print, "exit handler called")


@app.get("/")
async def index() -> dict[str, int]:
    return {"pid": os.getpid()}


@app.get("/items/{number}")
async def item(number: int, q: str | None = None) -> dict[str, Any]:
    return {"number": number, "q": q}


@app.get("/slow/{seconds}")
async def slow(seconds: float) -> dict[str, float]:
    await asyncio.sleep(seconds)
    return {"slept": seconds}


@app.get("/stuck")
async def stuck() -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)


@app.get("/thread/{seconds}")
def thread(seconds: float) -> None:
    time.sleep(seconds)


@app.get("/endless")
async def endless() -> None:
    while True:
        time.sleep(0.001)  # noqa: ASYNC251 - that it blocks is what it is for


@app.get("/broken")
async def broken() -> None:
    raise ValueError("the handler is broken")


@app.get("/background/{seconds}")
async def background(seconds: float, tasks: BackgroundTasks) -> str:
    async def work() -> None:
        await asyncio.sleep(seconds)
        print("background done", flush=True)

    tasks.add_task(work)
    return "later"


@app.get("/events")
async def events() -> StreamingResponse:
    async def beat() -> AsyncIterator[str]:
        for number in range(1_000_000):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.02)

    return StreamingResponse(beat(), media_type="text/event-stream")


@app.get("/loop")
async def loop() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


_warm: list[int] = []


@app.get("/warm")
async def warm(answer: Response) -> None:
    """Ready at the third time of asking."""
    _warm.append(1)
    answer.status_code = 200 if len(_warm) >= 3 else 503


@app.get("/kill-the-loop")
async def kill_the_loop() -> None:
    def leave() -> None:
        raise SystemExit(7)

    asyncio.get_running_loop().call_soon(leave)
    await asyncio.sleep(60)


@app.get("/forgotten-task")
async def forgotten_task() -> None:
    async def fail() -> None:
        raise LookupError("nobody waits for me")

    asyncio.ensure_future(fail())  # noqa: RUF006 - that nobody holds it is what it is for
    await asyncio.sleep(0)


@app.get("/download")
async def download() -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 1000
            await asyncio.sleep(0.05)

    return StreamingResponse(pieces(), media_type="application/octet-stream")


@app.websocket("/ws")
async def websocket(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


async def deaf_stream(scope: Any, receive: Any, send: Any) -> None:
    """An event stream that never asks whether anybody still listens."""
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while True:
        await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def _endless(app: FastAPI) -> AsyncIterator[None]:
    await asyncio.Event().wait()
    yield


@contextlib.asynccontextmanager
async def _broken(app: FastAPI) -> AsyncIterator[None]:
    raise LookupError("no database")
    yield


slow_start = FastAPI(lifespan=_endless)
broken_start = FastAPI(lifespan=_broken)


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Knows HTTP and nothing else."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"bare"})


@contextlib.asynccontextmanager
async def _logging(app: FastAPI) -> AsyncIterator[None]:
    logging.basicConfig(format="MINE %(levelname)s %(name)s %(message)s")
    yield


logging_app = FastAPI(lifespan=_logging)
logging_app.get("/broken")(broken)
