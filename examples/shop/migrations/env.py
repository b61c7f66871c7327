"""Runs the migrations on the shop's own database."""

from alembic import context
from shop.database import open_engine
from shop.settings import from_environment
from shop.tables import Base

engine = open_engine(from_environment().database)
try:
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()
finally:
    engine.dispose()
