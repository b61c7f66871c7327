"""A WebSocket that answers questions about prices."""

import os

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ValidationError

from shop.catalogue import CatalogueDep, on_hand
from shop.database import Sessions, SessionsDep
from shop.feed import Product

router = APIRouter()


class Question(BaseModel):
    """What a client sends: `{"product_id": 3}`."""

    product_id: int


@router.websocket("/prices")
async def prices(websocket: WebSocket, products: CatalogueDep, sessions: SessionsDep) -> None:
    """One answer to each question, for as long as the client asks."""
    await websocket.accept()
    try:
        while True:
            await websocket.send_json(await _answer(await websocket.receive_text(), products.products, sessions))
    except WebSocketDisconnect:
        pass


async def _answer(text: str, products: dict[int, Product], sessions: Sessions) -> dict[str, object]:
    try:
        question = Question.model_validate_json(text)
    except ValidationError as error:
        return {"error": error.errors()[0]["msg"]}
    product = products.get(question.product_id)
    if product is None:
        return {"error": f"no product {question.product_id}"}
    left = await run_in_threadpool(_left, sessions, product)
    return {"product_id": product.id, "price_cents": product.price_cents, "on_hand": left, "worker": os.getpid()}


def _left(sessions: Sessions, product: Product) -> int:
    with sessions() as session:
        return on_hand(session, product)
