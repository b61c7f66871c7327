"""The app most rows run: a JSON route as FastAPI's tutorial writes them, and what the load client asks for."""

import asyncio
import os
import time
from collections.abc import AsyncIterator

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

app = FastAPI()


class Item(BaseModel):
    """What `/items/{item_id}` answers."""

    id: int
    name: str
    price: float
    tags: list[str]


class Echo(BaseModel):
    """Who answered which request."""

    token: str
    pid: int


@app.get("/items/{item_id}")
async def item(item_id: int) -> Item:
    """The JSON route that the requests/s are measured with."""
    return Item(id=item_id, name="rope", price=12.5, tags=["deck", "nylon"])


@app.get("/echo/{token}")
async def echo(token: str) -> Echo:
    """The token, and the worker that answered."""
    return Echo(token=token, pid=os.getpid())


@app.get("/slow/{token}")
async def slow(token: str, seconds: float = 0.5) -> Echo:
    """The same after a while."""
    await asyncio.sleep(seconds)
    return Echo(token=token, pid=os.getpid())


@app.get("/events")
async def events(seconds: float = 3.0) -> StreamingResponse:
    """Server-sent events, ten a second."""

    async def stream() -> AsyncIterator[str]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            yield f'data: {{"pid": {os.getpid()}}}\n\n'
            await asyncio.sleep(0.1)

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.websocket("/ws")
async def ws(websocket: WebSocket) -> None:
    """Echoes each message."""
    await websocket.accept()
    try:
        while True:
            token = await websocket.receive_text()
            await websocket.send_text(f'{{"token": "{token}", "pid": {os.getpid()}}}')
    except WebSocketDisconnect:
        pass
