"""Receipts."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forwards."""
    op.create_table(
        "receipts",
        sa.Column("order_id", sa.Integer, sa.ForeignKey("orders.id"), primary_key=True),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("written_at", sa.DateTime, nullable=False),
    )


def downgrade() -> None:
    """Back."""
    op.drop_table("receipts")
