"""Orders as they come, as server-sent events."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from sqlalchemy import func, select

from shop.database import Sessions, SessionsDep
from shop.orders import PlacedOrder
from shop.tables import Order

router = APIRouter(tags=["events"])


@router.get("/events", response_class=StreamingResponse)
async def events(
    request: Request, sessions: SessionsDep, last_event_id: Annotated[int | None, Header()] = None
) -> StreamingResponse:
    """New orders, whichever worker took them. A client that comes back with Last-Event-ID misses none."""
    stream = order_events(sessions, last_event_id, request.app.state.settings.tick, request.is_disconnected)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-cache"})


async def order_events(
    sessions: Sessions, last: int | None, tick: float, gone: Callable[[], Awaitable[bool]]
) -> AsyncIterator[str]:
    """The stream's text: an `order` event for each order after `last` (None: from now on), a heartbeat where none is.

    Ends when the client is gone, which is also how a server says that it is shutting down.
    """
    if last is None:
        last = await run_in_threadpool(_newest, sessions)
    yield f"retry: 1000\n: worker {os.getpid()}\n\n"
    while not await gone():
        orders = await run_in_threadpool(_orders_after, sessions, last)
        for order in orders:
            last = order.id
            yield f"id: {order.id}\nevent: order\ndata: {order.model_dump_json()}\n\n"
        if not orders:
            yield ": heartbeat\n\n"
        await asyncio.sleep(tick)


def _newest(sessions: Sessions) -> int:
    with sessions() as session:
        return session.scalar(select(func.max(Order.id))) or 0


def _orders_after(sessions: Sessions, last: int) -> list[PlacedOrder]:
    with sessions() as session:
        found = session.scalars(select(Order).where(Order.id > last).order_by(Order.id).limit(100))
        return [PlacedOrder.model_validate(order) for order in found]
