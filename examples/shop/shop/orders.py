"""Orders: stock goes down and the order is written in one transaction, or neither happens."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from shop.catalogue import CatalogueDep
from shop.database import SessionDep, SessionsDep
from shop.feed import Product
from shop.receipts import write_receipt
from shop.tables import Order, Receipt, Stock

router = APIRouter(prefix="/orders", tags=["orders"])


class NewOrder(BaseModel):
    """What a client sends."""

    product_id: int
    quantity: Annotated[int, Field(ge=1, le=1000)] = 1


class PlacedOrder(BaseModel):
    """What the shop has written."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    product_id: int
    quantity: int
    total_cents: int
    placed_at: datetime


class OrderPage(PlacedOrder):
    """An order with its receipt, once that is written."""

    receipt: str | None


@router.post("", status_code=201, response_model=PlacedOrder)
def place_order(
    new: NewOrder, products: CatalogueDep, session: SessionDep, factory: SessionsDep, after: BackgroundTasks
) -> Order:
    """Orders pieces of a product; 409 when fewer are left."""
    product = products.get(new.product_id)
    with session.begin():
        take_from_stock(session, product, new.quantity)
        order = Order(product_id=product.id, quantity=new.quantity, total_cents=new.quantity * product.price_cents)
        session.add(order)
        session.flush()
        session.refresh(order)
        session.expunge(order)
    after.add_task(write_receipt, factory, order.id, product.name)
    return order


def take_from_stock(session: Session, product: Product, quantity: int) -> None:
    """Both statements write, so the transaction holds SQLite's write lock from the first one on."""
    session.execute(insert(Stock).values(product_id=product.id, on_hand=product.stock).on_conflict_do_nothing())
    taken = session.scalar(
        update(Stock)
        .where(Stock.product_id == product.id, Stock.on_hand >= quantity)
        .values(on_hand=Stock.on_hand - quantity)
        .returning(Stock.on_hand)
    )
    if taken is None:
        raise HTTPException(409, f"fewer than {quantity} of product {product.id} are left")


@router.get("/{order_id}")
def read_order(order_id: int, session: SessionDep) -> OrderPage:
    """One order; the receipt follows a moment after the order."""
    order = session.get(Order, order_id)
    if order is None:
        raise HTTPException(404, f"no order {order_id}")
    receipt = session.get(Receipt, order_id)
    placed = PlacedOrder.model_validate(order)
    return OrderPage(**placed.model_dump(), receipt=receipt.text if receipt else None)
