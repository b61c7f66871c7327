"""The tables that the shop writes. Their history is in migrations/."""

from datetime import UTC, datetime

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


def now() -> datetime:
    """The time as SQLite keeps it: UTC, without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


class Base(DeclarativeBase):
    """What Alembic compares a database with."""


class Stock(Base):
    """What is left of a product that has been ordered at least once."""

    __tablename__ = "stock"
    __table_args__ = (CheckConstraint("on_hand >= 0", name="ck_stock_on_hand"),)

    product_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    on_hand: Mapped[int]


class Order(Base):
    """One product, some pieces of it."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int]
    quantity: Mapped[int]
    total_cents: Mapped[int]
    placed_at: Mapped[datetime] = mapped_column(default=now)


class Receipt(Base):
    """Written after the response to the order has been sent."""

    __tablename__ = "receipts"

    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    text: Mapped[str]
    written_at: Mapped[datetime] = mapped_column(default=now)
