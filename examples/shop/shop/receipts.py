"""Receipts: written as a background task, after the client has its answer."""

from shop.database import Sessions
from shop.tables import Order, Receipt


def write_receipt(sessions: Sessions, order_id: int, product: str) -> None:
    """Writes the receipt of an order that is committed."""
    with sessions.begin() as session:
        order = session.get_one(Order, order_id)
        text = f"{order.quantity} × {product}: {order.total_cents / 100:.2f} €"
        session.add(Receipt(order_id=order_id, text=text))
